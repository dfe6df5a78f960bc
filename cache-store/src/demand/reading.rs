//! Reading, and checking what was read; and being told of what was not read because there is a copy.

use std::io;

use super::entry::{Block, EntryId, EntryView};
use super::files::{Read, is_shortage};
use super::held::{Place, RecordRef};
use super::log::DemandLog;
use super::record::{HEADER_BYTES, Header, Part};
use super::state::State;
use crate::aligned::AlignedBuffer;
use crate::limits::DEMAND_READ_ATTEMPTS;

impl DemandLog {
    /// The entries of a primary key, one for each secondary key, the newest first. Reads their heads. One whose head
    /// cannot be read intact is forgotten, counted and left out; an error is the disk's, or this process is short of descriptors or memory, for
    /// which nothing is forgotten.
    pub fn entries(&self, key: &[u8]) -> io::Result<Vec<EntryView>> {
        let ids = self.state().index.variants(key);
        let mut entries = Vec::with_capacity(ids.len());
        for id in ids {
            entries.extend(self.view(id, key)?);
        }
        Ok(entries)
    }

    /// Reads a block; `None` where it is not held, or is not any more. One that cannot be read intact is forgotten and
    /// counted; an error as for [`Self::entries`].
    pub fn read_block(&self, entry: EntryId, number: u32) -> io::Result<Option<Block>> {
        let record = RecordRef { entry, block: Some(number) };
        let read = self.read(record, |state| {
            let place = state.index.use_block(entry, number)?;
            Some((place, ()))
        })?;
        Ok(read.map(|(buffer, header, ())| {
            let range = HEADER_BYTES..HEADER_BYTES + header.payload_bytes as usize;
            Block { buffer, range }
        }))
    }

    /// A block of an entry was given to somebody from a copy elsewhere. It counts as if it had been read: else what is asked for most, of
    /// which there are copies, would be the first to leave. Waits for nothing, not even for the lock: one use that is not counted is
    /// followed by others, if it is asked for much.
    pub fn note_use(&self, entry: EntryId, number: u32) {
        if let Some(mut state) = self.state_if_free() {
            state.index.use_block(entry, number);
        }
    }

    /// Reads a record where `locate` finds it, and checks that it is the one. One that was written again elsewhere while
    /// it was being read is looked for there.
    pub(super) fn read<T>(
        &self,
        record: RecordRef,
        mut locate: impl FnMut(&mut State) -> Option<(Place, T)>,
    ) -> io::Result<Option<(AlignedBuffer, Header, T)>> {
        for _ in 0..DEMAND_READ_ATTEMPTS {
            let (place, nonce, facts) = {
                let mut state = self.state();
                let Some((place, facts)) = locate(&mut state) else { return Ok(None) };
                let Some(nonce) = state.nonce(place.segment) else { return Ok(None) };
                (place, nonce, facts)
            };
            let read = self.files.read_record(place, nonce);
            match read {
                Ok(Read::Intact(buffer, header)) if is_record(&header, record) => {
                    return Ok(Some((buffer, header, facts)));
                }
                Ok(Read::Intact(..) | Read::Corrupt) => {
                    let mut state = self.state();
                    if state.index.forget(record, place) {
                        state.counted.corrupt += 1;
                        return Ok(None);
                    }
                }
                Ok(Read::Absent) => {
                    // Its segment has left, and took it along; or somebody has removed the file.
                    let mut state = self.state();
                    if state.segment(place.segment).is_some() && state.index.forget(record, place) {
                        state.counted.corrupt += 1;
                    }
                }
                // It is there as ever, and can be read when this process has what it is short of.
                Err(error) if is_shortage(&error) => return Err(error),
                Err(error) => {
                    let mut state = self.state();
                    state.counted.read_failures += 1;
                    state.index.forget(record, place);
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    fn view(&self, id: EntryId, key: &[u8]) -> io::Result<Option<EntryView>> {
        let record = RecordRef { entry: id, block: None };
        let read = self.read(record, |state| {
            let entry = state.index.use_head(id)?;
            Some((entry.head, entry.held()))
        })?;
        let Some((buffer, header, held)) = read else { return Ok(None) };
        let Part::Head(facts) = header.part else { return Ok(None) };
        let pieces = header.payload(buffer.bytes()).and_then(|payload| facts.split(payload));
        let Some((_, secondary, metadata)) = pieces.filter(|(found, ..)| *found == key) else {
            return Ok(None);
        };
        Ok(Some(EntryView {
            id,
            secondary: secondary.into(),
            metadata: metadata.into(),
            total_bytes: facts.total_bytes,
            held,
        }))
    }
}

fn is_record(header: &Header, record: RecordRef) -> bool {
    let block = match header.part {
        Part::Head(_) => None,
        Part::Block { number } => Some(number),
    };
    (header.entry, block) == (record.entry, record.block)
}
