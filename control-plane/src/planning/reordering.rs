//! When a list is signed anew although its bundles are the same ones, because it values them otherwise. Scores move with every hour,
//! so this is decided by what the other order brings, and by how large the document is. It costs the database that document, the
//! appliance one more transfer of it, and one more run where that is in the middle of its window.

use std::collections::HashMap;

use control_client::content::Generation;
use control_client::fill_manifest::FillEntry;

/// How old a manifest is before another is made although its order is as good as the new one's: scores are how an appliance tells
/// whether a bundle earns back its fill.
pub(super) const RESCORED_AFTER_SECONDS: u64 = 6 * 3600;

/// Documents up to this size, 3,000 bundles at 350 bytes each, follow a better order with the next round of planning. Hourly, as rounds
/// are where nothing else happens, that is at most 2.3 kbit/s for each appliance.
const SMALL_BYTES: u64 = 1 << 20;

/// Larger ones wait a second for every so many bytes above [`SMALL_BYTES`], until those of 40,000 bundles, 14 MB, wait as long as for
/// scores. What such an appliance holds is decided by what is in its list; where a list is cut, it is by a night's budget, and 6 h are
/// less than the time between two nights.
const BYTES_PER_SECOND: u64 = 600;

/// The part of the bytes that viewers are expected to ask for which another order has to bring: a twentieth of what may be missing
/// (0.98 of what is attainable is promised), and above what an hour more of demand does to the order of bundles that are worth the same.
pub(super) const GAIN_MIN: f64 = 0.001;

/// How old a manifest of so many bytes is, in seconds, before another is made because its order is better.
pub(super) fn reordered_after(document_bytes: u64) -> u64 {
    (document_bytes.saturating_sub(SMALL_BYTES) / BYTES_PER_SECOND).min(RESCORED_AFTER_SECONDS)
}

/// What an appliance would gain by the next list that has room, or a night, for only so many bytes of it: the part of all bytes that are
/// expected to be asked for, 0 to 1, where the lists are cut at the place that makes the greatest difference. Bundles count by the part
/// of them that is before the cut, so that one that just fits or just does not decides nothing.
pub(super) fn gain(last: &[FillEntry], next: &[FillEntry]) -> f64 {
    let scores: HashMap<Key<'_>, u64> = next.iter().map(|entry| (key(entry), entry.score)).collect();
    let curve = |list: &[FillEntry]| Curve::new(list, |entry| scores.get(&key(entry)).copied().unwrap_or(0));
    let (last, next) = (curve(last), curve(next));
    let total = next.at(f64::INFINITY);
    if total <= 0.0 {
        return 0.0;
    }
    // Both are straight between their corners, so it is at one of these that they are farthest apart.
    let corners = last.corners.iter().chain(&next.corners).map(|corner| corner.bytes);
    corners.map(|bytes| next.at(bytes) - last.at(bytes)).fold(0.0, f64::max) / total
}

type Key<'a> = (&'a str, Generation);

fn key(entry: &FillEntry) -> Key<'_> {
    (entry.path.as_str(), entry.generation)
}

/// What the first so many bytes of a list are asked for.
struct Curve {
    corners: Vec<Corner>,
}

/// After one more bundle.
#[derive(Clone, Copy, Default)]
struct Corner {
    /// Bytes stored.
    bytes: f64,
    /// Bytes a day that they are expected to be asked for.
    asked: f64,
}

impl Curve {
    /// In the order in which an appliance fetches: by class, then by the list's own score per byte, then as they stand.
    fn new(list: &[FillEntry], score: impl Fn(&FillEntry) -> u64) -> Self {
        let per_byte = |entry: &FillEntry| entry.score as f64 / entry.bytes.max(1) as f64;
        let mut sorted: Vec<&FillEntry> = list.iter().collect();
        sorted.sort_by(|one, other| {
            one.class.cmp(&other.class).then_with(|| per_byte(other).total_cmp(&per_byte(one)))
        });
        let mut corner = Corner::default();
        let corners = sorted.into_iter().map(|entry| {
            corner.bytes += entry.bytes.max(1) as f64;
            corner.asked += score(entry) as f64;
            corner
        });
        Self { corners: corners.collect() }
    }

    fn at(&self, bytes: f64) -> f64 {
        let after = self.corners.partition_point(|corner| corner.bytes < bytes);
        let before = after.checked_sub(1).map_or_else(Corner::default, |place| self.corners[place]);
        let Some(after) = self.corners.get(after) else { return before.asked };
        before.asked + (after.asked - before.asked) * (bytes - before.bytes) / (after.bytes - before.bytes)
    }
}

#[cfg(test)]
mod tests {
    use control_client::content::BundlePath;
    use control_client::digest::sha256;
    use control_client::fill_manifest::FillClass;
    use control_client::fleet::TitleName;

    use super::*;

    /// Bundles of these numbers, bytes and scores.
    fn list(entries: &[(u32, u64, u64)]) -> Vec<FillEntry> {
        let entry = |&(number, bytes, score): &(u32, u64, u64)| FillEntry {
            path: BundlePath::parse(&format!("/film/{number}")).unwrap(),
            generation: Generation::new(1),
            title: TitleName::parse("film").unwrap(),
            bytes,
            objects: 1,
            score,
            descriptor: sha256(b"descriptor"),
            class: FillClass::Ranked,
            expires_at: None,
        };
        entries.iter().map(entry).collect()
    }

    #[test]
    fn small_documents_follow_a_better_order_at_once_and_large_ones_after_six_hours() {
        assert_eq!(reordered_after(0), 0);
        assert_eq!(reordered_after(1 << 20), 0);
        assert_eq!(reordered_after((1 << 20) + 600 * 60), 60);
        assert!((3 * 3600..6 * 3600).contains(&reordered_after(8_000_000)));
        assert_eq!(reordered_after(14_100_000), 6 * 3600);
        assert_eq!(reordered_after(u64::MAX), 6 * 3600);
    }

    #[test]
    fn an_order_that_knew_nothing_loses_what_it_puts_last() {
        // A list of before anybody asked for anything, and one of after. Where there is room for one bundle of two, 0.9 − 0.1.
        let (before, after) = (list(&[(1, 10, 0), (2, 10, 0)]), list(&[(2, 10, 900), (1, 10, 100)]));
        assert_eq!(gain(&before, &after), 0.8);
    }

    #[test]
    fn the_last_lists_own_scores_are_what_an_appliance_goes_by() {
        // As they stand, both have the same order; by what the last one says, an appliance fetches 2 first.
        let (last, next) = (list(&[(1, 10, 100), (2, 10, 900)]), list(&[(1, 10, 900), (2, 10, 100)]));
        assert_eq!(gain(&last, &next), 0.8);
    }

    #[test]
    fn other_scores_in_the_same_order_bring_nothing() {
        let (last, next) = (list(&[(1, 10, 900), (2, 30, 500)]), list(&[(1, 10, 700), (2, 30, 600)]));
        assert_eq!(gain(&last, &next), 0.0);
        assert_eq!(gain(&last, &last), 0.0);
        assert_eq!(gain(&[], &[]), 0.0);
        assert_eq!(gain(&list(&[(1, 0, 0)]), &list(&[(1, 0, 0)])), 0.0);
    }

    #[test]
    fn neighbours_that_change_places_back_and_forth_are_noise() {
        // A thousand bundles of falling worth, of which every second pair has changed places by a hundredth of its score.
        let scores = (0..1000_u32).map(|number| (number, 1000, 1_000_000 / u64::from(number + 1)));
        let last: Vec<_> = scores.collect();
        let mut next = last.clone();
        for pair in next.chunks_exact_mut(4).skip(5) {
            pair[1].2 = pair[0].2 + pair[0].2 / 100;
        }
        let noise = gain(&list(&last), &list(&next));
        assert!(noise > 0.0 && noise < GAIN_MIN, "{noise}");
        // That the hundredth has become the first is none.
        next[99].2 = 2_000_000;
        assert!(gain(&list(&last), &list(&next)) > GAIN_MIN);
    }

    #[test]
    fn where_the_cut_makes_the_greatest_difference_is_found_among_bundles_of_all_sizes() {
        // With room for 10 bytes all of the small one is worth 90, and a tenth of the large one 1.
        let (last, next) = (list(&[(1, 100, 1000), (2, 10, 1)]), list(&[(2, 10, 90), (1, 100, 10)]));
        assert!((gain(&last, &next) - 0.89).abs() < 1e-9);
    }

    #[test]
    fn what_is_pinned_or_comes_soon_goes_first_whatever_its_score() {
        let pinned = |mut list: Vec<FillEntry>| {
            list[0].class = FillClass::Pinned;
            list
        };
        let (last, next) = (pinned(list(&[(1, 10, 0), (2, 10, 5)])), pinned(list(&[(1, 10, 0), (2, 10, 9)])));
        assert_eq!(gain(&last, &next), 0.0);
    }
}
