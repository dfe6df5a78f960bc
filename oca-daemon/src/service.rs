//! What a worker needs to answer requests, and never changes while it runs.

use std::sync::Arc;
use std::time::Duration;

use cache_store::Store;
use control_client::config::{AtCapacity, ServeConfig};
use rustls::ServerConfig;

use crate::mailbox::Mailbox;
use crate::serve::Policy;
use crate::stats::WorkerStats;
use crate::tier::Residency;

/// One worker's view of the daemon.
pub struct Service {
    /// The worker's number, from 0.
    pub worker: u16,
    /// Where bundles are found.
    pub store: Arc<Store>,
    /// Which blocks are in memory; `None`: there is no RAM tier.
    pub residency: Option<Arc<Residency>>,
    /// What the configuration says about answers.
    pub policy: Policy,
    /// How long each state may last.
    pub timeouts: Timeouts,
    /// What is counted.
    pub stats: Arc<WorkerStats>,
    /// Where other threads send this worker messages.
    pub mailbox: Mailbox,
    /// For TLS listeners.
    pub tls: Option<Arc<ServerConfig>>,
    /// Connections that this worker may have.
    pub connections_max: usize,
    /// What happens beyond them.
    pub at_capacity: AtCapacity,
}

/// How long a connection may stay in each of its states.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// A TLS handshake, or a request head with its content.
    pub header: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Without room in the socket while sending.
    pub send_stall: Duration,
    /// Altogether.
    pub lifetime: Duration,
    /// For one read or one opening.
    pub disk: Duration,
}

impl Timeouts {
    /// As configured.
    pub fn new(config: &ServeConfig) -> Self {
        Self {
            header: config.header_timeout,
            idle: config.idle_timeout,
            send_stall: config.send_stall_timeout,
            lifetime: config.connection_lifetime,
            disk: config.disk_timeout,
        }
    }
}
