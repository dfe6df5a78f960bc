//! Which bundle in memory is asked for least, where whole bundles have to make room: for another's descriptor, or for the machine.
//!
//! A hand goes round. Whoever was asked for since it last came by stays, and has to be asked for again until it comes back
//! (second chance; Corbató, "A paging experiment with the Multics system", 1969). No clock, no order to be kept: a mark for each
//! request.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

/// The bundles in memory, by instance.
#[derive(Default)]
pub(super) struct SecondChance {
    /// Those that the hand comes to, the next one first; bundles that have gone among them.
    round: VecDeque<u64>,
    was_asked: HashMap<u64, bool>,
}

/// However few bundles there are, so many that have gone are left for the hand to meet.
const GONE_MIN: usize = 64;

impl SecondChance {
    /// A bundle has come, if it is not there; nobody has asked for it yet.
    pub(super) fn add(&mut self, bundle: u64) {
        let Entry::Vacant(vacant) = self.was_asked.entry(bundle) else { return };
        vacant.insert(false);
        if self.round.len() >= 2 * self.was_asked.len() + GONE_MIN {
            let mut seen = HashSet::new();
            self.round.retain(|other| {
                *other != bundle && self.was_asked.contains_key(other) && seen.insert(*other)
            });
        }
        self.round.push_back(bundle);
    }

    /// A bundle has gone.
    pub(super) fn remove(&mut self, bundle: u64) {
        self.was_asked.remove(&bundle);
    }

    /// A bundle was asked for.
    pub(super) fn touch(&mut self, bundle: u64) {
        if let Some(was_asked) = self.was_asked.get_mut(&bundle) {
            *was_asked = true;
        }
    }

    /// The hand comes to the next bundle, which is returned if it was not asked for since the hand last came.
    pub(super) fn advance(&mut self) -> Option<u64> {
        while let Some(bundle) = self.round.pop_front() {
            if let Some(was_asked) = self.was_asked.get_mut(&bundle) {
                self.round.push_back(bundle);
                return (!std::mem::take(was_asked)).then_some(bundle);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bundles: impl IntoIterator<Item = u64>) -> SecondChance {
        let mut chance = SecondChance::default();
        for bundle in bundles {
            chance.add(bundle);
            chance.touch(bundle);
        }
        chance
    }

    #[test]
    fn whoever_is_asked_for_again_and_again_stays_and_whoever_is_not_goes_in_the_second_round() {
        let mut chance = of(0..4);
        let mut gone = Vec::new();
        for _ in 0..8 {
            chance.touch(1);
            gone.extend(chance.advance());
        }
        assert_eq!(gone, [0, 2, 3]);
    }

    #[test]
    fn what_nobody_has_asked_for_goes_in_the_first_round() {
        let mut chance = of([0]);
        chance.add(1);
        chance.add(0);
        assert_eq!((chance.advance(), chance.advance()), (None, Some(1)));
    }

    #[test]
    fn what_has_gone_is_not_met_again() {
        let mut chance = of(0..3);
        chance.remove(1);
        let met: Vec<_> = (0..6).filter_map(|_| chance.advance()).collect();
        assert_eq!(met, [0, 2, 0, 2]);
        chance.remove(0);
        chance.remove(2);
        assert_eq!(chance.advance(), None);
    }

    #[test]
    fn bundles_that_come_and_go_leave_nothing_behind_that_grows() {
        let mut chance = of([0]);
        for turn in 0..10_000 {
            chance.add(1 + turn % 3);
            chance.remove(1 + turn % 3);
        }
        assert!(chance.round.len() <= GONE_MIN + 4, "{}", chance.round.len());
    }
}
