//! Opening a log: what its files say, and what of it is believed.
//!
//! The file of purges comes first: without it nothing else counts. Of a segment its summary is read, or, where it was not
//! sealed, its records, after which it is sealed as it is: appends always begin a new one, so that no place is ever
//! given twice. Heads are held in any order ([`Index::insert_head`](super::index::Index::insert_head)), blocks after them.

use std::io;
use std::os::fd::AsFd;

use super::entry::{PurgeMark, Recovery};
use super::files::{Files, is_shortage};
use super::held::{NewHead, Place, RecordRef};
use super::purge_format::{self, Decoded};
use super::purges::PurgeSet;
use super::purging::PurgeFile;
use super::record::Part;
use super::scan::{self, Scanned};
use super::segment::{Need, Segment};
use super::segment_format::Summary;
use super::state::{Shape, State};
use crate::incoming::random_number;

/// Reads what there is, and removes what is worth nothing.
pub(super) fn recover(files: &Files, shape: Shape) -> io::Result<(State, PurgeFile, Recovery)> {
    let sequences = files.sequences()?;
    if let Some(Decoded { era, set, chain, end }) = read_purges(files)? {
        let mut loading = Loading::new(shape, set, era, &sequences);
        for sequence in &sequences {
            loading.load(files, *sequence)?;
        }
        if !loading.lacks_purges() {
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
struct Loading {
    state: State,
    recovery: Recovery,
    /// Blocks that wait for the heads.
    blocks: Vec<(RecordRef, Place)>,
    newest_mark: PurgeMark,
}

impl Loading {
    fn new(shape: Shape, purges: PurgeSet, era: u64, sequences: &[u64]) -> Self {
        let mut state = State::new(shape, purges, era);
        state.next_sequence = sequences.last().map_or(1, |last| last + 1);
        Self { state, recovery: Recovery::default(), blocks: Vec::new(), newest_mark: PurgeMark(0) }
    }

    /// Whether a head comes after purges that the file does not know.
    fn lacks_purges(&self) -> bool {
        self.newest_mark > self.state.durable
    }

    fn load(&mut self, files: &Files, sequence: u64) -> io::Result<()> {
        let scanned = scan::read_segment(files, sequence, self.state.era);
        match scanned {
            Ok(Some(scanned)) => self.add(files, scanned),
            Err(error) if is_shortage(&error) => return Err(error),
            // What the disk cannot read is as good as damaged: it is only a cache.
            Ok(None) | Err(_) => {
                self.recovery.discarded_segments += 1;
                discard(files, sequence);
            }
        }
        Ok(())
    }

    fn add(&mut self, files: &Files, scanned: Scanned) {
        self.recovery.segments += 1;
        self.recovery.corrupt_records += scanned.corrupt;
        self.recovery.unsealed_segments += u64::from(scanned.unsealed_end.is_some());
        if scanned.records.is_empty() {
            return discard(files, scanned.identity.sequence);
        }
        let file_bytes = match scanned.unsealed_end {
            Some(end) => seal(files, &scanned, end).unwrap_or(scanned.file_bytes),
            None => scanned.file_bytes,
        };
        let mut segment = Segment::sealed(scanned.identity, file_bytes);
        for found in scanned.records {
            let header = found.header;
            let place = Place {
                segment: scanned.identity.sequence,
                page: header.page,
                payload_bytes: header.payload_bytes,
            };
            segment.add(&header);
            match header.part {
                Part::Head(facts) => {
                    self.newest_mark = self.newest_mark.max(facts.mark);
                    let head = NewHead {
                        key: found.key.into(),
                        secondary: found.secondary.into(),
                        place,
                        revision: facts.revision,
                        total_bytes: facts.total_bytes,
                    };
                    self.state.hold_head(header.entry, head, facts.mark);
                }
                Part::Block { number } => {
                    self.blocks.push((RecordRef { entry: header.entry, block: Some(number) }, place));
                }
            }
        }
        self.state.push(segment);
    }

    fn finish(mut self, files: &Files) -> (State, Recovery) {
        for (record, place) in self.blocks.drain(..) {
            let number = record.block.unwrap_or_default();
            self.state.index.insert_block(record.entry, number, place);
        }
        let sequences: Vec<u64> =
            self.state.segments.iter().map(|segment| segment.identity.sequence).collect();
        for sequence in sequences {
            self.state.sweep(sequence);
        }
        self.state.forget_purges();
        self.state.bound_purges();
        let nothing = Need::default();
        // The limits may have been lowered.
        while self.state.bytes > self.state.shape.capacity_bytes || !self.state.has_memory(nothing) {
            let Some(sequence) = self.state.drop_oldest() else { break };
            discard(files, sequence);
        }
        self.state.counted = Default::default();
        self.recovery.entries = self.state.index.entry_count();
        self.recovery.blocks = self.state.index.block_count();
        (self.state, self.recovery)
    }
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
