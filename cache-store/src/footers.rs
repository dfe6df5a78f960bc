//! The footer cache: which bundles are open. Bounded by bytes of footers and by number of files; when full, a
//! sweep (CLOCK) lets go of what was not used since the last one. What a connection holds stays open until it
//! lets go, so the number of open files is bounded by this cache and the connections together.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bundle::{Bundle, OpenBundle, VolumeIndex};

#[derive(Debug)]
pub(crate) struct Footers {
    clock: Mutex<Clock>,
    bytes_max: u64,
    count_max: usize,
}

#[derive(Debug, Default)]
struct Clock {
    /// The hand is before the first.
    entries: VecDeque<Entry>,
    bytes: u64,
}

#[derive(Debug)]
struct Entry {
    bundle: Arc<Bundle>,
    bytes: u64,
}

/// How full the cache is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FooterUse {
    /// Bytes of footers in memory.
    pub bytes: u64,
    /// Their bound.
    pub bytes_max: u64,
    /// Bundles open.
    pub bundles: usize,
    /// Their bound.
    pub bundles_max: usize,
}

impl Footers {
    pub(crate) fn new(bytes_max: u64, count_max: usize) -> Self {
        Self { clock: Mutex::default(), bytes_max, count_max }
    }

    /// Keeps an open bundle, unless it is leaving or `is_usable` says no, which are asked under the cache's
    /// lock: who makes a bundle leave evicts it afterwards. Returns how many others had to go.
    pub(crate) fn keep(&self, open: &Arc<OpenBundle>, is_usable: impl Fn() -> bool) -> usize {
        let bundle = open.bundle();
        let bytes = open.memory_bytes();
        let evicted = {
            let mut clock = self.lock();
            if bundle.is_leaving() || !is_usable() || bytes > self.bytes_max {
                return 0;
            }
            let replaced = clock.remove(|entry| Arc::ptr_eq(&entry.bundle, bundle));
            let evicted = clock.sweep(self.bytes_max - bytes, self.count_max.saturating_sub(1));
            clock.bytes += bytes;
            clock.entries.push_back(Entry { bundle: Arc::clone(bundle), bytes });
            bundle.open_slot().store(Some(Arc::clone(open)));
            (evicted, replaced)
        };
        // What the entries held is let go outside the lock.
        evicted.0.len()
    }

    /// Lets go of one bundle.
    pub(crate) fn evict(&self, bundle: &Arc<Bundle>) {
        let _evicted = self.lock().remove(|entry| Arc::ptr_eq(&entry.bundle, bundle));
    }

    /// Lets go of all bundles of a volume.
    pub(crate) fn evict_volume(&self, volume: VolumeIndex) {
        let _evicted = self.lock().remove(|entry| entry.bundle.volume() == volume);
    }

    /// Lets go of everything.
    pub(crate) fn clear(&self) {
        let _evicted = self.lock().remove(|_| true);
    }

    pub(crate) fn usage(&self) -> FooterUse {
        let clock = self.lock();
        FooterUse {
            bytes: clock.bytes,
            bytes_max: self.bytes_max,
            bundles: clock.entries.len(),
            bundles_max: self.count_max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock {
    /// Moves the hand on until no more than that is left. What was used since the hand passed last is spared
    /// once.
    fn sweep(&mut self, bytes_max: u64, count_max: usize) -> Vec<Option<Arc<OpenBundle>>> {
        let mut evicted = Vec::new();
        let mut spared = 0..self.entries.len();
        while self.bytes > bytes_max || self.entries.len() > count_max {
            let Some(entry) = self.entries.pop_front() else { break };
            if entry.bundle.take_used() && spared.next().is_some() {
                self.entries.push_back(entry);
            } else {
                evicted.push(self.let_go(&entry));
            }
        }
        evicted
    }

    fn remove(&mut self, goes: impl Fn(&Entry) -> bool) -> Vec<Option<Arc<OpenBundle>>> {
        let mut evicted = Vec::new();
        for _ in 0..self.entries.len() {
            let Some(entry) = self.entries.pop_front() else { break };
            if goes(&entry) {
                evicted.push(self.let_go(&entry));
            } else {
                self.entries.push_back(entry);
            }
        }
        evicted
    }

    fn let_go(&mut self, entry: &Entry) -> Option<Arc<OpenBundle>> {
        self.bytes -= entry.bytes;
        entry.bundle.open_slot().swap(None)
    }
}
