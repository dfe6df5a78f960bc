//! What is known of an appliance's inventory, and how a report changes it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use control_client::content::BundleKey;
use control_client::fleet::ApplianceName;
use control_client::report::{HeldBundle, InventoryReport};
use roaring::RoaringBitmap;

use super::catalogue::Catalogue;
use super::{Fleet, Known};
use crate::steering::Member;

/// What a container takes besides its numbers: its key, its kind, and where its numbers are.
const CONTAINER_BYTES: u64 = 40;

/// Which state of an appliance's inventory is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inventory {
    revision: Option<u64>,
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
        Self { revision: Some(revision) }
    }

    /// The revision that is known, where one is.
    pub(super) const fn revision(&self) -> Option<u64> {
        self.revision
    }

    /// What the appliance holds after the report.
    pub(super) fn apply(
        &mut self,
        report: &InventoryReport,
        held: &RoaringBitmap,
        catalogue: &Catalogue,
    ) -> Result<RoaringBitmap, WrongRevision> {
        let (mut next, added, removed, revision) = match report {
            InventoryReport::Full { revision, bundles } => {
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
        // Those that the catalogue has not are passed over: where it gets one of them, its holders are read again.
        next.extend(added.iter().filter_map(|bundle| catalogue.number_of(&key(bundle))));
        next.optimize();
        self.revision = Some(revision);
        Ok(next)
    }
}

impl Fleet {
    /// Notes what an appliance says that it holds. A change that is not based on the revision that is known
    /// is refused: ask for all of it. One that is not known is passed over.
    pub fn apply_inventory(
        &self,
        name: &ApplianceName,
        report: &InventoryReport,
    ) -> Result<(), WrongRevision> {
        let mut appliances = self.lock();
        let Some(known) = appliances.get_mut(name) else { return Ok(()) };
        let Some(current) = self.member(name, &known.site) else { return Ok(()) };
        let held = known.inventory.apply(report, &current.held, &self.catalogue)?;
        self.hold(&appliances, name, held);
        Ok(())
    }

    /// Puts back what was kept of an appliance's inventory: the numbers of its bundles.
    pub fn restore_inventory(&self, name: &ApplianceName, revision: u64, mut held: RoaringBitmap) {
        held.optimize();
        let mut appliances = self.lock();
        if let Some(known) = appliances.get_mut(name) {
            known.inventory = Inventory::at(revision);
            self.hold(&appliances, name, held);
        }
    }

    /// Lets the next inventory of an appliance be a full one: it has begun to count anew.
    pub fn forget_revision(&self, name: &ApplianceName) {
        if let Some(known) = self.lock().get_mut(name) {
            known.inventory = Inventory::default();
        }
    }

    /// The revision of an appliance's inventory that is known, where one is.
    pub fn inventory_revision(&self, name: &ApplianceName) -> Option<u64> {
        self.lock().get(name)?.inventory.revision()
    }

    fn hold(&self, appliances: &HashMap<ApplianceName, Known>, name: &ApplianceName, held: RoaringBitmap) {
        let Some(known) = appliances.get(name) else { return };
        let neighbours = self.appliances_of(&known.site);
        let shared = neighbours.iter().find(|neighbour| *neighbour.held == held);
        let held = shared.map_or_else(|| Arc::new(held), |neighbour| Arc::clone(&neighbour.held));
        self.change(appliances, name, |member| Some(Member { held, ..member.clone() }));
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
