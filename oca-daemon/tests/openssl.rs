//! OpenSSL as the client: another implementation than the one that we share code with.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustls::version::TLS13;
use support::tls::{OBJECT, client, connect, get, is_installed, start};

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// How long OpenSSL may take for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// `openssl s_client`, and what it prints and says: two streams, for what it says may come in the middle of what it prints.
struct OpenSsl {
    child: Child,
    input: ChildStdin,
    printed: Stream,
    said: Stream,
}

/// What has come of a stream, and what comes.
struct Stream {
    coming: Receiver<Vec<u8>>,
    come: Vec<u8>,
}

impl Stream {
    fn of(mut from: impl Read + Send + 'static) -> Self {
        let (sender, coming) = mpsc::channel();
        thread::spawn(move || {
            let mut chunk = vec![0; 65_536];
            while let Ok(length @ 1..) = from.read(&mut chunk) {
                let _ = sender.send(chunk[..length].to_vec());
            }
        });
        Self { coming, come: Vec::new() }
    }

    /// Waits until it has these bytes in one piece.
    #[track_caller]
    fn wait_for(&mut self, expected: &[u8]) {
        let deadline = Instant::now() + PATIENCE;
        while !self.come.windows(expected.len()).any(|window| window == expected) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.coming.recv_timeout(left) {
                Ok(chunk) => self.come.extend(chunk),
                Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&self.come)),
            }
        }
    }
}

impl OpenSsl {
    fn connect(address: SocketAddr, chain: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new("openssl")
            .args(["s_client", "-connect", &address.to_string(), "-servername", "localhost"])
            .args(["-verify_return_error", "-CAfile"])
            .arg(chain)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let printed = Stream::of(child.stdout.take().unwrap());
        let said = Stream::of(child.stderr.take().unwrap());
        Self { child, input, printed, said }
    }

    /// Types something, in one piece.
    fn type_in(&mut self, text: &str) {
        self.input.write_all(text.as_bytes()).unwrap();
        self.input.flush().unwrap();
    }

    /// Asks for the object, and waits until its bytes are printed.
    #[track_caller]
    fn gets(&mut self, object: &[u8]) {
        self.printed.come.clear();
        self.type_in(&format!("GET {OBJECT} HTTP/1.1\r\nHost: test\r\n\r\n"));
        self.printed.wait_for(object);
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Text, which OpenSSL prints as it is.
fn text(length: usize) -> Vec<u8> {
    (0..length as u32).map(|place| b'a' + (place.wrapping_mul(2_654_435_761) >> 24) as u8 % 26).collect()
}

#[test]
fn openssl_is_served_in_every_suite() {
    if !is_installed("openssl", "version") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let object = text(100_000);
    let (daemon, certificate) = start(folder.path(), &object, YEAR);
    // The store may still be taking the bundle up.
    get(&mut connect(&client(&TLS13, &certificate), daemon.https()));
    let chain = folder.path().join("chain.pem");
    for arguments in [
        ["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"],
        ["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"],
        ["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"],
    ] {
        let mut openssl = OpenSsl::connect(daemon.https(), &chain, &arguments);
        openssl.gets(&object);
        openssl.gets(&object);
    }
    assert_eq!(daemon.metric("oca_tls_handshakes_total", "\"1.2\""), 3);
}

/// `K` asks for our key to be changed too, `k` does not.
#[test]
fn openssl_changes_keys_and_has_ours_changed() {
    if !is_installed("openssl", "version") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let object = text(100_000);
    let (daemon, certificate) = start(folder.path(), &object, YEAR);
    get(&mut connect(&client(&TLS13, &certificate), daemon.https()));
    let messages = folder.path().join("messages");
    let arguments = ["-tls1_3", "-msg", "-msgfile", messages.to_str().unwrap()];
    let mut openssl = OpenSsl::connect(daemon.https(), &folder.path().join("chain.pem"), &arguments);
    openssl.gets(&object);
    for command in ["K", "k", "K", "K", "k"] {
        openssl.said.come.clear();
        openssl.type_in(&format!("{command}\n"));
        openssl.said.wait_for(b"KEYUPDATE");
        openssl.gets(&object);
    }
    openssl.type_in("Q\n");
    openssl.child.wait().unwrap();
    let messages = fs::read_to_string(messages).unwrap();
    let updates = |direction: &str| {
        messages.lines().filter(|line| line.starts_with(direction) && line.ends_with("KeyUpdate")).count()
    };
    assert_eq!((updates(">>>"), updates("<<<")), (5, 3), "{messages}");
}

#[test]
fn openssl_resumes_its_session_after_a_restart() {
    if !is_installed("openssl", "version") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let object = text(1000);
    let (mut daemon, certificate) = start(folder.path(), &object, YEAR);
    let (chain, session) = (folder.path().join("chain.pem"), folder.path().join("session.pem"));
    let session = session.to_str().unwrap();
    for version in ["-tls1_3", "-tls1_2"] {
        get(&mut connect(&client(&TLS13, &certificate), daemon.https()));
        let mut openssl = OpenSsl::connect(daemon.https(), &chain, &[version, "-sess_out", session]);
        openssl.gets(&object);
        openssl.type_in("Q\n");
        openssl.child.wait().unwrap();
        daemon.restart();
        get(&mut connect(&client(&TLS13, &certificate), daemon.https()));
        let mut openssl = OpenSsl::connect(daemon.https(), &chain, &[version, "-sess_in", session]);
        openssl.printed.wait_for(b"Reused, TLSv1.");
        openssl.gets(&object);
    }
}
