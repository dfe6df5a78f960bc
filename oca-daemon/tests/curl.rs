//! curl as the client: what operators try first, and an HTTP parser and a use of TLS that are not ours.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustls::version::TLS13;
use support::Daemon;
use support::tls::{OBJECT, client, connect, get, is_installed, noise, start};

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// More than one batch of records, and no whole number of them.
const OBJECT_BYTES: usize = 3_000_001;

/// What it prints of each transfer: status, HTTP version, connections that were made for it.
const FACTS: &str = "%{http_code} %{http_version} %{num_connects}\\n";

/// curl over a daemon with TLS, and a folder for what it receives.
struct Curl {
    daemon: Daemon,
    object: Vec<u8>,
    folder: tempfile::TempDir,
}

impl Curl {
    /// `None`: it is not installed.
    fn new() -> Option<Self> {
        if !is_installed("curl", "--version") {
            return None;
        }
        let (folder, object) = (tempfile::tempdir().unwrap(), noise(OBJECT_BYTES));
        let (daemon, certificate) = start(folder.path(), &object, YEAR);
        // The store may still be taking the bundle up.
        get(&mut connect(&client(&TLS13, &certificate), daemon.https()));
        Some(Self { daemon, object, folder })
    }

    /// Gets the object with these options, once for each of the files; returns the facts of each transfer.
    #[track_caller]
    fn get(&self, scheme: &str, options: &[&str], files: &[&Path]) -> Vec<String> {
        let address: SocketAddr = if scheme == "https" { self.daemon.https() } else { self.daemon.http() };
        let url = format!("{scheme}://localhost:{}{OBJECT}", address.port());
        let resolve = format!("localhost:{}:{}", address.port(), address.ip());
        let mut curl = Command::new("curl");
        // First: without the user's own configuration.
        curl.args(["-q", "--noproxy", "*", "-sS", "--max-time", "30", "--write-out", FACTS, "--cacert"]);
        curl.arg(self.folder.path().join("chain.pem")).args(["--resolve", &resolve]).args(options);
        for file in files {
            curl.arg("-o").arg(file).arg(&url);
        }
        let output = curl.output().unwrap();
        assert!(output.status.success(), "{options:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

#[test]
fn curl_gets_an_object_over_each_version_of_tls_and_in_cleartext() {
    let Some(curl) = Curl::new() else { return };
    let file = curl.file("received");
    let versions: [(&str, &[&str]); 3] =
        [("https", &["--tlsv1.3"]), ("https", &["--tls-max", "1.2"]), ("http", &[])];
    for (scheme, options) in versions {
        // Over TLS it offers HTTP/2, too.
        assert_eq!(curl.get(scheme, options, &[&file]), ["200 1.1 1"], "{scheme} {options:?}");
        assert!(fs::read(&file).unwrap() == curl.object, "{scheme} {options:?}: wrong bytes");
        fs::remove_file(&file).unwrap();
    }
    assert_eq!(curl.daemon.metric("oca_tls_handshakes_total", "\"1.2\""), 1);
}

#[test]
fn curl_gets_a_range_and_goes_on_with_a_download_that_was_broken_off() {
    let Some(curl) = Curl::new() else { return };
    for version in ["--tlsv1.3", "--tls-max=1.2"] {
        let (option, value) = version.split_once('=').unwrap_or((version, "-4"));
        let file = curl.file("received");
        let facts = curl.get("https", &[option, value, "--range", "70000-1999999"], &[&file]);
        assert_eq!(facts, ["206 1.1 1"], "{version}");
        assert!(fs::read(&file).unwrap() == curl.object[70_000..2_000_000], "{version}: wrong bytes");
        fs::write(&file, &curl.object[..1_234_567]).unwrap();
        let facts = curl.get("https", &[option, value, "--continue-at", "-"], &[&file]);
        assert_eq!(facts, ["206 1.1 1"], "{version}");
        assert!(fs::read(&file).unwrap() == curl.object, "{version}: wrong bytes");
    }
}

#[test]
fn curl_gets_two_objects_over_one_connection() {
    let Some(curl) = Curl::new() else { return };
    let files = [curl.file("first"), curl.file("second")];
    for (scheme, option) in [("https", "--tlsv1.3"), ("http", "--compressed")] {
        let facts = curl.get(scheme, &[option], &[&files[0], &files[1]]);
        assert_eq!(facts, ["200 1.1 1", "200 1.1 0"], "{scheme}");
        for file in &files {
            assert!(fs::read(file).unwrap() == curl.object, "{scheme}: wrong bytes");
            fs::remove_file(file).unwrap();
        }
    }
}
