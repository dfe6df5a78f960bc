//! `GET /status`: what runs, how it was built and configured, and where it listens.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::health::Readiness;
use crate::wire::DocumentVersion;

/// The answer to `GET /status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Always 1.
    pub version: DocumentVersion,
    /// How the daemon was built.
    pub build: Build,
    /// The running process.
    pub process: Process,
    /// Every listener with the address that it is bound to: where the configuration says port 0, the port that the
    /// kernel chose.
    pub listeners: Vec<Listener>,
    /// The RAM tier; absent where the daemon has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ram_tier: Option<RamTierFacts>,
    /// The configuration file, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration_file: Option<String>,
    /// Every key in force, `"serve.connections": "16000"`; see [`crate::config::Config::effective`].
    pub configuration: BTreeMap<String, String>,
}

/// How the daemon was built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The release.
    pub release: String,
    /// The commit, where the build knew it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// `release` or `debug`: figures of a debug build mean nothing.
    pub profile: String,
    /// The machine that it was built for, `x86_64-linux`.
    pub target: String,
}

/// What the daemon may lock in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RamTierFacts {
    /// So many bytes.
    pub budget_bytes: u64,
    /// Why it is less than it was to be, and what to do; absent where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<String>,
}

/// The running process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// The step of the appliance's life.
    pub readiness: Readiness,
    /// Threads that serve.
    pub workers: u32,
    /// Whole seconds since it started.
    pub uptime_seconds: u64,
    /// The kernel's release, from `uname`.
    pub kernel: String,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// What it is for.
    pub role: ListenerRole,
    /// `127.0.0.1:80`, `[::1]:443`, or the path of the socket for [`ListenerRole::AdminSocket`].
    pub address: String,
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenerRole {
    /// Segments, in cleartext.
    Http,
    /// Segments, over TLS.
    Https,
    /// The read-only admin API.
    Admin,
    /// The admin API with changes, on a Unix socket.
    AdminSocket,
}

impl StatusReport {
    /// The TCP addresses bound for a role, in the order of the configuration.
    pub fn addresses(&self, role: ListenerRole) -> impl Iterator<Item = SocketAddr> {
        self.listeners
            .iter()
            .filter(move |listener| listener.role == role)
            .filter_map(|listener| listener.address.parse().ok())
    }
}

impl ListenerRole {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Admin => "admin",
            Self::AdminSocket => "admin_socket",
        }
    }
}

impl fmt::Display for ListenerRole {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}
