//! What the room of later bundles hangs upon: that earlier ones of the plan make theirs, and that readers let go of what was
//! retired.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::plan::PlannedFetch;

/// Of all volumes, for one run.
#[derive(Debug, Default)]
pub struct RoomToCome(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Volumes, and ranks in the plan of bundles that have yet to make room there.
    unmade: BTreeSet<(u8, usize)>,
    /// Volumes on which readers hold what was retired.
    leaving: BTreeSet<u8>,
}

impl RoomToCome {
    /// What these fetches, in the order of the plan, are to make.
    pub fn of<'a>(fetches: impl Iterator<Item = &'a PlannedFetch>) -> Self {
        let makes_room = |(_, fetch): &(usize, &PlannedFetch)| {
            !fetch.retire_first.is_empty() || !fetch.discard_first.is_empty()
        };
        let unmade = fetches.enumerate().filter(makes_room).map(|(rank, fetch)| (fetch.volume, rank));
        Self(Mutex::new(Inner { unmade: unmade.collect(), leaving: BTreeSet::new() }))
    }

    /// The bundle of that rank has its room, or will make none in this run.
    pub fn settle(&self, volume: u8, rank: usize) {
        self.locked().unmade.remove(&(volume, rank));
    }

    /// Whether a bundle before that one has yet to make room there.
    pub fn is_to_come(&self, volume: u8, rank: usize) -> bool {
        self.locked().unmade.range((volume, 0)..(volume, rank)).next().is_some()
    }

    /// Readers hold what was retired there.
    pub fn is_leaving(&self, volume: u8) -> bool {
        self.locked().leaving.contains(&volume)
    }

    /// So it is from now on.
    pub fn note_leaving(&self, volume: u8) {
        self.locked().leaving.insert(volume);
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
