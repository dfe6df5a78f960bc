//! What the appliance serves, told in full once and by its changes afterwards.

use std::collections::BTreeSet;

use control_client::content::BundleKey;
use control_client::inventory::Inventory;
use control_client::report::{HeldBundle, InventoryReport};

use crate::daemon::serves;

/// What was told, and what the control plane has of it.
#[derive(Debug)]
pub(super) struct HeldReports {
    revision: u64,
    told: BTreeSet<HeldBundle>,
    /// The state that the control plane has.
    acknowledged: Option<(u64, BTreeSet<HeldBundle>)>,
}

impl HeldReports {
    /// Nothing was told. Revisions go on from `first`, which is later than any that an earlier process told: the time.
    pub(super) fn new(first: u64) -> Self {
        Self { revision: first, told: BTreeSet::new(), acknowledged: None }
    }

    /// What to tell of this inventory; nothing where the control plane has it.
    pub(super) fn take_in(&mut self, inventory: &Inventory) -> Option<InventoryReport> {
        let held: BTreeSet<HeldBundle> = inventory
            .bundles
            .iter()
            .filter(|bundle| serves(bundle.state))
            .map(|bundle| HeldBundle {
                path: bundle.path.clone(),
                generation: bundle.generation,
                bytes: bundle.bytes,
            })
            .collect();
        if held != self.told {
            self.revision += 1;
            self.told = held;
        }
        let Some((from, known)) = &self.acknowledged else {
            return Some(InventoryReport::Full {
                revision: self.revision,
                bundles: self.told.iter().cloned().collect(),
            });
        };
        if *from == self.revision {
            return None;
        }
        let removed = known.difference(&self.told).map(key);
        let added: Vec<HeldBundle> = self.told.difference(known).cloned().collect();
        // One of another length is told as added alone.
        let removed = removed.filter(|gone| added.iter().all(|bundle| key(bundle) != *gone)).collect();
        Some(InventoryReport::Delta { from: *from, revision: self.revision, added, removed })
    }

    /// The control plane has this state; `None`: it wants all.
    pub(super) fn acknowledged(&mut self, revision: Option<u64>) {
        match (revision, &self.acknowledged) {
            (Some(revision), _) if revision == self.revision => {
                self.acknowledged = Some((revision, self.told.clone()));
            }
            (Some(revision), Some((known, _))) if revision == *known => {}
            _ => self.acknowledged = None,
        }
    }

    /// Whether the next report tells all.
    pub(super) fn is_asked_for_all(&self) -> bool {
        self.acknowledged.is_none()
    }
}

fn key(bundle: &HeldBundle) -> BundleKey {
    BundleKey { path: bundle.path.clone(), generation: bundle.generation }
}

#[cfg(test)]
mod tests {
    use control_client::content::{BundlePath, Generation};
    use control_client::inventory::{BundleState, InventoryEntry};
    use control_client::wire::DocumentVersion;

    use super::*;

    fn inventory(paths: &[&str]) -> Inventory {
        let entry = |path: &&str| InventoryEntry {
            path: BundlePath::parse(path).unwrap(),
            generation: Generation::new(1),
            volume: 0,
            objects: 1,
            bytes: 4096,
            state: BundleState::Published,
        };
        Inventory { version: DocumentVersion, bundles: paths.iter().map(entry).collect() }
    }

    fn names(report: &Option<InventoryReport>) -> String {
        match report {
            None => "nothing".to_owned(),
            Some(InventoryReport::Full { bundles, .. }) => format!("all {}", bundles.len()),
            Some(InventoryReport::Delta { from, revision, added, removed }) => {
                format!("{from}->{revision} +{} -{}", added.len(), removed.len())
            }
        }
    }

    #[test]
    fn all_is_told_until_it_is_acknowledged_and_changes_afterwards() {
        let mut held = HeldReports::new(10);
        assert_eq!(names(&held.take_in(&inventory(&["/a"]))), "all 1");
        assert_eq!(names(&held.take_in(&inventory(&["/a", "/b"]))), "all 2");
        held.acknowledged(Some(12));
        assert_eq!(names(&held.take_in(&inventory(&["/a", "/b"]))), "nothing");
        assert_eq!(names(&held.take_in(&inventory(&["/b", "/c", "/d"]))), "12->13 +2 -1");
        // It was not taken: the next one tells the changes of both.
        held.acknowledged(Some(12));
        assert_eq!(names(&held.take_in(&inventory(&["/b"]))), "12->14 +0 -1");
        held.acknowledged(None);
        assert!(held.is_asked_for_all());
        assert_eq!(names(&held.take_in(&inventory(&["/b"]))), "all 1");
    }

    #[test]
    fn a_state_that_was_never_told_is_no_base_for_changes() {
        let mut held = HeldReports::new(10);
        held.take_in(&inventory(&["/a"]));
        held.acknowledged(Some(7));
        assert_eq!(names(&held.take_in(&inventory(&["/a"]))), "all 1");
    }
}
