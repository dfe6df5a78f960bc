//! What the daemon's parts are given, as the configuration has it.

use cache_store::{StoreOptions, VolumeOptions};
use control_client::config::{Config, ServeConfig, Workers};

use super::start_error::{CONFIGURATION, StartError};
use crate::serve::{MissRules, Policy};

pub(super) fn notsent_lowat_bytes(serve: &ServeConfig) -> u32 {
    serve.notsent_lowat.bytes().try_into().unwrap_or(u32::MAX)
}

/// Under what name the appliance speaks of itself to clients.
pub(super) fn cache_name(config: &Config) -> &str {
    config.control.appliance.as_ref().map_or("oca", |name| name.as_str())
}

pub(super) fn policy(config: &Config) -> Result<Policy, StartError> {
    let serve = &config.serve;
    let origin = serve.allow_origin.as_deref().unwrap_or_default();
    Policy::new(cache_name(config), origin, serve.segment_max_age, serve.playlist_max_age, serve.retry_after)
        .map(|policy| policy.with_misses(MissRules::new(&config.pull)))
        .map_err(|error| StartError::new(CONFIGURATION, error))
}

pub(super) fn worker_count(workers: Workers) -> usize {
    match workers {
        Workers::PerCore => std::thread::available_parallelism().map_or(1, |count| count.get()),
        Workers::Count(count) => count as usize,
    }
}

pub(super) fn store_options(config: &Config) -> StoreOptions {
    StoreOptions {
        volumes: config
            .store
            .volumes
            .iter()
            .map(|volume| VolumeOptions { path: volume.path.clone(), mount_required: volume.mount_required })
            .collect(),
        footer_cache: config.store.footer_cache,
        open_bundles: config.store.open_bundles as usize,
        open_queue: config.store.open_queue as usize,
        volume_errors: config.store.volume_errors,
    }
}
