//! Which appliance of a site holds what.
//!
//! In the order of the list, every bundle first gets as many copies as the operator asked for (a pinned one:
//! on all), on the appliances that rendezvous hashing puts first for it, weighted by capacity; one that has
//! no room is passed over. Then, in the same order, what room is left is filled with further copies: so what
//! fits everywhere is everywhere, and the head of the list is on as many appliances as possible before the
//! tail is on any twice more than was asked for. Where an appliance comes or goes, the bundles that it wins
//! or won move, and hardly any other.

use control_client::content::BundlePath;
use control_client::fleet::ApplianceName;

use crate::rendezvous;

/// What the store adds to an object: it begins at a multiple of 4 KiB, and has a record of 64 bytes and a
/// name of at most 255 in the footer.
const OBJECT_BYTES_MAX: u64 = 4096 + 64 + 255;

/// What the store adds for each media type, of which a bundle has at most 256, as many as objects at the most.
const MEDIA_TYPE_BYTES_MAX: u64 = 255 + 16;
const MEDIA_TYPES_MAX: u64 = 256;

/// What the store adds to a bundle: a path of at most 1,024 bytes, header, trailer and padding.
const BUNDLE_BYTES_MAX: u64 = 16 * 1024;

/// Each 64 KiB have a checksum of 4 bytes in the footer.
const BYTES_PER_CHECKSUM_BYTE: u64 = 16 * 1024;

/// The most that a bundle of so many bytes and objects takes on a volume. A bound: the store knows exactly,
/// once it has the descriptor.
pub fn stored_bytes_max(bytes: u64, objects: u64) -> u64 {
    let data = bytes.saturating_add(objects.saturating_mul(OBJECT_BYTES_MAX));
    let media_types = objects.min(MEDIA_TYPES_MAX) * MEDIA_TYPE_BYTES_MAX;
    data.saturating_add(data / BYTES_PER_CHECKSUM_BYTE).saturating_add(media_types + BUNDLE_BYTES_MAX)
}

/// A bundle to place.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The directory that it serves. Its place depends on it alone, so that a new edition comes where the old one is.
    pub path: &'a BundlePath,
    /// What it takes on a volume, in bytes: [`stored_bytes_max`].
    pub stored_bytes: u64,
    /// Whether it is to be on every appliance that has room for it when its turn comes: an operator has pinned it.
    pub everywhere: bool,
}

/// An appliance to place bundles on.
#[derive(Clone, Copy, Debug)]
pub struct Shelf<'a> {
    /// Its name.
    pub name: &'a ApplianceName,
    /// The bytes that bundles may take on it.
    pub capacity_bytes: u64,
}

/// Who holds what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// For each bundle, in the order of the list, the places of the appliances that hold it, in the order of
    /// rendezvous hashing. Empty where it has no room anywhere.
    pub holders: Vec<Vec<u32>>,
    /// For each appliance, the places of its bundles in the list, the best first.
    pub bundles: Vec<Vec<u32>>,
    /// For each appliance, the bytes that its bundles take.
    pub used_bytes: Vec<u64>,
}

/// Places the bundles of a ranked list, the best first, on the appliances of a site. `copies` of 0 is taken as 1.
pub fn assign(list: &[Wanted<'_>], shelves: &[Shelf<'_>], copies: usize) -> Assignment {
    let mut room: Vec<u64> = shelves.iter().map(|shelf| shelf.capacity_bytes).collect();
    let identities: Vec<u64> =
        shelves.iter().map(|shelf| rendezvous::identity(shelf.name.as_str())).collect();
    let mut takers: Vec<Vec<bool>> = Vec::with_capacity(list.len());
    let mut orders: Vec<Vec<u32>> = Vec::with_capacity(list.len());
    let smallest = list.iter().map(|wanted| wanted.stored_bytes).min().unwrap_or_default();
    for wanted in list {
        if room.iter().all(|&room| room < smallest) {
            // The catalogue is longer than what fits: nothing of the rest does.
            break;
        }
        let order = order(wanted.path, shelves, &identities);
        let mut taken = vec![false; shelves.len()];
        let mut missing = if wanted.everywhere { shelves.len() } else { copies.max(1) };
        for &shelf in &order {
            if missing > 0 && take(&mut room[shelf as usize], wanted.stored_bytes) {
                taken[shelf as usize] = true;
                missing -= 1;
            }
        }
        takers.push(taken);
        orders.push(order);
    }
    for ((wanted, taken), order) in list.iter().zip(&mut takers).zip(&orders) {
        for &shelf in order {
            if !taken[shelf as usize] && take(&mut room[shelf as usize], wanted.stored_bytes) {
                taken[shelf as usize] = true;
            }
        }
    }
    let mut assignment = Assignment {
        holders: Vec::with_capacity(list.len()),
        bundles: vec![Vec::new(); shelves.len()],
        used_bytes: shelves.iter().zip(&room).map(|(shelf, room)| shelf.capacity_bytes - room).collect(),
    };
    for (bundle, (taken, order)) in (0_u32..).zip(takers.iter().zip(orders)) {
        let holders: Vec<u32> = order.into_iter().filter(|&shelf| taken[shelf as usize]).collect();
        for &shelf in &holders {
            assignment.bundles[shelf as usize].push(bundle);
        }
        assignment.holders.push(holders);
    }
    assignment.holders.resize(list.len(), Vec::new());
    assignment
}

/// What is expected of one copy at one site, in bytes per day: the region's score, by the site's share of the
/// region's demand, divided among the appliances that hold it.
pub fn score_here(region_score: u64, site_share: f64, holders: usize) -> u64 {
    let share = if site_share.is_finite() { site_share.clamp(0.0, 1.0) } else { 0.0 };
    // The cast saturates, and nothing here is negative or not a number.
    (region_score as f64 * share / holders.max(1) as f64).round() as u64
}

/// The places of the appliances in the order in which they are to have the bundle.
fn order(path: &BundlePath, shelves: &[Shelf<'_>], identities: &[u64]) -> Vec<u32> {
    let key = rendezvous::identity(path.as_str());
    let mut drawn: Vec<(f64, u32)> = (0_u32..)
        .zip(shelves.iter().zip(identities))
        .map(|(place, (shelf, &identity))| {
            let draw = rendezvous::draw(key, identity);
            (rendezvous::weighted(draw, shelf.capacity_bytes as f64), place)
        })
        .collect();
    drawn.sort_unstable_by(|left, right| {
        let name = |place: u32| shelves[place as usize].name;
        right.0.total_cmp(&left.0).then_with(|| name(left.1).cmp(name(right.1)))
    });
    drawn.into_iter().map(|(_, place)| place).collect()
}

fn take(room: &mut u64, bytes: u64) -> bool {
    match room.checked_sub(bytes) {
        Some(left) => {
            *room = left;
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(number: usize) -> BundlePath {
        BundlePath::parse(&format!("/titles/{number}/1080p")).unwrap()
    }

    fn placed(sizes: &[u64], capacities: &[u64], copies: usize) -> Assignment {
        let paths: Vec<_> = (0..sizes.len()).map(path).collect();
        let names: Vec<_> = (0..capacities.len())
            .map(|number| ApplianceName::parse(&format!("oca-{number}")).unwrap())
            .collect();
        let list: Vec<_> = paths
            .iter()
            .zip(sizes)
            .map(|(path, &stored_bytes)| Wanted { path, stored_bytes, everywhere: false })
            .collect();
        let shelves: Vec<_> = names
            .iter()
            .zip(capacities)
            .map(|(name, &capacity_bytes)| Shelf { name, capacity_bytes })
            .collect();
        assign(&list, &shelves, copies)
    }

    #[test]
    fn what_fits_everywhere_goes_everywhere() {
        let assignment = placed(&[10, 20, 30], &[60, 100], 1);
        assert!(assignment.holders.iter().all(|holders| holders.len() == 2));
        assert_eq!(assignment.bundles, [vec![0, 1, 2], vec![0, 1, 2]]);
        assert_eq!(assignment.used_bytes, [60, 60]);
    }

    #[test]
    fn every_bundle_has_a_copy_before_any_has_two() {
        let assignment = placed(&[10; 12], &[60, 60], 1);
        assert!(assignment.holders.iter().all(|holders| holders.len() == 1));
        assert_eq!(assignment.used_bytes, [60, 60]);
    }

    #[test]
    fn room_that_is_left_goes_to_the_head_of_the_list() {
        let assignment = placed(&[10; 10], &[60, 60], 1);
        assert_eq!(assignment.holders[0].len(), 2);
        assert_eq!(assignment.holders.iter().map(Vec::len).sum::<usize>(), 12);
        assert!(assignment.holders.iter().all(|holders| !holders.is_empty()));
    }

    #[test]
    fn two_copies_are_on_two_appliances() {
        let assignment = placed(&[10; 4], &[40, 40], 2);
        assert!(assignment.holders.iter().all(|holders| holders.len() == 2));
        let short = placed(&[10; 8], &[40, 40], 2);
        assert_eq!(short.holders.iter().filter(|holders| holders.len() == 2).count(), 4);
        assert_eq!(short.holders.iter().filter(|holders| holders.is_empty()).count(), 4);
    }

    #[test]
    fn what_is_pinned_is_everywhere_before_anything_else_is_anywhere() {
        let (pinned, ranked) = (path(1), path(2));
        let names = ["oca-1", "oca-2"].map(|name| ApplianceName::parse(name).unwrap());
        let list = [
            Wanted { path: &pinned, stored_bytes: 60, everywhere: true },
            Wanted { path: &ranked, stored_bytes: 60, everywhere: false },
        ];
        let shelves = names.each_ref().map(|name| Shelf { name, capacity_bytes: 100 });
        let assignment = assign(&list, &shelves, 1);
        assert_eq!(assignment.holders[0].len(), 2);
        assert!(assignment.holders[1].is_empty());
    }

    #[test]
    fn a_bundle_too_large_for_the_first_appliance_goes_to_the_next() {
        let assignment = placed(&[50], &[10, 60, 10], 1);
        assert_eq!(assignment.holders, [vec![1]]);
    }

    #[test]
    fn without_appliances_or_bundles_nothing_is_placed() {
        assert_eq!(placed(&[10], &[], 1).holders, [Vec::<u32>::new()]);
        assert_eq!(placed(&[], &[10], 1).bundles, [Vec::<u32>::new()]);
    }

    #[test]
    fn what_is_expected_here_is_the_sites_share_divided_by_the_copies() {
        assert_eq!(score_here(1_000, 0.5, 2), 250);
        assert_eq!(score_here(1_000, f64::NAN, 2), 0);
        assert_eq!(score_here(u64::MAX, 1.0, 0), u64::MAX);
    }

    #[test]
    fn the_bound_of_what_is_stored_is_above_objects_and_checksums() {
        // A bundle of one object of one byte takes three blocks of 4 KiB in the store: data, footer, trailer.
        assert!(stored_bytes_max(1, 1) >= 3 * 4096);
        assert!(stored_bytes_max(1 << 40, 1 << 18) >= (1 << 40) + (1 << 18) * 4096 + (1 << 26));
        assert_eq!(stored_bytes_max(u64::MAX, u64::MAX), u64::MAX);
    }
}
