//! Sorts the input of a plan: what goes anyway, what could be fetched, and what could give way on each volume.

mod surveyor;

use control_client::content::BundleKey;
use control_client::fill_manifest::{FillClass, FillEntry};

use super::worth::Worth;
use super::{Held, Partial, PlanInput, PlannedDiscard, PlannedRetire, Skipped};

use surveyor::Surveyor;

/// The input, sorted.
pub(super) struct Survey<'a> {
    pub(super) entries: &'a [FillEntry],
    /// The best first: the order of the fetches.
    pub(super) candidates: Vec<Candidate>,
    pub(super) volumes: Vec<Shelf>,
    /// What could give way, on any volume.
    pub(super) victims: Vec<Victim<'a>>,
    pub(super) retires: Vec<PlannedRetire>,
    pub(super) discards: Vec<PlannedDiscard>,
    /// Entries that are no candidates, in their order.
    pub(super) skipped: Vec<(usize, Skipped)>,
    /// Entries that are held.
    pub(super) held: u64,
}

/// An entry that could be fetched.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) entry: usize,
    pub(super) class: FillClass,
    pub(super) value: i128,
    /// Bytes to fetch.
    pub(super) missing_bytes: u64,
    /// Bytes of its file.
    pub(super) file_bytes: u64,
    /// The file that was begun, as a victim: on its volume the candidate needs no room, and it goes nowhere else.
    pub(super) begun_as: Option<usize>,
    /// The earlier generation, as a victim: it goes when this candidate comes, and costs nothing then.
    pub(super) predecessor: Option<usize>,
}

/// A volume that serves.
pub(super) struct Shelf {
    pub(super) index: u8,
    /// Room above what is kept free, when everything is gone that goes anyway; negative where less is free.
    pub(super) available: i128,
    /// Bytes that are to go for pulled content.
    pub(super) owed: i128,
    /// What could give way, the first to go first.
    pub(super) victims: Vec<usize>,
}

/// What could give way.
#[derive(Clone, Debug)]
pub(super) struct Victim<'a> {
    pub(super) what: Occupant<'a>,
    /// A place in `volumes`.
    pub(super) shelf: usize,
    pub(super) bytes: u64,
    pub(super) class: FillClass,
    /// What it serves; nothing where no entry has its path.
    pub(super) value: i128,
    /// What it would cost to fetch again.
    pub(super) sunk: i128,
    /// It is what an entry wants.
    pub(super) is_an_entry: bool,
}

/// What takes the room.
#[derive(Clone, Copy, Debug)]
pub(super) enum Occupant<'a> {
    Held(&'a Held),
    Partial(&'a Partial),
}

impl Candidate {
    pub(super) fn gain(&self) -> Worth {
        Worth::of(self.class, self.value)
    }

    /// Infinite where nothing is missing: its value is never zero.
    fn density(&self) -> f64 {
        self.value as f64 / self.missing_bytes as f64
    }
}

impl Victim<'_> {
    pub(super) fn cost(&self) -> Worth {
        Worth::of(self.class, self.value + self.sunk)
    }

    /// Without what it would cost to fetch again.
    pub(super) fn plain_cost(&self) -> Worth {
        Worth::of(self.class, self.value)
    }

    pub(super) fn key(&self) -> &BundleKey {
        match self.what {
            Occupant::Held(bundle) => &bundle.key,
            Occupant::Partial(file) => &file.key,
        }
    }

    /// What is worth nothing goes first, whatever its size.
    fn density(&self) -> f64 {
        (self.value + self.sunk) as f64 / self.bytes.max(1) as f64
    }
}

/// Sorts the input.
pub(super) fn survey<'a>(input: &'a PlanInput<'a>) -> Survey<'a> {
    let mut surveyor = Surveyor::new(input);
    surveyor.sort_held();
    surveyor.sort_partial();
    for place in 0..input.entries.len() {
        if let Err(skipped) = surveyor.judge(place) {
            surveyor.survey.skipped.push((place, skipped));
        }
    }
    surveyor.finish()
}
