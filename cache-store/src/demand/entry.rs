//! The nouns of demand content, as callers see them.

use std::fmt;
use std::io;
use std::ops::Range;

use crate::aligned::AlignedBuffer;

/// Names one stored response, for ever: a number is never given twice on a volume. Binds blocks to their head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(pub(super) u64);

/// How many purges a log has seen. Taken before an upstream is asked, so that a purge in between is known when the
/// answer is to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PurgeMark(pub(super) u64);

/// What a log may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DemandLimits {
    /// Bytes of all segment files together.
    pub capacity_bytes: u64,
    /// Bytes of memory of the index, by its own count: some 400 for an entry with its keys, 60 for a block. Over it the oldest
    /// content goes. An eighth of it is kept for the list of purges.
    pub index_bytes_max: u64,
}

/// A response that is to be stored.
#[derive(Clone, Copy, Debug)]
pub struct NewEntry<'a> {
    /// The primary cache key: method and target.
    pub key: &'a [u8],
    /// What the response was selected by (`Vary`); empty where by nothing. One entry each: a new one replaces the old.
    pub secondary: &'a [u8],
    /// The caller's own bytes: status, fields, freshness, validator.
    pub metadata: &'a [u8],
    /// Bytes of the whole body, where they are known.
    pub total_bytes: Option<u64>,
}

/// A stored response, as its head says, and which of its blocks are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryView {
    /// Which entry.
    pub id: EntryId,
    /// What it was selected by.
    pub secondary: Box<[u8]>,
    /// The caller's own bytes, verified.
    pub metadata: Box<[u8]>,
    /// Bytes of the whole body, where they are known.
    pub total_bytes: Option<u64>,
    /// The numbers of the blocks that are held, as runs in ascending order.
    pub held: Vec<Range<u32>>,
}

/// The bytes of a block, verified; at most 1 MiB. Owns its buffer, so that `bytes::Bytes::from_owner` takes it without a copy.
#[derive(Debug)]
pub struct Block {
    pub(super) buffer: AlignedBuffer,
    pub(super) range: Range<usize>,
}

/// What is purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector<'a> {
    /// All entries of that primary key.
    Exact(&'a [u8]),
    /// All entries whose primary key starts with these bytes; all there are, where they are none.
    Prefix(&'a [u8]),
}

/// Why something was not stored. The log goes on, and nothing of it is served.
#[derive(Debug)]
pub enum AppendError {
    /// The entry is not there any more, or must not be: purged, replaced or evicted in the meantime.
    Gone,
    /// A key, metadata or block is over its bound ([`crate::limits`]), or larger than a segment of this log holds.
    TooLarge,
    /// The disk refused; a full one says [`io::ErrorKind::StorageFull`].
    Io(io::Error),
}

/// What opening a log found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segment files that were read.
    pub segments: u64,
    /// Of those, files that had not been sealed: their process was killed. Their records were looked for one by one.
    pub unsealed_segments: u64,
    /// Files that could not be used, and were removed: damaged, unreadable, of another version or volume.
    pub discarded_segments: u64,
    /// Entries that are held.
    pub entries: u64,
    /// Blocks that are held.
    pub blocks: u64,
    /// Records that were skipped because a checksum did not match.
    pub corrupt_records: u64,
    /// The list of purges was damaged or missing, or could not be read, so that everything was dropped: what had been purged is
    /// not known.
    pub purges_lost: bool,
}

/// What a log holds, and what it did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DemandStats {
    /// Bytes of its segment files now.
    pub bytes: u64,
    /// Bytes that they may have.
    pub capacity_bytes: u64,
    /// Bytes of its index now, by its own count.
    pub index_bytes: u64,
    /// Entries held.
    pub entries: u64,
    /// Blocks held.
    pub blocks: u64,
    /// Segment files now.
    pub segments: u64,
    /// Records written, those written again included.
    pub records: u64,
    /// Bytes of those records, as they lie on the disk.
    pub written_bytes: u64,
    /// Blocks that were held when their segment left, and were not written again.
    pub evicted_blocks: u64,
    /// Entries whose head left with its segment.
    pub evicted_entries: u64,
    /// Records that were hot when their segment left, and were written again.
    pub rewritten: u64,
    /// Bytes of those.
    pub rewritten_bytes: u64,
    /// Records that failed their checksum when they were read; nothing of them was served.
    pub corrupt: u64,
    /// Entries purged.
    pub purged: u64,
    /// Writes that the disk refused.
    pub write_failures: u64,
    /// Reads that the disk refused.
    pub read_failures: u64,
    /// 1 where everything was dropped when it was opened ([`Recovery::purges_lost`]).
    pub purges_lost: u64,
}

impl EntryId {
    /// The number, for logs.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl EntryView {
    /// Whether every block with a number in that range is held.
    pub fn holds(&self, blocks: Range<u32>) -> bool {
        blocks.is_empty() || self.held.iter().any(|run| run.start <= blocks.start && blocks.end <= run.end)
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.buffer.bytes()[self.range.clone()]
    }
}

impl fmt::Display for AppendError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => write!(formatter, "the entry was purged, replaced or evicted in the meantime"),
            Self::TooLarge => write!(formatter, "larger than a record of demand content may be"),
            Self::Io(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for AppendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Gone | Self::TooLarge => None,
        }
    }
}

impl From<io::Error> for AppendError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
