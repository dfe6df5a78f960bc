#![expect(unsafe_code, reason = "reads memory that the kernel writes to at other times")]
//! The worker's pool of read buffers: 64 KiB each, page-aligned, in one region that the ring registers once.
//!
//! A buffer holds one checksummed chunk, so that a fast response is read in pieces of many buffers and a slow
//! one holds a single one. A [`ReadBuffer`] is owned by exactly one thing at a time: the pool, a read in
//! flight, or a response's piece. It is neither `Clone` nor `Copy`; dropping one without giving it back would
//! lose it, which a debug assertion tells.

use std::io;
use std::sync::Arc;

use cache_store::CHUNK_BYTES;

use crate::mapping::Mapping;

const BUFFER_BYTES: usize = CHUNK_BYTES as usize;

/// One 64 KiB buffer of the pool, by its index.
#[derive(Debug)]
pub struct ReadBuffer(u32);

/// All read buffers of one worker, and which of them are free.
pub struct ReadBuffers {
    region: Arc<Mapping>,
    free: Vec<u32>,
    count: usize,
}

impl ReadBuffers {
    /// A pool of `total_bytes`, rounded down to whole buffers. Where the ring can register it, its pages are
    /// pinned from then on.
    pub fn new(total_bytes: u64) -> io::Result<Self> {
        let count = (total_bytes as usize / BUFFER_BYTES).max(1);
        let region = Arc::new(Mapping::anonymous(count * BUFFER_BYTES)?);
        region.prefer_huge_pages();
        // Taken from the end: low addresses first, so that a quiet worker keeps to few pages.
        let free = (0..count as u32).rev().collect();
        Ok(Self { region, free, count })
    }

    /// The memory of all buffers, for registration with the ring.
    pub fn region(&self) -> Arc<Mapping> {
        self.region.clone()
    }

    /// How many buffers there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many are free.
    pub fn free_count(&self) -> usize {
        self.free.len()
    }

    /// Takes a free buffer.
    pub fn take(&mut self) -> Option<ReadBuffer> {
        self.free.pop().map(ReadBuffer)
    }

    /// Gives a buffer back.
    pub fn give(&mut self, buffer: ReadBuffer) {
        debug_assert!(self.free.len() < self.count);
        self.free.push(buffer.0);
    }

    /// The buffer's bytes. Reads in flight keep their buffers to themselves, so that nobody sees one being written.
    pub fn bytes(&self, buffer: &ReadBuffer) -> &[u8] {
        // SAFETY: only a read in flight writes to a buffer, and it owns the `ReadBuffer` meanwhile (`disk_reads.rs`), so that
        // nobody else can ask for its bytes.
        unsafe { self.region.slice(buffer.0 as usize * BUFFER_BYTES, BUFFER_BYTES) }
    }

    /// A part of the buffer as the kernel wants it for a read.
    pub fn iovec(&self, buffer: &ReadBuffer, within: std::ops::Range<usize>) -> libc::iovec {
        debug_assert!(within.end <= BUFFER_BYTES);
        let address = self.region.address().wrapping_add(buffer.0 as usize * BUFFER_BYTES + within.start);
        libc::iovec { iov_base: address.cast(), iov_len: within.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_hands_out_each_buffer_once_until_it_comes_back() {
        let mut pool = ReadBuffers::new(3 * CHUNK_BYTES + 1).unwrap();
        assert_eq!(pool.count(), 3);
        let taken: Vec<ReadBuffer> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(taken.len(), 3);
        let mut addresses: Vec<usize> =
            taken.iter().map(|buffer| pool.bytes(buffer).as_ptr() as usize).collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 3);
        assert!(addresses.iter().all(|address| address % 4096 == 0));
        for buffer in taken {
            pool.give(buffer);
        }
        assert_eq!(pool.free_count(), 3);
    }
}
