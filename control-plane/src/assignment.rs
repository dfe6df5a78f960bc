//! Which appliance of a site holds what.
//!
//! In the order of the list, every bundle first gets as many copies as its viewers need ([`copies`]; a pinned
//! one: on all), on the appliances that rendezvous hashing puts first for its title, weighted by capacity; one that
//! has no room is passed over. Then, in the same order, what room is left is filled with further copies: so what
//! fits everywhere is everywhere, and the head of the list is on as many appliances as possible before the
//! tail is on any twice more than was asked for. Where an appliance comes or goes, the bundles that it wins
//! or won move, and hardly any other.

use control_client::fleet::{ApplianceName, TitleName};
use control_client::limits::MANIFEST_ENTRIES_MAX;

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
    /// The title that it is a part of. Its place depends on it alone, so that a title's representations come together as far as there
    /// is room, and a new edition where the old one is.
    pub title: &'a TitleName,
    /// What it takes on a volume, in bytes: [`stored_bytes_max`].
    pub stored_bytes: u64,
    /// On how many appliances it is to be before what comes after it is on any, as far as they have room; 0 is taken as 1. As many as
    /// its viewers need, or all, where an operator has pinned it.
    pub copies: usize,
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

/// Places the bundles of a ranked list, the best first, on the appliances of a site.
pub fn assign(list: &[Wanted<'_>], shelves: &[Shelf<'_>]) -> Assignment {
    let mut room: Vec<Room> = shelves
        .iter()
        .map(|shelf| Room { bytes: shelf.capacity_bytes, bundles: MANIFEST_ENTRIES_MAX })
        .collect();
    let identities: Vec<u64> =
        shelves.iter().map(|shelf| rendezvous::identity(shelf.name.as_str())).collect();
    let mut takers: Vec<Vec<bool>> = Vec::with_capacity(list.len());
    let mut orders: Vec<Vec<u32>> = Vec::with_capacity(list.len());
    let smallest = list.iter().map(|wanted| wanted.stored_bytes).min().unwrap_or_default();
    for wanted in list {
        if room.iter().all(|room| room.bytes < smallest || room.bundles == 0) {
            // The catalogue is longer than what fits: nothing of the rest does.
            break;
        }
        let order = order(wanted.title, shelves, &identities);
        let mut taken = vec![false; shelves.len()];
        let mut missing = wanted.copies.max(1);
        for &shelf in &order {
            if missing > 0 && room[shelf as usize].take(wanted.stored_bytes) {
                taken[shelf as usize] = true;
                missing -= 1;
            }
        }
        takers.push(taken);
        orders.push(order);
    }
    for ((wanted, taken), order) in list.iter().zip(&mut takers).zip(&orders) {
        for &shelf in order {
            if !taken[shelf as usize] && room[shelf as usize].take(wanted.stored_bytes) {
                taken[shelf as usize] = true;
            }
        }
    }
    let mut assignment = Assignment {
        holders: Vec::with_capacity(list.len()),
        bundles: vec![Vec::new(); shelves.len()],
        used_bytes: shelves
            .iter()
            .zip(&room)
            .map(|(shelf, room)| shelf.capacity_bytes - room.bytes)
            .collect(),
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

/// The most of what an appliance of a site serves on average that one copy of one bundle should be asked for, as a part of it: a
/// premiere is on several machines, so that these can share its viewers.
const PARTS_OF_AN_APPLIANCE: f64 = 4.0;

/// On how many of a site's appliances a bundle is to be for its viewers' sake: `score` is what is expected of it, `total` of all
/// bundles together. All extra copies of a site together are at most `PARTS_OF_AN_APPLIANCE` for each appliance.
pub fn copies(score: u64, total: u64, appliances: usize) -> usize {
    if total == 0 {
        return 1;
    }
    let parts = score as f64 / total as f64 * appliances as f64 * PARTS_OF_AN_APPLIANCE;
    // The cast saturates, and nothing here is negative or not a number.
    (parts.ceil() as usize).clamp(1, appliances.max(1))
}

/// What is expected of one copy at one site, in bytes per day: the region's score, by the site's share of the
/// region's demand, divided among the appliances that hold it.
pub fn score_here(region_score: u64, site_share: f64, holders: usize) -> u64 {
    let share = if site_share.is_finite() { site_share.clamp(0.0, 1.0) } else { 0.0 };
    // The cast saturates, and nothing here is negative or not a number.
    (region_score as f64 * share / holders.max(1) as f64).round() as u64
}

/// The places of the appliances in the order in which they are to have a title's bundles.
fn order(title: &TitleName, shelves: &[Shelf<'_>], identities: &[u64]) -> Vec<u32> {
    let key = rendezvous::identity(title.as_str());
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

/// What is left of an appliance: of its volumes, and of its fill manifest.
struct Room {
    bytes: u64,
    bundles: usize,
}

impl Room {
    fn take(&mut self, bytes: u64) -> bool {
        let (Some(bytes), Some(bundles)) = (self.bytes.checked_sub(bytes), self.bundles.checked_sub(1))
        else {
            return false;
        };
        (self.bytes, self.bundles) = (bytes, bundles);
        true
    }
}

#[cfg(test)]
mod tests;
