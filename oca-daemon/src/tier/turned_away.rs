//! Who asked for which block a moment ago and was told to read it himself. While he does, somebody on another worker who wants the same
//! shows that it is no one-hit wonder: workers share no reads. Pure; the steward acts.

use std::collections::VecDeque;
use std::time::Instant;

use super::block::BlockKey;
use crate::limits::{TIER_TURNED_AWAY_KEPT, TIER_TURNED_AWAY_MAX};

#[derive(Default)]
pub(super) struct TurnedAway {
    /// The latest last.
    askers: VecDeque<Asker>,
}

struct Asker {
    key: BlockKey,
    worker: usize,
    since: Instant,
}

impl TurnedAway {
    /// Who asks for the same again is remembered once, and for longer.
    pub(super) fn add(&mut self, key: BlockKey, worker: usize, now: Instant) {
        self.askers.retain(|asker| asker.key != key || asker.worker != worker);
        if self.askers.len() == TIER_TURNED_AWAY_MAX {
            self.askers.pop_front();
        }
        self.askers.push_back(Asker { key, worker, since: now });
    }

    /// Whether somebody on another worker may be reading the block still.
    pub(super) fn has_elsewhere(&self, key: BlockKey, worker: usize, now: Instant) -> bool {
        let is_recent = |asker: &&Asker| now.saturating_duration_since(asker.since) < TIER_TURNED_AWAY_KEPT;
        let mut recent = self.askers.iter().rev().take_while(is_recent);
        recent.any(|asker| asker.key == key && asker.worker != worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> BlockKey {
        BlockKey::numbered(number)
    }

    #[test]
    fn whoever_asks_for_the_same_block_on_another_worker_is_not_alone_for_a_while() {
        let (mut turned_away, now) = (TurnedAway::default(), Instant::now());
        turned_away.add(key(1), 0, now);
        assert!(turned_away.has_elsewhere(key(1), 1, now));
        assert!(!turned_away.has_elsewhere(key(1), 0, now), "it is his own");
        assert!(!turned_away.has_elsewhere(key(2), 1, now), "another block");
        assert!(!turned_away.has_elsewhere(key(1), 1, now + TIER_TURNED_AWAY_KEPT));
    }

    #[test]
    fn no_more_are_remembered_than_may_be_and_the_latest_are() {
        let (mut turned_away, now) = (TurnedAway::default(), Instant::now());
        let numbers = 0..2 * TIER_TURNED_AWAY_MAX as u64;
        numbers.clone().for_each(|number| turned_away.add(key(number), 0, now));
        let known = numbers.filter(|number| turned_away.has_elsewhere(key(*number), 1, now));
        assert!(known.eq(TIER_TURNED_AWAY_MAX as u64..2 * TIER_TURNED_AWAY_MAX as u64));
        assert_eq!(turned_away.askers.len(), TIER_TURNED_AWAY_MAX);
    }

    #[test]
    fn whoever_asks_again_and_again_is_remembered_once_and_pushes_nobody_out() {
        let (mut turned_away, now) = (TurnedAway::default(), Instant::now());
        let later = now + TIER_TURNED_AWAY_KEPT / 2;
        turned_away.add(key(1), 0, now);
        turned_away.add(key(1), 1, now);
        (0..2 * TIER_TURNED_AWAY_MAX).for_each(|_| turned_away.add(key(2), 0, later));
        assert!(turned_away.has_elsewhere(key(1), 0, later) && turned_away.has_elsewhere(key(1), 1, later));
        assert_eq!(turned_away.askers.len(), 3);
    }

    #[test]
    fn whoever_asks_again_is_remembered_from_then_on() {
        let (mut turned_away, now) = (TurnedAway::default(), Instant::now());
        let later = now + TIER_TURNED_AWAY_KEPT / 2;
        turned_away.add(key(1), 0, now);
        turned_away.add(key(2), 0, now);
        turned_away.add(key(1), 0, later);
        let at_last = now + TIER_TURNED_AWAY_KEPT;
        assert!(turned_away.has_elsewhere(key(1), 1, at_last));
        assert!(!turned_away.has_elsewhere(key(2), 1, at_last));
    }
}
