//! The cheapest way to free some room on one volume.

use super::super::selection::Selection;
use super::super::worth::Worth;

/// What it costs to free some room on one volume.
pub(super) struct Cover {
    pub(super) victims: Vec<usize>,
    /// Bytes freed, cost, and which victims as bits: from the fewest bytes to the most, each the cheapest
    /// that frees so many.
    sets: Vec<(i128, Worth, u32)>,
}

impl Cover {
    pub(super) fn new(selection: &Selection<'_>, victims: Vec<usize>) -> Self {
        let mut sets = vec![(0, Worth::ZERO, 0)];
        for (bit, victim) in victims.iter().enumerate() {
            let victim = &selection.survey.victims[*victim];
            for place in 0..sets.len() {
                let (bytes, cost, mask) = sets[place];
                sets.push((bytes + i128::from(victim.bytes), cost + victim.cost(), mask | 1 << bit));
            }
        }
        sets.sort_unstable_by_key(|(bytes, cost, mask)| (std::cmp::Reverse(*bytes), *cost, *mask));
        let mut cheapest: Option<Worth> = None;
        sets.retain(|(_, cost, _)| {
            let cheaper = cheapest.is_none_or(|cheapest| *cost < cheapest);
            cheapest = if cheaper { Some(*cost) } else { cheapest };
            cheaper
        });
        sets.reverse();
        Self { victims, sets }
    }

    /// The cheapest set that frees `bytes`, by its place.
    pub(super) fn cheapest(&self, bytes: i128) -> Option<&(i128, Worth, u32)> {
        self.sets.get(self.sets.partition_point(|(freed, _, _)| *freed < bytes))
    }
}
