//! A segment as the log knows it: first it takes records, then it is sealed, in the end it leaves. Pure.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::entry::{EntryId, PurgeMark};
use super::held::{Entry, Place, RecordRef};
use super::record::{Header, PAGE_BYTES, Part};
use super::segment_format::{Identity, Summary};

/// Bits of an entry's number that are its head's first page.
const PAGE_BITS: u32 = 24;
/// Bytes of memory of a record in its segment's list, with what that keeps free to grow.
pub(super) const RECORD_MEMORY: u64 = size_of::<RecordRef>() as u64 * 3 / 2;

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) identity: Identity,
    /// Bytes of its file.
    pub(super) file_bytes: u64,
    /// What was written to it, also what is not held any more, until that is swept out.
    pub(super) records: Vec<RecordRef>,
    /// How many records its summary has or will have, held or not any more.
    pub(super) recorded: u64,
    /// The oldest mark of a head in it.
    pub(super) oldest_mark: PurgeMark,
    /// Until its summary is being written.
    open: Option<OpenSegment>,
}

#[derive(Debug)]
struct OpenSegment {
    file: Arc<OwnedFd>,
    /// Where the next record goes.
    end: u64,
    summary: Summary,
    /// Bytes of summary that what has been reserved will take.
    summary_bytes: u64,
    /// Records that are being written.
    writers: u32,
    /// Takes no more records.
    is_closed: bool,
}

/// What a record needs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Need {
    pub(super) record_bytes: u64,
    /// Bytes of a new entry's keys; those of others are held already.
    pub(super) key_bytes: usize,
    /// Bytes of keys that the summary will have.
    pub(super) summary_key_bytes: usize,
}

/// Where a record may be written. Has to be given back ([`State::finish`](super::state::State::finish)).
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) segment: u64,
    pub(super) nonce: u64,
    pub(super) file: Arc<OwnedFd>,
    pub(super) page: u32,
}

/// A segment that takes no more records, and what is to be written at its end.
#[derive(Debug)]
pub(super) struct Sealing {
    pub(super) identity: Identity,
    pub(super) file: Arc<OwnedFd>,
    pub(super) summary: Summary,
    pub(super) end: u64,
}

impl EntryId {
    /// The segment that its first head was written to: no block of it is in one before that.
    pub(super) fn first_segment(self) -> u64 {
        self.0 >> PAGE_BITS
    }
}

impl Need {
    /// Bytes of memory that the record adds at most.
    pub(super) fn memory(&self) -> u64 {
        let summary = Summary::line_bytes(self.summary_key_bytes);
        Entry::memory_of(self.key_bytes) + RECORD_MEMORY + summary
    }

    /// Whether an empty segment of that length has room for it.
    pub(super) fn fits_in(&self, segment_bytes: u64) -> bool {
        let summary_bytes = Summary::file_bytes(Summary::line_bytes(self.summary_key_bytes));
        PAGE_BYTES as u64 + self.record_bytes + summary_bytes <= segment_bytes
    }
}

impl Slot {
    /// The entry whose first head is written there. Segments' numbers are never given twice, so this is not either.
    pub(super) fn entry(&self) -> EntryId {
        EntryId(self.segment << PAGE_BITS | u64::from(self.page))
    }

    pub(super) fn place(&self, payload_bytes: u32) -> Place {
        Place { segment: self.segment, page: self.page, payload_bytes }
    }

    pub(super) fn offset(&self) -> u64 {
        u64::from(self.page) * PAGE_BYTES as u64
    }
}

impl Segment {
    /// A new one.
    pub(super) fn open(identity: Identity, file: OwnedFd, file_bytes: u64) -> Self {
        let open = OpenSegment {
            file: Arc::new(file),
            end: PAGE_BYTES as u64,
            summary: Summary::default(),
            summary_bytes: 0,
            writers: 0,
            is_closed: false,
        };
        Self { open: Some(open), ..Self::sealed(identity, file_bytes) }
    }

    /// One that was written before.
    pub(super) fn sealed(identity: Identity, file_bytes: u64) -> Self {
        let oldest_mark = PurgeMark(u64::MAX);
        Self { identity, file_bytes, records: Vec::new(), recorded: 0, oldest_mark, open: None }
    }

    /// Whether it takes records, or some are being written to it.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Bytes of memory, by this count.
    pub(super) fn memory(&self) -> u64 {
        let summary = self.open.as_ref().map_or(0, |open| open.summary_bytes);
        summary + self.records.len() as u64 * RECORD_MEMORY
    }

    /// Whether it takes a record, being no longer than `segment_bytes` in the end, with a summary of no more than
    /// `summary_bytes_max`; the first one it takes anyhow.
    pub(super) fn has_room(&self, need: Need, segment_bytes: u64, summary_bytes_max: u64) -> bool {
        self.open.as_ref().filter(|open| !open.is_closed).is_some_and(|open| {
            let summary_bytes = open.summary_bytes + Summary::line_bytes(need.summary_key_bytes);
            let is_short = open.summary_bytes == 0 || summary_bytes <= summary_bytes_max;
            is_short && open.end + need.record_bytes + Summary::file_bytes(summary_bytes) <= segment_bytes
        })
    }

    /// Reserves a place for a record that it has room for.
    pub(super) fn reserve(&mut self, need: Need) -> Option<Slot> {
        let open = self.open.as_mut()?;
        let page = (open.end / PAGE_BYTES as u64) as u32;
        open.end += need.record_bytes;
        open.summary_bytes += Summary::line_bytes(need.summary_key_bytes);
        open.writers += 1;
        let Identity { sequence, nonce, .. } = self.identity;
        Some(Slot { segment: sequence, nonce, file: Arc::clone(&open.file), page })
    }

    /// Notes a record that has been written.
    pub(super) fn note(&mut self, header: &Header, key: &[u8], secondary: &[u8]) -> bool {
        let Some(open) = self.open.as_mut() else { return false };
        open.summary.push(header, self.identity.nonce, key, secondary);
        self.recorded += 1;
        self.add(header);
        true
    }

    /// Adds a record to the list.
    pub(super) fn add(&mut self, header: &Header) {
        let block = match header.part {
            Part::Head(head) => {
                self.oldest_mark = self.oldest_mark.min(head.mark);
                None
            }
            Part::Block { number } => Some(number),
        };
        self.records.push(RecordRef { entry: header.entry, block });
    }

    /// One of the writers is done.
    pub(super) fn finish(&mut self) -> Option<Sealing> {
        self.open.as_mut()?.writers -= 1;
        self.begin_sealing()
    }

    /// It takes no more records.
    pub(super) fn close(&mut self) -> Option<Sealing> {
        self.open.as_mut()?.is_closed = true;
        self.begin_sealing()
    }

    /// What is to be written at the end, once it is closed and nobody writes to it.
    fn begin_sealing(&mut self) -> Option<Sealing> {
        let open = self.open.take_if(|open| open.is_closed && open.writers == 0)?;
        self.records.shrink_to_fit();
        Some(Sealing { identity: self.identity, file: open.file, summary: open.summary, end: open.end })
    }
}
