//! What is known of an appliance's inventory, and how a report changes it.

use std::fmt;

use control_client::content::BundleKey;
use control_client::report::{HeldBundle, InventoryReport};
use roaring::RoaringBitmap;

use super::catalogue::Catalogue;

/// What a container takes besides its numbers: its key, its kind, and where its numbers are.
const CONTAINER_BYTES: u64 = 40;

/// Which state of an appliance's inventory is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inventory {
    revision: Option<u64>,
    /// Whether it has bundles that the catalogue had not when they were told, and how often had been added to
    /// the catalogue by then.
    unknown_at: Option<u64>,
}

/// A change is based on another revision than the one that is known: all of it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongRevision {
    /// The revision that is known, where one is.
    pub known: Option<u64>,
    /// The revision that the change is based on.
    pub based_on: u64,
}

impl fmt::Display for WrongRevision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the change is based on revision {} of the inventory, ", self.based_on)?;
        match self.known {
            Some(known) => write!(formatter, "but revision {known} is known: send all of it"),
            None => write!(formatter, "but none is known: send all of it"),
        }
    }
}

impl std::error::Error for WrongRevision {}

impl Inventory {
    /// A state that was kept.
    pub(super) const fn at(revision: u64) -> Self {
        Self { revision: Some(revision), unknown_at: None }
    }

    /// The revision that is known; `None` where it is not, or where bundles that were unknown then may be
    /// known by now.
    pub(super) fn revision(&self, catalogue: &Catalogue) -> Option<u64> {
        self.revision.filter(|_| self.unknown_at.is_none_or(|additions| additions == catalogue.additions()))
    }

    /// What the appliance holds after the report.
    pub(super) fn apply(
        &mut self,
        report: &InventoryReport,
        held: &RoaringBitmap,
        catalogue: &Catalogue,
    ) -> Result<RoaringBitmap, WrongRevision> {
        // Before the look-ups: what is added meanwhile is asked for again.
        let additions = catalogue.additions();
        let (mut next, added, removed, revision) = match report {
            InventoryReport::Full { revision, bundles } => {
                self.unknown_at = None;
                (RoaringBitmap::new(), bundles, &[][..], *revision)
            }
            InventoryReport::Delta { from, revision, added, removed } => {
                if self.revision != Some(*from) {
                    let wrong = WrongRevision { known: self.revision, based_on: *from };
                    *self = Self::default();
                    return Err(wrong);
                }
                (held.clone(), added, removed.as_slice(), *revision)
            }
        };
        for number in removed.iter().filter_map(|bundle| catalogue.number_of(bundle)) {
            next.remove(number);
        }
        for bundle in added {
            match catalogue.number_of(&key(bundle)) {
                Some(number) => {
                    next.insert(number);
                }
                None => self.unknown_at = Some(additions),
            }
        }
        next.optimize();
        self.revision = Some(revision);
        Ok(next)
    }
}

/// What a bitmap takes in memory, in bytes, without the allocator's own: a container has up to 65,536
/// numbers, as 2 bytes each, as a bit each, or as runs.
pub(super) fn memory_bytes(held: &RoaringBitmap) -> u64 {
    let statistics = held.statistics();
    u64::from(statistics.n_values_array_containers) * 2
        + u64::from(statistics.n_bitset_containers) * 65_536 / 8
        + statistics.n_bytes_run_containers
        + u64::from(statistics.n_containers) * CONTAINER_BYTES
}

fn key(bundle: &HeldBundle) -> BundleKey {
    BundleKey { path: bundle.path.clone(), generation: bundle.generation }
}
