//! The configuration: one TOML file for all processes of the appliance, one section a file under `config/`.
//!
//! Reading goes in three steps, each with its own kind of complaint: the file ([`ConfigError::Unreadable`]),
//! its text ([`ConfigError::Refused`]: syntax, unknown keys, wrong types and units, with line and column),
//! the values against each other ([`ConfigError::Problems`]: all that is wrong, each with its key and what to
//! do). Every default is stated once, in the `Default` of its section; `config.example.toml` shows them all.

mod admin;
mod complaint;
mod control;
mod control_plane;
mod error;
mod fill;
mod listeners;
mod log;
mod optional;
mod problem;
mod pull;
mod serve;
mod source;
mod store;
mod tls;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use admin::AdminConfig;
pub use complaint::Complaint;
pub use control::ControlConfig;
pub use control_plane::{ControlPlaneConfig, OriginConfig};
pub use error::ConfigError;
pub use fill::FillConfig;
pub use log::{LogConfig, LogLevel};
pub use problem::Problem;
pub use pull::{OnMiss, PullConfig, PullRule, S3Config, UnsafeMethods, UpstreamConfig};
pub use serve::{AtCapacity, Cmsd, Pacing, Prefetch, RamTier, ServeConfig, Workers};
pub use source::is_world_writable;
pub use store::{StoreConfig, VolumeConfig};
pub use tls::{CertificateConfig, TlsConfig, TlsKernel};

use problem::Problems;

/// Where the configuration is, unless the command line says otherwise.
pub const CONFIG_PATH: &str = "/etc/oca/config.toml";

/// The whole configuration file. A section or key that is left out has its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where bundles live, and what is kept of them in memory.
    pub store: StoreConfig,
    /// What clients meet.
    pub serve: ServeConfig,
    /// What happens to requests for what no bundle holds.
    pub pull: PullConfig,
    /// Certificates for the TLS listeners.
    pub tls: TlsConfig,
    /// What operators and the control plane meet.
    pub admin: AdminConfig,
    /// What is written down.
    pub log: LogConfig,
    /// Who this appliance is, and whom it asks and tells.
    pub control: ControlConfig,
    /// When, how fast and how far the agent fills.
    pub fill: FillConfig,
    /// The reference control plane's own.
    pub control_plane: ControlPlaneConfig,
}

/// Who reads the file, and obeys some of its sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// `oca-daemon`: all but `[fill]` and `[control_plane]`.
    Daemon,
    /// `fill-agent`: `[store]`, `[admin]`, `[log]`, `[control]` and `[fill]`.
    Agent,
    /// `control-plane`: `[log]` and `[control_plane]`.
    ControlPlane,
    /// The operator.
    Everyone,
}

impl Config {
    /// Reads a file and checks it wholly. The file has at most [`crate::limits::CONFIG_FILE_BYTES_MAX`] bytes.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_for(path, Reader::Everyone)
    }

    /// Reads a file and checks the sections that a process obeys: what is wrong in others is for those who obey them.
    pub fn load_for(path: &Path, reader: Reader) -> Result<Self, ConfigError> {
        let text = source::read(path)?;
        let config = Self::parse_named(&text, Some(path))?;
        let problems = config.check_for(reader);
        if problems.is_empty() {
            return Ok(config);
        }
        Err(ConfigError::problems(path, problem::with_lines(problems, &text)))
    }

    /// Reads a file, and does not judge its values: for a program that wants one key of a file which another
    /// one obeys.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::parse_named(&source::read(path)?, Some(path))
    }

    /// Reads a text. The relations between the values are [`Self::check`]'s to judge.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Self::parse_named(text, None)
    }

    /// Everything that is wrong with the values, in the order of the file; nothing where all is well.
    pub fn check(&self) -> Vec<Problem> {
        self.check_for(Reader::Everyone)
    }

    /// What is wrong with the values that this reader obeys.
    fn check_for(&self, reader: Reader) -> Vec<Problem> {
        let is_for = |other| matches!(reader, Reader::Everyone) || reader == other;
        let (daemon, agent) = (is_for(Reader::Daemon), is_for(Reader::Agent));
        let mut problems = Problems::default();
        if daemon || agent {
            self.store.check(&mut problems);
        }
        if daemon {
            self.serve.check(&mut problems);
            self.pull.check(&mut problems);
            self.tls.check(&mut problems);
        }
        if daemon || agent {
            self.admin.check(&mut problems);
        }
        self.log.check(&mut problems);
        if daemon || agent {
            self.control.check(&mut problems);
        }
        if agent {
            self.fill.check(&mut problems);
        }
        if is_for(Reader::ControlPlane) {
            self.control_plane.check(&mut problems);
        }
        if daemon {
            listeners::check(self, &mut problems);
        }
        if agent {
            listeners::check_sockets(self, &mut problems);
        }
        problems.into_vec()
    }

    /// Every key with its value in force, as `("serve.connections", "16000")`, sorted; passwords are left out.
    pub fn effective(&self) -> Vec<(String, String)> {
        let mut facts = Vec::new();
        let mut shown = self.clone();
        shown.control_plane.database = self.control_plane.shown_database();
        if let Ok(serde_json::Value::Object(sections)) = serde_json::to_value(shown) {
            for (section, keys) in &sections {
                for (key, value) in keys.as_object().into_iter().flatten() {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    facts.push((format!("{section}.{key}"), text));
                }
            }
        }
        facts
    }

    fn parse_named(text: &str, path: Option<&Path>) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError::refused(path, Complaint::of(&error, text)))
    }
}
