//! What a start makes of a journal.
//!
//! A torn end is cut off. Anything else that is wrong makes the journal worthless from there on, and what comes
//! before may have been undone behind it: the journal is set aside as `journal.damaged`, and the inventory is
//! made anew from the files in the directory. Only departures not finished before the cut are kept, so that
//! nothing retired comes back. The new journal is marked as unfinished until all of the directory was read: a
//! start that finds the mark reads it again.
//!
//! A journal that cannot be read says nothing of what it holds: then the volume is not used.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::journal::{self, Cut, JournalFile};
use super::{Inventory, Record, bundles};
use crate::bundle::Bundle;
use crate::disk;
use crate::identity::BundleId;
use crate::limits::JOURNAL_BYTES_MAX;

const DAMAGED_NAME: &str = "journal.damaged";

/// How a journal was found at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Whole.
    Clean,
    /// Its end was torn, and was cut off.
    Cut {
        /// Where.
        at_bytes: u64,
    },
    /// It was damaged, or an earlier rebuild was not finished: the inventory has to be made anew from the
    /// directory.
    Rebuild {
        /// What was wrong, and where.
        reason: String,
    },
}

impl Inventory {
    pub(super) fn load(&mut self) -> io::Result<Recovery> {
        let explain = |error: io::Error| {
            let what = format!("inventory/journal cannot be read: {error}; check the disk, then restart");
            io::Error::new(error.kind(), what)
        };
        let read = disk::read_file(self.directory.as_fd(), journal::NAME, JOURNAL_BYTES_MAX);
        let Some((_, bytes)) = read.map_err(explain)? else {
            return self.start_anew("there is no journal".to_owned());
        };
        let decoded = journal::decode(&bytes, self.volume_id);
        self.apply(&decoded.records);
        match decoded.cut {
            None | Some(Cut::Torn) => {
                self.journal = Some(JournalFile::resume(self.directory.as_fd(), self.volume_id, &decoded)?);
                self.compact_if_due();
                Ok(match decoded.cut {
                    _ if self.is_rebuilding => {
                        Recovery::Rebuild { reason: "an earlier recovery was not finished".to_owned() }
                    }
                    None => Recovery::Clean,
                    Some(_) => Recovery::Cut { at_bytes: decoded.valid_bytes as u64 },
                })
            }
            Some(cut) => {
                self.held.clear();
                self.live_bytes = 0;
                self.held_file_bytes = 0;
                self.start_anew(format!("the journal is damaged at byte {}: {cut}", decoded.valid_bytes))
            }
        }
    }

    /// Sets a damaged journal aside, and starts one that holds the departures only.
    fn start_anew(&mut self, reason: String) -> io::Result<Recovery> {
        // That it can be looked at later is worth a try, not a failure. Its own name it keeps until the new one is
        // durable: nothing else knows of the departures.
        let directory = self.directory.as_fd();
        let _ = disk::remove_file(directory, DAMAGED_NAME)
            .and_then(|()| disk::link(directory, journal::NAME, directory, DAMAGED_NAME));
        self.is_rebuilding = true;
        self.replace(&[])?;
        Ok(Recovery::Rebuild { reason })
    }

    fn apply(&mut self, records: &[Record]) {
        for record in bundles(records).into_values() {
            self.hold(Arc::new(Bundle::new(record.clone(), self.volume_index)));
        }
        for record in records {
            match record {
                Record::Adopted(record) => {
                    self.leaving.remove(&BundleId::of(&record.key));
                }
                Record::Leaving(id, leaving) => {
                    self.leaving.insert(*id, *leaving);
                }
                Record::Gone(id) => {
                    self.leaving.remove(id);
                }
                Record::Rebuilding => self.is_rebuilding = true,
            }
        }
    }
}
