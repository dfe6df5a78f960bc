//! How many bytes were received in a night, kept across restarts.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::limits::OVERHEAD_PART;

/// Bytes received, by the beginning of the window that they count for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NightBudget {
    /// The nights: first the one that was counted for last, then the latest.
    nights: Vec<SpentNight>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SpentNight {
    /// When its window began, in seconds since 1970.
    began_at: i64,
    received_bytes: u64,
}

/// A clock that is set back returns to nights that were spent: those of a week are remembered.
const NIGHTS_MAX: usize = 7;

impl NightBudget {
    /// What is left of `night_bytes` in the night that began at `night`.
    pub fn left(&self, night: Timestamp, night_bytes: u64) -> u64 {
        night_bytes.saturating_sub(self.received(night))
    }

    /// What was received in that night.
    pub fn received(&self, night: Timestamp) -> u64 {
        let found = self.nights.iter().find(|spent| spent.began_at == night.as_second());
        found.map_or(0, |spent| spent.received_bytes)
    }

    /// Counts bytes that were received, useful or not.
    pub fn spend(&mut self, night: Timestamp, bytes: u64) {
        let began_at = night.as_second();
        match self.nights.iter_mut().find(|spent| spent.began_at == began_at) {
            Some(spent) => spent.received_bytes = spent.received_bytes.saturating_add(bytes),
            None => self.nights.insert(0, SpentNight { began_at, received_bytes: bytes }),
        }
        // The one that was counted last is never the one that is forgotten.
        self.nights.sort_by_key(|spent| (spent.began_at != began_at, std::cmp::Reverse(spent.began_at)));
        self.nights.truncate(NIGHTS_MAX);
    }
}

/// What of so many bytes a plan may fill with objects: the rest is for what comes with them.
pub fn for_objects(bytes: u64) -> u64 {
    bytes - bytes / OVERHEAD_PART
}

#[cfg(test)]
mod tests;
