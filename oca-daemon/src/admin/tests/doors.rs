//! Who may come in where, how long it may stay, and what it may do.

use super::*;

#[test]
fn over_tcp_nothing_can_be_changed() {
    let running = Running::serving();
    for path in ["/drain", "/undrain", "/adopt", "/retire", "/purge"] {
        running.tcp("POST", path).refused_as(404, "unix_socket_only");
    }
    assert_eq!(running.appliance.readiness(), Readiness::Serving);
    let refused = running.tcp("PUT", "/health");
    refused.refused_as(405, "method_not_allowed");
    assert!(refused.head.contains("allow: get, head"), "{}", refused.head);
    running.tcp("GET", "/secrets").refused_as(404, "unknown_path");
    running.tcp("GET", "/inventory?limit=none").refused_as(400, "malformed_query");
    running.stop();
}

#[test]
fn status_tells_the_addresses_that_were_bound() {
    let running = Running::serving();
    running.appliance.add_listener(ListenerRole::Http, "127.0.0.1:8080");
    for answer in [running.tcp("GET", "/status"), running.unix("GET", "/status", b"")] {
        let status: StatusReport = answer.document();
        assert_eq!(status.addresses(ListenerRole::Admin).collect::<Vec<_>>(), [running.address]);
        assert_eq!(status.addresses(ListenerRole::Http).count(), 1);
        let socket = status.listeners.iter().find(|listener| listener.role == ListenerRole::AdminSocket);
        assert_eq!(socket.unwrap().address, running.socket.display().to_string());
        assert_eq!((status.process.pid, status.process.workers), (std::process::id(), 2));
        assert!(status.configuration.contains_key("serve.connections"));
        assert!(!status.process.kernel.is_empty());
    }
    running.stop();
}

#[test]
fn who_asks_nothing_is_closed_after_the_header_timeout_and_gives_the_place_to_others() {
    let running = Running::serving();
    let silent: Vec<_> =
        (0..limits::CONNECTIONS_PER_DOOR).map(|_| TcpStream::connect(running.address).unwrap()).collect();
    let begin = Instant::now();
    while running.appliance.admin.open_connections() < silent.len() as u64 {
        assert!(begin.elapsed() < limits::HEADER_TIMEOUT);
        std::thread::sleep(Duration::from_millis(1));
    }
    // It is told while the places are taken that the Unix socket has places of its own.
    assert_eq!(running.unix("GET", "/status", b"").status, 200);
    let answer = running.tcp("GET", "/status");
    assert_eq!(answer.status, 200);
    assert!(begin.elapsed() >= limits::HEADER_TIMEOUT - Duration::from_millis(100), "{:?}", begin.elapsed());
    drop(silent);
    running.stop();
}

#[test]
fn one_connection_carries_one_request() {
    let running = Running::serving();
    let mut stream = TcpStream::connect(running.address).unwrap();
    stream
        .write_all(b"GET /status HTTP/1.1\r\nhost: a\r\n\r\nGET /status HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let answer = read_answer(stream);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text().matches("http/1.1 ").count(), 1);
    running.stop();
}
