//! The tier's thread: it looks at what was asked for, decides what is to be in memory, has it loaded, lets it be found, and takes
//! out what others displace and what has left service. It waits for no disk.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use cache_store::{Bundle, Store, VolumeIndex};

use super::admission::{Admission, Verdict};
use super::block::{Block, BlockKey};
use super::budget::Budget;
use super::counters::{Departure, LoadEnd, Refusal, TierCounters, count};
use super::holdings::Holdings;
use super::loader::Job;
use super::residency::Residency;
use super::samples::{Sample, Samples};
use crate::health::{MEMORY_AVAILABLE_LOW_BYTES, MemoryWatch};
use crate::limits::{TIER_LOADS_MAX, TIER_LOCK_PAUSE, TIER_TURN};

/// What happens to the tier from outside.
pub(super) enum Event {
    /// A loader has done a load.
    Loaded(BlockKey, Result<Arc<Block>, LoadEnd>),
    /// The daemon ends.
    Stop,
}

pub(super) struct Steward {
    store: Arc<Store>,
    counters: Arc<TierCounters>,
    budget: Budget,
    admission: Admission,
    holdings: Holdings,
    samples: Vec<Samples>,
    loaders: Vec<LoaderQueue>,
    loads_max: usize,
    /// What the store had counted when blocks were last looked at.
    left_service: u64,
    memory: MemoryWatch,
    looked_around: Instant,
    is_memory_short: bool,
    paused_until: Option<Instant>,
}

/// A loader as the steward sees it.
pub(super) struct LoaderQueue {
    pub(super) jobs: Sender<Job>,
    pub(super) loads: usize,
}

impl Steward {
    pub(super) fn new(
        store: Arc<Store>,
        counters: Arc<TierCounters>,
        budget: Budget,
        residency: Arc<Residency>,
        samples: Vec<Samples>,
        loaders: Vec<LoaderQueue>,
    ) -> Self {
        let blocks = (budget.bytes / super::BLOCK_BYTES) as usize;
        Self {
            store,
            counters,
            admission: Admission::new(budget.policy_bytes(), budget.blocks_max),
            holdings: Holdings::new(residency),
            samples,
            // A volume that hangs must not hold the whole of a small tier.
            loads_max: (blocks / (4 * loaders.len().max(1))).clamp(1, TIER_LOADS_MAX),
            loaders,
            left_service: 0,
            memory: MemoryWatch::new(),
            looked_around: Instant::now(),
            is_memory_short: false,
            paused_until: None,
            budget,
        }
    }

    /// Works until it is told to stop, then lets go of everything.
    pub(super) fn run(mut self, events: &Receiver<Event>) {
        loop {
            match events.recv_timeout(TIER_TURN) {
                Ok(Event::Loaded(key, result)) => self.take_in(key, result),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
            self.look_around();
            self.take_samples();
            self.put_out_departed();
            self.put_out_displaced();
            self.sweep();
        }
        for key in self.holdings.blocks_where(|_| true) {
            self.holdings.put_out(key);
        }
        self.sweep();
    }

    fn take_samples(&mut self) {
        for worker in 0..self.samples.len() {
            // As many as there are now: a worker that is faster than we are must not hold us here.
            for _ in 0..self.samples[worker].slots() {
                let Ok(sample) = self.samples[worker].pop() else { break };
                count(&self.counters.samples, 1);
                self.take_sample(sample);
            }
        }
        self.admission.settle();
    }

    fn take_sample(&mut self, Sample { key, position, bundle }: Sample) {
        // It was in memory when it was asked for; should it have left since, the next request says more.
        let Some(bundle) = bundle else { return self.admission.touch(key) };
        let length_bytes = key.range(bundle.record().data_bytes).len();
        match self.admission.ask(key, position, length_bytes) {
            Verdict::Held | Verdict::Noted => {}
            Verdict::Outweighed => self.refuse(Refusal::Outweighed),
            Verdict::Admitted => {
                self.put_out_displaced();
                if let Err(refusal) = self.order(key, &bundle, length_bytes) {
                    self.refuse(refusal);
                    self.admission.postpone(key, position);
                }
            }
        }
    }

    /// Has a block loaded.
    fn order(&mut self, key: BlockKey, bundle: &Arc<Bundle>, length_bytes: u64) -> Result<(), Refusal> {
        if self.holdings.is_loading(key) {
            return Ok(());
        }
        if self.loaders[bundle.volume().as_usize()].loads >= self.loads_max {
            return Err(Refusal::LoaderBusy);
        }
        if self.paused_until.is_some_and(|until| Instant::now() < until) {
            return Err(Refusal::Paused);
        }
        if !self.holdings.has_bundle(key) && self.holdings.bundle_count() as u64 >= self.budget.files_max {
            return Err(Refusal::Files);
        }
        if self.is_memory_short {
            return Err(Refusal::Memory);
        }
        let open = bundle.opened().ok_or(Refusal::Closed)?;
        let bytes_max = self.budget.bytes - length_bytes;
        if self.holdings.bytes().sum() > bytes_max {
            self.sweep();
            if self.holdings.bytes().sum() > bytes_max {
                return Err(Refusal::Memory);
            }
        }
        let loader = &mut self.loaders[bundle.volume().as_usize()];
        loader.jobs.send(Job::Load(key, open)).map_err(|_| Refusal::LoaderBusy)?;
        loader.loads += 1;
        self.holdings.begin_load(key, bundle, length_bytes);
        Ok(())
    }

    /// A load has ended, well or not.
    fn take_in(&mut self, key: BlockKey, result: Result<Arc<Block>, LoadEnd>) {
        let end_without = result.as_ref().err().copied().unwrap_or(LoadEnd::Unneeded);
        let length_bytes = result.as_ref().map_or(0, |block| block.range().len());
        let is_usable = result.as_ref().is_ok_and(|block| self.store.is_in_use(block.bundle().volume()));
        let is_wanted = is_usable && self.admission.holds(key);
        let Some(ended) = self.holdings.end_load(key, result.ok(), is_wanted) else { return };
        self.loaders[ended.volume.as_usize()].loads -= 1;
        let end = if ended.serves { LoadEnd::Loaded } else { end_without };
        count(&self.counters.loads[end as usize], 1);
        match end {
            LoadEnd::Loaded => count(&self.counters.loaded_bytes, length_bytes),
            _ => self.admission.forget(key),
        }
        if end == LoadEnd::LockRefused {
            self.paused_until = Some(Instant::now() + TIER_LOCK_PAUSE);
        }
    }

    /// Takes out the blocks of bundles that have left, or whose volume has.
    fn put_out_departed(&mut self) {
        // Asked before the blocks are looked at: what leaves meanwhile is seen the next time.
        let left_service = self.store.left_service_count();
        if left_service == self.left_service {
            return;
        }
        self.left_service = left_service;
        let store = &self.store;
        let departed =
            self.holdings.blocks_where(|bundle| bundle.is_leaving() || !store.is_in_use(bundle.volume()));
        for key in departed {
            self.admission.forget(key);
            self.put_out(key, Departure::BundleLeft);
        }
    }

    fn put_out_displaced(&mut self) {
        for key in self.admission.take_evicted() {
            self.put_out(key, Departure::Displaced);
        }
    }

    fn put_out(&mut self, key: BlockKey, cause: Departure) {
        if self.holdings.put_out(key) {
            count(&self.counters.departures[cause as usize], 1);
        }
    }

    fn refuse(&self, refusal: Refusal) {
        count(&self.counters.refusals[refusal as usize], 1);
    }

    /// Once a second. Locked memory is never given back under pressure, so no more is taken when there is some. And files are looked
    /// at: what is sent from memory is not verified again, so that damage to a file would not be noticed by sending it.
    fn look_around(&mut self) {
        if self.looked_around.elapsed() < Duration::from_secs(1) {
            return;
        }
        self.looked_around = Instant::now();
        self.is_memory_short = self.memory.available_bytes() < MEMORY_AVAILABLE_LOW_BYTES;
        for (bundle, reason) in self.holdings.damaged() {
            if !bundle.is_leaving() {
                tracing::warn!(path = bundle.key().path.as_str(), %reason, "a file of which blocks are in memory was changed");
                self.store.report_corrupt(&bundle, reason);
            }
        }
    }

    /// Unmaps what nobody uses any more, has files closed, and says what is held.
    fn sweep(&mut self) {
        for (volume, file) in self.holdings.sweep() {
            self.close(volume, file);
        }
        let held = self.holdings.bytes();
        self.counters.resident_bytes.store(held.resident, Relaxed);
        self.counters.loading_bytes.store(held.loading, Relaxed);
        self.counters.leaving_bytes.store(held.leaving, Relaxed);
        self.counters.blocks.store(self.holdings.block_count() as u64, Relaxed);
        self.counters.files.store(self.holdings.bundle_count() as u64, Relaxed);
    }

    fn close(&self, volume: VolumeIndex, file: Arc<super::resident_file::ResidentFile>) {
        // A loader ends after us.
        let _ = self.loaders[volume.as_usize()].jobs.send(Job::Close(file));
    }
}
