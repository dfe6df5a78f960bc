use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::listeners;
use super::problem::Problems;
use crate::limits;

/// `[admin]`: what operators and the control plane meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// Addresses that answer health, metrics, inventory and status, and take no changes.
    #[serde(with = "listeners")]
    pub listen: Vec<SocketAddr>,
    /// The Unix socket that takes changes too, from root, from the daemon's user and from its group.
    pub socket: PathBuf,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 9090))],
            socket: PathBuf::from("/run/oca/daemon.sock"),
        }
    }
}

impl AdminConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        problems.check_count("admin.listen", self.listen.len(), 0..=limits::LISTENERS_MAX);
        problems.check_socket("admin.socket", &self.socket, "/run/oca/daemon.sock");
    }
}
