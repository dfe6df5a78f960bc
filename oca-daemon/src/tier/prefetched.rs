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

/// Where one more block may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Beside the others.
    Free,
    /// In the place of this one, which has to leave first.
    Of(BlockKey),
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

    /// Where a block may lie for which `new_bytes` are to be taken of the tier's `spare_bytes`; `None`: nowhere. Where there are as many as
    /// may be, the oldest leaves for it, if it `may_go`, and if the block fits then.
    pub(super) fn place_for(
        &mut self,
        new_bytes: u64,
        spare_bytes: u64,
        may_go: impl Fn(BlockKey) -> bool,
    ) -> Option<Place> {
        if self.has_room() {
            return (new_bytes <= spare_bytes).then_some(Place::Free);
        }
        let (oldest, kept) = self.oldest()?;
        let fits = new_bytes <= spare_bytes + kept.length_bytes;
        (fits && may_go(oldest)).then_some(Place::Of(oldest))
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
        self.next_if(|kept| now.saturating_duration_since(kept.since) >= PREFETCHED_KEPT)
    }

    /// The oldest of all, as [`Self::next_expired`] gives it.
    pub(super) fn next_oldest(&mut self) -> Option<BlockKey> {
        self.next_if(|_| true)
    }

    fn next_if(&mut self, is_meant: impl Fn(Kept) -> bool) -> Option<BlockKey> {
        let (key, _) = self.oldest().filter(|(_, kept)| is_meant(*kept))?;
        self.by_age.pop_front();
        Some(key)
    }

    /// The oldest of those that are here. Before it, nothing is left of what has gone, or has come again since.
    fn oldest(&mut self) -> Option<(BlockKey, Kept)> {
        while let Some(&(key, since)) = self.by_age.front() {
            if let Some(kept) = self.blocks.get(&key).filter(|kept| kept.since == since) {
                return Some((key, *kept));
            }
            self.by_age.pop_front();
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
        assert_eq!(prefetched.next_oldest(), Some(key(1)));
        assert_eq!(prefetched.next_oldest(), None);
    }

    #[test]
    fn the_oldest_leaves_only_where_all_places_are_taken_and_where_the_block_fits_then() {
        let mut prefetched = Prefetched::new(2 * BLOCK_BYTES);
        let now = Instant::now();
        prefetched.add(key(1), 100, now);
        assert_eq!(prefetched.place_for(50, 50, |_| true), Some(Place::Free));
        assert_eq!(prefetched.place_for(51, 50, |_| true), None, "others have the bytes");
        prefetched.add(key(2), 100, now);
        assert_eq!(prefetched.place_for(150, 50, |_| true), Some(Place::Of(key(1))));
        assert_eq!(prefetched.place_for(151, 50, |_| true), None, "it would not fit then");
        assert_eq!(prefetched.place_for(150, 50, |oldest| oldest != key(1)), None, "only the oldest leaves");
        assert_eq!(prefetched.next_oldest(), Some(key(1)), "nobody has left by being asked about");
        assert_eq!(Prefetched::new(BLOCK_BYTES - 1).place_for(1, BLOCK_BYTES, |_| true), None);
    }

    /// One that has a place of its own is on its way still, and may not go.
    #[test]
    fn what_has_gone_is_not_taken_for_the_oldest() {
        let mut prefetched = Prefetched::new(2 * BLOCK_BYTES);
        let now = Instant::now();
        (1..=2).for_each(|number| prefetched.add(key(number), 100, now));
        prefetched.remove(key(1));
        prefetched.add(key(3), 100, now);
        let place = prefetched.place_for(100, 0, |oldest| oldest != key(1));
        assert_eq!(place, Some(Place::Of(key(2))));
    }
}
