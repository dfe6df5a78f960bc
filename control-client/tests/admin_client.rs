//! The admin client and `oca` against a scripted daemon: a real socket, an answer word for word.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use control_client::admin::{Purge, Retire};
use control_client::admin_client::{AdminAddress, AdminClient, AdminError};
use control_client::content::{BundlePath, Generation};
use control_client::health::Verdict;
use control_client::limits::ANSWER_BYTES_MAX;
use control_client::wire::DocumentVersion;

const HEALTH: &str = include_str!("golden/health.json");
const INVENTORY: &str = include_str!("golden/inventory.json");
const STATUS: &str = include_str!("golden/status.json");

fn answer(status: &str, content: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{content}", content.len()).into_bytes()
}

/// Reads a request whole: its head, and the content that its head announces.
fn read_request(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let mut block = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, content)) = text.split_once("\r\n\r\n") {
            let announced = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if content.len() >= announced.map_or(0, |length| length.parse().expect("a length")) {
                return text;
            }
        }
        match stream.read(&mut block).expect("readable") {
            0 => return text,
            count => bytes.extend_from_slice(&block[..count]),
        }
    }
}

/// Gives the answers in turn, a connection each; gives back the requests.
fn daemon(socket: &Path, answers: Vec<Vec<u8>>) -> JoinHandle<Vec<String>> {
    let listener = UnixListener::bind(socket).expect("the socket is free");
    thread::spawn(move || {
        let mut requests = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().expect("accepted");
            requests.push(read_request(&mut stream));
            // A client that has enough may hang up before the end.
            let _ = stream.write_all(&answer);
        }
        requests
    })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

fn client(socket: &Path) -> AdminClient {
    AdminClient::new(AdminAddress::Socket(socket.to_owned()))
}

fn oca(socket: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_oca"))
        .args(arguments)
        .arg("--socket")
        .arg(socket)
        .output()
        .expect("oca runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

#[test]
fn a_health_report_is_read_whether_healthy_or_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("daemon.sock");
    let healthy = HEALTH.replace("\"unhealthy\"", "\"healthy\"");
    let daemon = daemon(&socket, vec![answer("200 OK", &healthy), answer("503 Service Unavailable", HEALTH)]);
    assert_eq!(block_on(client(&socket).health()).expect("a report").verdict, Verdict::Healthy);
    assert_eq!(block_on(client(&socket).health()).expect("a report").verdict, Verdict::Unhealthy);
    let requests = daemon.join().expect("the daemon ends");
    assert!(
        requests[0].starts_with("GET /health HTTP/1.1\r\n") && requests[0].contains("host: localhost\r\n")
    );
}

#[test]
fn a_change_is_sent_as_its_wire_document() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("daemon.sock");
    let daemon = daemon(
        &socket,
        vec![
            answer("200 OK", include_str!("golden/retired.json")),
            answer("200 OK", include_str!("golden/purged.json")),
            answer("200 OK", include_str!("golden/retired.json")),
        ],
    );
    let path = BundlePath::parse("/titles/abc/1080p").expect("a path");
    let retire =
        Retire { version: DocumentVersion, path: path.clone(), generation: Some(Generation::new(2)) };
    assert_eq!(block_on(client(&socket).retire(retire)).expect("retired").freed_bytes, 5_368_705_024);
    let purge = Purge { version: DocumentVersion, path: path.clone(), prefix: true };
    assert_eq!(block_on(client(&socket).purge(purge)).expect("purged").bundles.len(), 2);
    let retire = Retire { version: DocumentVersion, path, generation: None };
    block_on(client(&socket).retire_within(retire, 0)).expect("retired");
    let requests = daemon.join().expect("the daemon ends");
    assert!(requests[2].starts_with("POST /retire?wait_seconds=0 HTTP/1.1\r\n"), "{}", requests[2]);
    assert!(requests[0].starts_with("POST /retire?wait_seconds=14400 HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(
        requests[0].ends_with(r#"{"version":1,"path":"/titles/abc/1080p","generation":2}"#),
        "{}",
        requests[0]
    );
    assert!(
        requests[1].ends_with(r#"{"version":1,"path":"/titles/abc/1080p","prefix":true}"#),
        "{}",
        requests[1]
    );
}

#[test]
fn a_refusal_is_told_in_the_daemons_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("daemon.sock");
    let daemon = daemon(
        &socket,
        vec![
            answer("404 Not Found", include_str!("golden/failure.json")),
            answer("502 Bad Gateway", "<html>a proxy</html>"),
            answer("503 Service Unavailable", "busy"),
        ],
    );
    let refused = block_on(client(&socket).undrain()).expect_err("refused").to_string();
    assert_eq!(
        refused,
        "there is no bundle /titles/abc/1080p: look for it with oca inventory (no_such_bundle, status 404)"
    );
    let stranger = block_on(client(&socket).undrain()).expect_err("refused").to_string();
    assert_eq!(stranger, "<html>a proxy</html> (unexpected_answer, status 502)");
    let busy = block_on(client(&socket).health()).expect_err("refused").to_string();
    assert_eq!(busy, "busy (unexpected_answer, status 503)");
    daemon.join().expect("the daemon ends");
}

#[test]
fn an_answer_that_is_not_the_document_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("daemon.sock");
    let other_version = STATUS.replace("\"version\": 1", "\"version\": 7");
    let daemon = daemon(
        &socket,
        vec![
            answer("200 OK", "{}"),
            answer("200 OK", &other_version),
            b"SSH-2.0-OpenSSH\r\n".to_vec(),
            Vec::new(),
        ],
    );
    let empty = block_on(client(&socket).status()).expect_err("unreadable");
    assert!(empty.to_string().contains("missing field `version`") && !empty.is_unreachable(), "{empty}");
    let version = block_on(client(&socket).status()).expect_err("unreadable").to_string();
    assert!(version.contains("the document has version 7, this program knows version 1"), "{version}");
    let stranger = block_on(client(&socket).status()).expect_err("no HTTP");
    assert!(matches!(stranger, AdminError::Broken { .. }) && stranger.is_unreachable(), "{stranger}");
    let silent = block_on(client(&socket).status()).expect_err("hung up");
    assert!(matches!(silent, AdminError::Broken { .. }), "{silent}");
    daemon.join().expect("the daemon ends");
}

#[test]
fn an_answer_announced_beyond_the_limit_is_not_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("daemon.sock");
    let daemon = daemon(&socket, vec![b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nabc".to_vec()]);
    assert!(matches!(block_on(client(&socket).inventory()), Err(AdminError::TooLarge)));
    daemon.join().expect("the daemon ends");
}

#[test]
fn an_answer_of_unknown_length_is_read_up_to_the_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("daemon.sock");
    let limit = usize::try_from(ANSWER_BYTES_MAX).expect("a size");
    let mut endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    endless.resize(endless.len() + limit + 1, b' ');
    let daemon = daemon(&socket, vec![endless]);
    assert!(matches!(block_on(client(&socket).inventory()), Err(AdminError::TooLarge)));
    daemon.join().expect("the daemon ends");
}

#[test]
fn a_daemon_that_never_answers_is_given_up_in_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("daemon.sock");
    let _listener = UnixListener::bind(&socket).expect("the socket is free");
    let mut client = client(&socket);
    client.read_timeout = Duration::from_millis(50);
    let error = block_on(client.health()).expect_err("no answer");
    assert!(matches!(error, AdminError::TimedOut { .. }), "{error}");
    assert!(error.to_string().contains("no answer after 50 ms"), "{error}");
}

#[test]
fn it_speaks_tcp_as_well() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let daemon = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accepted");
        let request = read_request(&mut stream);
        stream.write_all(&answer("200 OK", "# TYPE a counter\na 1\n")).expect("written");
        request
    });
    let metrics = block_on(AdminClient::new(AdminAddress::Tcp(address.clone())).metrics()).expect("metrics");
    assert_eq!(metrics, "# TYPE a counter\na 1\n");
    let request = daemon.join().expect("the daemon ends");
    assert!(request.contains(&format!("host: {address}\r\n")), "{request}");
}

#[test]
fn oca_health_exits_with_the_verdict() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("daemon.sock");
    let healthy = HEALTH.replace("\"unhealthy\"", "\"healthy\"");
    let daemon = daemon(
        &socket,
        vec![
            answer("200 OK", &healthy),
            answer("503 Service Unavailable", HEALTH),
            answer("503 Service Unavailable", HEALTH),
        ],
    );
    assert_eq!(oca(&socket, &["health"]).status.code(), Some(0));
    let unhealthy = oca(&socket, &["health"]);
    assert_eq!(unhealthy.status.code(), Some(1));
    let text = stdout(&unhealthy);
    for expected in [
        "verdict    unhealthy\n",
        "uptime     1 d 2 h\n",
        "  volume_isolated: volume 1 (/srv/oca/volume1) gave 9 read errors",
        "  memory        45.0 GiB\n",
        "     1  isolated        0    1.0 TiB       9  /srv/oca/volume1  9 read errors in a minute\n",
    ] {
        assert!(text.contains(expected), "expected {expected:?} in\n{text}");
    }
    let json = oca(&socket, &["health", "--json"]);
    assert_eq!((json.status.code(), stdout(&json).as_str()), (Some(1), HEALTH));
    daemon.join().expect("the daemon ends");
}

#[test]
fn oca_shows_tables_for_people_and_documents_for_programs() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("daemon.sock");
    let metrics = "# HELP a b\na{x=\"1\"} 2\n";
    let answers = [INVENTORY, INVENTORY, STATUS, STATUS, metrics, metrics];
    let daemon = daemon(&socket, answers.iter().map(|content| answer("200 OK", content)).collect());
    assert_eq!(
        stdout(&oca(&socket, &["inventory"])),
        [
            "path                 generation  volume  objects      size  state",
            "/titles/abc/1080p             2       1     1802   5.0 GiB  retiring",
            "/titles/abc/1080p             3       0     1802   5.0 GiB  published",
            "/titles/größe/audio           1       1      451  70.0 MiB  quarantined",
            "",
            "3 bundles, 4055 objects, 10.1 GiB",
            "",
        ]
        .join("\n")
    );
    assert_eq!(stdout(&oca(&socket, &["inventory", "--json"])), INVENTORY);
    let status = stdout(&oca(&socket, &["status"]));
    assert!(status.contains("release        0.1.0, commit 0123456789abcdef"), "{status}");
    assert!(status.contains("admin_socket  /run/oca/daemon.sock\n"), "{status}");
    assert!(status.contains("serve.connections   16000\n"), "{status}");
    assert_eq!(stdout(&oca(&socket, &["status", "--json"])), STATUS);
    assert_eq!(stdout(&oca(&socket, &["metrics"])), metrics);
    assert_eq!(
        stdout(&oca(&socket, &["metrics", "--json"])),
        "{\"samples\":[{\"labels\":{\"x\":\"1\"},\"name\":\"a\",\"value\":2}],\"version\":1}\n"
    );
    daemon.join().expect("the daemon ends");
}

#[test]
fn oca_tells_what_a_change_has_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("daemon.sock");
    let adopted = include_str!("golden/adopted.json");
    let drained = HEALTH.replace("\"serving\",\n  \"verdict\"", "\"drained\",\n  \"verdict\"");
    let daemon = daemon(
        &socket,
        vec![
            answer("200 OK", adopted),
            answer("200 OK", adopted),
            answer("200 OK", include_str!("golden/retired.json")),
            answer("200 OK", include_str!("golden/purged.json")),
            answer("200 OK", include_str!("golden/readiness_changed.json")),
            answer("503 Service Unavailable", &drained),
            answer("409 Conflict", include_str!("golden/failure.json")),
        ],
    );
    assert_eq!(
        stdout(&oca(&socket, &["adopt", "/srv/oca/volume0", "3f/a.bundle"])),
        "adopted /titles/abc/1080p (generation 3): 1802 objects, 5.0 GiB; generation 2 is being retired\n"
    );
    assert_eq!(stdout(&oca(&socket, &["adopt", "/srv/oca/volume0", "3f/a.bundle", "--json"])), adopted);
    assert_eq!(
        stdout(&oca(&socket, &["retire", "/titles/abc/1080p", "--generation", "2"])),
        "retired /titles/abc/1080p (generation 2)\n5.0 GiB have returned\n"
    );
    assert_eq!(
        stdout(&oca(&socket, &["purge", "/titles/abc", "--prefix"])),
        "purged /titles/abc/1080p (generation 3)\npurged /titles/abc/audio (generation 1)\n2 bundles are served no longer\n"
    );
    assert_eq!(stdout(&oca(&socket, &["drain", "--wait"])), "drained: safe to unplug\n");
    let refused = oca(&socket, &["undrain"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).starts_with("oca: there is no bundle"), "{}", stderr(&refused));
    let requests = daemon.join().expect("the daemon ends");
    assert!(requests[0].ends_with(r#"{"version":1,"volume":"/srv/oca/volume0","file":"3f/a.bundle"}"#));
    assert!(requests[2].ends_with(r#"{"version":1,"path":"/titles/abc/1080p","generation":2}"#));
    assert!(requests[4].starts_with("POST /drain ") && requests[5].starts_with("GET /health "));
}
