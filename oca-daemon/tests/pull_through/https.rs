//! An upstream over TLS: whom it is believed by, and what is said where it is not.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::client::Client;
use super::origin::bytes;
use super::support::{Daemon, eventually, tls};
use super::{HELD, cache_status, get};

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn an_upstream_with_a_certificate_that_the_system_knows_is_pulled_from() {
    let folder = tempfile::tempdir().unwrap();
    let origin = serve_over_tls(folder.path());
    let daemon = daemon_that_believes(&folder.path().join("chain.pem"), origin);
    let mut client = Client::connect(daemon.http());
    for target in ["/films/1.mp4", "/films/2.mp4"] {
        let answer = get(&mut client, target);
        assert_eq!(
            (answer.status, answer.field("content-type")),
            (200, Some("video/mp4")),
            "{}",
            answer.head
        );
        assert!(cache_status(&answer).starts_with("oca;fwd=uri-miss"), "{}", answer.head);
        assert!(answer.body == film());
    }
    eventually("it is held", || cache_status(&get(&mut client, "/films/1.mp4")).starts_with("oca;hit"));
    assert!(daemon.metric("oca_pull_upstream_requests_total", "result=\"answered\"") >= 2);
}

#[test]
fn an_upstream_with_another_certificate_is_not_believed_and_the_log_says_why() {
    let [folder, others] = [(), ()].map(|()| tempfile::tempdir().unwrap());
    let origin = serve_over_tls(folder.path());
    tls::write_certificate(others.path(), DAY);
    let roots = others.path().join("chain.pem");
    let daemon = daemon_that_believes(&roots, origin);
    let mut client = Client::connect(daemon.http());
    for number in 0..6 {
        let answer = get(&mut client, &format!("/films/{number}.mp4"));
        assert_eq!((answer.status, cache_status(&answer)), (502, "oca;detail=upstream_unreachable"));
        assert_eq!(answer.body, b"upstream_unreachable: try again later, or elsewhere\n");
    }
    assert!(daemon.metric("oca_pull_upstream_requests_total", "result=\"unreachable\"") >= 5);
    eventually("the log says why", || {
        fs::read_to_string(log_of(&roots)).unwrap().contains("invalid peer certificate")
    });
}

fn film() -> Vec<u8> {
    bytes(3, 200_000)
}

/// Has the one film under every path, at `localhost`; its certificate is `chain.pem` in the folder.
fn serve_over_tls(folder: &Path) -> SocketAddr {
    let certificate = tls::write_certificate(folder, DAY);
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            // Who does not believe it ends the connection.
            thread::spawn(move || serve(stream, config));
        }
    });
    address
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    let film = film();
    loop {
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
        }
        let fields = "Cache-Control: max-age=600\r\nContent-Type: video/mp4\r\n";
        let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n", film.len());
        let stream = stream.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(&film)?;
        stream.flush()?;
    }
}

/// A daemon on a system that has those roots and no others; its log is beside them.
fn daemon_that_believes(roots: &Path, origin: SocketAddr) -> Daemon {
    let pull = format!(
        "[pull]\nrules = [{{ prefix = \"/\", on_miss = \"pull\" }}]\n\
         upstreams = [{{ name = \"origin\", url = \"https://localhost:{}\" }}]\n",
        origin.port()
    );
    let (roots, log) = (roots.display(), log_of(roots));
    let with_roots = format!("export SSL_CERT_FILE='{roots}'; exec \"$@\" >'{}' 2>&1", log.display());
    let runner = ["sh", "-c", &with_roots, "-"].map(str::to_owned);
    Daemon::start_by(runner.into(), &[(HELD, b"of a bundle")], "workers = 1\n", &pull)
}

fn log_of(roots: &Path) -> std::path::PathBuf {
    roots.with_extension("log")
}
