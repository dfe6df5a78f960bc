#![expect(unsafe_code, reason = "reads memory that the kernel writes to at other times")]
//! The worker's pool of read buffers: 64 KiB each, page-aligned, in one region that the ring registers once.
//!
//! A buffer holds one checksummed chunk, so that a fast response is read in pieces of many buffers and a slow one holds a single
//! one. A [`ReadBuffer`] is a reference to a buffer: of the read that the kernel is doing, or of a response's piece. It is neither
//! `Clone` nor `Copy`; dropping one without giving it back would lose the buffer.
//!
//! Once its chunk was verified a buffer is labelled with it, and whoever wants the same chunk gets a reference instead of a
//! read. The label stays when the last reference is gone, until the buffer is taken again, the one that was given back first
//! before the others: so the pool is a small cache of what was read last.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::io;
use std::sync::Arc;

use cache_store::{Bundle, CHUNK_BYTES};

use crate::key_hasher::KeyHasher;
use crate::mapping::Mapping;

const BUFFER_BYTES: usize = CHUNK_BYTES as usize;

/// A reference to one 64 KiB buffer of the pool.
#[derive(Debug)]
pub struct ReadBuffer(u32);

/// A chunk of one bundle, as long as that is in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChunkKey {
    instance: u64,
    chunk: u64,
}

/// All read buffers of one worker.
pub struct ReadBuffers {
    region: Arc<Mapping>,
    buffers: Box<[Buffer]>,
    /// Every buffer without references, once; those that have been found again since they came here are passed over.
    free: VecDeque<u32>,
    free_count: usize,
    chunks: HashMap<ChunkKey, u32, BuildHasherDefault<KeyHasher>>,
}

#[derive(Clone, Copy, Default)]
struct Buffer {
    references: u32,
    is_queued: bool,
    chunk: Option<ChunkKey>,
}

impl ChunkKey {
    /// A chunk of a bundle's file.
    pub fn new(bundle: &Bundle, chunk: u64) -> Self {
        Self { instance: bundle.instance(), chunk }
    }
}

impl ReadBuffers {
    /// A pool of `total_bytes`, rounded down to whole buffers. Where the ring can register it, its pages are
    /// pinned from then on.
    pub fn new(total_bytes: u64) -> io::Result<Self> {
        let count = (total_bytes as usize / BUFFER_BYTES).max(1);
        let region = Arc::new(Mapping::anonymous(count * BUFFER_BYTES)?);
        region.prefer_huge_pages();
        let buffer = Buffer { is_queued: true, ..Buffer::default() };
        Ok(Self {
            region,
            buffers: vec![buffer; count].into(),
            free: (0..count as u32).collect(),
            free_count: count,
            chunks: HashMap::default(),
        })
    }

    /// The memory of all buffers, for registration with the ring.
    pub fn region(&self) -> Arc<Mapping> {
        self.region.clone()
    }

    /// How many buffers there are.
    pub fn count(&self) -> usize {
        self.buffers.len()
    }

    /// How many nobody refers to.
    pub fn free_count(&self) -> usize {
        self.free_count
    }

    /// Takes a free buffer, to read into it. What it held is forgotten.
    pub fn take(&mut self) -> Option<ReadBuffer> {
        loop {
            let number = self.free.pop_front()?;
            let buffer = &mut self.buffers[number as usize];
            buffer.is_queued = false;
            if buffer.references == 0 {
                buffer.references = 1;
                if let Some(chunk) = buffer.chunk.take() {
                    self.chunks.remove(&chunk);
                }
                self.free_count -= 1;
                return Some(ReadBuffer(number));
            }
        }
    }

    /// The buffer holds that chunk, verified: it is found from now on.
    pub fn label(&mut self, buffer: &ReadBuffer, chunk: ChunkKey) {
        if let Some(before) = self.chunks.insert(chunk, buffer.0) {
            self.buffers[before as usize].chunk = None;
        }
        self.buffers[buffer.0 as usize].chunk = Some(chunk);
    }

    /// Whether the chunk is in a buffer.
    pub fn has(&self, chunk: ChunkKey) -> bool {
        self.chunks.contains_key(&chunk)
    }

    /// The buffer that holds the chunk.
    pub fn find(&mut self, chunk: ChunkKey) -> Option<ReadBuffer> {
        let number = *self.chunks.get(&chunk)?;
        let buffer = &mut self.buffers[number as usize];
        self.free_count -= usize::from(buffer.references == 0);
        buffer.references += 1;
        Some(ReadBuffer(number))
    }

    /// Another reference.
    pub fn share(&mut self, buffer: &ReadBuffer) -> ReadBuffer {
        self.buffers[buffer.0 as usize].references += 1;
        ReadBuffer(buffer.0)
    }

    /// Gives a reference back.
    pub fn give(&mut self, buffer: ReadBuffer) {
        let ReadBuffer(number) = buffer;
        let buffer = &mut self.buffers[number as usize];
        debug_assert!(buffer.references > 0);
        buffer.references -= 1;
        if buffer.references == 0 {
            self.free_count += 1;
            if !buffer.is_queued {
                buffer.is_queued = true;
                self.free.push_back(number);
            }
        }
    }

    /// The buffer's bytes. Reads in flight keep their buffers to themselves, so that nobody sees one being written.
    pub fn bytes(&self, buffer: &ReadBuffer) -> &[u8] {
        // SAFETY: only a read in flight writes to a buffer, and it has the only reference meanwhile (`disk_reads.rs`): others are
        // made of labelled buffers, which are labelled when the read is done.
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

    fn chunk(chunk: u64) -> ChunkKey {
        ChunkKey { instance: 1, chunk }
    }

    #[test]
    fn a_pool_hands_out_each_buffer_once_until_it_comes_back() {
        let mut pool = ReadBuffers::new(3 * CHUNK_BYTES + 1).unwrap();
        assert_eq!(pool.count(), 3);
        let taken: Vec<ReadBuffer> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!((taken.len(), pool.free_count()), (3, 0));
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

    #[test]
    fn a_chunk_is_found_while_it_is_in_use_and_afterwards_until_its_buffer_is_taken_again() {
        let mut pool = ReadBuffers::new(2 * CHUNK_BYTES).unwrap();
        let first = pool.take().unwrap();
        assert!(pool.find(chunk(7)).is_none(), "what is being read is not there yet");
        pool.label(&first, chunk(7));
        let second = pool.find(chunk(7)).unwrap();
        assert_eq!(first.0, second.0);
        pool.give(first);
        assert_eq!(pool.free_count(), 1, "the second reference holds it");
        pool.give(second);
        assert_eq!(pool.free_count(), 2);
        let again = pool.find(chunk(7)).unwrap();
        let other = pool.take().unwrap();
        assert_ne!(again.0, other.0);
        assert!(pool.take().is_none() && pool.free_count() == 0);
        pool.give(again);
        let reused = pool.take().unwrap();
        assert!(!pool.has(chunk(7)), "its buffer holds something else now");
        pool.give(reused);
        pool.give(other);
        assert_eq!(pool.free_count(), 2);
    }

    /// Against a model: references counted by hand.
    #[test]
    fn no_buffer_is_taken_while_anybody_refers_to_it() {
        use proptest::prelude::*;
        proptest!(|(steps in proptest::collection::vec((0u8..3, 0usize..8), 1..400))| {
            let mut pool = ReadBuffers::new(4 * CHUNK_BYTES).unwrap();
            let mut held: Vec<ReadBuffer> = Vec::new();
            for (action, choice) in steps {
                match action {
                    0 => if let Some(buffer) = pool.take() {
                        prop_assert!(held.iter().all(|other| other.0 != buffer.0));
                        pool.label(&buffer, chunk(choice as u64));
                        held.push(buffer);
                    },
                    1 => held.extend(pool.find(chunk(choice as u64))),
                    _ => if choice < held.len() {
                        let buffer = held.swap_remove(choice);
                        pool.give(buffer);
                    },
                }
                let distinct: std::collections::HashSet<u32> = held.iter().map(|buffer| buffer.0).collect();
                prop_assert_eq!(pool.free_count(), pool.count() - distinct.len());
                prop_assert!(pool.free.len() <= pool.count());
            }
        });
    }
}
