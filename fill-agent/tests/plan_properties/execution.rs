//! Carries a plan out on a model of the disks, and complains about every step that could not be taken.

use std::collections::{BTreeMap, BTreeSet};

use control_client::content::BundleKey;
use fill_agent::plan::{Held, Plan, PlannedDiscard, PlannedRetire, RetireReason};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::appliance::{Appliance, NOW};

struct Disks<'a> {
    appliance: &'a Appliance,
    free: BTreeMap<u8, u64>,
    held: Vec<Held>,
    begun: BTreeMap<(BundleKey, u8), u64>,
    received: u64,
}

/// The appliance as it is afterwards.
pub(crate) fn carry_out(appliance: &Appliance, plan: &Plan) -> Result<Appliance, TestCaseError> {
    let begun = appliance.partial.iter().map(|file| ((file.key.clone(), file.volume), file.file_bytes));
    let mut disks = Disks {
        appliance,
        free: appliance.volumes.iter().map(|room| (room.index, room.free_bytes)).collect(),
        held: appliance.held.clone(),
        begun: begun.collect(),
        received: 0,
    };
    for retire in &plan.retires {
        disks.retire(retire)?;
    }
    for discard in &plan.discards {
        prop_assert!(
            !plan.fetches.iter().any(|fetch| fetch.key == discard.key && fetch.volume == discard.volume)
        );
        disks.discard(discard)?;
    }
    let mut fetched = BTreeSet::new();
    for fetch in &plan.fetches {
        prop_assert!(fetched.insert(fetch.key.clone()), "twice: {}", fetch.key);
        fetch.retire_first.iter().try_for_each(|retire| disks.retire(retire))?;
        fetch.discard_first.iter().try_for_each(|discard| disks.discard(discard))?;
        disks.fetch(fetch)?;
    }
    for retire in plan.fetches.iter().filter_map(|fetch| fetch.supersedes.as_ref()) {
        disks.retire(retire)?;
    }
    prop_assert!(disks.received <= appliance.night_bytes_left, "more than the night's bytes");
    Ok(disks.afterwards())
}

impl Disks<'_> {
    fn retire(&mut self, retire: &PlannedRetire) -> Result<(), TestCaseError> {
        let place = self.held.iter().position(|held| held.key == retire.key && held.volume == retire.volume);
        prop_assert!(place.is_some(), "{} is not there to retire", retire.key);
        let held = self.held.remove(place.unwrap());
        prop_assert_eq!(held.file_bytes, retire.file_bytes);
        prop_assert!(self.appliance.serves(held.volume));
        let entry = self.appliance.entry(&held.key.path);
        match retire.why {
            RetireReason::Expired => {
                let expires_at = entry.map_or(held.expires_at, |entry| entry.expires_at);
                prop_assert!(self.appliance.clock_is_synchronised && expires_at.unwrap() <= NOW);
            }
            RetireReason::Superseded => {
                let newer =
                    |key: &BundleKey| key.path == held.key.path && key.generation > held.key.generation;
                let newer_is_held = self.appliance.held.iter().any(|held| newer(&held.key));
                let newer_is_wanted = entry.is_some_and(|entry| entry.generation > held.key.generation);
                prop_assert!(newer_is_held || newer_is_wanted);
            }
            RetireReason::Displaced => {}
        }
        *self.free.get_mut(&retire.volume).unwrap() += held.file_bytes;
        Ok(())
    }

    fn discard(&mut self, discard: &PlannedDiscard) -> Result<(), TestCaseError> {
        let bytes = self.begun.remove(&(discard.key.clone(), discard.volume));
        prop_assert_eq!(bytes, Some(discard.file_bytes), "{} is not there to discard", &discard.key);
        prop_assert!(self.appliance.serves(discard.volume));
        *self.free.get_mut(&discard.volume).unwrap() += discard.file_bytes;
        Ok(())
    }

    fn fetch(&mut self, fetch: &fill_agent::plan::PlannedFetch) -> Result<(), TestCaseError> {
        let entry = &self.appliance.entries[fetch.entry];
        prop_assert!(entry.path == fetch.key.path && entry.generation == fetch.key.generation);
        prop_assert!(self.appliance.serves(fetch.volume));
        let refetched = self.appliance.held.iter().any(|held| {
            let same = held.key.path == fetch.key.path && held.key.generation >= fetch.key.generation;
            same && self.appliance.serves(held.volume)
        });
        prop_assert!(!refetched, "{} is held", fetch.key);
        let was_begun = self.begun.remove(&(fetch.key.clone(), fetch.volume));
        if was_begun.is_none() {
            prop_assert_eq!(fetch.missing_bytes, entry.bytes);
            let free = self.free.get_mut(&fetch.volume).unwrap();
            *free =
                free.checked_sub(fetch.file_bytes).ok_or_else(|| TestCaseError::fail("the disk is full"))?;
            prop_assert!(*free >= self.appliance.keep_free_bytes, "less is free than is to be kept free");
        }
        self.received += fetch.missing_bytes;
        let held = Held {
            key: fetch.key.clone(),
            volume: fetch.volume,
            file_bytes: fetch.file_bytes,
            expires_at: entry.expires_at,
        };
        self.held.push(held);
        Ok(())
    }

    fn afterwards(self) -> Appliance {
        let mut after = self.appliance.clone();
        after.held = self.held;
        after.partial.retain(|file| self.begun.contains_key(&(file.key.clone(), file.volume)));
        for room in &mut after.volumes {
            room.free_bytes = self.free[&room.index];
        }
        after.night_bytes_left -= self.received;
        after
    }
}
