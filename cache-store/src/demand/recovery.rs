//! Opening a log: what its files say, and what of it is believed.
//!
//! The file of purges comes first: without it nothing else counts. Of a segment its summary is read, or, where it was not
//! sealed, its records, after which it is sealed as it is: appends always begin a new one, so that no place is ever
//! given twice.
//!
//! Most records on the disk may be held no more, and there may be many times more of them than memory is for. So only what is held
//! is ever noted: all heads first, then the blocks, as those of an entry may lie before its head that was written again; and the
//! newest segment first, so that what is found later replaces nothing. What memory has no room for is the oldest, as always.

use std::io;
use std::os::fd::AsFd;

use super::entry::{PurgeMark, Recovery};
use super::files::{Files, is_shortage};
use super::held::{NewHead, Place};
use super::purge_format::{self, Decoded};
use super::purges::PurgeSet;
use super::purging::PurgeFile;
use super::record::{Header, Part};
use super::scan::{self, Scanned};
use super::segment::{Need, Segment};
use super::segment_format::{Found, Summary};
use super::state::{Shape, State};
use crate::incoming::random_number;

/// Reads what there is, and removes what is worth nothing.
pub(super) fn recover(files: &Files, shape: Shape) -> io::Result<(State, PurgeFile, Recovery)> {
    let sequences = files.sequences()?;
    if let Some(Decoded { era, set, chain, end }) = read_purges(files)? {
        let mut loading = Loading::new(shape, set, era, &sequences);
        for sequence in sequences.iter().rev() {
            loading.load_heads(files, *sequence)?;
        }
        if !loading.lacks_purges() {
            loading.discard_surplus(files);
            for sequence in loading.state.sequences().into_iter().rev() {
                loading.load_blocks(files, sequence)?;
            }
            let (state, recovery) = loading.finish(files);
            return Ok((state, PurgeFile::resume(files, era, end, chain), recovery));
        }
    }
    start_anew(files, shape, &sequences)
}

/// The list of purges; `None` where there is none, or none that can be believed. Fails only where this process is short of
/// something: what the disk cannot read once it may never, and the volume is not to stay without demand content for that.
fn read_purges(files: &Files) -> io::Result<Option<Decoded>> {
    match files.read_purges() {
        Ok(bytes) => Ok(bytes.and_then(|bytes| purge_format::decode(&bytes, files.volume))),
        Err(error) if is_shortage(&error) => Err(error),
        Err(error) => {
            tracing::error!(volume = %files.volume, %error, "the list of purges of demand content cannot be read");
            Ok(None)
        }
    }
}

/// Drops everything: it is not known what had been purged. The new era, durable before anything is removed, keeps a
/// segment that a crash brings back from being believed.
fn start_anew(files: &Files, shape: Shape, sequences: &[u64]) -> io::Result<(State, PurgeFile, Recovery)> {
    let era = random_number();
    let purge_file = PurgeFile::create(files, era, &PurgeSet::default())?;
    let purges_lost = !sequences.is_empty();
    if purges_lost {
        tracing::error!(
            volume = %files.volume, segments = sequences.len(),
            "it is not known what was purged of demand content: all of it is dropped"
        );
    }
    for sequence in sequences {
        discard(files, *sequence);
    }
    let discarded_segments = sequences.len() as u64;
    let recovery = Recovery { discarded_segments, purges_lost, ..Recovery::default() };
    let mut state = Loading::new(shape, PurgeSet::default(), era, sequences).state;
    state.counted.purges_lost = u64::from(purges_lost);
    Ok((state, purge_file, recovery))
}

/// Removes a segment that is worth nothing. Where it cannot be removed it is in the way of nothing, and the next start tries
/// again.
fn discard(files: &Files, sequence: u64) {
    if let Err(error) = files.remove_segment(sequence) {
        tracing::warn!(volume = %files.volume, sequence, %error, "a segment of demand content could not be removed");
    }
}

/// A log that is being opened.
pub(super) struct Loading {
    pub(super) state: State,
    recovery: Recovery,
    newest_mark: PurgeMark,
    /// Segments that memory has no room for.
    surplus: Vec<u64>,
}

impl Loading {
    pub(super) fn new(shape: Shape, purges: PurgeSet, era: u64, sequences: &[u64]) -> Self {
        let mut state = State::new(shape, purges, era);
        state.next_sequence = sequences.last().map_or(1, |last| last + 1);
        Self { state, recovery: Recovery::default(), newest_mark: PurgeMark(0), surplus: Vec::new() }
    }

    /// Whether a head comes after purges that the file does not know.
    fn lacks_purges(&self) -> bool {
        self.newest_mark > self.state.durable
    }

    /// Holds the heads of a segment, which is older than all before.
    pub(super) fn load_heads(&mut self, files: &Files, sequence: u64) -> io::Result<()> {
        match scan::read_segment(files, sequence, self.state.era) {
            Ok(Some(scanned)) => self.add_segment(files, scanned),
            Err(error) if is_shortage(&error) => return Err(error),
            // What the disk cannot read is as good as damaged: it is only a cache.
            Ok(None) | Err(_) => {
                self.recovery.discarded_segments += 1;
                discard(files, sequence);
            }
        }
        Ok(())
    }

    fn add_segment(&mut self, files: &Files, scanned: Scanned) {
        let sequence = scanned.identity.sequence;
        self.recovery.segments += 1;
        self.recovery.corrupt_records += scanned.corrupt;
        self.recovery.unsealed_segments += u64::from(scanned.unsealed_end.is_some());
        if scanned.records.is_empty() {
            return discard(files, sequence);
        }
        let marks = scanned.records.iter().filter_map(|found| found.header.part.head()).map(|head| head.mark);
        self.newest_mark = marks.max().unwrap_or(self.newest_mark).max(self.newest_mark);
        if !self.state.has_memory(Need::default()) {
            self.surplus.push(sequence);
            return;
        }
        let file_bytes = match scanned.unsealed_end {
            Some(end) => seal(files, &scanned, end).unwrap_or(scanned.file_bytes),
            None => scanned.file_bytes,
        };
        let mut segment = Segment::sealed(scanned.identity, file_bytes);
        segment.recorded = scanned.records.len() as u64;
        for found in scanned.records {
            let header = found.header;
            let Part::Head(facts) = header.part else { continue };
            segment.add(&header);
            let head = NewHead {
                key: found.key.into(),
                secondary: found.secondary.into(),
                place: place(sequence, &header),
                revision: facts.revision,
                total_bytes: facts.total_bytes,
            };
            self.state.hold_head(header.entry, head, facts.mark);
        }
        self.state.push_older(segment);
        self.state.sweep(sequence);
    }

    /// Removes what memory has no room for.
    fn discard_surplus(&mut self, files: &Files) {
        for sequence in self.surplus.drain(..) {
            discard(files, sequence);
        }
    }

    /// Holds the blocks of a segment, which is older than all before, and lets the oldest go where they take too much memory.
    pub(super) fn load_blocks(&mut self, files: &Files, sequence: u64) -> io::Result<()> {
        if self.state.segment(sequence).is_none() {
            // It has gone for the newer ones.
            return Ok(());
        }
        match scan::read_segment(files, sequence, self.state.era) {
            Ok(Some(scanned)) => {
                self.hold_blocks(&scanned);
                self.state.sweep(sequence);
            }
            Err(error) if is_shortage(&error) => return Err(error),
            // It could be read a moment ago. Its heads are missed when they are read.
            Ok(None) | Err(_) => {}
        }
        self.keep_within_memory(files);
        Ok(())
    }

    fn hold_blocks(&mut self, scanned: &Scanned) {
        let sequence = scanned.identity.sequence;
        for Found { header, .. } in &scanned.records {
            if let Part::Block { number } = header.part {
                self.state.hold_older_block(header.entry, number, place(sequence, header));
            }
        }
    }

    fn keep_within_memory(&mut self, files: &Files) {
        while !self.state.has_memory(Need::default()) {
            let Some(sequence) = self.state.drop_oldest() else { break };
            discard(files, sequence);
        }
    }

    fn finish(mut self, files: &Files) -> (State, Recovery) {
        self.state.forget_purges();
        self.state.bound_purges();
        // The limits may have been lowered.
        while self.state.bytes > self.state.shape.capacity_bytes {
            let Some(sequence) = self.state.drop_oldest() else { break };
            discard(files, sequence);
        }
        self.state.counted = Default::default();
        self.recovery.entries = self.state.index.entry_count();
        self.recovery.blocks = self.state.index.block_count();
        (self.state, self.recovery)
    }
}

fn place(segment: u64, header: &Header) -> Place {
    Place { segment, page: header.page, payload_bytes: header.payload_bytes }
}

/// Seals a segment whose process was killed; returns the length of its file.
fn seal(files: &Files, scanned: &Scanned, end: u64) -> io::Result<u64> {
    let identity = &scanned.identity;
    let mut summary = Summary::default();
    for found in &scanned.records {
        summary.push(&found.header, identity.nonce, &found.key, &found.secondary);
    }
    let file = files.open_segment_to_write(identity.sequence)?.ok_or(io::ErrorKind::NotFound)?;
    files.seal(file.as_fd(), identity, summary, end)
}
