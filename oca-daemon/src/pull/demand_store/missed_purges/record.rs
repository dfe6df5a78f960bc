//! What one volume has missed. Pure.

use serde::{Deserialize, Serialize};

use crate::limits::{MISSED_PURGE_BYTES, MISSED_PURGES_BYTES_MAX, MISSED_PURGES_OF_CLIENTS_BYTES_MAX};
use crate::pull::PurgeSelector;

/// The place of a purge among those of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::pull::demand_store) struct PurgeNumber(pub(super) u64);

/// A volume that was served here, and what it has not made since.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Record {
    /// Where it was; for whoever reads the file.
    pub path: String,
    /// When it was last begun to be served, in seconds since 1970.
    pub seen: u64,
    missed: Vec<Note>,
    /// It is told of purges as they come.
    #[serde(skip)]
    pub is_served: bool,
}

/// A purge that it has missed.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
struct Note {
    selector: PurgeSelector,
    /// The last one that selected so; zero where that was in an earlier process.
    #[serde(skip)]
    number: PurgeNumber,
}

impl Record {
    /// One that is served, and has missed nothing.
    pub(super) fn served(path: String, seen: u64) -> Self {
        Self { path, seen, missed: Vec::new(), is_served: true }
    }

    /// It has missed a purge of these. Whether that has to be written down.
    pub(super) fn add(&mut self, selectors: &[PurgeSelector], number: PurgeNumber) -> bool {
        let mut has_grown = false;
        for selector in selectors {
            let known = self.missed.iter_mut().find(|note| note.covers(selector));
            if let Some(note) = known {
                note.number = number;
                continue;
            }
            if *selector == PurgeSelector::everything() {
                self.missed.clear();
            }
            self.missed.push(Note { selector: selector.clone(), number });
            has_grown = true;
        }
        if has_grown {
            self.bound(number);
        }
        has_grown
    }

    /// It has made a purge of these: with them whatever it had missed of them until then. Whether it had.
    pub(super) fn confirm(&mut self, selectors: &[PurgeSelector], number: PurgeNumber) -> bool {
        let before = self.missed.len();
        let is_made = |note: &Note| {
            let all = PurgeSelector::everything();
            note.number <= number && (selectors.contains(&note.selector) || selectors.contains(&all))
        };
        self.missed.retain(|note| !is_made(note));
        self.missed.len() < before
    }

    /// What it has missed, in the order in which it has.
    pub(super) fn missed(&self) -> Vec<PurgeSelector> {
        self.missed.iter().map(|note| note.selector.clone()).collect()
    }

    /// Clients choose how much of theirs there is, and it must not cost all that the volume holds: the oldest of it is forgotten.
    /// What operators purge is not, so beyond its bound it becomes everything.
    fn bound(&mut self, number: PurgeNumber) {
        let of_clients: usize = self.missed.iter().filter(|note| note.is_of_client()).map(Note::bytes).sum();
        let all: usize = self.missed.iter().map(Note::bytes).sum();
        if all - of_clients > MISSED_PURGES_BYTES_MAX {
            self.missed = vec![Note { selector: PurgeSelector::everything(), number }];
            return;
        }
        let mut excess = of_clients.saturating_sub(MISSED_PURGES_OF_CLIENTS_BYTES_MAX);
        self.missed.retain(|note| {
            let is_kept = excess == 0 || !note.is_of_client();
            if !is_kept {
                excess = excess.saturating_sub(note.bytes());
            }
            is_kept
        });
    }
}

impl Note {
    fn covers(&self, selector: &PurgeSelector) -> bool {
        self.selector == *selector || self.selector == PurgeSelector::everything()
    }

    /// Whether a client's request has made something untrue; operators name paths, and no keys.
    fn is_of_client(&self) -> bool {
        matches!(self.selector, PurgeSelector::Exact(_))
    }

    fn bytes(&self) -> usize {
        self.selector.text().len() + MISSED_PURGE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> PurgeSelector {
        PurgeSelector::Path(path.to_owned())
    }

    fn long(number: usize) -> String {
        format!("/{number:01000}")
    }

    #[test]
    fn what_is_confirmed_is_not_missed_any_more_and_nothing_else() {
        let mut record = Record::default();
        assert!(record.add(&[path("/a"), path("/b")], PurgeNumber(1)));
        assert!(record.confirm(&[path("/a")], PurgeNumber(2)));
        assert!(!record.confirm(&[path("/a"), path("/c")], PurgeNumber(3)));
        assert_eq!(record.missed(), [path("/b")]);
        assert!(record.confirm(&[PurgeSelector::everything()], PurgeNumber(4)));
        assert!(record.missed().is_empty());
    }

    #[test]
    fn a_purge_is_not_confirmed_by_one_before_it() {
        let mut record = Record::default();
        record.add(&[path("/a")], PurgeNumber(1));
        assert!(!record.add(&[path("/a")], PurgeNumber(3)), "it says so already");
        assert!(!record.confirm(&[path("/a")], PurgeNumber(2)));
        assert!(record.confirm(&[path("/a")], PurgeNumber(3)));
    }

    #[test]
    fn what_operators_purge_becomes_everything_beyond_a_bound() {
        let mut record = Record::default();
        for number in 0..MISSED_PURGES_BYTES_MAX / 1000 + 1 {
            record.add(&[path(&long(number))], PurgeNumber(number as u64));
        }
        assert_eq!(record.missed(), [PurgeSelector::everything()]);
        assert!(!record.add(&[path("/a")], PurgeNumber(9999)), "that says it");
    }

    #[test]
    fn what_clients_make_untrue_never_becomes_everything_nor_displaces_what_operators_purge() {
        let mut record = Record::default();
        record.add(&[path("/a")], PurgeNumber(1));
        for number in 0..3 * MISSED_PURGES_OF_CLIENTS_BYTES_MAX / 1000 {
            record.add(&[PurgeSelector::Exact(long(number))], PurgeNumber(2));
        }
        let missed = record.missed();
        let newest = PurgeSelector::Exact(long(3 * MISSED_PURGES_OF_CLIENTS_BYTES_MAX / 1000 - 1));
        assert_eq!((&missed[0], missed.last().unwrap()), (&path("/a"), &newest));
        let bytes: usize = missed.iter().map(|selector| selector.text().len()).sum();
        assert!(bytes <= MISSED_PURGES_OF_CLIENTS_BYTES_MAX + 2, "{bytes}");
    }
}
