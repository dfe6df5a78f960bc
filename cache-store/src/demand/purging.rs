//! Purging, durably.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::entry::{PurgeMark, Selector};
use super::files::Files;
use super::log::{DemandLog, lock};
use super::purge_format;
use super::purges::PurgeSet;
use crate::disk;
use crate::limits::{DEMAND_KEY_BYTES_MAX, DEMAND_PURGES_GARBAGE_BYTES_MIN, JOURNAL_RESERVE_BYTES};

/// The file of purges.
#[derive(Debug)]
pub(super) struct PurgeFile {
    pub(super) era: u64,
    /// `None` after a failure: then what the file holds is not known, and it is written anew.
    appending: Option<Appending>,
}

#[derive(Debug)]
struct Appending {
    file: OwnedFd,
    end: u64,
    /// The checksum that the next record continues.
    chain: u32,
}

impl DemandLog {
    /// Purges entries, durably before it returns how many there were. Answers that were asked for before are not stored
    /// after. After an error they are not served either, but may be again after a restart: purge again.
    ///
    /// [`io::ErrorKind::InvalidInput`] for a selector that is longer than any key.
    pub fn purge(&self, selector: Selector<'_>) -> io::Result<usize> {
        let (Selector::Exact(bytes) | Selector::Prefix(bytes)) = selector;
        if bytes.len() > DEMAND_KEY_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "longer than any key"));
        }
        let mut file = lock(&self.purge_file);
        let (number, count) = {
            let mut state = self.state();
            let number = state.purges.add(selector);
            let count = state.index.purge(selector);
            state.counted.purged += count as u64;
            state.bound_purges();
            (number, count)
        };
        let written = self.write_purge(&mut file, selector, number);
        let mut state = self.state();
        match written {
            Ok(()) => {
                state.durable = PurgeMark(number);
                Ok(count)
            }
            Err(error) => {
                state.note_write_failure(&error);
                Err(error)
            }
        }
    }

    /// Makes the newest purge durable: appended, or, where that cannot be, with all others in a new file.
    fn write_purge(&self, file: &mut PurgeFile, selector: Selector<'_>, number: u64) -> io::Result<()> {
        let purges_memory = self.state().purges.memory();
        if file.append(selector, number, purges_memory).is_ok() {
            return Ok(());
        }
        match self.write_purges(file) {
            // A purge must not fail for want of space while the log has some.
            Err(error) if error.kind() == io::ErrorKind::StorageFull && self.drop_oldest() => {
                self.write_purges(file)
            }
            other => other,
        }
    }

    fn write_purges(&self, file: &mut PurgeFile) -> io::Result<()> {
        let purges = self.state().purges.clone();
        file.replace(&self.files, &purges)
    }
}

impl PurgeFile {
    /// Writes a new file of these purges, durably.
    pub(super) fn create(files: &Files, era: u64, purges: &PurgeSet) -> io::Result<Self> {
        let mut file = Self { era, appending: None };
        file.replace(files, purges)?;
        Ok(file)
    }

    /// Goes on with the file that there is, after its first `end` bytes. Where that cannot be, the next purge writes it anew.
    pub(super) fn resume(files: &Files, era: u64, end: u64, chain: u32) -> Self {
        let file = files.open_purges(end).ok();
        Self { era, appending: file.map(|file| Appending::new(file, end, chain)) }
    }

    /// Appends a purge durably. Fails also where the file is mostly garbage beside the purges of that many bytes: it has
    /// to be written anew.
    fn append(&mut self, selector: Selector<'_>, number: u64, purges_memory: u64) -> io::Result<()> {
        // Back only when all has gone well.
        let mut appending = self.appending.take().ok_or(io::ErrorKind::Other)?;
        let mut bytes = Vec::new();
        let chain = purge_format::append(&mut bytes, appending.chain, selector, number);
        let end = appending.end + bytes.len() as u64;
        if end > 2 * purges_memory + DEMAND_PURGES_GARBAGE_BYTES_MIN {
            return Err(io::ErrorKind::Other.into());
        }
        disk::write_all_at(appending.file.as_fd(), &bytes, appending.end)?;
        disk::sync_data(appending.file.as_fd())?;
        (appending.end, appending.chain) = (end, chain);
        self.appending = Some(appending);
        Ok(())
    }

    fn replace(&mut self, files: &Files, purges: &PurgeSet) -> io::Result<()> {
        let (bytes, chain) = purge_format::encode(purges, files.volume, self.era);
        self.appending = None;
        let file = files.replace_purges(&bytes)?;
        self.appending = Some(Appending::new(file, bytes.len() as u64, chain));
        Ok(())
    }
}

impl Appending {
    fn new(file: OwnedFd, end: u64, chain: u32) -> Self {
        // So that purging works on a full disk.
        disk::reserve_beyond(file.as_fd(), end, JOURNAL_RESERVE_BYTES);
        Self { file, end, chain }
    }
}
