//! The tier's thread: it looks at what was asked for, decides what is to be in memory, has it loaded, lets it be found, and takes
//! out what others displace and what has left service. It waits for no disk. The files beside this one: `questions`, `hints`, `leaving`.

mod hints;
mod leaving;
mod questions;

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use cache_store::{Bundle, OpenBundle, Store, VolumeIndex};

use super::admission::{Admission, Verdict};
use super::block::{Block, BlockKey};
use super::budget::Budget;
use super::counters::{Departure, LoadEnd, PrefetchEnd, Refusal, TierCounters, count};
use super::holdings::Holdings;
use super::loader_queue::LoaderQueue;
use super::lookout::Lookout;
use super::prefetched::Prefetched;
use super::residency::Residency;
use super::samples::{Question, Sample, Samples};
use super::turned_away::TurnedAway;
use crate::key_hasher::KeyHasher;
use crate::limits::{TIER_LOCK_PAUSE, TIER_TURN};
use crate::mailbox::{Mailbox, Message};

/// What happens to the tier from outside.
pub(super) enum Event {
    /// A loader has done a load.
    Loaded(BlockKey, Result<Arc<Block>, LoadEnd>),
    /// A worker waits for a block.
    Asked(Question),
    /// Half of a worker's ring of samples may be full.
    Sampled,
    /// The daemon ends.
    Stop,
}

/// How a block was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// By somebody who reads it himself, or has it.
    Passing,
    /// By somebody who waits for it.
    Awaited,
    /// The same, and there is leisure to load it though nobody asked for it before, where there is room.
    Welcome,
    /// By somebody who waits for it, while somebody on another worker reads it himself.
    Shared,
    /// By nobody yet: a player has named it as its next.
    Hinted,
}

pub(super) struct Steward {
    store: Arc<Store>,
    counters: Arc<TierCounters>,
    budget: Budget,
    admission: Admission,
    prefetched: Prefetched,
    holdings: Holdings,
    samples: Vec<Samples>,
    /// Blocks in memory that the policy has been told of in this turn: once is enough, where a few are asked for a thousand times in it.
    touched: HashSet<BlockKey, BuildHasherDefault<KeyHasher>>,
    loaders: Vec<LoaderQueue>,
    lookout: Lookout,
    /// Who waits for which block that is being loaded: each worker once.
    askers: HashMap<BlockKey, Vec<Mailbox>>,
    turned_away: TurnedAway,
    residency: Arc<Residency>,
    /// What the store had counted when blocks were last looked at.
    left_service: u64,
}

impl Steward {
    pub(super) fn new(
        store: Arc<Store>,
        counters: Arc<TierCounters>,
        budget: Budget,
        residency: Arc<Residency>,
        samples: Vec<Samples>,
        loaders: Vec<LoaderQueue>,
        lookout: Lookout,
    ) -> Self {
        Self {
            store,
            counters,
            admission: Admission::new(budget.policy_bytes(), budget.blocks_max),
            prefetched: Prefetched::new(budget.reserve_bytes()),
            holdings: Holdings::new(Arc::clone(&residency)),
            askers: HashMap::new(),
            turned_away: TurnedAway::default(),
            residency,
            samples,
            touched: HashSet::default(),
            loaders,
            lookout,
            left_service: 0,
            budget,
        }
    }

    /// Works until it is told to stop, then lets go of everything.
    pub(super) fn run(mut self, events: &Receiver<Event>) {
        loop {
            self.turn();
            match events.recv_timeout(TIER_TURN) {
                Ok(Event::Loaded(key, result)) => self.take_in(key, result),
                Ok(Event::Asked(question)) => self.take_question(question),
                Ok(Event::Sampled) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        for key in self.holdings.blocks_where(|_| true) {
            self.holdings.put_out(key);
        }
        self.sweep();
    }

    /// All that is done after each event, and before the first: until then nobody may ask for a block.
    fn turn(&mut self) {
        self.look_around();
        self.take_samples();
        self.put_out_departed();
        self.put_out_displaced();
        self.put_out_unasked();
        self.sweep();
        self.take_hints();
        self.open_volumes();
    }

    fn take_samples(&mut self) {
        self.touched.clear();
        for worker in 0..self.samples.len() {
            // As many as there are now: a worker that is faster than we are must not hold us here.
            for _ in 0..self.samples[worker].asked.slots() {
                let Ok(sample) = self.samples[worker].asked.pop() else { break };
                count(&self.counters.samples, 1);
                if sample.bundle.is_none() && self.touched.contains(&sample.key) {
                    self.holdings.touch(sample.key);
                } else {
                    self.take_sample(sample, Wish::Passing);
                }
            }
        }
        self.admission.settle();
    }

    /// Lets workers ask for blocks of those volumes whose loaders are not behind.
    fn open_volumes(&self) {
        let now = Instant::now();
        let is_short = self.lookout.is_memory_short(now);
        for (volume, loader) in (0..).map(VolumeIndex).zip(&self.loaders) {
            self.residency.set_open(volume, !is_short && loader.may_load_awaited(now).is_ok());
            self.residency.set_stalled(volume, loader.is_stalled(now));
        }
    }

    fn take_sample(&mut self, Sample { key, position, bundle }: Sample, wish: Wish) {
        self.holdings.touch(key);
        if self.take_prefetched(key, position) {
            return;
        }
        // It was in memory when it was asked for; should it have left since, the next request says more.
        let Some(bundle) = bundle else {
            self.touched.insert(key);
            return self.admission.touch(key);
        };
        if bundle.is_leaving() || !self.store.is_in_use(bundle.volume()) {
            return;
        }
        // Asked before anything makes room for it.
        if let Err(refusal) = self.may_load(key, &bundle, wish) {
            if self.admission.decline(key, position) {
                self.refuse(refusal);
                self.make_room_for(refusal);
            }
            return;
        }
        let length_bytes = key.range(bundle.record().data_bytes).len();
        let is_welcome = matches!(wish, Wish::Welcome | Wish::Shared);
        match self.admission.ask(key, position, length_bytes, is_welcome) {
            Verdict::Held | Verdict::Noted => {}
            Verdict::Outweighed if wish == Wish::Shared => {
                if let Err(refusal) = self.load_aside(key, &bundle, length_bytes) {
                    self.refuse(refusal);
                }
            }
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

    /// Whether a block could be loaded now, if there was room for its bytes.
    fn may_load(&self, key: BlockKey, bundle: &Bundle, wish: Wish) -> Result<(), Refusal> {
        let now = Instant::now();
        if self.lookout.is_memory_short(now) {
            return Err(Refusal::Memory);
        }
        if self.holdings.is_broken(key) {
            return Err(Refusal::Paused);
        }
        if !self.holdings.has_bundle(key) && self.has_all_files() {
            return Err(Refusal::Files);
        }
        if bundle.opened().is_none() {
            return Err(Refusal::Closed);
        }
        let loader = &self.loaders[bundle.volume().as_usize()];
        match wish {
            Wish::Passing => loader.may_load(now),
            Wish::Awaited | Wish::Welcome | Wish::Shared => loader.may_load_awaited(now),
            Wish::Hinted => loader.may_load_hinted(now),
        }
    }

    /// Whether as many bundles as may be have, or are about to have, an open file.
    fn has_all_files(&self) -> bool {
        self.holdings.bundle_count() as u64 >= self.budget.files_max
    }

    /// Has a block loaded.
    fn order(&mut self, key: BlockKey, bundle: &Arc<Bundle>, length_bytes: u64) -> Result<(), Refusal> {
        if self.holdings.is_loading(key) {
            return Ok(());
        }
        let open = bundle.opened().ok_or(Refusal::Closed)?;
        let bytes_max = self.budget.bytes - length_bytes;
        if self.holdings.bytes().sum() > bytes_max {
            self.sweep();
            self.put_out_prefetched(self.holdings.bytes().sum().saturating_sub(bytes_max));
            self.sweep();
        }
        // Loads that hang take room that the policy believes it has. What is leaving is gone in a moment.
        let held = self.holdings.bytes();
        let excess_bytes = (held.resident + held.loading).saturating_sub(bytes_max);
        if excess_bytes > 0 {
            self.give_back(excess_bytes, Departure::Displaced);
            self.sweep();
        }
        if self.holdings.bytes().sum() > bytes_max {
            return Err(Refusal::Memory);
        }
        self.load(key, open, length_bytes)?;
        self.holdings.touch(key);
        Ok(())
    }

    /// The same, where there is room.
    fn load(&mut self, key: BlockKey, open: Arc<OpenBundle>, length_bytes: u64) -> Result<(), Refusal> {
        let bundle = Arc::clone(open.bundle());
        self.loaders[bundle.volume().as_usize()].load(key, open, Instant::now())?;
        self.holdings.begin_load(key, &bundle, length_bytes);
        self.residency.set_loading(key, true);
        Ok(())
    }

    /// A load has ended, well or not.
    fn take_in(&mut self, key: BlockKey, result: Result<Arc<Block>, LoadEnd>) {
        let end_without = result.as_ref().err().copied().unwrap_or(LoadEnd::Unneeded);
        let length_bytes = result.as_ref().map_or(0, |block| block.range().len());
        let is_usable = result.as_ref().is_ok_and(|block| self.store.is_in_use(block.bundle().volume()));
        let is_wanted = is_usable && (self.admission.holds(key) || self.prefetched.holds(key));
        let ended = self.holdings.end_load(key, result.ok(), is_wanted);
        // Not before it can be found.
        self.residency.set_loading(key, false);
        let Some(ended) = ended else { return };
        let (volume, now) = (ended.volume.as_usize(), Instant::now());
        self.loaders[volume].loaded(now);
        let end = if ended.serves { LoadEnd::Loaded } else { end_without };
        count(&self.counters.loads[end as usize], 1);
        match end {
            LoadEnd::Loaded => count(&self.counters.loaded_bytes, length_bytes),
            _ => {
                self.admission.forget(key);
                self.forget_prefetched(key, PrefetchEnd::Failed);
            }
        }
        for asker in self.askers.remove(&key).unwrap_or_default() {
            asker.send(Message::BlockSettled(key));
        }
        if end == LoadEnd::LockRefused {
            self.loaders[volume].pause(TIER_LOCK_PAUSE, now);
        }
    }

    fn refuse(&self, refusal: Refusal) {
        count(&self.counters.refusals[refusal as usize], 1);
    }

    /// Looks at the machine, the disks and the files: what is sent from memory is not verified again, so that damage would not be
    /// noticed by sending it.
    fn look_around(&mut self) {
        let sight = self.lookout.look(Instant::now(), self.holdings.bytes().loading > 0);
        self.give_back(sight.short_bytes, Departure::Memory);
        for (loader, reads) in self.loaders.iter_mut().zip(sight.reads) {
            loader.note_reads(reads.count(), reads.sum_micros);
        }
        if sight.has_memory_failed {
            tracing::error!(
                "memory of this machine has failed; all blocks are read and verified anew. Replace the memory"
            );
            self.holdings.break_all();
        }
        if sight.looks_at_files {
            self.put_out_damaged(sight.has_memory_failed);
        }
    }

    /// Unmaps what nobody uses any more, has files closed, and says what is held.
    fn sweep(&mut self) {
        for (volume, file) in self.holdings.sweep() {
            self.loaders[volume.as_usize()].close(file);
        }
        let held = self.holdings.bytes();
        self.counters.resident_bytes.store(held.resident, Relaxed);
        self.counters.loading_bytes.store(held.loading, Relaxed);
        self.counters.leaving_bytes.store(held.leaving, Relaxed);
        self.counters.blocks.store(self.holdings.block_count() as u64, Relaxed);
        self.counters.files.store(self.holdings.bundle_count() as u64, Relaxed);
    }
}
