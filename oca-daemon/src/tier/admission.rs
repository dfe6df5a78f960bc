//! What is to be in memory: decided over keys alone, by `moka`, whose policy (W-TinyLFU, weighed in bytes) admits a block only
//! if it was asked for more often than what would have to go. On the tier's thread only, where its housekeeping costs no request
//! anything.

use std::sync::{Arc, Mutex, PoisonError};

use moka::sync::Cache;

use super::block::BlockKey;
use super::recent::Recent;

/// Decides by samples which blocks are in memory.
pub(super) struct Admission {
    /// The weight of every block that is in memory or on its way there.
    cache: Cache<BlockKey, u32>,
    recent: Recent,
    /// What the policy has put out. Locked for the length of a push: the listener runs within calls of this thread's.
    evicted: Arc<Mutex<Vec<BlockKey>>>,
    bytes: u64,
    weight_min: u64,
}

/// What becomes of a block that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is in memory, or on its way.
    Held,
    /// It was asked for once.
    Noted,
    /// What is there is asked for more often.
    Outweighed,
    /// To be loaded: it has its place.
    Admitted,
}

impl Admission {
    /// Of `bytes` in at most `blocks_max` blocks.
    pub(super) fn new(bytes: u64, blocks_max: u64) -> Self {
        let evicted = Arc::new(Mutex::new(Vec::new()));
        let listener = {
            let evicted = Arc::clone(&evicted);
            move |key: Arc<BlockKey>, _weight, cause: moka::notification::RemovalCause| {
                if cause.was_evicted() {
                    evicted.lock().unwrap_or_else(PoisonError::into_inner).push(*key);
                }
            }
        };
        let cache = Cache::builder()
            .max_capacity(bytes)
            .weigher(|_key, weight: &u32| *weight)
            .eviction_listener(listener)
            .build();
        let recent = usize::try_from(blocks_max.saturating_mul(RECENT_PER_BLOCK)).unwrap_or(usize::MAX);
        Self {
            cache,
            recent: Recent::new(recent.clamp(RECENT_BLOCKS_MIN, RECENT_BLOCKS_MAX)),
            evicted,
            bytes,
            // A block takes a mapping, however short it is: so both bounds are one.
            weight_min: bytes / blocks_max.max(1),
        }
    }

    /// A block of `length_bytes` was asked for. `is_welcome`: for the first time is enough, where nothing has to go for it.
    pub(super) fn ask(
        &mut self,
        key: BlockKey,
        position: u16,
        length_bytes: u64,
        is_welcome: bool,
    ) -> Verdict {
        // Counted by the policy, whether it is there or not.
        if self.cache.get(&key).is_some() {
            return Verdict::Held;
        }
        let weight = length_bytes.max(self.weight_min);
        let is_candidate = self.recent.note(key, position) || (is_welcome && self.has_room(weight));
        if !is_candidate {
            return Verdict::Noted;
        }
        self.cache.insert(key, u32::try_from(weight).unwrap_or(u32::MAX));
        self.cache.run_pending_tasks();
        if self.cache.contains_key(&key) {
            return Verdict::Admitted;
        }
        self.recent.note(key, position);
        Verdict::Outweighed
    }

    fn has_room(&self, weight: u64) -> bool {
        self.cache.run_pending_tasks();
        self.cache.weighted_size() + weight <= self.bytes
    }

    /// A block was asked for while nothing can be loaded: counted, and nothing makes room for it. `true`: it would have been a
    /// candidate, and its next request tries again.
    pub(super) fn decline(&mut self, key: BlockKey, position: u16) -> bool {
        let is_candidate = self.cache.get(&key).is_none() && self.recent.note(key, position);
        if is_candidate {
            self.recent.note(key, position);
        }
        is_candidate
    }

    /// A block that was in memory was asked for.
    pub(super) fn touch(&self, key: BlockKey) {
        let _ = self.cache.get(&key);
    }

    /// Whether the block is in memory, or on its way there.
    pub(super) fn holds(&self, key: BlockKey) -> bool {
        self.cache.contains_key(&key)
    }

    /// A block is not in memory after all, or not any more.
    pub(super) fn forget(&mut self, key: BlockKey) {
        self.cache.invalidate(&key);
    }

    /// As [`Self::forget`], of a block that could not be taken in just now: its next request tries again.
    pub(super) fn postpone(&mut self, key: BlockKey, position: u16) {
        self.cache.invalidate(&key);
        self.recent.note(key, position);
    }

    /// Does what the policy has left for later, as it does of samples.
    pub(super) fn settle(&self) {
        self.cache.run_pending_tasks();
    }

    /// What has been put out since this was last asked.
    pub(super) fn take_evicted(&self) -> Vec<BlockKey> {
        std::mem::take(&mut *self.evicted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Blocks that are remembered as asked for once, for each that fits into memory: the longer the tail, the longer it takes until
/// somebody asks again.
const RECENT_PER_BLOCK: u64 = 4;
/// However small the tier is.
const RECENT_BLOCKS_MIN: usize = 4096;
/// However large: two generations of these take some 10 MiB.
const RECENT_BLOCKS_MAX: usize = 1 << 18;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn key(number: u64) -> BlockKey {
        BlockKey::numbered(number)
    }

    fn ask_twice(admission: &mut Admission, number: u64) -> Verdict {
        assert_eq!(admission.ask(key(number), 0, 2 * MIB, false), Verdict::Noted);
        admission.ask(key(number), 0, 2 * MIB, false)
    }

    #[test]
    fn a_block_is_admitted_when_it_is_asked_for_again() {
        let mut admission = Admission::new(16 * MIB, 100);
        assert_eq!(ask_twice(&mut admission, 1), Verdict::Admitted);
        assert_eq!(admission.ask(key(1), 0, 2 * MIB, false), Verdict::Held);
        admission.forget(key(1));
        assert_eq!(admission.ask(key(1), 0, 2 * MIB, false), Verdict::Noted);
        assert!(admission.take_evicted().is_empty(), "what is forgotten was not evicted");
    }

    #[test]
    fn what_is_asked_for_often_is_not_put_out_by_what_is_asked_for_twice() {
        let mut admission = Admission::new(16 * MIB, 100);
        for number in 0..8 {
            assert_eq!(ask_twice(&mut admission, number), Verdict::Admitted);
        }
        for _ in 0..10 {
            for number in 0..8 {
                assert_eq!(admission.ask(key(number), 0, 2 * MIB, false), Verdict::Held);
            }
        }
        admission.settle();
        for number in 100..400 {
            assert_eq!(ask_twice(&mut admission, number), Verdict::Outweighed);
        }
        assert!((0..8).all(|number| admission.cache.contains_key(&key(number))));
    }

    #[test]
    fn what_has_become_popular_comes_in_and_what_has_gone_cold_goes() {
        let mut admission = Admission::new(16 * MIB, 100);
        for number in 0..8 {
            ask_twice(&mut admission, number);
        }
        let verdicts: Vec<_> = (0..12).map(|_| admission.ask(key(100), 0, 2 * MIB, false)).collect();
        assert!(verdicts.contains(&Verdict::Admitted), "{verdicts:?}");
        assert_eq!(verdicts.last(), Some(&Verdict::Held));
        let evicted = admission.take_evicted();
        assert_eq!(evicted.iter().filter(|&&evicted| evicted != key(100)).count(), 1, "{evicted:?}");
    }

    #[test]
    fn what_is_asked_for_once_fills_free_room_and_displaces_nothing() {
        let mut admission = Admission::new(16 * MIB, 100);
        for number in 0..8 {
            assert_eq!(admission.ask(key(number), 0, 2 * MIB, true), Verdict::Admitted);
        }
        for number in 100..400 {
            assert_eq!(admission.ask(key(number), 0, 2 * MIB, true), Verdict::Noted);
        }
        admission.settle();
        assert!((0..8).all(|number| admission.cache.contains_key(&key(number))));
        assert!(admission.take_evicted().is_empty());
    }

    /// So many requests for blocks `0..blocks`, the one of rank `r` in proportion to `1 / r^exponent`; always the same.
    fn zipf(blocks: usize, exponent: f64, requests: usize) -> Vec<u64> {
        let mut sum = 0.0;
        let weights = (1..=blocks).map(|rank| (rank as f64).powf(-exponent));
        let cumulated: Vec<f64> = weights
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        let mut state = 1u64;
        let draw = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let drawn = (state >> 11) as f64 / (1u64 << 53) as f64 * sum;
            cumulated.partition_point(|upto| *upto <= drawn) as u64
        };
        (0..requests).map(draw).collect()
    }

    /// Hits of the later three quarters, where each block that is admitted is in memory at once.
    fn hits(trace: &[u64], blocks: u64) -> f64 {
        let mut admission = Admission::new(blocks * 2 * MIB, 10_000);
        let mut hits = 0;
        for (position, number) in trace.iter().enumerate() {
            let verdict = admission.ask(key(*number), 0, 2 * MIB, true);
            hits += usize::from(verdict == Verdict::Held && position >= trace.len() / 4);
        }
        hits as f64 / (trace.len() * 3 / 4) as f64
    }

    fn hits_of_least_recently_used(trace: &[u64], blocks: usize) -> f64 {
        let (mut held, mut hits) = (std::collections::VecDeque::new(), 0);
        for (position, number) in trace.iter().enumerate() {
            match held.iter().position(|other| other == number) {
                Some(place) => {
                    held.remove(place);
                    hits += usize::from(position >= trace.len() / 4);
                }
                None if held.len() == blocks => drop(held.pop_front()),
                None => {}
            }
            held.push_back(*number);
        }
        hits as f64 / (trace.len() * 3 / 4) as f64
    }

    #[test]
    fn a_working_set_of_eight_times_the_tier_is_held_better_than_by_recency() {
        for exponent in [0.8, 1.0] {
            let trace = zipf(1024, exponent, 8_000);
            let (ours, recency) = (hits(&trace, 128), hits_of_least_recently_used(&trace, 128));
            assert!(ours > recency + 0.02, "{exponent}: {ours:.3}, by recency {recency:.3}");
        }
    }

    #[test]
    fn neither_bytes_nor_blocks_exceed_their_bounds() {
        let mut admission = Admission::new(16 * MIB, 4);
        for number in 0..1000 {
            ask_twice(&mut admission, number);
            assert!(admission.cache.entry_count() <= 4, "{}", admission.cache.entry_count());
        }
    }
}
