//! Which bundles an appliance is expected to fetch: those of its newest manifest, without those that it passed over when it last
//! planned. Whoever asks for sources names all that it is about to fetch; what it neither named nor held then had no room there, or
//! was not worth its bytes that night.

use std::sync::Arc;

use control_client::fleet::ApplianceName;
use roaring::RoaringBitmap;

use super::Fleet;
use crate::limits::QUESTION_SECONDS;

/// Of one appliance, by the numbers of bundles.
#[derive(Clone, Debug, Default)]
pub struct Expectation {
    assigned: RoaringBitmap,
    passed_over: RoaringBitmap,
    asked_at: Option<u64>,
}

impl Expectation {
    /// Whether it is expected to fetch that bundle, or has fetched it. What it passed over counts once its question has ended.
    pub fn contains(&self, number: u32, now: u64) -> bool {
        self.assigned.contains(number) && (self.is_asking(now) || !self.passed_over.contains(number))
    }

    /// Notes the bundles of its newest manifest.
    pub(super) fn assign(&mut self, bundles: RoaringBitmap) {
        self.passed_over &= &bundles;
        self.assigned = bundles;
    }

    /// Notes for which bundles it asks for sources, and what it holds. Questions that follow each other closely are one.
    pub(super) fn note_question(&mut self, asked: &RoaringBitmap, held: &RoaringBitmap, now: u64) {
        if !self.is_asking(now) {
            self.passed_over = &self.assigned - held;
        }
        self.passed_over -= asked;
        self.asked_at = Some(now);
    }

    fn is_asking(&self, now: u64) -> bool {
        self.asked_at.is_some_and(|at| now.saturating_sub(at) <= QUESTION_SECONDS)
    }
}

impl Fleet {
    /// Notes the bundles of an appliance's newest manifest.
    pub fn assign(&self, name: &ApplianceName, bundles: RoaringBitmap) {
        if let Some(known) = self.lock().get_mut(name) {
            Arc::make_mut(&mut known.expectation).assign(bundles);
        }
    }

    /// Notes for which bundles an appliance asks for sources.
    pub fn note_question(&self, name: &ApplianceName, asked: &RoaringBitmap, now: u64) {
        let mut appliances = self.lock();
        let Some(known) = appliances.get_mut(name) else { return };
        let Some(member) = self.member(name, &known.site) else { return };
        Arc::make_mut(&mut known.expectation).note_question(asked, &member.held, now);
    }

    /// Which bundles an appliance is expected to fetch.
    pub fn expectation(&self, name: &ApplianceName) -> Arc<Expectation> {
        self.lock().get(name).map(|known| Arc::clone(&known.expectation)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundles<const N: usize>(numbers: [u32; N]) -> RoaringBitmap {
        numbers.into_iter().collect()
    }

    fn expected(expectation: &Expectation, now: u64) -> Vec<u32> {
        (0..10).filter(|&number| expectation.contains(number, now)).collect()
    }

    #[test]
    fn what_was_neither_asked_for_nor_held_is_not_expected_until_the_next_question() {
        let mut expectation = Expectation::default();
        expectation.assign(bundles([1, 2, 3, 4]));
        assert_eq!(expected(&expectation, 0), [1, 2, 3, 4], "before it has planned, everything is");
        expectation.note_question(&bundles([2, 9]), &bundles([1]), 1_000);
        let after = 1_000 + QUESTION_SECONDS + 1;
        assert_eq!(expected(&expectation, after), [1, 2]);
        // A new manifest: what is new in it was not passed over.
        expectation.assign(bundles([1, 2, 3, 5]));
        assert_eq!(expected(&expectation, after), [1, 2, 5]);
        expectation.note_question(&bundles([3]), &bundles([1, 2]), after);
        assert_eq!(expected(&expectation, after + QUESTION_SECONDS + 1), [1, 2, 3]);
    }

    #[test]
    fn a_question_in_several_exchanges_is_one_and_counts_when_it_has_ended() {
        let mut expectation = Expectation::default();
        expectation.assign(bundles([1, 2, 3]));
        expectation.note_question(&bundles([1]), &bundles([]), 1_000);
        assert_eq!(expected(&expectation, 1_001), [1, 2, 3], "it may still ask for them");
        expectation.note_question(&bundles([2]), &bundles([]), 1_000 + QUESTION_SECONDS);
        assert_eq!(expected(&expectation, 1_001 + 2 * QUESTION_SECONDS), [1, 2]);
    }
}
