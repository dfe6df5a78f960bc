//! Sorts what is held, what was begun and what is wanted, in this order: each depends on those before.

use std::cmp::Ordering;
use std::collections::HashMap;

use cache_store::Layout;
use control_client::content::{BundleKey, BundlePath};
use control_client::fill_manifest::{FillClass, FillEntry};

use super::super::worth::Horizon;
use super::super::{Held, Partial, PlanInput, PlannedDiscard, PlannedRetire, RetireReason, Skipped};
use super::{Candidate, Occupant, Shelf, Survey, Victim};

pub(super) struct Surveyor<'a> {
    input: &'a PlanInput<'a>,
    horizon: Horizon,
    /// Places in `volumes`, by the volume's index.
    shelves: HashMap<u8, usize>,
    /// Places of entries, by path.
    places: HashMap<&'a BundlePath, usize>,
    /// The newest generation of every path that is held: its place in the input, and as a victim.
    newest: HashMap<&'a BundlePath, (usize, Option<usize>)>,
    /// The best file that was begun for an entry: its place in the input, by the place of the entry.
    begun: HashMap<usize, usize>,
    pub(super) survey: Survey<'a>,
}

impl<'a> Surveyor<'a> {
    pub(super) fn new(input: &'a PlanInput<'a>) -> Self {
        let horizon = Horizon::new(input.now, input.churn_days, input.clock_is_synchronised);
        let mut volumes = Vec::new();
        let mut shelves = HashMap::new();
        for room in input.volumes.iter().filter(|room| room.is_serving) {
            shelves.entry(room.index).or_insert_with(|| {
                let available = i128::from(room.free_bytes) - i128::from(input.keep_free_bytes);
                let owed = i128::from(room.owed_bytes);
                volumes.push(Shelf { index: room.index, available, owed, victims: Vec::new() });
                volumes.len() - 1
            });
        }
        let mut places = HashMap::with_capacity(input.entries.len());
        for (place, entry) in input.entries.iter().enumerate() {
            places.entry(&entry.path).or_insert(place);
        }
        let survey = Survey {
            entries: input.entries,
            candidates: Vec::new(),
            volumes,
            victims: Vec::new(),
            retires: Vec::new(),
            discards: Vec::new(),
            skipped: Vec::new(),
            held: 0,
        };
        Self { input, horizon, shelves, places, newest: HashMap::new(), begun: HashMap::new(), survey }
    }

    fn entry_of(&self, path: &BundlePath) -> Option<&'a FillEntry> {
        self.places.get(path).map(|place| &self.input.entries[*place])
    }

    /// What is held goes at once where it must; else it could give way.
    pub(super) fn sort_held(&mut self) {
        let held = &self.input.held;
        for (place, bundle) in held.iter().enumerate() {
            if self.shelves.contains_key(&bundle.volume) {
                let newest = self.newest.entry(&bundle.key.path).or_insert((place, None));
                if held[newest.0].key.generation < bundle.key.generation {
                    newest.0 = place;
                }
            }
        }
        for (place, bundle) in held.iter().enumerate() {
            let Some(&shelf) = self.shelves.get(&bundle.volume) else { continue };
            let newest = self.newest[&bundle.key.path].0;
            let entry = self.entry_of(&bundle.key.path);
            let expires_at = entry.map_or(bundle.expires_at, |entry| entry.expires_at);
            if self.horizon.has_expired(expires_at) {
                self.retire(bundle, shelf, RetireReason::Expired);
            } else if held[newest].key.generation > bundle.key.generation {
                self.retire(bundle, shelf, RetireReason::Superseded);
            } else if newest == place {
                let victim = self.add_victim(Victim {
                    what: Occupant::Held(bundle),
                    shelf,
                    bytes: bundle.file_bytes,
                    class: entry.map_or(FillClass::Ranked, |entry| entry.class),
                    value: entry.map_or(0, |entry| self.horizon.value(entry.score, expires_at)),
                    sunk: self.horizon.sunk(bundle.file_bytes, expires_at),
                    is_an_entry: entry.is_some_and(|entry| entry.generation == bundle.key.generation),
                });
                self.newest.insert(&bundle.key.path, (place, Some(victim)));
            }
            // Else it is the same bundle once more, on another volume: retiring is by key, and it goes with
            // the first.
        }
    }

    /// What was begun goes at once where nothing wants it; else it could give way.
    pub(super) fn sort_partial(&mut self) {
        let partial = &self.input.partial;
        for (place, file) in partial.iter().enumerate() {
            if !self.shelves.contains_key(&file.volume) {
                continue;
            }
            let wanted =
                self.places.get(&file.key.path).copied().filter(|entry| self.wants(*entry, &file.key));
            let Some(entry) = wanted else { continue };
            let best = self.begun.entry(entry).or_insert(place);
            if partial[*best].done_bytes < file.done_bytes {
                *best = place;
            }
        }
        for (place, file) in partial.iter().enumerate() {
            let Some(&shelf) = self.shelves.get(&file.volume) else { continue };
            let entry = self.places.get(&file.key.path).copied();
            if entry.and_then(|entry| self.begun.get(&entry)) != Some(&place) {
                self.discard(file, shelf);
            }
        }
    }

    /// Whether `key` is that entry's, and is to be fetched.
    fn wants(&self, place: usize, key: &BundleKey) -> bool {
        let entry = &self.input.entries[place];
        let held = self.newest.get(&entry.path).map(|(held, _)| self.input.held[*held].key.generation);
        entry.generation == key.generation
            && held.is_none_or(|held| held < entry.generation)
            && !self.horizon.has_expired(entry.expires_at)
            && !self.expires_too_soon(entry, entry.bytes)
    }

    pub(super) fn judge(&mut self, place: usize) -> Result<(), Skipped> {
        let entry = &self.input.entries[place];
        if self.places[&entry.path] != place {
            return Err(Skipped::Repeated);
        }
        if self.horizon.has_expired(entry.expires_at) {
            return Err(Skipped::Expired);
        }
        let newest = self.newest.get(&entry.path).copied();
        match newest.map(|(held, _)| self.input.held[held].key.generation.cmp(&entry.generation)) {
            Some(Ordering::Equal) => {
                self.survey.held += 1;
                return Ok(());
            }
            Some(Ordering::Greater) => return Err(Skipped::NewerHeld),
            Some(Ordering::Less) | None => {}
        }
        if self.expires_too_soon(entry, entry.bytes) {
            return Err(Skipped::ExpiresSoon);
        }
        let begun = self.begun.get(&place).map(|file| &self.input.partial[*file]);
        let begun_as = begun.map(|file| self.begun_victim(file, entry));
        let candidate = Candidate {
            entry: place,
            class: entry.class,
            value: self.horizon.value(entry.score, entry.expires_at),
            missing_bytes: entry.bytes.saturating_sub(begun.map_or(0, |file| file.done_bytes)),
            file_bytes: begun
                .map_or_else(|| Layout::file_bytes_bound(entry.objects, entry.bytes), |file| file.file_bytes),
            begun_as,
            predecessor: newest.and_then(|(_, victim)| victim),
        };
        self.survey.candidates.push(candidate);
        Ok(())
    }

    /// Pinned ones are fetched for their last hour, too.
    fn expires_too_soon(&self, entry: &FillEntry, missing_bytes: u64) -> bool {
        entry.class != FillClass::Pinned
            && self.horizon.expires_within_a_day(entry.expires_at)
            && self.horizon.value(entry.score, entry.expires_at) < i128::from(missing_bytes)
    }

    fn begun_victim(&mut self, file: &'a Partial, entry: &FillEntry) -> usize {
        self.add_victim(Victim {
            what: Occupant::Partial(file),
            shelf: self.shelves[&file.volume],
            bytes: file.file_bytes,
            class: entry.class,
            value: 0,
            sunk: self.horizon.sunk(file.done_bytes, entry.expires_at),
            is_an_entry: false,
        })
    }

    fn add_victim(&mut self, victim: Victim<'a>) -> usize {
        let place = self.survey.victims.len();
        self.survey.volumes[victim.shelf].victims.push(place);
        self.survey.victims.push(victim);
        place
    }

    fn retire(&mut self, bundle: &Held, shelf: usize, why: RetireReason) {
        self.survey.volumes[shelf].available += i128::from(bundle.file_bytes);
        self.survey.retires.push(PlannedRetire::new(bundle, why));
    }

    fn discard(&mut self, file: &Partial, shelf: usize) {
        self.survey.volumes[shelf].available += i128::from(file.file_bytes);
        self.survey.discards.push(PlannedDiscard::new(file));
    }

    pub(super) fn finish(self) -> Survey<'a> {
        let mut survey = self.survey;
        // An earlier generation goes before a later one, or it would serve for a moment.
        survey.retires.sort_by(|one, other| one.key.cmp(&other.key));
        survey.candidates.sort_by(|one, other| {
            let best_first = other.density().total_cmp(&one.density());
            one.class.cmp(&other.class).then(best_first).then(one.entry.cmp(&other.entry))
        });
        let victims = &survey.victims;
        for shelf in &mut survey.volumes {
            shelf.victims.sort_by(|one, other| {
                let (one, other) = (&victims[*one], &victims[*other]);
                let least_first = one.density().total_cmp(&other.density());
                other.class.cmp(&one.class).then(least_first).then_with(|| one.key().cmp(other.key()))
            });
        }
        survey
    }
}
