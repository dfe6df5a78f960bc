//! A real daemon over a store in a temporary folder, for tests that talk to it through a socket.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_store::Volume;
use control_client::admin_client::{AdminAddress, AdminClient};
use control_client::content::BundlePath;
use control_client::health::Readiness;
use control_client::status::{ListenerRole, StatusReport};
use tempfile::TempDir;

/// A daemon of its own; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    http: SocketAddr,
    // Removed after the daemon has ended.
    _folder: TempDir,
}

impl Daemon {
    /// Publishes objects, given by the path of a request for each and its bytes, and starts the daemon over
    /// them with one worker.
    pub(crate) fn start(objects: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let volume = folder.path().join("volume");
        publish(objects, &folder.path().join("objects"), &volume);
        let socket = folder.path().join("daemon.sock");
        let config = folder.path().join("config.toml");
        let text = format!(
            "[store]\nvolumes = [{{ path = {volume:?}, mount_required = false }}]\n\
             [serve]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\nheader_timeout = \"2 s\"\n\
             [admin]\nlisten = []\nsocket = {socket:?}\n[log]\naccess = \"\"\nlevel = \"warn\"\n"
        );
        fs::write(&config, text).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_oca-daemon"))
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut daemon = Self { child, http: SocketAddr::from(([0; 4], 0)), _folder: folder };
        let status = daemon.wait_until_serving(&socket);
        daemon.http = status.addresses(ListenerRole::Http).next().unwrap();
        daemon
    }

    /// Where it serves in cleartext.
    pub(crate) fn http(&self) -> SocketAddr {
        self.http
    }

    fn wait_until_serving(&mut self, socket: &Path) -> StatusReport {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = AdminClient::new(AdminAddress::Socket(socket.to_owned()));
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match runtime.block_on(client.status()) {
                Ok(status) if status.process.readiness == Readiness::Serving => return status,
                _ => {}
            }
            assert!(self.child.try_wait().unwrap().is_none(), "the daemon ended before it served");
            assert!(Instant::now() < deadline, "the daemon does not serve");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes the objects as files, and imports the folder: a bundle for each directory.
fn publish(objects: &[(&str, &[u8])], folder: &Path, volume: &Path) {
    for (path, bytes) in objects {
        let file = folder.join(path.trim_start_matches('/'));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
    fs::create_dir(volume).unwrap();
    Volume::init(volume).unwrap();
    let volume = Arc::new(Volume::open(volume, false).unwrap());
    let report = cache_store::import::import(folder, &BundlePath::parse("/").unwrap(), &volume);
    assert!(report.failed.is_empty() && report.skipped.is_empty() && report.adoption.is_ok(), "{report:?}");
}
