//! Blocks that players said they would ask for next, and that nobody has asked for yet, or not often enough to have a place of their
//! own; and blocks that workers wanted at once, as long as they have none. They lie in the reserve that the policy leaves, as far as
//! nothing else needs it: what is hot makes no room for them, and what a client names is not counted as asked for. Pure; the steward
//! acts.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::block::{BLOCK_BYTES, BlockKey};
use crate::limits::PREFETCHED_KEPT;

pub(super) struct Prefetched {
    blocks: HashMap<BlockKey, Kept>,
    /// The oldest first; some are gone.
    by_age: VecDeque<(BlockKey, Instant)>,
    blocks_max: usize,
}

#[derive(Clone, Copy)]
struct Kept {
    length_bytes: u64,
    since: Instant,
    is_used: bool,
}

/// A block that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) length_bytes: u64,
    /// Nobody had asked for it before.
    pub(super) is_first: bool,
}

impl Prefetched {
    /// Of no more than `bytes`. A short block counts as a whole one: each takes a mapping.
    pub(super) fn new(bytes: u64) -> Self {
        let blocks_max = usize::try_from(bytes / BLOCK_BYTES).unwrap_or(usize::MAX);
        Self { blocks: HashMap::new(), by_age: VecDeque::new(), blocks_max }
    }

    pub(super) fn has_room(&self) -> bool {
        self.blocks.len() < self.blocks_max
    }

    pub(super) fn holds(&self, key: BlockKey) -> bool {
        self.blocks.contains_key(&key)
    }

    pub(super) fn add(&mut self, key: BlockKey, length_bytes: u64, now: Instant) {
        self.blocks.insert(key, Kept { length_bytes, since: now, is_used: false });
        self.by_age.push_back((key, now));
    }

    /// A block was asked for; `None`: it is none of these.
    pub(super) fn note_use(&mut self, key: BlockKey) -> Option<Use> {
        let kept = self.blocks.get_mut(&key)?;
        let is_first = !std::mem::replace(&mut kept.is_used, true);
        Some(Use { length_bytes: kept.length_bytes, is_first })
    }

    /// A block has left, or has a place of its own; whether anybody had asked for it. `None`: it was none of these.
    pub(super) fn remove(&mut self, key: BlockKey) -> Option<bool> {
        self.blocks.remove(&key).map(|kept| kept.is_used)
    }

    /// The oldest of those that have been here for as long as they may. The next call gives the next one, whether it was removed or not.
    pub(super) fn next_expired(&mut self, now: Instant) -> Option<BlockKey> {
        self.next_if(|_, since| now.saturating_duration_since(since) >= PREFETCHED_KEPT)
    }

    /// The oldest of all.
    pub(super) fn next_oldest(&mut self) -> Option<BlockKey> {
        self.next_oldest_if(|_| true)
    }

    /// The oldest of all, if it may go.
    pub(super) fn next_oldest_if(&mut self, may_go: impl Fn(BlockKey) -> bool) -> Option<BlockKey> {
        self.next_if(|key, _| may_go(key))
    }

    fn next_if(&mut self, is_meant: impl Fn(BlockKey, Instant) -> bool) -> Option<BlockKey> {
        while let Some((key, since)) = self.by_age.pop_front_if(|(key, since)| is_meant(*key, *since)) {
            if self.blocks.get(&key).is_some_and(|kept| kept.since == since) {
                return Some(key);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(number: u64) -> BlockKey {
        BlockKey::numbered(number)
    }

    #[test]
    fn there_are_no_more_than_fit_and_a_short_block_counts_as_a_whole_one() {
        let mut prefetched = Prefetched::new(2 * BLOCK_BYTES);
        let now = Instant::now();
        prefetched.add(key(1), 100, now);
        assert!(prefetched.has_room());
        prefetched.add(key(2), 100, now);
        assert!(!prefetched.has_room());
        assert_eq!(prefetched.remove(key(1)), Some(false));
        assert!(prefetched.has_room() && !prefetched.holds(key(1)) && prefetched.holds(key(2)));
        assert!(!Prefetched::new(BLOCK_BYTES - 1).has_room());
    }

    #[test]
    fn the_first_to_ask_for_a_block_is_known() {
        let mut prefetched = Prefetched::new(2 * BLOCK_BYTES);
        prefetched.add(key(1), 100, Instant::now());
        let of = |is_first| Some(Use { length_bytes: 100, is_first });
        assert_eq!((prefetched.note_use(key(1)), prefetched.note_use(key(1))), (of(true), of(false)));
        assert_eq!((prefetched.note_use(key(2)), prefetched.remove(key(1))), (None, Some(true)));
    }

    #[test]
    fn a_block_stays_for_its_time_and_one_that_comes_again_begins_anew() {
        let mut prefetched = Prefetched::new(8 * BLOCK_BYTES);
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        prefetched.add(key(1), 1, now);
        prefetched.add(key(2), 1, now);
        prefetched.remove(key(1));
        prefetched.add(key(1), 1, later);
        assert_eq!(prefetched.next_expired(now + PREFETCHED_KEPT - Duration::from_millis(1)), None);
        assert_eq!(prefetched.next_expired(now + PREFETCHED_KEPT), Some(key(2)));
        assert_eq!(prefetched.next_expired(now + PREFETCHED_KEPT), None);
        assert_eq!(prefetched.next_oldest_if(|oldest| oldest != key(1)), None);
        assert_eq!(prefetched.next_oldest(), Some(key(1)));
        assert_eq!(prefetched.next_oldest(), None);
    }
}
