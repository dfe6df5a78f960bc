//! The log itself: storing.
//!
//! A record is written in three steps: a place is reserved, the bytes are written, the index learns of them. The first and
//! the last take the lock for some instructions, so that any number of threads write and read at once, and nobody finds
//! what is not there yet. A write that fails leaves a hole; nothing points to it.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::entry::{AppendError, DemandLimits, DemandStats, EntryId, NewEntry, PurgeMark, Recovery};
use super::files::{self, Files};
use super::held::{NewHead, RecordRef};
use super::leaving::Leaving;
use super::purging::PurgeFile;
use super::record::{Draft, HeadFacts, Header, Part};
use super::recovery;
use super::segment::{Need, Sealing, Slot};
use super::state::{Shape, State};
use crate::limits::{
    DEMAND_BLOCK_BYTES_MAX, DEMAND_CAPACITY_BYTES_MIN, DEMAND_KEY_BYTES_MAX, DEMAND_METADATA_BYTES_MAX,
    DEMAND_SECONDARY_BYTES_MAX,
};
use crate::volume::Volume;

/// The demand content of one volume, shared by any number of threads. All calls may wait for the disk but
/// [`Self::mark`], [`Self::keep`], [`Self::release`], [`Self::forget`], [`Self::note_use`] and [`Self::stats`]; reading waits for no writer. One process has it open at a
/// time: the one that holds the volume's lock.
pub struct DemandLog {
    pub(super) files: Files,
    state: Mutex<State>,
    /// Held by whoever makes room, also while the disk works: only those wait for it who need room. Taken before `state`.
    pub(super) leaving: Mutex<Option<Leaving>>,
    /// Held while a purge is made durable: only purges wait for it. Taken before `state`.
    pub(super) purge_file: Mutex<PurgeFile>,
}

impl DemandLog {
    /// Opens the log under the volume's `demand/`, which is made where it is missing. Reads the summaries of the segments,
    /// not their content: some hundred microseconds for each; only what a killed process had not sealed is looked through.
    ///
    /// Fails where the directory cannot be used, and with [`io::ErrorKind::InvalidInput`] where the capacity is below
    /// [`DEMAND_CAPACITY_BYTES_MIN`].
    pub fn open(volume: &Volume, limits: DemandLimits) -> io::Result<(Self, Recovery)> {
        if limits.capacity_bytes < DEMAND_CAPACITY_BYTES_MIN {
            let what = format!("less than {DEMAND_CAPACITY_BYTES_MIN} bytes for demand content");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        Self::open_shaped(volume, Shape::of(limits))
    }

    pub(super) fn open_shaped(volume: &Volume, shape: Shape) -> io::Result<(Self, Recovery)> {
        let files = Files::open(volume)?;
        let (state, purge_file, recovery) = recovery::recover(&files, shape)?;
        let log = Self {
            files,
            state: Mutex::new(state),
            leaving: Mutex::new(None),
            purge_file: Mutex::new(purge_file),
        };
        Ok((log, recovery))
    }

    /// How many purges there have been. Take it before asking an upstream, and give it to all that stores the answer.
    pub fn mark(&self) -> PurgeMark {
        self.state().durable
    }

    /// Stores the head of a response that was asked for at `asked`; it replaces the entry with the same keys.
    /// [`AppendError::Gone`] where its key has been purged since.
    pub fn append_head(&self, entry: &NewEntry<'_>, asked: PurgeMark) -> Result<EntryId, AppendError> {
        let is_within = entry.key.len() <= DEMAND_KEY_BYTES_MAX
            && entry.secondary.len() <= DEMAND_SECONDARY_BYTES_MAX
            && entry.metadata.len() <= DEMAND_METADATA_BYTES_MAX;
        if !is_within {
            return Err(AppendError::TooLarge);
        }
        let mark = {
            let state = self.state();
            // No head carries a mark that the disk does not know.
            let mark = asked.min(state.durable);
            if state.purges.kills(entry.key, mark) {
                return Err(AppendError::Gone);
            }
            mark
        };
        let facts = HeadFacts {
            revision: 0,
            mark,
            total_bytes: entry.total_bytes,
            key_bytes: entry.key.len() as u16,
            secondary_bytes: entry.secondary.len() as u16,
        };
        let draft = Draft::new(&[entry.key, entry.secondary, entry.metadata]);
        let key_bytes = entry.key.len() + entry.secondary.len();
        let (key, secondary) = (entry.key.into(), entry.secondary.into());
        let slot = self.reserve(&draft, key_bytes, key_bytes)?;
        let id = slot.entry();
        self.store(slot, draft, id, Part::Head(facts), |state, slot, header| {
            hold_head(state, slot, header, &facts, key, secondary)
        })?;
        Ok(id)
    }

    /// Gives an entry other metadata (after a 304), or a total length that has become known, from an answer that was asked for
    /// at `asked`. [`AppendError::Gone`] where its key has been purged since, even if the entry was begun after that.
    pub fn update_head(
        &self,
        entry: EntryId,
        metadata: &[u8],
        total_bytes: Option<u64>,
        asked: PurgeMark,
    ) -> Result<(), AppendError> {
        if metadata.len() > DEMAND_METADATA_BYTES_MAX {
            return Err(AppendError::TooLarge);
        }
        let (key, secondary, facts) = {
            let mut state = self.state();
            let held = state.accepting(entry, asked).ok_or(AppendError::Gone)?;
            let (key, secondary) = (Arc::clone(&held.key), Arc::clone(&held.secondary));
            let revision = state.index.next_revision(entry).ok_or(AppendError::Gone)?;
            // It is held, so it comes after every purge of its key that there has been.
            let mark = state.durable;
            let (key_bytes, secondary_bytes) = (key.len() as u16, secondary.len() as u16);
            (key, secondary, HeadFacts { revision, mark, total_bytes, key_bytes, secondary_bytes })
        };
        let draft = Draft::new(&[&key, &secondary, metadata]);
        let slot = self.reserve(&draft, 0, key.len() + secondary.len())?;
        self.store(slot, draft, entry, Part::Head(facts), |state, slot, header| {
            state.accepting(entry, asked).ok_or(AppendError::Gone)?;
            match hold_head(state, slot, header, &facts, key, secondary) {
                // A later update was quicker.
                Err(AppendError::Gone) if state.index.get(entry).is_some() => Ok(()),
                other => other,
            }
        })
    }

    /// Stores a block of an entry, of at most 1 MiB, from an answer that was asked for at `asked`. One that is held already is
    /// left as it is. [`AppendError::Gone`] as for [`Self::update_head`].
    pub fn append_block(
        &self,
        entry: EntryId,
        number: u32,
        bytes: &[u8],
        asked: PurgeMark,
    ) -> Result<(), AppendError> {
        if bytes.len() > DEMAND_BLOCK_BYTES_MAX {
            return Err(AppendError::TooLarge);
        }
        let block = RecordRef { entry, block: Some(number) };
        {
            let state = self.state();
            state.accepting(entry, asked).ok_or(AppendError::Gone)?;
            if state.index.place(block).is_some() {
                return Ok(());
            }
        }
        let draft = Draft::new(&[bytes]);
        let slot = self.reserve(&draft, 0, 0)?;
        self.store(slot, draft, entry, Part::Block { number }, |state, slot, header| {
            let place = slot.place(header.payload_bytes);
            let is_held = state.accepting(entry, asked).is_some()
                && state.note(slot, header, &[], &[])
                && state.index.insert_block(entry, number, place);
            if is_held { Ok(()) } else { Err(AppendError::Gone) }
        })
    }

    /// Lets go of an entry whose blocks must not be used any more: its validator changed. Not durable by itself: before a
    /// new entry with the same keys is stored, a restart brings it back, as it was.
    pub fn forget(&self, entry: EntryId) {
        self.state().index.remove(entry);
    }

    /// What is stored of an entry, and will be, does not leave for what is new until it is released, or has been in the way of that
    /// for [`DEMAND_KEPT_FOR`](crate::limits::DEMAND_KEPT_FOR): somebody reads it while it comes, and cannot have it again. Until then
    /// appends that have no room fail with [`io::ErrorKind::StorageFull`]. Purges do not wait for it.
    pub fn keep(&self, entry: EntryId) {
        self.state().kept.add(entry.first_segment());
    }

    /// Ends a [`Self::keep`]; there is one for each.
    pub fn release(&self, entry: EntryId) {
        self.state().kept.remove(entry.first_segment());
    }

    /// What it holds, and what it did.
    pub fn stats(&self) -> DemandStats {
        self.state().stats()
    }

    /// Writes what makes the next opening quick. Appends that come after it open a new segment.
    pub fn close(&self) {
        let _making_room = lock(&self.leaving);
        let sealing = self.state().close_last();
        if let Some(sealing) = sealing {
            self.seal(sealing);
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The same, where nobody else has it.
    pub(super) fn state_if_free(&self) -> Option<MutexGuard<'_, State>> {
        self.state.try_lock().ok()
    }

    /// Writes a record at its place, and has `hold` put it into the index.
    pub(super) fn store<T>(
        &self,
        slot: Slot,
        mut draft: Draft,
        entry: EntryId,
        part: Part,
        hold: impl FnOnce(&mut State, &Slot, &Header) -> Result<T, AppendError>,
    ) -> Result<T, AppendError> {
        let header = draft.address(entry, part, slot.page, slot.nonce);
        let written = files::write(slot.file.as_fd(), draft.buffer.bytes(), slot.offset());
        let (held, sealing) = {
            let mut state = self.state();
            let held = match written {
                Ok(()) => hold(&mut state, &slot, &header),
                Err(error) => {
                    state.note_write_failure(&error);
                    Err(AppendError::Io(error))
                }
            };
            (held, state.finish(slot.segment))
        };
        if let Some(sealing) = sealing {
            self.seal(sealing);
        }
        held
    }

    /// Writes a segment's end. Where that fails it is looked through when the log is opened.
    pub(super) fn seal(&self, sealing: Sealing) {
        let Sealing { identity, file, summary, end } = sealing;
        let sealed = self.files.seal(file.as_fd(), &identity, summary, end);
        let mut state = self.state();
        match sealed {
            Ok(file_bytes) => state.resize(identity.sequence, file_bytes),
            Err(error) => {
                state.note_write_failure(&error);
                drop(state);
                tracing::warn!(%error, "a segment of demand content could not be sealed");
            }
        }
    }

    /// Reserves a place for a record, and makes room where there is none. Pays for it with its share of what has to be
    /// written again.
    fn reserve(
        &self,
        draft: &Draft,
        key_bytes: usize,
        summary_key_bytes: usize,
    ) -> Result<Slot, AppendError> {
        let need = Need { record_bytes: draft.record_bytes(), key_bytes, summary_key_bytes };
        self.reclaim(need.record_bytes);
        loop {
            if let Some(slot) = self.state().reserve(need) {
                return Ok(slot);
            }
            self.make_room(need)?;
        }
    }
}

impl fmt::Debug for DemandLog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("DemandLog").field("volume", &self.files.volume).finish_non_exhaustive()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hold_head(
    state: &mut State,
    slot: &Slot,
    header: &Header,
    facts: &HeadFacts,
    key: Arc<[u8]>,
    secondary: Arc<[u8]>,
) -> Result<(), AppendError> {
    if !state.note(slot, header, &key, &secondary) {
        return Err(AppendError::Gone);
    }
    let place = slot.place(header.payload_bytes);
    let (revision, total_bytes) = (facts.revision, facts.total_bytes);
    let head = NewHead { key, secondary, place, revision, total_bytes };
    if state.hold_head(header.entry, head, facts.mark) { Ok(()) } else { Err(AppendError::Gone) }
}
