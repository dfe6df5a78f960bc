//! TLS 1.2 and 1.3, with clients that offer one of them or both; and certificates that are about to expire.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use control_client::health::Verdict;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore};
use support::tls::{OBJECT, Stream, client, connect, get, noise, start};
use support::{ask, eventually, runtime};

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn tls_1_2_and_1_3_serve_the_same_bytes_and_resume_their_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let object = noise(300_000);
    let (daemon, certificate) = start(folder.path(), &object, 400 * DAY);
    for (version, word) in [(&TLS12, "1.2"), (&TLS13, "1.3")] {
        let client = client(version, &certificate);
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut stream = connect(&client, daemon.https());
            assert!(get(&mut stream).body == object, "TLS {word}: wrong bytes");
            let part = ask(&mut stream, "GET", OBJECT, "Range: bytes=65530-131080\r\n").unwrap();
            assert!(part.status == 206 && part.body == object[65_530..=131_080], "TLS {word}: wrong part");
            assert_eq!(stream.conn.protocol_version(), Some(version.version));
            assert_eq!(stream.conn.handshake_kind(), Some(expected), "TLS {word}");
        }
        assert_eq!(daemon.metric("oca_tls_handshakes_total", &format!("\"{word}\"")), 2);
    }
    assert_eq!(daemon.metric("oca_tls_resumptions_total", ""), 2);
}

#[test]
fn a_client_that_offers_both_versions_gets_1_3() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, certificate) = start(folder.path(), b"bytes", 400 * DAY);
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS12, &TLS13]).unwrap();
    let client = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut stream = connect(&client, daemon.https());
        assert_eq!(get(&mut stream).body, b"bytes");
        assert_eq!(stream.conn.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert_eq!(stream.conn.handshake_kind(), Some(expected));
    }
    let handshakes = |word: &str| daemon.metric("oca_tls_handshakes_total", &format!("\"{word}\""));
    assert_eq!((handshakes("1.3"), handshakes("1.2")), (2, 0));
}

#[test]
fn sessions_are_resumed_on_every_worker_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (mut daemon, certificate) = start(folder.path(), b"bytes", 400 * DAY);
    for version in [&TLS12, &TLS13] {
        let client = client(version, &certificate);
        get(&mut connect(&client, daemon.https()));
        for _ in 0..2 {
            // The kernel spreads connections over the workers.
            for _ in 0..16 {
                let mut stream = connect(&client, daemon.https());
                assert_eq!(get(&mut stream).body, b"bytes");
                assert_eq!(stream.conn.handshake_kind(), Some(HandshakeKind::Resumed));
            }
            daemon.restart();
        }
    }
}

/// A megabyte at a time is more than a socket takes at once, so that sealed bytes wait, and batches shrink and grow.
#[test]
fn many_clients_at_their_own_pace_that_change_keys_meanwhile_get_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let object = Arc::new(noise(3_000_000));
    let (daemon, certificate) = start(folder.path(), &object, 400 * DAY);
    let address = daemon.https();
    get(&mut connect(&client(&TLS13, &certificate), address));
    let clients = (0..8_u64).map(|number| {
        let (object, certificate) = (Arc::clone(&object), certificate.clone());
        thread::spawn(move || {
            let version = if number % 2 == 0 { &TLS13 } else { &TLS12 };
            let mut stream = connect(&client(version, &certificate), address);
            for round in 0..4 {
                let start = (number * 37_003 + round * 11_111) as usize;
                let head = format!("GET {OBJECT} HTTP/1.1\r\nHost: test\r\nRange: bytes={start}-\r\n\r\n");
                stream.write_all(head.as_bytes()).unwrap();
                let body = read_slowly(&mut stream, object.len() - start, number);
                assert!(body == object[start..], "client {number} got wrong bytes");
                if number % 4 == 0 {
                    stream.conn.refresh_traffic_keys().unwrap();
                }
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert_eq!(daemon.metric("oca_connections_closed_total", "peer_reset"), 0);
}

/// Reads an answer with pauses, which some take for longer than others; returns its body.
fn read_slowly(stream: &mut Stream, body_bytes: usize, pace: u64) -> Vec<u8> {
    let (mut bytes, mut chunk) = (Vec::new(), vec![0; 200_000]);
    loop {
        if let Some(end) = bytes.windows(4).take(2000).position(|window| window == b"\r\n\r\n")
            && bytes.len() - end - 4 >= body_bytes
        {
            return bytes.split_off(end + 4);
        }
        let length = stream.read(&mut chunk).unwrap();
        assert!(length > 0, "the connection ended within an answer");
        bytes.extend_from_slice(&chunk[..length]);
        if bytes.len() % 7 == 0 {
            thread::sleep(Duration::from_millis(pace));
        }
    }
}

#[test]
fn a_client_that_breaks_the_protocol_is_told_how_and_the_others_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, certificate) = start(folder.path(), b"bytes", 400 * DAY);
    let sealed_by_nobody = [&[23, 3, 3, 0, 40][..], &[0; 40]].concat();
    let broken = [
        (&TLS13, sealed_by_nobody.clone(), AlertDescription::BadRecordMac),
        (&TLS12, sealed_by_nobody, AlertDescription::BadRecordMac),
        (&TLS13, vec![23, 3, 3, 0x41, 1], AlertDescription::RecordOverflow),
        (&TLS12, vec![23, 3, 3, 0x48, 1], AlertDescription::RecordOverflow),
        (&TLS13, vec![21, 3, 3, 0, 2, 2, 40], AlertDescription::UnexpectedMessage),
        (&TLS13, vec![20, 3, 3, 0, 1, 1], AlertDescription::UnexpectedMessage),
        (&TLS12, b"GET / HTTP/1.1\r\n\r\n".to_vec(), AlertDescription::UnexpectedMessage),
    ];
    for ((version, record, alert), is_within_request) in
        broken.iter().flat_map(|case| [(case, false), (case, true)])
    {
        let mut stream = connect(&client(version, &certificate), daemon.https());
        get(&mut stream);
        if is_within_request {
            stream.write_all(b"GET /").unwrap();
            stream.flush().unwrap();
            eventually("the request has begun", || daemon.metric("oca_requests_in_flight", "") == 1);
        }
        stream.sock.write_all(record).unwrap();
        let error = stream.read(&mut [0; 100]).unwrap_err().to_string();
        let expected = rustls::Error::AlertReceived(*alert).to_string();
        assert!(error.contains(&expected), "{record:?}: {error}");
    }
    get(&mut connect(&client(&TLS13, &certificate), daemon.https()));
    assert_eq!(daemon.metric("oca_connections_closed_total", "handshake_failed"), 0);
    assert_eq!(daemon.metric("oca_requests_total", "aborted_tls"), broken.len() as u64);
}

/// Connections beside which memory that is there anyway does not count.
const IDLE_CONNECTIONS: u64 = 400;

#[test]
fn an_idle_connection_takes_at_most_24_kib_of_memory() {
    let folder = tempfile::tempdir().unwrap();
    let object = noise(300_000);
    let (daemon, certificate) = start(folder.path(), &object, 400 * DAY);
    let client = client(&TLS13, &certificate);
    let connect = || {
        let mut stream = connect(&client, daemon.https());
        assert!(get(&mut stream).body == object);
        stream
    };
    // Both workers have used what they share.
    let _first: Vec<Stream> = (0..20).map(|_| connect()).collect();
    let before = anonymous_bytes(daemon.process());
    let _idle: Vec<Stream> = (0..IDLE_CONNECTIONS).map(|_| connect()).collect();
    let each = anonymous_bytes(daemon.process()).saturating_sub(before) / IDLE_CONNECTIONS;
    assert!(each <= 24 << 10, "{each} bytes");
}

/// The memory of a process that is no file's.
fn anonymous_bytes(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn an_answer_that_ends_the_connection_is_followed_by_a_farewell() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, certificate) = start(folder.path(), b"bytes", 400 * DAY);
    for version in [&TLS12, &TLS13] {
        let mut stream = connect(&client(version, &certificate), daemon.https());
        get(&mut stream);
        let answer = ask(&mut stream, "GET", OBJECT, "Connection: close\r\n").unwrap();
        assert_eq!(answer.body, b"bytes");
        // Without a farewell this is an error.
        assert_eq!(stream.read(&mut [0; 100]).unwrap(), 0);
    }
}

#[test]
fn a_client_that_says_farewell_within_a_request_is_told_farewell() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, certificate) = start(folder.path(), b"bytes", 400 * DAY);
    for version in [&TLS12, &TLS13] {
        let mut stream = connect(&client(version, &certificate), daemon.https());
        get(&mut stream);
        stream.write_all(b"GET /title").unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        // Without a farewell this is an error, and with a reset another.
        assert_eq!(stream.read(&mut [0; 100]).unwrap(), 0);
    }
    eventually("both are counted", || daemon.metric("oca_requests_total", "aborted_client_gone") == 2);
}

#[test]
fn a_certificate_that_expires_within_two_weeks_is_told_and_turns_no_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, _) = start(folder.path(), b"bytes", 10 * DAY);
    let health = || runtime().block_on(daemon.admin().health()).unwrap();
    eventually("the verdict is good", || health().verdict == Verdict::Healthy);
    let health = health();
    let codes: Vec<&str> = health.reasons.iter().map(|reason| reason.code.as_str()).collect();
    assert_eq!(codes, ["certificate_expires"]);
    assert!(health.reasons[0].text.contains("for 9 more days"), "{}", health.reasons[0].text);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let expires = daemon.metric("oca_certificate_expiry_timestamp_seconds", "\"0\"");
    assert!((now + 9 * 86_400..=now + 10 * 86_400).contains(&expires), "{expires}");
}
