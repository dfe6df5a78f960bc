#![expect(unsafe_code, reason = "makes slices of a mapping")]
//! A block: 2 MiB of one bundle's file, mapped and locked in memory, its checksums verified once it was locked.
//!
//! Locked pages are the page cache's own: they are not reclaimed and cannot fault, so the bytes that were verified are the
//! bytes that are sent, unless somebody writes to the file or cuts it behind our back, or the memory itself fails.
//! [`Block::damage_since`] tells that before each send, [`faults`] after a read of the mapping, and `failed_memory` what neither can
//! see. What is found broken is not in memory any more, for nobody: the disk has it, or says what is wrong.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use cache_store::{Bundle, OpenBundle};
use control_client::units::ByteRange;
use memmap2::MmapRaw;

use super::faults;
use super::resident_file::{Damage, ResidentFile};

/// Bytes of a block: large enough that few mappings hold much memory, small enough that a segment or two fill one.
pub const BLOCK_BYTES: u64 = 2 << 20;

/// Which block: of one bundle, as long as that is in service. Whatever else comes to the bundle's path has other keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockKey(u64);

/// One block in memory. Unmapped when dropped, which only the tier does.
pub struct Block {
    mapping: MmapRaw,
    range: ByteRange,
    file: Arc<ResidentFile>,
}

/// A part of the mapping could not be read: its file was cut short, or its memory has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// Bits of a key that number the block within its file: files of up to 32 TiB.
const INDEX_BITS: u32 = 24;

impl BlockKey {
    /// The block of `bundle` that holds the byte at `offset` of its file.
    pub fn at(bundle: &Bundle, offset: u64) -> Self {
        debug_assert!(offset / BLOCK_BYTES < 1 << INDEX_BITS && bundle.instance() < 1 << (64 - INDEX_BITS));
        Self((bundle.instance() << INDEX_BITS) | (offset / BLOCK_BYTES))
    }

    /// The bundle's [`Bundle::instance`].
    pub fn instance(self) -> u64 {
        self.0 >> INDEX_BITS
    }

    /// Where the block lies in its file, of whose data region `data_bytes` are.
    pub fn range(self, data_bytes: u64) -> ByteRange {
        let start = (self.0 & ((1 << INDEX_BITS) - 1)) * BLOCK_BYTES;
        ByteRange { start, end: (start + BLOCK_BYTES).min(data_bytes) }
    }

    #[cfg(test)]
    pub(crate) fn numbered(number: u64) -> Self {
        Self(number << INDEX_BITS)
    }

    /// All of the key, for hashing.
    pub(super) fn bits(self) -> u64 {
        self.0
    }
}

impl Block {
    /// Locks a mapped part of a file. Its pages should be in the page cache already: what is not is read with the
    /// process's memory map locked, which holds up everybody.
    pub(super) fn lock(mapping: MmapRaw, file: Arc<ResidentFile>, range: ByteRange) -> io::Result<Self> {
        debug_assert_eq!(mapping.len() as u64, range.len());
        mapping.lock()?;
        Ok(Self { mapping, range, file })
    }

    /// Compares all chunks with their checksums. `None`: they could not be read.
    pub(super) fn verify(&self, bundle: &OpenBundle) -> Option<bool> {
        let first_chunk = self.range.start / cache_store::CHUNK_BYTES;
        self.read(self.range, |bytes| bundle.verify(first_chunk, bytes).is_ok()).ok()
    }

    /// Where it lies in its file.
    pub fn range(&self) -> ByteRange {
        self.range
    }

    /// Whose block it is.
    pub fn bundle(&self) -> &Arc<Bundle> {
        self.file.bundle()
    }

    pub(super) fn resident_file(&self) -> &Arc<ResidentFile> {
        &self.file
    }

    /// The file, not `O_DIRECT`: what is sent from it are the locked pages.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Lends the bytes of a part of the file that lies in the block to `read`. `Unreadable`: what `read` saw may be zeroes
    /// instead; nothing that was made of it may leave. Whoever sends within `read` asks [`faults::is_intact`] before it does.
    pub fn read<R>(&self, range: ByteRange, read: impl FnOnce(&[u8]) -> R) -> Result<R, Unreadable> {
        assert!(self.range.start <= range.start && range.start <= range.end && range.end <= self.range.end);
        let start = (range.start - self.range.start) as usize;
        // SAFETY: within the mapping, as asserted; mapped and readable as long as `self` lives. The file is never written to once
        // it was published; should a page go away, the fault is answered with zeroes, and told below.
        let bytes =
            unsafe { std::slice::from_raw_parts(self.mapping.as_ptr().add(start), range.len() as usize) };
        let start = self.mapping.as_ptr().expose_provenance();
        let read = || read(bytes);
        let result = faults::reading(start, self.mapping.len(), &self.file, read);
        if self.is_broken() { Err(Unreadable) } else { Ok(result) }
    }

    /// What is wrong, if its file is not any more what was verified. Asks no disk.
    pub fn damage(&self) -> Option<Damage> {
        self.file.damage()
    }

    /// The same, as it was at `moment` at the earliest. `now` is the present, or a little before it.
    pub fn damage_since(&self, moment: Instant, now: Instant) -> Option<Damage> {
        self.file.damage_since(moment, now)
    }

    /// A part of it could not be sent: nothing more of its file is, until it was read anew.
    pub fn mark_broken(&self) {
        self.file.mark_broken();
    }

    /// Whether something was found to be wrong with its file.
    pub fn is_broken(&self) -> bool {
        self.file.is_broken()
    }
}
