//! A real daemon over a store in a temporary folder, for tests that talk to it through a socket.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]
#![allow(dead_code, reason = "each test program uses its own part")]

pub(crate) mod tls;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_store::Volume;
use control_client::admin_client::{AdminAddress, AdminClient};
use control_client::content::BundlePath;
use control_client::health::Readiness;
use control_client::status::{ListenerRole, StatusReport};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketType};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A daemon of its own; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    status: StatusReport,
    socket: PathBuf,
    /// What it is run by; nothing as a rule.
    runner: Vec<String>,
    // Removed after the daemon has ended.
    folder: TempDir,
}

impl Daemon {
    /// Publishes objects, given by the path of a request for each and its bytes, and starts the daemon over
    /// them with one worker.
    pub(crate) fn start(objects: &[(&str, &[u8])]) -> Self {
        Self::start_with(objects, "workers = 1\n", "")
    }

    /// The same, with these lines in the section `[serve]`, and these sections.
    pub(crate) fn start_with(objects: &[(&str, &[u8])], serve: &str, sections: &str) -> Self {
        Self::start_by(Vec::new(), objects, serve, sections)
    }

    /// The same, run by a command: its words, which the daemon's follow.
    pub(crate) fn start_by(
        runner: Vec<String>,
        objects: &[(&str, &[u8])],
        serve: &str,
        sections: &str,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        publish(objects, &folder.path().join("objects"), &folder.path().join("volume"));
        Self::start_in(folder, runner, serve, sections)
    }

    /// One with an empty volume on a file system of its own, in memory, that has room for so many bytes. Nobody but the daemon sees it,
    /// and [`Self::volume`]. `None` where this machine lets nobody mount one.
    pub(crate) fn start_on_a_small_volume(bytes: usize, sections: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (volume, empty) = (folder.path().join("volume"), folder.path().join("empty"));
        fs::create_dir(&volume).unwrap();
        Volume::init(&empty).unwrap();
        let mount = format!(
            "mount -t tmpfs -o size={bytes} tmpfs '{0}' && cp -a '{1}/.' '{0}' && exec \"$@\"",
            volume.display(),
            empty.display()
        );
        let runner = ["unshare", "-rm", "sh", "-c", &mount, "-"].map(str::to_owned);
        let is_let = Command::new(&runner[0]).args(&runner[1..]).arg("true").status();
        is_let
            .is_ok_and(|status| status.success())
            .then(|| Self::start_in(folder, runner.into(), "workers = 1\n", sections))
    }

    /// Starts one over the volume in a folder.
    fn start_in(folder: TempDir, runner: Vec<String>, serve: &str, sections: &str) -> Self {
        let volume = folder.path().join("volume");
        let socket = folder.path().join("daemon.sock");
        let config = folder.path().join("config.toml");
        let log = folder.path().join("access.log");
        let mut sections = sections.to_owned();
        if !sections.contains("missed_purges") {
            let file = folder.path().join("missed-purges");
            sections = sections.replace("[pull]\n", &format!("[pull]\nmissed_purges = {file:?}\n"));
        }
        // In the emulated machine of `.ci/ktls` handshakes take seconds.
        let header_timeout = if std::env::var_os("OCA_KERNEL_TLS").is_some() { "60 s" } else { "2 s" };
        let text = format!(
            "[store]\nvolumes = [{{ path = {volume:?}, mount_required = false }}]\n\
             [serve]\nlisten = [\"127.0.0.1:0\"]\nheader_timeout = \"{header_timeout}\"\n{serve}\
             [admin]\nlisten = []\nsocket = {socket:?}\n[log]\naccess = {log:?}\nlevel = \"warn\"\n{sections}"
        );
        fs::write(&config, text).unwrap();
        let (child, status) = run(folder.path(), &runner);
        Self { child, status, socket, runner, folder }
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Kills it, and starts it again as it was; it then listens elsewhere.
    pub(crate) fn restart(&mut self) {
        self.kill();
        (self.child, self.status) = run(self.folder.path(), &self.runner);
    }

    /// The folder of all that is its own: `volume` is its volume.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its volume, as it sees it itself.
    pub(crate) fn volume(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.process()));
        root.join(self.folder.path().join("volume").strip_prefix("/").unwrap())
    }

    /// Where it serves in cleartext.
    pub(crate) fn http(&self) -> SocketAddr {
        self.status.addresses(ListenerRole::Http).next().unwrap()
    }

    /// Where it serves over TLS.
    pub(crate) fn https(&self) -> SocketAddr {
        self.status.addresses(ListenerRole::Https).next().unwrap()
    }

    /// The number of its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// The same, to send signals to.
    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// Tells it to stop.
    pub(crate) fn tell_to_stop(&self) {
        rustix::process::kill_process(self.pid(), rustix::process::Signal::TERM).unwrap();
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Whether a signal has ended it, and this one.
    pub(crate) fn has_ended_by(&mut self, signal: i32) -> bool {
        self.child.try_wait().unwrap().is_some_and(|status| status.signal() == Some(signal))
    }

    /// The file of the bundle of a directory, to damage it behind the daemon's back.
    pub(crate) fn bundle_file(&self, directory: &str) -> fs::File {
        let path = BundlePath::parse(&format!("/{directory}")).unwrap();
        let bundles = fs::read_dir(self.folder.path().join("volume/bundles")).unwrap();
        let folders = bundles.map(|folder| folder.unwrap().path());
        let mut files =
            folders.flat_map(|folder| fs::read_dir(folder).unwrap()).map(|file| file.unwrap().path());
        let is_meant = |file: &PathBuf| {
            cache_store::read_footer_of(file).is_ok_and(|footer| footer.path() == path.as_str())
        };
        let file = files.find(is_meant).expect("the directory has a bundle");
        fs::File::options().read(true).write(true).open(file).unwrap()
    }

    /// The lines of its access log so far.
    pub(crate) fn access_log(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.folder.path().join("access.log")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Asks its admin API.
    pub(crate) fn admin(&self) -> AdminClient {
        AdminClient::new(AdminAddress::Socket(self.socket.clone()))
    }

    /// The sum of a metric's samples whose labels contain `part`.
    pub(crate) fn metric(&self, name: &str, part: &str) -> u64 {
        let text = runtime().block_on(self.admin().metrics()).unwrap();
        let samples = text.lines().filter(|line| {
            let rest = line.strip_prefix(name).unwrap_or("-");
            rest.starts_with(['{', ' ']) && rest.contains(part)
        });
        samples.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap() as u64).sum()
    }
}

/// For one question after another.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs a daemon with the configuration of a folder until it serves.
fn run(folder: &Path, runner: &[String]) -> (Child, StatusReport) {
    let daemon = env!("CARGO_BIN_EXE_oca-daemon");
    let mut words = runner.iter().map(String::as_str).chain([daemon]);
    let mut child = Command::new(words.next().unwrap_or(daemon))
        .args(words)
        .arg("--config")
        .arg(folder.join("config.toml"))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let status = wait_until_serving(&mut child, &folder.join("daemon.sock"));
    (child, status)
}

fn wait_until_serving(child: &mut Child, socket: &Path) -> StatusReport {
    let client = AdminClient::new(AdminAddress::Socket(socket.to_owned()));
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match runtime().block_on(client.status()) {
            Ok(status) if status.process.readiness == Readiness::Serving => return status,
            _ => {}
        }
        assert!(child.try_wait().unwrap().is_none(), "the daemon ended before it served");
        assert!(Instant::now() < deadline, "the daemon does not serve");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Asks until it is so.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A connection that holds little of what it does not read, as many bytes or twice that: a response to it does not end before it is
/// read.
pub(crate) fn connect_slowly(address: SocketAddr, held_bytes: usize) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    set_socket_recv_buffer_size(&socket, held_bytes).unwrap();
    rustix::net::connect(&socket, &address).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// An answer with a Content-Length.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// Sends a request, and reads its answer. `fields` are lines with their ends.
pub(crate) fn ask(
    stream: &mut (impl Read + Write),
    method: &str,
    target: &str,
    fields: &str,
) -> io::Result<Answer> {
    stream.write_all(format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n").as_bytes())?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 * 1024];
    let mut receive = |bytes: &mut Vec<u8>| match stream.read(&mut chunk)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        length => {
            bytes.extend_from_slice(&chunk[..length]);
            Ok::<_, io::Error>(())
        }
    };
    let head_bytes = loop {
        match bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(end) => break end + 4,
            None => receive(&mut bytes)?,
        }
    };
    let mut body = bytes.split_off(head_bytes);
    let head = String::from_utf8(bytes).expect("a head is text");
    let status: u16 = head.split(' ').nth(1).expect("a status line").parse().expect("three digits");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length: usize = match (method, status) {
        ("HEAD", _) | (_, 204 | 304) => 0,
        _ => length.expect("a Content-Length").parse().expect("a number"),
    };
    while body.len() < length {
        receive(&mut body)?;
    }
    assert_eq!(body.len(), length, "nothing comes after the body");
    Ok(Answer { status, head, body })
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes the objects as files, and imports the folder: a bundle for each directory.
pub(crate) fn publish(objects: &[(&str, &[u8])], folder: &Path, volume: &Path) {
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
