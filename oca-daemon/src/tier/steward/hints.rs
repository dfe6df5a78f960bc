//! What players said they would ask for next is brought into memory, where that costs nobody anything: while its disk has leisure, and
//! in room that nothing else needs. A hint displaces nothing, and tells the policy nothing.

use std::time::Instant;

use super::super::block::BlockKey;
use super::super::counters::{Departure, PrefetchEnd, count};
use super::super::samples::Hint;
use super::{Steward, Verdict, Wish};
use crate::limits::TIER_HINTED_LOADS_MAX;

impl Steward {
    pub(super) fn take_hints(&mut self) {
        for worker in 0..self.samples.len() {
            for _ in 0..self.samples[worker].hinted.slots() {
                let Some(hint) = self.next_hint(worker) else { break };
                if let Err(end) = self.take_hint(&hint) {
                    self.prefetch_ended(end);
                }
            }
        }
    }

    /// The next hint of a worker, unless it waits for its volume's loader. One for a disk that hangs, or that has waited for long, holds up
    /// no others.
    fn next_hint(&mut self, worker: usize) -> Option<Hint> {
        let (hinted, now) = (&mut self.samples[worker].hinted, Instant::now());
        let hint = hinted.peek().ok()?;
        let loader = &self.loaders[hint.bundle.volume().as_usize()];
        let waits = loader.loads() >= TIER_HINTED_LOADS_MAX && !loader.is_stalled(now) && !hint.is_stale(now);
        if waits { None } else { hinted.pop().ok() }
    }

    fn take_hint(&mut self, hint: &Hint) -> Result<(), PrefetchEnd> {
        let (Hint { key, bundle, .. }, now) = (hint, Instant::now());
        let key = *key;
        if hint.is_stale(now) {
            return Err(PrefetchEnd::Busy);
        }
        if self.prefetched.holds(key) || self.admission.holds(key) || self.holdings.is_loading(key) {
            return Err(PrefetchEnd::Held);
        }
        let is_served = !bundle.is_leaving() && self.store.is_in_use(bundle.volume());
        if !is_served || self.may_load(key, bundle, Wish::Hinted).is_err() {
            return Err(PrefetchEnd::Busy);
        }
        let length_bytes = key.range(bundle.record().data_bytes).len();
        if !self.prefetched.has_room() || self.holdings.bytes().sum() + length_bytes > self.budget.bytes {
            return Err(PrefetchEnd::Full);
        }
        let open = bundle.opened().ok_or(PrefetchEnd::Busy)?;
        self.load(key, open, length_bytes).map_err(|_| PrefetchEnd::Busy)?;
        self.loaders[bundle.volume().as_usize()].note_hinted(length_bytes, now);
        self.prefetched.add(key, length_bytes, now);
        Ok(())
    }

    /// A block that was brought ahead is asked for: from now on the policy decides about it as about others. `false`: it was not.
    pub(super) fn take_prefetched(&mut self, key: BlockKey, position: u16) -> bool {
        let Some(used) = self.prefetched.note_use(key) else { return false };
        if used.is_first {
            self.prefetch_ended(PrefetchEnd::Used);
        }
        match self.admission.ask(key, position, used.length_bytes, true) {
            // It goes when its time is over, unless it is asked for again until then.
            Verdict::Noted | Verdict::Outweighed => {}
            Verdict::Admitted | Verdict::Held => {
                // While it is still among these: the policy may have declined it a moment ago, and put it out so.
                self.put_out_displaced();
                self.prefetched.remove(key);
            }
        }
        true
    }

    /// Takes out what was brought ahead long ago.
    pub(super) fn put_out_unasked(&mut self) {
        let now = Instant::now();
        while let Some(key) = self.prefetched.next_expired(now) {
            self.put_out(key, Departure::BroughtAhead);
        }
    }

    /// Takes out what was brought ahead, so many bytes of it or all, because others need the room.
    pub(super) fn put_out_prefetched(&mut self, bytes: u64) {
        let before = self.holdings.bytes().resident;
        while before - self.holdings.bytes().resident < bytes
            && let Some(key) = self.prefetched.next_oldest()
        {
            self.put_out(key, Departure::BroughtAhead);
        }
    }

    /// A block is not in memory any more, or not to come there.
    pub(super) fn forget_prefetched(&mut self, key: BlockKey, end: PrefetchEnd) {
        if self.prefetched.remove(key) == Some(false) {
            self.prefetch_ended(end);
        }
    }

    fn prefetch_ended(&self, end: PrefetchEnd) {
        count(&self.counters.prefetches[end as usize], 1);
    }
}
