//! What the steward looks at beside its own work: how much memory the machine has left, whether any of it has failed, and how long
//! the workers' reads of each volume take.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_store::VolumeIndex;

use super::failed_memory::FailedMemory;
use super::pressure::Pressure;
use crate::health::MemoryWatch;
use crate::stats::{HistogramTotal, WorkerStats};

pub(super) struct Lookout {
    memory: MemoryWatch,
    pressure: Pressure,
    failed_memory: FailedMemory,
    workers: Box<[Arc<WorkerStats>]>,
    /// What was last seen of each volume.
    reads: Vec<HistogramTotal>,
    looked: Instant,
    looked_far: Instant,
}

/// What was seen.
#[derive(Default)]
pub(super) struct Sight {
    /// Memory that is to be given back.
    pub(super) short_bytes: u64,
    /// Memory has failed.
    pub(super) has_memory_failed: bool,
    /// It is time to look at files.
    pub(super) looks_at_files: bool,
    /// The reads of each volume since the last look; empty where that is not long ago.
    pub(super) reads: Vec<HistogramTotal>,
}

/// How often disks are looked at, and memory while some of it is being taken: so much of it can be locked meanwhile by a fast disk as
/// is left at the mark.
const NEAR: Duration = Duration::from_millis(100);
/// How often the rest is looked at.
const FAR: Duration = Duration::from_secs(1);

impl Lookout {
    pub(super) fn new(memory: MemoryWatch, workers: Box<[Arc<WorkerStats>]>, volume_count: usize) -> Self {
        let (reads, now) = (vec![HistogramTotal::default(); volume_count], Instant::now());
        let (pressure, failed_memory) = (Pressure::default(), FailedMemory::of(&meminfo()));
        Self { memory, pressure, failed_memory, workers, reads, looked: now, looked_far: now }
    }

    /// Whether nothing more is to be locked.
    pub(super) fn is_memory_short(&self, now: Instant) -> bool {
        self.pressure.is_on(now)
    }

    /// Looks, where it is time.
    pub(super) fn look(&mut self, now: Instant, takes_memory: bool) -> Sight {
        if now.saturating_duration_since(self.looked) < NEAR {
            return Sight::default();
        }
        self.looked = now;
        let is_far = now.saturating_duration_since(self.looked_far) >= FAR;
        let mut sight = Sight { reads: self.look_at_reads(), looks_at_files: is_far, ..Sight::default() };
        if is_far || takes_memory || self.pressure.is_on(now) {
            let was_on = self.pressure.is_on(now);
            let available_bytes = self.memory.readable_bytes();
            sight.short_bytes = self.pressure.look(available_bytes, now);
            if available_bytes.is_none() && !was_on {
                tracing::warn!("/proc/meminfo cannot be read; the RAM tier takes no more until it can");
            }
            if sight.short_bytes > 0 && !was_on {
                tracing::warn!(
                    bytes = sight.short_bytes,
                    "memory is short; the RAM tier gives back what it has of it"
                );
            }
        }
        if is_far {
            self.looked_far = now;
            sight.has_memory_failed = self.failed_memory.has_grown(&meminfo());
        }
        sight
    }

    fn look_at_reads(&mut self) -> Vec<HistogramTotal> {
        let (workers, reads) = (&self.workers, self.reads.iter_mut());
        let since = reads.enumerate().map(|(volume, before)| {
            let mut total = HistogramTotal::default();
            workers
                .iter()
                .for_each(|worker| worker.add_read_durations(VolumeIndex(volume as u8), &mut total));
            let since = total.since(before);
            *before = total;
            since
        });
        since.collect()
    }
}

fn meminfo() -> String {
    fs::read_to_string("/proc/meminfo").unwrap_or_default()
}
