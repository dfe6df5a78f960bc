//! What a worker needs to answer requests, and never changes while it runs.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use cache_store::Store;
use control_client::config::{AtCapacity, Cmsd, Pacing, Prefetch, PullConfig, ServeConfig};
use rustls::ServerConfig;

use crate::connection_bound::ConnectionBound;
use crate::limits::PULL_GRACE;
use crate::mailbox::Mailbox;
use crate::media::PacingLimits;
use crate::pull::PullHandle;
use crate::serve::Policy;
use crate::stats::WorkerStats;
use crate::tier::Residency;
use crate::tls::kernel::KernelTls;

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
    /// What players get beside bytes.
    pub players: PlayerService,
    /// How long each state may last.
    pub timeouts: Timeouts,
    /// What is counted.
    pub stats: Arc<WorkerStats>,
    /// Where other threads send this worker messages.
    pub mailbox: Mailbox,
    /// For TLS listeners.
    pub tls: Option<Arc<ServerConfig>>,
    /// The kernel, where it may seal what is sent over TLS, and can.
    pub kernel_tls: Option<KernelTls>,
    /// How many connections there may be.
    pub connection_bound: ConnectionBound,
    /// What happens beyond them.
    pub at_capacity: AtCapacity,
    /// Whom to ask for what no bundle holds; `None`: nobody.
    pub pull: Option<PullHandle>,
    /// What a socket may hold unsent of bytes that were copied into it.
    pub notsent_lowat_bytes: u32,
}

/// What players get beside bytes.
pub struct PlayerService {
    /// Within what limits responses are paced; `None`: they are not.
    pub pacing: Option<PacingLimits>,
    /// Who is told how the connection does.
    pub cmsd: Cmsd,
    /// Whether what they say they will ask for next is brought into memory.
    pub prefetches: bool,
    /// The appliance's name in CMSD, in quotes.
    pub member: Box<str>,
    /// Whether players should be told to go elsewhere; the health thread says so.
    pub duress: Arc<AtomicBool>,
}

impl PlayerService {
    /// As configured, for an appliance of that name.
    pub fn new(config: &ServeConfig, name: &str, duress: Arc<AtomicBool>) -> Self {
        let limits = PacingLimits { min: config.pacing_min, max: config.pacing_max };
        let pacing = (config.pacing == Pacing::Players).then_some(limits);
        let prefetches = config.prefetch == Prefetch::Ram;
        Self { pacing, cmsd: config.cmsd, prefetches, member: format!("\"{name}\"").into(), duress }
    }
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
    /// For the head, or the next piece, of a response that is pulled through. The pull service has timeouts of its own: this is for the
    /// case that it fails to keep them.
    pub pull: Duration,
}

impl Timeouts {
    /// As configured.
    pub fn new(config: &ServeConfig, pull: &PullConfig) -> Self {
        let of_one_upstream = pull.connect_timeout + pull.first_byte_timeout + pull.stall_timeout;
        Self {
            header: config.header_timeout,
            idle: config.idle_timeout,
            send_stall: config.send_stall_timeout,
            lifetime: config.connection_lifetime,
            disk: config.disk_timeout,
            pull: of_one_upstream * pull.upstreams.len() as u32 + PULL_GRACE,
        }
    }
}
