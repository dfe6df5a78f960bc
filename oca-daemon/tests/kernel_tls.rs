//! Who seals what is sent over TLS. Where the kernel has its module `tls`, it does, and what is in memory goes by `sendfile`; where it
//! has not, the daemon does, silently. Either way the bytes are right, and it is counted. `.ci/ktls` runs these tests under a kernel
//! that has it, and says so with `OCA_KERNEL_TLS=required`.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use oca_daemon::limits::CLOSING_TIMEOUT;
use rustix::net::{SendFlags, send};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, StreamOwned};
use support::tls::{OBJECT, Stream, client, client_of_suites, connect, get, noise, start, start_with};
use support::{Daemon, ask, connect_slowly, eventually};

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Small enough for a tier of 8 MiB: as much may be locked where nobody has raised the limit.
const OBJECT_BYTES: usize = 2 * BLOCK_BYTES + 123_457;

/// What the tier holds or does not.
const BLOCK_BYTES: usize = 2 << 20;

/// Who is to seal here.
fn expected_layer() -> &'static str {
    let offered = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_ulp").unwrap_or_default();
    let has_module = offered.split_whitespace().any(|name| name == "tls");
    assert!(has_module || std::env::var_os("OCA_KERNEL_TLS").is_none(), "the kernel has no module tls");
    if has_module { "kernel" } else { "user" }
}

/// Whether a key in the kernel can be changed (Linux 6.14).
fn kernel_changes_keys() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(14))
}

/// Asserts that all connections so far were sealed by `layer`, and with them at least so many bytes. The last of these are counted
/// when they have been sent.
#[track_caller]
fn assert_sealed_by(layer: &str, daemon: &Daemon, bytes: u64) {
    eventually("all bytes are counted", || daemon.metric("oca_tls_sent_bytes_total", layer) >= bytes);
    for other in ["kernel", "user", "refused"].iter().filter(|other| **other != layer) {
        assert_eq!(daemon.metric("oca_tls_sent_bytes_total", other), 0, "{other}");
        assert_eq!(daemon.metric("oca_tls_connections_total", other), 0, "{other}");
    }
    let connections = daemon.metric("oca_tls_connections_total", layer);
    assert_eq!(connections, daemon.metric("oca_tls_handshakes_total", ""));
    println!(
        "oca_tls_connections_total{{record_layer=\"{layer}\"}} {connections}, \
         oca_tls_sent_bytes_total{{record_layer=\"{layer}\"}} {}, hit_ram {}, hit_disk {}",
        daemon.metric("oca_tls_sent_bytes_total", layer),
        daemon.metric("oca_requests_total", "hit_ram"),
        daemon.metric("oca_requests_total", "hit_disk"),
    );
}

/// Asks for all of the object and for parts of it on one connection; returns how many bytes that were.
fn get_all_and_parts(stream: &mut Stream, object: &[u8], what: &str) -> u64 {
    let mut bytes = 0;
    for _ in 0..2 {
        assert!(get(stream).body == object, "{what}: wrong bytes");
        bytes += object.len();
    }
    let (middle, last) = (BLOCK_BYTES.min(object.len() / 2), object.len() - 1);
    for (first, last) in
        [(0, 0), (16_383, 16_384), (middle - 10, middle + 10), (100, last - 100), (last, last)]
    {
        let answer = ask(stream, "GET", OBJECT, &format!("Range: bytes={first}-{last}\r\n")).unwrap();
        assert!(answer.status == 206 && answer.body == object[first..=last], "{what}: {first}-{last}");
        bytes += answer.body.len();
    }
    assert_eq!(ask(stream, "HEAD", OBJECT, "").unwrap().status, 200);
    bytes as u64
}

#[test]
fn whoever_seals_in_whichever_suite_the_bytes_are_right_from_disk_and_from_memory_and_it_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let object = noise(OBJECT_BYTES);
    let (daemon, certificate) = start(folder.path(), &object, YEAR);
    let mut bytes = 0;
    for suite in default_provider().cipher_suites {
        let version = if suite.version().version == ProtocolVersion::TLSv1_3 { &TLS13 } else { &TLS12 };
        if format!("{:?}", suite.suite()).contains("RSA") {
            continue; // The certificate is for the other kind of signature.
        }
        let client = client_of_suites(vec![suite], version, &certificate);
        let mut stream = connect(&client, daemon.https());
        bytes += get_all_and_parts(&mut stream, &object, &format!("{:?}", suite.suite()));
    }
    // All of it is in memory by then, or soon; a suite of each version once more.
    for version in [&TLS13, &TLS12] {
        let client = client(version, &certificate);
        eventually("the object is in memory", || {
            bytes += get_all_and_parts(&mut connect(&client, daemon.https()), &object, "from memory");
            daemon.metric("oca_ram_tier_bytes", "resident") >= OBJECT_BYTES as u64
        });
        bytes += get_all_and_parts(&mut connect(&client, daemon.https()), &object, "from memory");
    }
    assert!(daemon.metric("oca_requests_total", "hit_disk") > 0);
    assert!(daemon.metric("oca_requests_total", "hit_ram") > 0);
    assert_sealed_by(expected_layer(), &daemon, bytes);
}

#[test]
fn where_it_is_switched_off_the_daemon_seals() {
    let folder = tempfile::tempdir().unwrap();
    let object = noise(300_000);
    let (daemon, certificate) = start_with(folder.path(), &object, YEAR, "", "kernel = \"off\"\n");
    for version in [&TLS13, &TLS12] {
        let mut stream = connect(&client(version, &certificate), daemon.https());
        get_all_and_parts(&mut stream, &object, "off");
    }
    assert_sealed_by("user", &daemon, object.len() as u64);
}

/// A client that has read only so much of the last response of its connection that the daemon is done with it. The end and the
/// farewell are then still with the daemon's kernel, in part, where that seals, not even with TCP.
struct SlowClient {
    stream: Stream,
    bytes: Vec<u8>,
    /// Of the body.
    length: usize,
}

impl SlowClient {
    fn new(daemon: &Daemon, client: &Arc<ClientConfig>, length: usize) -> Self {
        let before = daemon.metric("oca_requests_total", "hit_");
        let connection = ClientConnection::new(Arc::clone(client), "localhost".try_into().unwrap()).unwrap();
        let mut stream = StreamOwned::new(connection, connect_slowly(daemon.https(), 8 << 10));
        let last = length - 1;
        let head = format!(
            "GET {OBJECT} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nRange: bytes=0-{last}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let (mut bytes, mut chunk) = (Vec::new(), [0; 8 << 10]);
        while daemon.metric("oca_requests_total", "hit_") == before {
            let read_bytes = stream.read(&mut chunk).unwrap();
            bytes.extend_from_slice(&chunk[..read_bytes]);
        }
        Self { stream, bytes, length }
    }

    /// Reads what is left. An end without a farewell is an error.
    fn read_rest(&mut self) -> io::Result<()> {
        self.stream.read_to_end(&mut self.bytes).map(drop)
    }

    /// Whether the response has come, all of it.
    fn is_served(&self, object: &[u8]) -> bool {
        self.bytes.ends_with(&object[..self.length])
    }
}

/// Around what the daemon's kernel takes before it says that it is full: the last record of some of these does not fit.
fn lengths_around_what_fits() -> impl Iterator<Item = usize> {
    (64 << 10..=320 << 10).step_by(16 << 10)
}

/// Slow clients of either version, for a response of each of these lengths.
fn slow_clients(daemon: &Daemon, certificate: &CertificateDer<'static>) -> Vec<SlowClient> {
    let clients = [client(&TLS13, certificate), client(&TLS12, certificate)];
    get(&mut connect(&clients[0], daemon.https()));
    let of_lengths = lengths_around_what_fits().zip(clients.iter().cycle());
    of_lengths.map(|(length, client)| SlowClient::new(daemon, client, length)).collect()
}

/// Closing the socket would cut off what the kernel has not handed to TCP yet: it is waited for as long as for any client that stalls.
#[test]
fn a_slow_client_gets_the_last_byte_and_the_farewell() {
    let folder = tempfile::tempdir().unwrap();
    let object = noise(400_000);
    // In the emulated machine the first one has stalled for longer than usual when the last one has come.
    let serve = "send_stall_timeout = \"120 s\"\n";
    let (daemon, certificate) = start_with(folder.path(), &object, YEAR, serve, "");
    let clients = slow_clients(&daemon, &certificate);
    thread::sleep(CLOSING_TIMEOUT + Duration::from_secs(2));
    for mut slow in clients {
        slow.read_rest().unwrap();
        assert!(slow.is_served(&object), "{}: {} bytes", slow.length, slow.bytes.len());
    }
    assert_sealed_by(expected_layer(), &daemon, lengths_around_what_fits().sum::<usize>() as u64);
}

/// Only a reset tells such a client that the end is missing.
#[test]
fn an_end_that_waits_for_a_slow_client_when_the_time_for_stopping_is_over_is_not_passed_off_as_sent() {
    let folder = tempfile::tempdir().unwrap();
    let object = noise(400_000);
    let serve = "shutdown_timeout = \"1 s\"\n";
    let (mut daemon, certificate) = start_with(folder.path(), &object, YEAR, serve, "");
    let mut clients = slow_clients(&daemon, &certificate);
    assert_sealed_by(expected_layer(), &daemon, 0);
    daemon.tell_to_stop();
    eventually("it has stopped", || daemon.has_ended());
    let mut resets = 0;
    for slow in &mut clients {
        match slow.read_rest() {
            Ok(()) => assert!(slow.is_served(&object), "{}: a farewell before the end", slow.length),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => resets += 1,
            // What the daemon seals is with TCP by then, but for the farewell.
            Err(error) => {
                let is_cut = expected_layer() == "kernel" || !slow.is_served(&object);
                assert!(!is_cut, "{}: {error} after {} bytes", slow.length, slow.bytes.len());
            }
        }
    }
    assert!(expected_layer() == "user" || resets > 0, "no end was waiting");
}

/// Asks for the object and closes its side with that, in one segment: whoever reads the request finds the end there. Returns what comes
/// until the farewell.
fn ask_and_close(client: &Arc<ClientConfig>, address: SocketAddr) -> Vec<u8> {
    let mut stream = connect(client, address);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).unwrap();
    }
    let request = format!("GET {OBJECT} HTTP/1.1\r\nHost: test\r\n\r\n");
    stream.conn.writer().write_all(request.as_bytes()).unwrap();
    let mut record = Vec::new();
    stream.conn.write_tls(&mut record).unwrap();
    assert_eq!(send(&stream.sock, &record, SendFlags::MORE).unwrap(), record.len());
    stream.sock.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    // Without a farewell this is an error.
    stream.read_to_end(&mut answer).unwrap();
    answer
}

/// The kernel takes a key only for a connection that is open in both directions.
#[test]
fn a_connection_that_the_kernel_refuses_is_served_by_the_daemon_and_counted_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let object = noise(300_000);
    let (daemon, certificate) = start(folder.path(), &object, YEAR);
    for version in [&TLS13, &TLS12] {
        let client = client(version, &certificate);
        let mut answer = Vec::new();
        // The store may still be taking the bundle up.
        eventually("the object is served", || {
            answer = ask_and_close(&client, daemon.https());
            answer.starts_with(b"HTTP/1.1 200 ")
        });
        assert!(answer.ends_with(&object), "wrong bytes");
    }
    let layer = if expected_layer() == "kernel" { "refused" } else { "user" };
    assert_sealed_by(layer, &daemon, 2 * object.len() as u64);
}

/// Where the kernel cannot change the key, the response is whole and the connection ends after it, with a farewell; everywhere else it
/// goes on.
#[test]
fn a_client_that_wants_our_key_changed_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let object = noise(300_000);
    let (daemon, certificate) = start(folder.path(), &object, YEAR);
    let layer = expected_layer();
    let client = client(&TLS13, &certificate);
    get(&mut connect(&client, daemon.https()));
    let mut stream = connect(&client, daemon.https());
    assert!(get(&mut stream).body == object);
    for _ in 0..5 {
        stream.conn.refresh_traffic_keys().unwrap();
        let answer = get(&mut stream);
        assert!(answer.body == object);
        let is_last = answer.head.contains("Connection: close");
        assert_eq!(is_last, layer == "kernel" && !kernel_changes_keys(), "{}", answer.head);
        if is_last {
            assert_eq!(stream.read(&mut [0; 100]).unwrap(), 0, "a farewell");
            stream = connect(&client, daemon.https());
            assert!(get(&mut stream).body == object);
        }
    }
    assert_sealed_by(layer, &daemon, 5 * 300_000);
}
