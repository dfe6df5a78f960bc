//! Gathers the facts. Nothing here waits for a disk: the store's figures come from memory, and files are read
//! from `/proc` and `/sys` alone.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cache_store::StoreCounters;
use control_client::health::Headroom;

use super::memory::MemoryWatch;
use super::process::Descriptors;
use super::{Observed, ObservedCertificate, ObservedVolume, ObservedWorker};
use crate::appliance::Appliance;
use crate::stats::{Totals, WorkerStats, monotonic_millis};

/// What has to be remembered between two looks.
pub(super) struct Observer {
    memory: MemoryWatch,
    read_timeouts: Vec<SeenTimeouts>,
}

/// The read timeouts of one volume.
#[derive(Clone, Copy, Default)]
struct SeenTimeouts {
    count: u64,
    last: Option<Instant>,
}

impl Observer {
    pub(super) fn new() -> Self {
        Observer { memory: MemoryWatch::new(), read_timeouts: Vec::new() }
    }

    /// The facts of `now`.
    pub(super) fn observe(&mut self, appliance: &Appliance, totals: &Totals, now: Instant) -> Observed {
        self.see_timeouts(totals, now);
        let now_millis = monotonic_millis();
        let store = appliance.store.counters();
        Observed {
            appliance: appliance.config.control.appliance.as_ref().map(ToString::to_string),
            readiness: appliance.readiness(),
            is_stopping: appliance.is_stopping(),
            uptime: now.saturating_duration_since(appliance.started),
            workers: appliance.workers.iter().map(|worker| observe_worker(worker, now_millis)).collect(),
            volumes: appliance
                .store
                .volumes()
                .into_iter()
                .map(|status| ObservedVolume {
                    read_timeout_age: self.read_timeout_age(status.index.as_usize(), now),
                    status,
                })
                .collect(),
            certificates: observe_certificates(appliance, SystemTime::now()),
            requests_in_flight: totals.requests_in_flight,
            quarantined: store.quarantined.iter().sum(),
            inventories_rebuilt: store.journals_rebuilt,
            headroom: self.headroom(appliance, totals, &store),
        }
    }

    fn see_timeouts(&mut self, totals: &Totals, now: Instant) {
        self.read_timeouts.resize(totals.volumes.len(), SeenTimeouts::default());
        for (seen, volume) in self.read_timeouts.iter_mut().zip(&totals.volumes) {
            if volume.timeouts > seen.count {
                *seen = SeenTimeouts { count: volume.timeouts, last: Some(now) };
            }
        }
    }

    fn read_timeout_age(&self, index: usize, now: Instant) -> Option<Duration> {
        self.read_timeouts.get(index)?.last.map(|last| now.saturating_duration_since(last))
    }

    fn headroom(&self, appliance: &Appliance, totals: &Totals, store: &StoreCounters) -> Headroom {
        let connections = u64::from(appliance.config.serve.connections);
        Headroom {
            connections_free: connections.saturating_sub(totals.open_connections()),
            descriptors_free: Descriptors::now().free(),
            memory_available_bytes: self.memory.available_bytes(),
            read_buffers_free_bytes: totals.buffers_total_bytes.saturating_sub(totals.buffers_in_use_bytes),
            footer_cache_free_bytes: store.footers.bytes_max.saturating_sub(store.footers.bytes),
        }
    }
}

/// Those of which it is known.
fn observe_certificates(appliance: &Appliance, now: SystemTime) -> Vec<ObservedCertificate> {
    let left = |expires| (UNIX_EPOCH + Duration::from_secs(expires)).duration_since(now).unwrap_or_default();
    let expiries = appliance.certificate_expiries().into_iter();
    expiries.filter_map(|of| Some(ObservedCertificate { left: left(of.expires?), chain: of.chain })).collect()
}

fn observe_worker(worker: &WorkerStats, now_millis: u64) -> ObservedWorker {
    let since = |millis: u64| Duration::from_millis(now_millis.saturating_sub(millis));
    ObservedWorker {
        heartbeat_age: since(worker.last_heartbeat_millis()),
        accept_paused: worker.accept_paused_since_millis().map(since),
    }
}
