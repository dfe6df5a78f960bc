//! One appliance: a folder with a store and a configuration, and a daemon process over it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use control_client::admin_client::{AdminAddress, AdminClient};
use control_client::health::Readiness;
use control_client::status::{ListenerRole, StatusReport};
use rustix::process::{Pid, Signal, kill_process};

use crate::certificate::CertificateFiles;
use crate::failure::{Failure, Step};

/// How long a daemon may take to serve, or to exit after its own bound.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where an appliance's things are, all in one folder.
pub struct Premises {
    folder: PathBuf,
    volumes: Vec<PathBuf>,
    certificates: Vec<(PathBuf, PathBuf)>,
    /// Lines of configuration that differ from the defaults, by section.
    overrides: Vec<(&'static str, String)>,
}

impl Premises {
    /// In an existing `folder`, with one volume.
    pub fn new(folder: &Path) -> Self {
        let volumes = vec![folder.join("volume0")];
        Self { folder: folder.to_owned(), volumes, certificates: Vec::new(), overrides: Vec::new() }
    }

    /// Adds a volume at `path`.
    pub fn add_volume(&mut self, path: PathBuf) {
        self.volumes.push(path);
    }

    /// Serves HTTPS too, with this certificate; the first is the default.
    pub fn add_certificate(&mut self, certificate: &CertificateFiles) {
        self.certificates.push((certificate.chain.clone(), certificate.key.clone()));
    }

    /// Sets a key of the configuration, as `key = value` in TOML.
    pub fn set(&mut self, section: &'static str, line: impl Into<String>) {
        let line = line.into();
        self.overrides.retain(|(of, other)| *of != section || !same_key(other, &line));
        self.overrides.push((section, line));
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The volumes' directories.
    pub fn volumes(&self) -> &[PathBuf] {
        &self.volumes
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.folder.join("config.toml")
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("daemon.sock")
    }

    /// The access log.
    pub fn access_log(&self) -> PathBuf {
        self.folder.join("access.log")
    }

    /// Writes the configuration: loopback, ports that the kernel chooses, everything in the folder.
    pub fn write_config(&self) -> Result<(), Failure> {
        let volumes: Vec<String> = self
            .volumes
            .iter()
            .map(|path| format!("{{ path = {}, mount_required = false }}", quoted(path)))
            .collect();
        let certificates: Vec<String> = self
            .certificates
            .iter()
            .map(|(chain, key)| format!("{{ chain = {}, key = {} }}", quoted(chain), quoted(key)))
            .collect();
        let listen = r#"["127.0.0.1:0", "[::1]:0"]"#;
        let listen_tls = if certificates.is_empty() { "[]" } else { listen };
        let mut text = String::new();
        for (section, lines) in [
            ("store", vec![format!("volumes = [{}]", volumes.join(", "))]),
            ("serve", vec![format!("listen = {listen}"), format!("listen_tls = {listen_tls}")]),
            ("tls", vec![format!("certificates = [{}]", certificates.join(", "))]),
            (
                "admin",
                vec![
                    r#"listen = ["127.0.0.1:0"]"#.to_owned(),
                    format!("socket = {}", quoted(&self.socket())),
                ],
            ),
            ("log", vec![format!("access = {}", quoted(&self.access_log()))]),
        ] {
            text.push_str(&format!("[{section}]\n"));
            let overrides: Vec<&String> =
                self.overrides.iter().filter(|(of, _)| *of == section).map(|(_, line)| line).collect();
            for line in lines.iter().filter(|line| !overrides.iter().any(|other| same_key(other, line))) {
                text.push_str(&format!("{line}\n"));
            }
            for line in overrides {
                text.push_str(&format!("{line}\n"));
            }
        }
        fs::write(self.config_path(), text).step("writing the configuration")
    }

    /// The command that runs `program` as this appliance's daemon.
    pub fn daemon_command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.args(["role", "daemon", "--config"]).arg(self.config_path()).stdin(Stdio::null());
        command
    }

    /// The client of the daemon's socket.
    pub fn admin(&self) -> AdminClient {
        AdminClient::new(AdminAddress::Socket(self.socket()))
    }
}

/// A TOML string.
fn quoted(path: &Path) -> String {
    format!("{:?}", path.to_string_lossy())
}

fn same_key(line: &str, other: &str) -> bool {
    line.split('=').next().map(str::trim) == other.split('=').next().map(str::trim)
}

/// A daemon process. Killed when dropped, if it still runs.
pub struct DaemonProcess {
    child: Child,
    status: StatusReport,
}

impl DaemonProcess {
    /// Starts the daemon and waits until it serves.
    pub async fn start(premises: &Premises, program: &Path, output: Stdio) -> Result<Self, Failure> {
        let mut command = premises.daemon_command(program);
        let mut child = command.stderr(output).spawn().step("starting the daemon")?;
        match wait_until_serving(&premises.admin(), || Ok(child.try_wait().step("the daemon")?.is_some()))
            .await
        {
            Ok(status) => Ok(Self { child, status }),
            Err(failure) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(failure)
            }
        }
    }

    /// The address of the first listener of a kind.
    pub fn address(&self, role: ListenerRole) -> Result<SocketAddr, Failure> {
        address(&self.status, role)
    }

    /// What the daemon says of itself.
    pub fn status(&self) -> &StatusReport {
        &self.status
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let pid = Pid::from_raw(self.child.id().try_into().step("the process id")?)
            .ok_or_else(|| Failure::new("the process id is zero"))?;
        kill_process(pid, signal).step("signalling the daemon")
    }

    /// Tells the daemon to stop, and waits for it.
    pub async fn stop(mut self) -> Result<ExitStatus, Failure> {
        self.signal(Signal::TERM)?;
        self.wait().await
    }

    /// Waits for the daemon to exit by itself.
    pub async fn wait(&mut self) -> Result<ExitStatus, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().step("waiting for the daemon")? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(Failure::new(format!("the daemon did not exit within {PATIENCE:?}")));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for DaemonProcess {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Asks until the daemon serves; `has_ended` says whether it still can.
pub async fn wait_until_serving(
    admin: &AdminClient,
    mut has_ended: impl FnMut() -> Result<bool, Failure>,
) -> Result<StatusReport, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(status) = admin.status().await
            && status.process.readiness == Readiness::Serving
        {
            return Ok(status);
        }
        if has_ended()? {
            return Err(Failure::new("the daemon ended before it served; its last words are above"));
        }
        if Instant::now() > deadline {
            return Err(Failure::new(format!("the daemon did not serve within {PATIENCE:?}")));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The address of the first listener of a kind.
pub fn address(status: &StatusReport, role: ListenerRole) -> Result<SocketAddr, Failure> {
    let listener = status
        .listeners
        .iter()
        .find(|listener| listener.role == role)
        .ok_or_else(|| Failure::new(format!("the daemon has no listener for {role:?}")))?;
    listener.address.parse().step("the listener's address")
}
