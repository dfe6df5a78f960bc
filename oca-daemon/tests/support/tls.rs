//! A daemon that serves one object over TLS, and clients of rustls for it.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedCipherSuite,
    SupportedProtocolVersion,
};

use super::{Answer, Daemon, ask};

/// The object's path.
pub(crate) const OBJECT: &str = "/title/1.m4s";

/// A client's connection.
pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A daemon with two workers, which keeps its files in `folder`, and its certificate, which is valid for `valid_for`. The
/// chain is in `chain.pem`.
pub(crate) fn start(folder: &Path, object: &[u8], valid_for: Duration) -> (Daemon, CertificateDer<'static>) {
    start_with(folder, object, valid_for, "", "")
}

/// The same, with these lines in the sections `[serve]` and `[tls]`.
pub(crate) fn start_with(
    folder: &Path,
    object: &[u8],
    valid_for: Duration,
    serve: &str,
    tls: &str,
) -> (Daemon, CertificateDer<'static>) {
    let certificate = write_certificate(folder, valid_for);
    let (chain_file, key_file) = (folder.join("chain.pem"), folder.join("key.pem"));
    let ticket_keys = folder.join("ticket-keys");
    let serve = format!("workers = 2\nlisten_tls = [\"127.0.0.1:0\"]\n{serve}");
    let tls = format!(
        "[tls]\ncertificates = [{{ chain = {chain_file:?}, key = {key_file:?} }}]\nticket_keys = {ticket_keys:?}\n{tls}"
    );
    (Daemon::start_with(&[(OBJECT, object)], &serve, &tls), certificate)
}

/// Writes `chain.pem` and `key.pem` for `localhost`.
pub(crate) fn write_certificate(folder: &Path, valid_for: Duration) -> CertificateDer<'static> {
    let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    parameters.not_after = rcgen::date_time_ymd(1970, 1, 1) + (now + valid_for);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    fs::write(folder.join("chain.pem"), certificate.pem()).unwrap();
    fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    certificate.der().clone()
}

/// A client that speaks one version, and remembers its sessions.
pub(crate) fn client(
    version: &'static SupportedProtocolVersion,
    certificate: &CertificateDer<'static>,
) -> Arc<ClientConfig> {
    client_of_suites(default_provider().cipher_suites, version, certificate)
}

/// The same, that offers these suites.
pub(crate) fn client_of_suites(
    cipher_suites: Vec<SupportedCipherSuite>,
    version: &'static SupportedProtocolVersion,
    certificate: &CertificateDer<'static>,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = CryptoProvider { cipher_suites, ..default_provider() };
    let builder =
        ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[version]).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Connects; the handshake comes with the first request.
pub(crate) fn connect(client: &Arc<ClientConfig>, address: SocketAddr) -> Stream {
    let connection = ClientConnection::new(Arc::clone(client), "localhost".try_into().unwrap()).unwrap();
    StreamOwned::new(connection, TcpStream::connect(address).unwrap())
}

/// Asks for the object. The store may still be taking the bundle up.
pub(crate) fn get(stream: &mut Stream) -> Answer {
    loop {
        let answer = ask(stream, "GET", OBJECT, "").unwrap();
        if answer.status != 404 {
            assert_eq!(answer.status, 200, "{}", answer.head);
            return answer;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a client of others is installed, which says its version when given this argument. Where everything is to be tested, it
/// must be.
pub(crate) fn is_installed(program: &str, version: &str) -> bool {
    let found = Command::new(program).arg(version).output().is_ok_and(|output| output.status.success());
    assert!(found || std::env::var_os("CI").is_none(), "{program} is not installed");
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// Bytes that are the same nowhere else in an object.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    (0..length as u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}
