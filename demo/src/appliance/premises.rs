//! The folder of one appliance: its volumes, its configuration, its sockets.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use control_client::admin_client::{AdminAddress, AdminClient};

use crate::certificate::CertificateFiles;
use crate::failure::{Failure, Step};

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

    /// Leaves a volume out of the configuration.
    pub fn drop_volume(&mut self, index: usize) {
        self.volumes.remove(index);
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
        let sections = [
            ("store", vec![format!("volumes = [{}]", volumes.join(", "))]),
            ("serve", vec![format!("listen = {listen}"), format!("listen_tls = {listen_tls}")]),
            (
                "tls",
                vec![
                    format!("certificates = [{}]", certificates.join(", ")),
                    format!("ticket_keys = {}", quoted(&self.folder.join("ticket-keys"))),
                ],
            ),
            (
                "admin",
                vec![
                    r#"listen = ["127.0.0.1:0"]"#.to_owned(),
                    format!("socket = {}", quoted(&self.socket())),
                ],
            ),
            ("log", vec![format!("access = {}", quoted(&self.access_log()))]),
            // There only where something of them was set.
            ("pull", Vec::new()),
            ("control", Vec::new()),
            ("fill", Vec::new()),
        ];
        for (section, lines) in sections {
            if lines.is_empty() && !self.overrides.iter().any(|(of, _)| *of == section) {
                continue;
            }
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

    /// Where the agent keeps its state.
    pub fn agent_state(&self) -> PathBuf {
        self.folder.join("agent")
    }

    /// The agent's socket.
    pub fn agent_socket(&self) -> PathBuf {
        self.folder.join("agent.sock")
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
pub(crate) fn quoted(path: &Path) -> String {
    format!("{:?}", path.to_string_lossy())
}

fn same_key(line: &str, other: &str) -> bool {
    line.split('=').next().map(str::trim) == other.split('=').next().map(str::trim)
}
