//! What the process takes of the host at start: descriptors, memory for the RAM tier, threads that pull, and the kernel for TLS.

use std::sync::Arc;

use control_client::config::{Config, RamTier, TlsConfig, TlsKernel};
use control_client::units::ByteCount;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::settings::cache_name;
use super::start_error::{CONFIGURATION, OS_ERROR, StartError};
use crate::appliance::{Appliance, Pulling};
use crate::health::MemoryWatch;
use crate::pull::{PullError, PullService, PullStats, questions};
use crate::tier::{Budget, HostLimits, SampleSender, Tier, long_read_ahead};
use crate::tls::kernel::KernelTls;

/// Starts the RAM tier with what the host allows of what is configured.
pub(super) fn start_tier(appliance: &Appliance, files_max: u64) -> Result<Vec<SampleSender>, StartError> {
    let config = &appliance.config;
    let workers = &appliance.workers;
    let memory = MemoryWatch::new();
    let limits = HostLimits::read(config, workers.len(), files_max, &memory);
    let budget = Budget::new(config.serve.ram_tier, config.serve.prefetch, &limits);
    tracing::info!(bytes = %ByteCount::new(budget.bytes), files = budget.files_max, "RAM tier");
    if let Some(cut) = budget.cut {
        tracing::warn!(bytes = %ByteCount::new(budget.bytes), "the RAM tier is smaller than it was to be: {cut}");
    }
    let (tier, senders) = Tier::start(&appliance.store, config.store.volumes.len(), workers, budget, memory)
        .map_err(|error| StartError::new(OS_ERROR, format!("the RAM tier cannot be started: {error}")))?;
    appliance.set_tier(tier);
    if budget.bytes > 0 {
        warn_of_long_read_ahead(config);
    }
    Ok(senders)
}

fn warn_of_long_read_ahead(config: &Config) {
    for volume in &config.store.volumes {
        if let Some(window) = long_read_ahead(&volume.path) {
            tracing::warn!(
                volume = %volume.path.display(),
                read_ahead = %ByteCount::new(window),
                "the disk reads so far ahead that blocks in memory have to be in pages of 4 KiB, and large objects cost a worker \
                 up to twice as much to send; set read_ahead_kb of the disk's queue in /sys/block to 128, the kernel's default"
            );
        }
    }
}

/// Starts the pull service, where a rule pulls.
pub(super) fn start_pulling(appliance: &Appliance) -> Result<Option<PullService>, StartError> {
    let config = &appliance.config;
    if !config.pull.is_on() {
        return Ok(None);
    }
    let (handle, questions) = questions(config.pull.requests as usize);
    let stats = Arc::new(PullStats::new(&config.pull, config.store.volumes.len()));
    let (name, store) = (cache_name(config), &appliance.store);
    let service = PullService::start(&config.pull, &config.serve, name, store, Arc::clone(&stats), questions)
        .map_err(|error| match error {
            PullError::Upstream(_) => StartError::new(CONFIGURATION, error),
            PullError::Thread(_) => StartError::new(OS_ERROR, error),
        })?;
    appliance.set_pulling(Pulling { handle, stats });
    Ok(Some(service))
}

/// The kernel, where it may seal what is sent over TLS, and can. Where it cannot, the daemon does: nothing is wrong with that.
pub(super) fn probe_kernel_tls(config: &TlsConfig) -> Option<KernelTls> {
    if config.kernel == TlsKernel::Off {
        return None;
    }
    match KernelTls::probe() {
        Ok(kernel) => {
            let (suites, can_rekey) = (kernel.suite_count(), kernel.can_rekey());
            tracing::info!(suites, can_rekey, "the kernel seals what is sent over TLS");
            Some(kernel)
        }
        Err(reason) => {
            tracing::info!(%reason, "the daemon seals what is sent over TLS");
            None
        }
    }
}

/// Raises the soft limit to the hard one, and lowers `serve.connections` to what it can hold, so that clients
/// can never take the descriptors that bundles, logs and the admin API need. Returns how many are left for bundles that have
/// blocks in memory.
pub(super) fn fit_descriptor_limit(config: &mut Config) -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    let of_tier = if config.serve.ram_tier == RamTier::Off {
        0
    } else {
        u64::from(config.store.open_bundles) / TIER_FILES_PART
    };
    let of_our_own = u64::from(config.store.open_bundles) + of_tier + DESCRIPTORS_OF_OUR_OWN;
    let left = maximum.unwrap_or(u64::MAX).saturating_sub(of_our_own).max(CONNECTIONS_MIN);
    if u64::from(config.serve.connections) > left {
        tracing::warn!(
            configured = config.serve.connections,
            used = left,
            limit = maximum,
            "the limit of open files holds fewer connections than configured beside the open bundles; raise LimitNOFILE of \
             the unit, or lower serve.connections or store.open_bundles"
        );
        config.serve.connections = u32::try_from(left).unwrap_or(u32::MAX);
    }
    // Whatever the limit has beyond all that serves the tier, too.
    of_tier + left.saturating_sub(u64::from(config.serve.connections))
}

/// Bundles that may have blocks in memory however tight the limit is, as a part of those that may be open: the hot ones.
const TIER_FILES_PART: u64 = 4;

/// Connections that are taken however low the limit is.
const CONNECTIONS_MIN: u64 = 64;

/// Rings, listeners, logs, journals, admin connections.
const DESCRIPTORS_OF_OUR_OWN: u64 = 512;
