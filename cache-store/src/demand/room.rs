//! Making room: segments close, new ones open, old ones leave.
//!
//! There is always one segment's worth of space to spare, or the oldest segment is on its way out. Each append pays for
//! that with its share: for a byte that it stores, two bytes of what is hot in the leaving segment are written again. As no
//! more than half a segment is, it has left before a new one that takes appends is full. For want of memory it may begin to
//! leave when that one is nearly full: then it goes on in the next, where there is space for both. Where there is not,
//! because many write at once, it leaves without the rest: an append never waits for more than its share, and what is hot
//! can never fill the log.
//!
//! What is kept for those who read it while it comes stays: what is new then finds no room, for a while.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use super::entry::AppendError;
use super::files::is_shortage;
use super::held::RecordRef;
use super::index::Index;
use super::leaving::Leaving;
use super::log::{DemandLog, lock};
use super::record::{Draft, Header, Part, record_bytes};
use super::segment::{Need, Segment};
use super::segment_format::Identity;
use crate::incoming::random_number;

/// Bytes written again for each byte that is stored.
const REWRITTEN_PER_BYTE: u64 = 2;

impl DemandLog {
    /// Writes again some of what is hot in the segment that leaves, for an append of that many bytes.
    pub(super) fn reclaim(&self, appended_bytes: u64) {
        // Somebody else is at it: then that one's share is done now, and this one's is left.
        let Ok(mut leaving) = self.leaving.try_lock() else { return };
        if leaving.is_none() {
            if self.state().is_short_of_memory() {
                self.sweep();
            }
            *leaving = self.state().begin_leaving(Instant::now());
        }
        let mut share_bytes = appended_bytes * REWRITTEN_PER_BYTE;
        while share_bytes > 0 {
            let Some(leaves) = leaving.as_mut() else { return };
            let record = leaves.next(&self.state().index);
            if record.is_some_and(|record| self.waits_for_room(record)) {
                // Every append until then would read it in vain.
                leaves.put_back();
                return;
            }
            match record.map(|record| self.write_again(record)) {
                Some(Ok(bytes)) => share_bytes = share_bytes.saturating_sub(bytes),
                // Others have taken the room meanwhile.
                Some(Err(AppendError::TooLarge)) if self.state().has_space() => {
                    leaves.put_back();
                    return;
                }
                // It is finished, or there is no room for the rest.
                None | Some(Err(AppendError::TooLarge)) => {
                    self.finish_leaving(&mut leaving);
                    return;
                }
                // This process is short of something: an append that comes later has it, maybe.
                Some(Err(AppendError::Io(error))) if is_shortage(&error) => {
                    leaves.put_back();
                    return;
                }
                // What cannot be read or written is lost with its segment.
                Some(Err(AppendError::Gone | AppendError::Io(_))) => {}
            }
        }
    }

    /// Makes room for a record, by whatever has to go for it.
    pub(super) fn make_room(&self, need: Need) -> Result<(), AppendError> {
        if !self.state().could_hold(need) {
            return Err(AppendError::TooLarge);
        }
        let mut leaving = lock(&self.leaving);
        if self.state().has_place(need) {
            // Somebody else has made it meanwhile.
            return Ok(());
        }
        self.make_memory(need, &mut leaving)?;
        if self.state().has_place(need) {
            return Ok(());
        }
        // First of all: what there is stays where no file can be made.
        let (identity, file) = self.create_segment()?;
        if !self.state().has_space() {
            self.finish_leaving(&mut leaving);
        }
        let sealing = self.state().close_last();
        if let Some(sealing) = sealing {
            self.seal(sealing);
        }
        self.open_segment(identity, file)
    }

    /// Makes room in memory: what is noted and not held goes first, then the oldest segments.
    fn make_memory(&self, need: Need, leaving: &mut Option<Leaving>) -> Result<(), AppendError> {
        if !self.state().has_memory(need) {
            self.sweep();
        }
        if !self.state().has_memory(need) {
            self.finish_leaving(leaving);
        }
        while !self.state().has_memory(need) {
            if !self.let_oldest_go() {
                return Err(full());
            }
        }
        Ok(())
    }

    /// Lets go of the memory of records that are not held any more, where it is worth it; segment by segment, so that nobody
    /// waits for all of them.
    fn sweep(&self) {
        let sequences = self.state().to_sweep();
        for sequence in sequences {
            self.state().sweep(sequence);
        }
    }

    /// The segment that leaves goes, with what is left in it.
    fn finish_leaving(&self, leaving: &mut Option<Leaving>) {
        let Some(leaves) = leaving.take() else { return };
        let is_oldest = {
            let state = self.state();
            state.segments.front().is_some_and(|oldest| oldest.identity.sequence == leaves.segment)
        };
        if is_oldest {
            self.let_oldest_go();
        }
    }

    /// Makes the file of a new segment, as yet without its space.
    fn create_segment(&self) -> Result<(Identity, OwnedFd), AppendError> {
        loop {
            let identity = self.state().next_identity(self.files.volume, random_number());
            match self.files.create_segment(identity.sequence) {
                Ok(file) => return Ok((identity, file)),
                Err(error) => self.give_way(error)?,
            }
        }
    }

    /// A new segment takes appends. The oldest go where the capacity, or the disk, has no room for it.
    fn open_segment(&self, identity: Identity, file: OwnedFd) -> Result<(), AppendError> {
        let bytes = self.state().shape.segment_bytes;
        loop {
            while !self.state().has_space() && self.let_oldest_go() {}
            if !self.state().has_space() {
                let _ = self.files.remove_segment(identity.sequence);
                return Err(full());
            }
            match self.files.begin_segment(file.as_fd(), &identity, bytes) {
                Ok(()) => {
                    self.state().push(Segment::open(identity, file, bytes));
                    return Ok(());
                }
                Err(error) => {
                    if let Err(error) = self.give_way(error) {
                        // Without a head it is nobody's, and removed by the next start at the latest.
                        let _ = self.files.remove_segment(identity.sequence);
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Others have filled the disk: the log makes do with what it has, and the oldest segment goes. All other errors are the caller's.
    fn give_way(&self, error: io::Error) -> Result<(), AppendError> {
        if error.kind() == io::ErrorKind::StorageFull && self.let_oldest_go() {
            return Ok(());
        }
        self.state().note_write_failure(&error);
        Err(error.into())
    }

    /// The oldest segment goes for what is new; `false` where there is none, or it is kept.
    fn let_oldest_go(&self) -> bool {
        let is_kept = self.state().holds_back_oldest(Instant::now());
        !is_kept && self.drop_oldest()
    }

    /// The oldest segment goes, whoever reads it; `false` where there is none.
    pub(super) fn drop_oldest(&self) -> bool {
        let dropped = self.state().drop_oldest();
        let Some(sequence) = dropped else { return false };
        if let Err(error) = self.files.remove_segment(sequence) {
            self.state().note_write_failure(&error);
            tracing::warn!(%error, "a segment of demand content could not be removed; the next start tries again");
        }
        true
    }

    /// Whether a record that is to be written again has room only in the next segment, for which there is space: an append opens it before
    /// long.
    fn waits_for_room(&self, record: RecordRef) -> bool {
        let state = self.state();
        state.has_space() && need_again(&state.index, record).is_some_and(|need| !state.has_place(need))
    }

    /// Writes a record again, in the segment that takes appends; returns how many bytes. `TooLarge` where that is full.
    fn write_again(&self, record: RecordRef) -> Result<u64, AppendError> {
        let read = self.read(record, |state| {
            let from = state.index.place(record)?;
            Some((from, (from, state.durable)))
        })?;
        let (buffer, header, (from, mark)) = read.ok_or(AppendError::Gone)?;
        let part = match header.part {
            Part::Head(mut facts) => {
                // It is held, so it comes after every purge of its key that there has been.
                facts.mark = mark;
                Part::Head(facts)
            }
            block => block,
        };
        let keys = keys_of(&header, buffer.bytes());
        let draft = Draft::again(buffer, &header);
        let bytes = draft.record_bytes();
        let need = Need { record_bytes: bytes, key_bytes: 0, summary_key_bytes: keys.0.len() + keys.1.len() };
        let slot = self.state().reserve(need).ok_or(AppendError::TooLarge)?;
        self.store(slot, draft, record.entry, part, |state, slot, header| {
            let to = slot.place(header.payload_bytes);
            let is_held = state.index.place(record) == Some(from)
                && state.note(slot, header, &keys.0, &keys.1)
                && state.index.relocate(record, from, to);
            if !is_held {
                return Err(AppendError::Gone);
            }
            state.counted.rewritten += 1;
            state.counted.rewritten_bytes += bytes;
            Ok(bytes)
        })
    }
}

/// All that there is has to stay for now.
fn full() -> AppendError {
    io::Error::from(io::ErrorKind::StorageFull).into()
}

/// What a record needs that is to be written again; `None` where it is not held any more.
fn need_again(index: &Index, record: RecordRef) -> Option<Need> {
    let entry = index.get(record.entry)?;
    let place = entry.place(record.block)?;
    let summary_key_bytes = record.block.map_or(entry.key.len() + entry.secondary.len(), |_| 0);
    Some(Need { record_bytes: record_bytes(place.payload_bytes), key_bytes: 0, summary_key_bytes })
}

/// The two keys of a head; none for a block.
fn keys_of(header: &Header, bytes: &[u8]) -> (Box<[u8]>, Box<[u8]>) {
    let Part::Head(facts) = header.part else { return Default::default() };
    let pieces = header.payload(bytes).and_then(|payload| facts.split(payload));
    pieces.map_or_else(Default::default, |(key, secondary, _)| (key.into(), secondary.into()))
}
