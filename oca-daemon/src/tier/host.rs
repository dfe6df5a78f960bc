#![expect(unsafe_code, reason = "asks the kernel for a lock on memory, to learn whether it has a limit")]
//! What the host allows the tier: read once, at start.

use std::fs;

use control_client::config::Config;
use rustix::mm::{MlockFlags, mlock_with};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::budget::HostLimits;
use crate::health::MemoryWatch;
use crate::limits::{self, SEALED_BYTES_MAX};
use crate::mapping::Mapping;

/// What the daemon needs beside its buffers, caches and sockets: code, rings, queues, tables.
const NEEDED_BYTES: u64 = 256 << 20;

/// What the kernel holds for a connection whose client is behind: what was sent and is not acknowledged yet, records included.
const CONNECTION_BYTES: u64 = 128 << 10;

/// Of what is available, connections are given no more than a part: on a small machine there are never as many as are allowed.
const CONNECTIONS_PART: u64 = 8;

/// What Linux has allowed unless somebody changed it.
const MAP_COUNT_USUAL: u64 = 65_530;

impl HostLimits {
    /// Looks at the host, of which `memory` tells what is left. Raises the soft limit of locked memory to the hard one.
    pub fn read(config: &Config, worker_count: usize, files_max: u64, memory: &MemoryWatch) -> Self {
        let read_buffers = config.serve.read_buffers.bytes().saturating_mul(worker_count as u64);
        let available_bytes = memory.readable_bytes();
        let each = CONNECTION_BYTES + limits::CONNECTION_BYTES;
        let connections = u64::from(config.serve.connections)
            .saturating_mul(each)
            .saturating_add(SEALED_BYTES_MAX.saturating_mul(worker_count as u64));
        let map_count = fs::read_to_string("/proc/sys/vm/max_map_count");
        Self {
            available_bytes,
            needed_bytes: read_buffers
                .saturating_add(config.store.footer_cache.bytes())
                .saturating_add(connections.min(available_bytes.unwrap_or(0) / CONNECTIONS_PART))
                .saturating_add(NEEDED_BYTES),
            memlock_bytes: memlock_bytes(),
            map_count_max: map_count
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(MAP_COUNT_USUAL),
            files_max,
        }
    }
}

fn memlock_bytes() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Memlock);
    if current != maximum {
        let _ = setrlimit(Resource::Memlock, Rlimit { current: maximum, maximum });
    }
    getrlimit(Resource::Memlock).current.filter(|&limit| !is_exempt(limit))
}

/// Whether the limit does not hold for this process (`CAP_IPC_LOCK` outside of user namespaces): it may lock more than that.
/// Locked on fault, the memory is never taken.
fn is_exempt(limit_bytes: u64) -> bool {
    let Ok(length) = usize::try_from(limit_bytes.saturating_add(1)) else { return false };
    let Ok(mapping) = Mapping::anonymous(length) else { return false };
    // SAFETY: our own mapping, which nobody touches, and which is unmapped at the end of this function.
    unsafe { mlock_with(mapping.address().cast(), length, MlockFlags::ONFAULT) }.is_ok()
}

#[cfg(test)]
mod tests {
    use control_client::config::{Prefetch, RamTier};

    use super::*;
    use crate::tier::{Budget, CutBy};

    /// As in a container that hides `/proc/meminfo`.
    #[test]
    fn of_a_host_that_does_not_tell_its_memory_nothing_is_locked() {
        let nowhere = tempfile::tempdir().unwrap();
        let memory = MemoryWatch::of_silent_machine(nowhere.path());
        let limits = HostLimits::read(&Config::default(), 2, 1024, &memory);
        let budget = Budget::new(RamTier::Auto, Prefetch::Ram, &limits);
        assert_eq!((budget.bytes, budget.cut.map(|cut| cut.by)), (0, Some(CutBy::MemoryUnread)));
    }
}
