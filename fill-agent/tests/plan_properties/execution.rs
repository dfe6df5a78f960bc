//! Carries a plan out on a model of the disks, and complains about every step that could not be taken.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use control_client::content::{BundleKey, BundlePath, Generation};
use control_client::fill_manifest::FillEntry;
use fill_agent::plan::{Held, Plan, PlannedDiscard, PlannedFetch, PlannedRetire, RetireReason};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::appliance::{Appliance, NOW};

struct Disks<'a> {
    appliance: &'a Appliance,
    entries: HashMap<&'a BundlePath, &'a FillEntry>,
    /// The newest generation that was held at first, on volumes that serve.
    newest: HashMap<&'a BundlePath, Generation>,
    free: BTreeMap<u8, u64>,
    held: BTreeMap<(BundleKey, u8), &'a Held>,
    begun: BTreeMap<(BundleKey, u8), u64>,
    received: u64,
}

/// An error says what is wrong with the plan.
pub(crate) fn carry_out(appliance: &Appliance, plan: &Plan) -> Result<(), TestCaseError> {
    let mut disks = Disks::new(appliance);
    plan.retires.iter().try_for_each(|retire| disks.retire(retire))?;
    let continued: BTreeSet<_> = plan.fetches.iter().map(|fetch| (&fetch.key, fetch.volume)).collect();
    for discard in &plan.discards {
        prop_assert!(!continued.contains(&(&discard.key, discard.volume)), "discarded and gone on with");
        disks.discard(discard)?;
    }
    let mut fetched = BTreeSet::new();
    for fetch in &plan.fetches {
        prop_assert!(fetched.insert(&fetch.key), "twice: {}", fetch.key);
        fetch.retire_first.iter().try_for_each(|retire| disks.retire(retire))?;
        fetch.discard_first.iter().try_for_each(|discard| disks.discard(discard))?;
        disks.fetch(fetch)?;
    }
    plan.fetches.iter().filter_map(|fetch| fetch.supersedes.as_ref()).try_for_each(|it| disks.retire(it))?;
    prop_assert!(disks.received <= appliance.night_bytes_left, "more than the night's bytes");
    Ok(())
}

impl<'a> Disks<'a> {
    fn new(appliance: &'a Appliance) -> Self {
        let mut newest = HashMap::new();
        for held in appliance.held.iter().filter(|held| appliance.serves(held.volume)) {
            let newest = newest.entry(&held.key.path).or_insert(held.key.generation);
            *newest = held.key.generation.max(*newest);
        }
        let begun = appliance.partial.iter().map(|file| ((file.key.clone(), file.volume), file.file_bytes));
        Self {
            appliance,
            entries: appliance.entries.iter().map(|entry| (&entry.path, entry)).collect(),
            newest,
            free: appliance.volumes.iter().map(|room| (room.index, room.free_bytes)).collect(),
            held: appliance.held.iter().map(|held| ((held.key.clone(), held.volume), held)).collect(),
            begun: begun.collect(),
            received: 0,
        }
    }

    fn retire(&mut self, retire: &PlannedRetire) -> Result<(), TestCaseError> {
        let held = self.held.remove(&(retire.key.clone(), retire.volume));
        prop_assert!(held.is_some(), "{} is not there to retire", retire.key);
        let held = held.unwrap();
        prop_assert_eq!(held.file_bytes, retire.file_bytes);
        prop_assert!(self.appliance.serves(held.volume));
        let entry = self.entries.get(&held.key.path);
        match retire.why {
            RetireReason::Expired => {
                let expires_at = entry.map_or(held.expires_at, |entry| entry.expires_at);
                prop_assert!(self.appliance.clock_is_synchronised && expires_at.unwrap() <= NOW);
            }
            RetireReason::Superseded => {
                let newer_is_held = self.newest[&held.key.path] > held.key.generation;
                let newer_is_wanted = entry.is_some_and(|entry| entry.generation > held.key.generation);
                prop_assert!(newer_is_held || newer_is_wanted);
            }
            RetireReason::Displaced => {}
            RetireReason::GaveWay => prop_assert!(false, "nothing is pulled here"),
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

    fn fetch(&mut self, fetch: &PlannedFetch) -> Result<(), TestCaseError> {
        let entry = &self.appliance.entries[fetch.entry];
        prop_assert!(entry.path == fetch.key.path && entry.generation == fetch.key.generation);
        prop_assert!(self.appliance.serves(fetch.volume));
        let is_held = self.newest.get(&fetch.key.path).is_some_and(|held| *held >= fetch.key.generation);
        prop_assert!(!is_held, "{} is held", fetch.key);
        if self.begun.remove(&(fetch.key.clone(), fetch.volume)).is_none() {
            prop_assert_eq!(fetch.missing_bytes, entry.bytes);
            let free = self.free.get_mut(&fetch.volume).unwrap();
            let full = || TestCaseError::fail("the disk is full");
            *free = free.checked_sub(fetch.file_bytes).ok_or_else(full)?;
            prop_assert!(*free >= self.appliance.keep_free_bytes, "less is free than is to be kept free");
        }
        self.received += fetch.missing_bytes;
        Ok(())
    }
}
