//! TLS 1.2 and 1.3, with a client that offers only one of them; and certificates that are about to expire.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use control_client::health::Verdict;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use support::{Daemon, ask, eventually, runtime};

const OBJECT: &str = "/title/1.m4s";
const DAY: Duration = Duration::from_secs(86_400);

/// A daemon that serves one object over TLS, and its certificate, which is valid for `valid_for`.
fn start(folder: &Path, object: &[u8], valid_for: Duration) -> (Daemon, CertificateDer<'static>) {
    let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    parameters.not_after = rcgen::date_time_ymd(1970, 1, 1) + (now + valid_for);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    let (chain_file, key_file) = (folder.join("chain.pem"), folder.join("key.pem"));
    fs::write(&chain_file, certificate.pem()).unwrap();
    fs::write(&key_file, key.serialize_pem()).unwrap();
    let serve = "workers = 2\nlisten_tls = [\"127.0.0.1:0\"]\n";
    let tls = format!("[tls]\ncertificates = [{{ chain = {chain_file:?}, key = {key_file:?} }}]\n");
    (Daemon::start_with(&[(OBJECT, object)], serve, &tls), certificate.der().clone())
}

fn config(
    version: &'static SupportedProtocolVersion,
    certificate: &CertificateDer<'static>,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

#[test]
fn tls_1_2_and_1_3_serve_the_same_bytes_and_resume_their_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let object: Vec<u8> = (0..300_000u32).map(|place| (place % 251) as u8).collect();
    let (daemon, certificate) = start(folder.path(), &object, 400 * DAY);
    for (version, word) in [(&TLS12, "1.2"), (&TLS13, "1.3")] {
        let config = config(version, &certificate);
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let name = "localhost".try_into().unwrap();
            let connection = ClientConnection::new(Arc::clone(&config), name).unwrap();
            let mut stream = StreamOwned::new(connection, TcpStream::connect(daemon.https()).unwrap());
            // The store may still be taking the bundle up.
            let mut answer = ask(&mut stream, "GET", OBJECT, "").unwrap();
            while answer.status == 404 {
                std::thread::sleep(Duration::from_millis(10));
                answer = ask(&mut stream, "GET", OBJECT, "").unwrap();
            }
            assert_eq!(answer.status, 200, "{}", answer.head);
            assert!(answer.body == object, "TLS {word}: wrong bytes");
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
