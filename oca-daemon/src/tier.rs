//! The RAM tier: blocks of 2 MiB of the bundles that are asked for most, locked in memory, from which workers serve without the disk,
//! without a checksum, and in cleartext without a copy.
//!
//! # Reading order
//!
//! 1. `block`: what is in memory, and its name; `resident_file`, what it is mapped from; `faults`, what happens when a page of it
//!    goes away.
//! 2. `residency`: the table that workers look into; `samples`: what they say of what they were asked for, and will be.
//! 3. `steward`: the tier's thread, which decides (`admission`, with `recent`), has blocks loaded (`loader`, a thread for each
//!    volume, with `huge_folio`) and keeps account of them (`holdings`); what players named ahead is `prefetched`, and who asked in vain
//!    `turned_away`.
//! 4. What it heeds beside: `lookout`, with `pressure` (memory is short), `failed_memory` and `loader_queue` with its `pace` (the disks
//!    are busy); `second_chance`, whose blocks make room where whole bundles have to.
//! 5. `budget`: how much may be locked, of what `host` allows; `counters`: what is told of all this.
//!
//! Workers read the table and push samples. They never map, lock, unmap, open or close, but where a page of a mapping goes away while
//! one is sealing it (`faults` lays zeroes over it), and hold a block only for the length of one send, so that a slow client keeps
//! nothing in memory and a bundle that leaves has not to wait for one.

mod admission;
mod block;
mod budget;
mod counters;
mod failed_memory;
pub mod faults;
mod holdings;
mod host;
mod huge_folio;
mod loader;
mod loader_queue;
mod lookout;
mod open_files;
mod pace;
mod prefetched;
mod pressure;
mod recent;
mod residency;
mod resident_file;
mod samples;
mod second_chance;
mod steward;
mod turned_away;

#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cache_store::Store;

pub use block::{BLOCK_BYTES, Block, BlockKey, Unreadable};
pub use budget::{Budget, Cut, CutBy, HostLimits};
pub use counters::{Departure, LoadEnd, PrefetchEnd, Refusal, TierCounters, TierTotals};
pub use huge_folio::long_read_ahead;
pub use residency::Residency;
pub use resident_file::Damage;
pub use samples::{Hint, Sample, SampleSender};

use crate::health::MemoryWatch;
use crate::limits::{
    TIER_HINTS_PER_WORKER, TIER_LOADERS_PER_VOLUME, TIER_LOADS_MAX, TIER_SAMPLES_PER_WORKER,
};
use crate::scheduling::give_way;
use crate::stats::WorkerStats;
use loader::{Jobs, Loader};
use loader_queue::LoaderQueue;
use lookout::Lookout;
use open_files::OpenFiles;
use steward::{Event, Steward};

/// The tier as the rest of the daemon sees it.
pub struct Tier {
    budget: Budget,
    residency: Arc<Residency>,
    counters: Arc<TierCounters>,
    threads: Option<Threads>,
}

struct Threads {
    events: Sender<Event>,
    /// The steward's end.
    ended: Mutex<Receiver<()>>,
}

/// How long [`Tier::stop`] waits: blocks are unmapped in microseconds.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

impl Tier {
    /// Starts the tier's threads, unless the budget is zero, and gives a sender for each worker.
    pub fn start(
        store: &Arc<Store>,
        volume_count: usize,
        workers: &[Arc<WorkerStats>],
        budget: Budget,
        memory: MemoryWatch,
    ) -> io::Result<(Self, Vec<SampleSender>)> {
        let (residency, counters) = (Arc::new(Residency::new()), Arc::new(TierCounters::default()));
        if budget.bytes == 0 {
            let senders = workers.iter().map(|_| SampleSender::off()).collect();
            return Ok((Self { budget, residency, counters, threads: None }, senders));
        }
        faults::install()?;
        let (events, from_events) = mpsc::channel();
        // A volume that hangs must not hold the whole of a small tier.
        let blocks = (budget.bytes / BLOCK_BYTES) as usize;
        let loads_max = (blocks / (4 * volume_count.max(1))).clamp(1, TIER_LOADS_MAX);
        let mut loaders = Vec::new();
        for volume in 0..volume_count {
            let (jobs, from_jobs) = mpsc::channel();
            let (from_jobs, files) = (Arc::new(Jobs::new(from_jobs)), Arc::new(OpenFiles::new()));
            for number in 0..TIER_LOADERS_PER_VOLUME {
                let loader = Loader::new(Arc::clone(store), events.clone(), Arc::clone(&files));
                let from_jobs = Arc::clone(&from_jobs);
                thread::Builder::new().name(format!("loader-{volume}-{number}")).spawn(move || {
                    give_way();
                    loader.run(&from_jobs);
                })?;
            }
            loaders.push(LoaderQueue::new(jobs, loads_max));
        }
        let pair = |worker| {
            SampleSender::pair(worker, TIER_SAMPLES_PER_WORKER, TIER_HINTS_PER_WORKER, events.clone())
        };
        let (senders, samples) = (0..workers.len()).map(pair).unzip();
        let steward = Steward::new(
            Arc::clone(store),
            Arc::clone(&counters),
            budget,
            Arc::clone(&residency),
            samples,
            loaders,
            Lookout::new(memory, workers.into(), volume_count),
        );
        let (end, ended) = mpsc::channel();
        thread::Builder::new().name("tier".into()).spawn(move || {
            give_way();
            steward.run(&from_events);
            let _ = end.send(());
        })?;
        let threads = Some(Threads { events, ended: Mutex::new(ended) });
        Ok((Self { budget, residency, counters, threads }, senders))
    }

    /// How much may be in memory, and why not more.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Where workers look; `None`: there is nothing to find.
    pub fn residency(&self) -> Option<Arc<Residency>> {
        self.threads.as_ref().map(|_| Arc::clone(&self.residency))
    }

    /// What was counted.
    pub fn totals(&self) -> TierTotals {
        self.counters.read()
    }

    /// Empties the table and unmaps what it can, for two seconds at most. Loaders end by themselves when their disks let them.
    pub fn stop(&self) {
        let Some(threads) = &self.threads else { return };
        let _ = threads.events.send(Event::Stop);
        let ended = threads.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let deadline = Instant::now() + STOP_TIMEOUT;
        if ended.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_err() {
            tracing::warn!("the RAM tier did not end in time; leaving without it");
        }
    }
}
