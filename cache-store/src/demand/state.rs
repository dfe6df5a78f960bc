//! What a log knows: its index, its segments, its purges. Pure; under one lock that is held for some instructions, never
//! across a system call.

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use super::entry::{DemandLimits, DemandStats, EntryId, PurgeMark};
use super::files::is_shortage;
use super::held::{Entry, NewHead, Place, RecordRef};
use super::index::{Evicted, Index};
use super::kept::Kept;
use super::leaving::Leaving;
use super::purges::PurgeSet;
use super::record::{Header, PAGE_BYTES};
use super::segment::{Need, RECORD_MEMORY, Sealing, Segment, Slot};
use super::segment_format::Identity;
use crate::limits::{
    DEMAND_DEAD_SHARE, DEMAND_PURGES_MEMORY_MAX, DEMAND_PURGES_SHARE, DEMAND_SEGMENT_BYTES_MAX,
    DEMAND_SEGMENT_BYTES_MIN, DEMAND_SEGMENTS, DEMAND_SUMMARIES_TIMES, DEMAND_SUMMARY_SHARE,
};
use crate::volume::VolumeId;

/// The sizes of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) capacity_bytes: u64,
    pub(super) segment_bytes: u64,
    pub(super) index_bytes_max: u64,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) shape: Shape,
    /// Of the file of purges.
    pub(super) era: u64,
    pub(super) index: Index,
    pub(super) kept: Kept,
    pub(super) purges: PurgeSet,
    /// The purges that have reached the disk: no head carries a higher mark.
    pub(super) durable: PurgeMark,
    /// The oldest first. The last one takes appends, where it is open.
    pub(super) segments: VecDeque<Segment>,
    pub(super) next_sequence: u64,
    /// Bytes of all segment files.
    pub(super) bytes: u64,
    segment_memory: u64,
    /// Records of all summaries.
    pub(super) recorded: u64,
    pub(super) counted: DemandStats,
}

impl Shape {
    /// The sizes that follow from a log's limits.
    pub(super) fn of(limits: DemandLimits) -> Self {
        let page = PAGE_BYTES as u64;
        let capacity_bytes = limits.capacity_bytes / page * page;
        let segment_bytes = (capacity_bytes / DEMAND_SEGMENTS / page * page)
            .clamp(DEMAND_SEGMENT_BYTES_MIN, DEMAND_SEGMENT_BYTES_MAX);
        Self { capacity_bytes, segment_bytes, index_bytes_max: limits.index_bytes_max }
    }

    /// Bytes of memory of the list of purges.
    fn purges_memory_max(&self) -> u64 {
        (self.index_bytes_max / DEMAND_PURGES_SHARE).min(DEMAND_PURGES_MEMORY_MAX)
    }

    /// Bytes of memory of all else: so purges drive out no content, and content no purges.
    fn content_memory_max(&self) -> u64 {
        self.index_bytes_max - self.purges_memory_max()
    }

    /// Bytes of the summary of the segment that takes appends.
    fn summary_memory_max(&self) -> u64 {
        self.index_bytes_max / DEMAND_SUMMARY_SHARE
    }
}

impl State {
    pub(super) fn new(shape: Shape, purges: PurgeSet, era: u64) -> Self {
        Self {
            shape,
            era,
            index: Index::default(),
            kept: Kept::default(),
            durable: purges.last(),
            purges,
            segments: VecDeque::new(),
            next_sequence: 1,
            bytes: 0,
            segment_memory: 0,
            recorded: 0,
            counted: DemandStats::default(),
        }
    }

    /// Bytes of memory, by this count.
    fn memory(&self) -> u64 {
        self.content_memory() + self.purges.memory()
    }

    fn content_memory(&self) -> u64 {
        self.index.memory() + self.segment_memory
    }

    /// Whether the index has room for a record.
    pub(super) fn has_memory(&self, need: Need) -> bool {
        self.content_memory() + need.memory() <= self.shape.content_memory_max()
    }

    /// Whether the oldest segment has to leave soon, for want of memory.
    pub(super) fn is_short_of_memory(&self) -> bool {
        self.content_memory() > self.shape.content_memory_max() / 8 * 7
    }

    /// Whether the summaries, of which most is not held any more, are so long that the oldest segment has to leave: else opening the
    /// log would take ever longer.
    pub(super) fn has_long_summaries(&self) -> bool {
        self.recorded * RECORD_MEMORY > self.shape.index_bytes_max * DEMAND_SUMMARIES_TIMES
    }

    /// The segments whose lists are to be swept ([`Self::sweep`]): all of them, where what is not held any more takes more than
    /// its share of memory. So what is swept has grown by as much since the last time, and no append pays for it twice.
    pub(super) fn to_sweep(&self) -> Vec<u64> {
        let listed: u64 = self.segments.iter().map(|segment| segment.records.len() as u64).sum();
        let dead = listed.saturating_sub(self.index.entry_count() + self.index.block_count());
        let is_worth_it = dead * RECORD_MEMORY > self.shape.index_bytes_max / DEMAND_DEAD_SHARE;
        if is_worth_it { self.sequences() } else { Vec::new() }
    }

    /// The segments, the oldest first.
    pub(super) fn sequences(&self) -> Vec<u64> {
        self.segments.iter().map(|segment| segment.identity.sequence).collect()
    }

    /// Takes out of a segment's list what is not held where it was written, and what it has twice: a head that was updated.
    pub(super) fn sweep(&mut self, sequence: u64) {
        let Some(at) = self.position(sequence) else { return };
        let segment = &mut self.segments[at];
        let before = segment.memory();
        segment.records.retain(|record| self.index.is_held_in(*record, sequence));
        segment.records.sort_unstable();
        segment.records.dedup();
        if !segment.is_open() {
            segment.records.shrink_to_fit();
        }
        self.segment_memory = self.segment_memory - before + segment.memory();
    }

    /// Whether a record can be reserved a place for as things are.
    pub(super) fn has_place(&self, need: Need) -> bool {
        self.has_memory(need) && self.has_room(need)
    }

    /// Whether the segment that takes appends has room for a record.
    fn has_room(&self, need: Need) -> bool {
        let (segment_bytes, summary_bytes) = (self.shape.segment_bytes, self.shape.summary_memory_max());
        self.segments.back().is_some_and(|segment| segment.has_room(need, segment_bytes, summary_bytes))
    }

    /// Whether a record can be written at all.
    pub(super) fn could_hold(&self, need: Need) -> bool {
        need.fits_in(self.shape.segment_bytes) && need.memory() <= self.shape.content_memory_max()
    }

    /// Whether the capacity has room for another segment.
    pub(super) fn has_space(&self) -> bool {
        self.bytes + self.shape.segment_bytes <= self.shape.capacity_bytes
    }

    /// The oldest segment, where it is time for it to go, and it is neither kept nor the one that takes appends.
    pub(super) fn begin_leaving(&self, now: Instant) -> Option<Leaving> {
        let may_leave =
            |oldest: &&Segment| !oldest.is_open() && !self.kept.keeps(oldest.identity.sequence, now);
        let oldest = self.segments.front().filter(may_leave)?;
        let is_time = self.is_short_of_memory() || self.has_long_summaries() || !self.has_space();
        is_time.then(|| {
            let budget_bytes = oldest.file_bytes / 2;
            Leaving::plan(&self.index, oldest.identity.sequence, &oldest.records, budget_bytes)
        })
    }

    /// Reserves a place; `None` where room has to be made first.
    pub(super) fn reserve(&mut self, need: Need) -> Option<Slot> {
        if !self.has_place(need) {
            return None;
        }
        let sequence = self.segments.back()?.identity.sequence;
        self.change(sequence, |segment| segment.reserve(need))?
    }

    /// Which segment is the next one. Its number is used up even where its file cannot be made: it may be there all the same.
    pub(super) fn next_identity(&mut self, volume: VolumeId, nonce: u64) -> Identity {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        Identity { volume, era: self.era, sequence, nonce }
    }

    /// Notes a record that has been written, unless its segment has left in the meantime.
    pub(super) fn note(&mut self, slot: &Slot, header: &Header, key: &[u8], secondary: &[u8]) -> bool {
        let is_noted = self.change(slot.segment, |segment| segment.note(header, key, secondary));
        if is_noted == Some(true) {
            self.counted.records += 1;
            self.counted.written_bytes += header.record_bytes();
        }
        is_noted == Some(true)
    }

    /// Gives back a place. Whoever gives back the last one of a segment that is closed has to seal it.
    pub(super) fn finish(&mut self, sequence: u64) -> Option<Sealing> {
        self.change(sequence, Segment::finish)?
    }

    /// The segment that takes appends takes no more. Where nobody writes to it, the caller has to seal it.
    pub(super) fn close_last(&mut self) -> Option<Sealing> {
        let sequence = self.segments.back()?.identity.sequence;
        self.change(sequence, Segment::close)?
    }

    /// A segment's file has another length.
    pub(super) fn resize(&mut self, sequence: u64, file_bytes: u64) {
        let before = self.change(sequence, |segment| std::mem::replace(&mut segment.file_bytes, file_bytes));
        if let Some(before) = before {
            self.bytes = self.bytes - before + file_bytes;
        }
    }

    /// Adds the newest segment.
    pub(super) fn push(&mut self, segment: Segment) {
        self.count(&segment);
        self.segments.push_back(segment);
    }

    /// Adds one that is older than all that there are.
    pub(super) fn push_older(&mut self, segment: Segment) {
        self.count(&segment);
        self.segments.push_front(segment);
    }

    fn count(&mut self, segment: &Segment) {
        self.bytes += segment.file_bytes;
        self.segment_memory += segment.memory();
        self.recorded += segment.recorded;
    }

    /// Whether the oldest segment, which is to leave, is kept.
    pub(super) fn holds_back_oldest(&mut self, now: Instant) -> bool {
        let Self { segments, kept, .. } = self;
        segments.front().is_some_and(|oldest| kept.hold_back(oldest.identity.sequence, now))
    }

    /// Drops the oldest segment; returns whose file is to be removed.
    pub(super) fn drop_oldest(&mut self) -> Option<u64> {
        let segment = self.segments.pop_front()?;
        let Evicted { entries, blocks } = self.index.evict(segment.identity.sequence, &segment.records);
        self.counted.evicted_entries += entries;
        self.counted.evicted_blocks += blocks;
        self.bytes -= segment.file_bytes;
        self.segment_memory -= segment.memory();
        self.recorded -= segment.recorded;
        self.forget_purges();
        Some(segment.identity.sequence)
    }

    /// Lets go of the purges that no head needs any more.
    pub(super) fn forget_purges(&mut self) {
        if self.purges.memory() > 0 {
            let oldest = self.segments.iter().map(|segment| segment.oldest_mark).min();
            self.purges.forget(oldest.unwrap_or(self.durable).min(self.durable));
        }
    }

    /// Keeps the list of purges within its memory: the older half of it is forgotten. What is held stays so, and of that what was
    /// stored before those purges goes at the next restart.
    pub(super) fn bound_purges(&mut self) {
        while self.purges.memory() > self.shape.purges_memory_max() {
            self.purges.forget_older_half();
        }
    }

    pub(super) fn nonce(&self, sequence: u64) -> Option<u64> {
        self.segment(sequence).map(|segment| segment.identity.nonce)
    }

    pub(super) fn segment(&self, sequence: u64) -> Option<&Segment> {
        self.position(sequence).map(|at| &self.segments[at])
    }

    /// An entry that takes what was asked for at `asked`: it is held, and no purge of its key has come since.
    pub(super) fn accepting(&self, id: EntryId, asked: PurgeMark) -> Option<&Entry> {
        self.index.get(id).filter(|entry| !self.purges.kills(&entry.key, asked))
    }

    /// Counts a write that the disk refused. What this process is short of is not the disk's fault.
    pub(super) fn note_write_failure(&mut self, error: &io::Error) {
        self.counted.write_failures += u64::from(!is_shortage(error));
    }

    /// Holds a head that has been written; `false` where it must not be.
    pub(super) fn hold_head(&mut self, id: EntryId, head: NewHead, mark: PurgeMark) -> bool {
        !self.purges.kills(&head.key, mark) && self.index.insert_head(id, head)
    }

    /// Holds a block that was found on the disk, in a segment that is not newer than those before, and notes it with that segment;
    /// once, and not where its entry is not held, or has the block from a newer segment.
    pub(super) fn hold_older_block(&mut self, id: EntryId, number: u32, place: Place) {
        let record = RecordRef { entry: id, block: Some(number) };
        let is_known = self.index.place(record).is_some();
        if self.index.insert_block(id, number, place) && !is_known {
            self.change(place.segment, |segment| segment.records.push(record));
        }
    }

    pub(super) fn stats(&self) -> DemandStats {
        DemandStats {
            bytes: self.bytes,
            capacity_bytes: self.shape.capacity_bytes,
            index_bytes: self.memory(),
            entries: self.index.entry_count(),
            blocks: self.index.block_count(),
            segments: self.segments.len() as u64,
            ..self.counted
        }
    }

    /// Changes a segment, if it is there, and the count of its memory with it.
    fn change<T>(&mut self, sequence: u64, change: impl FnOnce(&mut Segment) -> T) -> Option<T> {
        let at = self.position(sequence)?;
        let segment = &mut self.segments[at];
        let before = (segment.memory(), segment.recorded);
        let changed = change(segment);
        self.segment_memory = self.segment_memory - before.0 + segment.memory();
        self.recorded = self.recorded - before.1 + segment.recorded;
        Some(changed)
    }

    fn position(&self, sequence: u64) -> Option<usize> {
        self.segments.binary_search_by_key(&sequence, |segment| segment.identity.sequence).ok()
    }
}
