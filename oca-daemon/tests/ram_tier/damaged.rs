//! Files that are cut short or written to while they are sent from memory.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::SystemTime;

use super::support::{Daemon, ask, eventually};
use super::{OBJECT, bring_into_memory, bytes, connect_slowly, get, read_to_the_end};

/// What was read from disk is forgotten when `OTHER` was read.
const FEW_BUFFERS: &str = "workers = 1\nread_buffers = \"4 MiB\"\n";
const OTHER: &str = "/other/1.m4s";

/// A daemon with a TLS listener, and a client that trusts it.
struct TlsSite {
    daemon: Daemon,
    client: Arc<rustls::ClientConfig>,
    _certificate: tempfile::TempDir,
}

impl TlsSite {
    fn start(objects: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let (chain_file, key_file) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
        fs::write(&chain_file, certificate.pem()).unwrap();
        fs::write(&key_file, key.serialize_pem()).unwrap();
        let daemon = Daemon::start_with(
            objects,
            &format!("{FEW_BUFFERS}listen_tls = [\"127.0.0.1:0\"]\n"),
            &format!("[tls]\ncertificates = [{{ chain = {chain_file:?}, key = {key_file:?} }}]\n"),
        );
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { daemon, client: Arc::new(client), _certificate: folder }
    }

    fn connect(&self) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
        let connection =
            rustls::ClientConnection::new(Arc::clone(&self.client), "localhost".try_into().unwrap());
        rustls::StreamOwned::new(connection.unwrap(), connect_slowly(self.daemon.https()))
    }
}

#[test]
fn a_file_that_is_cut_short_under_a_sendfile_aborts_the_response_before_a_wrong_byte() {
    let object = bytes(5 << 20);
    let daemon = Daemon::start_with(&[(OBJECT, &object), (OTHER, &object)], FEW_BUFFERS, "");
    bring_into_memory(&daemon, OBJECT, object.len());
    get(daemon.http(), OTHER, "");
    let mut stream = connect_slowly(daemon.http());
    stream.write_all(format!("GET {OBJECT} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).unwrap();
    eventually("the response has begun", || daemon.metric("oca_requests_in_flight", "") == 1);
    // Between two blocks: what is in a socket are pages of the file, and of a folio that is cut the kernel zeroes the rest.
    daemon.bundle_file("title").set_len(2 << 20).unwrap();
    let (received, is_whole) = read_to_the_end(&mut stream, object.len());
    assert!(!is_whole && object.starts_with(&received), "{} bytes", received.len());
    eventually("it is counted", || daemon.metric("oca_requests_total", "aborted_corrupt") == 1);
    eventually("the bundle has left", || get(daemon.http(), OBJECT, "").status == 404);
    assert_eq!(daemon.metric("oca_bundles_quarantined_total", "truncated"), 1);
    assert!(get(daemon.http(), OTHER, "").body == object, "the daemon goes on");
}

/// `sendfile` sends what the file has, whatever was verified and locked.
#[test]
fn a_file_that_somebody_writes_to_is_noticed_before_a_wrong_byte_leaves_memory() {
    let object = bytes(1 << 20);
    type Damage = fn(&fs::File, u64);
    let damages: [Damage; 3] = [
        |file, _| file.write_all_at(&[0xff; 4096], 8192).unwrap(),
        |file, length| {
            file.set_len(0).unwrap();
            file.set_len(length).unwrap();
        },
        |file, length| file.write_all_at(&vec![0xff; length as usize], 0).unwrap(),
    ];
    for damage in damages {
        let daemon = Daemon::start(&[(OBJECT, &object)]);
        bring_into_memory(&daemon, OBJECT, object.len());
        let file = daemon.bundle_file("title");
        damage(&file, file.metadata().unwrap().len());
        loop {
            let mut stream = TcpStream::connect(daemon.http()).unwrap();
            let request = format!("GET {OBJECT} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            let mut received = Vec::new();
            // A reset is an answer, too.
            let _ = stream.read_to_end(&mut received);
            if received.starts_with(b"HTTP/1.1 404") {
                break;
            }
            if received.starts_with(b"HTTP/1.1 503") {
                continue;
            }
            let head = received.windows(4).position(|window| window == b"\r\n\r\n").map(|end| end + 4);
            let body = head.map_or(&[][..], |head| &received[head..]);
            // Right ones come from buffers of reads, until the file is read anew.
            assert!(object.starts_with(body), "{} bytes", body.len());
        }
    }
}

/// Over TLS the bytes are sealed from a mapping, where touching a page that is gone is a `SIGBUS`.
#[test]
fn a_file_that_is_cut_short_under_a_tls_download_aborts_it_and_the_daemon_goes_on() {
    let object = bytes(5 << 20);
    let site = TlsSite::start(&[(OBJECT, &object), (OTHER, &object)]);
    let (daemon, connect) = (&site.daemon, || site.connect());
    bring_into_memory(daemon, OBJECT, object.len());
    assert!(ask(&mut connect(), "GET", OBJECT, "").unwrap().body == object);
    eventually("it came from memory", || daemon.metric("oca_requests_total", "hit_ram") > 0);
    get(daemon.http(), OTHER, "");

    let mut stream = connect();
    stream.write_all(format!("GET {OBJECT} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).unwrap();
    eventually("the response has begun", || daemon.metric("oca_requests_in_flight", "") == 1);
    daemon.bundle_file("title").set_len(1 << 20).unwrap();
    let (received, is_whole) = read_to_the_end(&mut stream, object.len());
    assert!(!is_whole && object.starts_with(&received), "{} bytes", received.len());
    eventually("it is counted", || daemon.metric("oca_requests_total", "aborted_corrupt") == 1);
    eventually("the bundle has left", || get(daemon.http(), OBJECT, "").status == 404);
    assert!(ask(&mut connect(), "GET", OTHER, "").unwrap().body == object);
}

/// A restore or a `touch` changes no byte.
#[test]
fn a_bundle_whose_files_time_is_set_under_downloads_goes_on_being_served_whole() {
    let object = bytes(5 << 20);
    let site = TlsSite::start(&[(OBJECT, &object)]);
    let daemon = &site.daemon;
    bring_into_memory(daemon, OBJECT, object.len());
    let (mut clear, mut sealed) = (connect_slowly(daemon.http()), site.connect());
    let request = format!("GET {OBJECT} HTTP/1.1\r\nHost: test\r\n\r\n");
    clear.write_all(request.as_bytes()).unwrap();
    sealed.write_all(request.as_bytes()).unwrap();
    eventually("both have begun", || daemon.metric("oca_requests_in_flight", "") == 2);
    let times = fs::FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
    daemon.bundle_file("title").set_times(times).unwrap();
    for (name, stream) in [("cleartext", &mut clear as &mut dyn Stream), ("TLS", &mut sealed)] {
        let (received, is_whole) = read_to_the_end(stream, object.len());
        assert!(is_whole && received == object, "{name}: {} bytes", received.len());
    }
    eventually("its blocks have left memory", || {
        daemon.metric("oca_ram_tier_departures_total", "file_broken") >= 3
    });
    bring_into_memory(daemon, OBJECT, object.len());
    assert!(get(daemon.http(), OBJECT, "").body == object);
    assert_eq!(daemon.metric("oca_bundles_quarantined_total", ""), 0);
    assert_eq!(daemon.metric("oca_requests_total", "aborted_corrupt"), 0);
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}
