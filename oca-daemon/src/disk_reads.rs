#![expect(
    unsafe_code,
    reason = "a read hands the kernel the addresses of buffers that this table owns until the completion"
)]
//! Disk reads in flight: what the kernel is writing to, and for whom.
//!
//! The table owns a read's buffers, its iovecs and the open bundle from submission to completion, whatever
//! becomes of the connections meanwhile. A chunk is never read twice at once: who wants one that is being read joins that read.

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasherDefault;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use cache_store::{CHUNK_BYTES, CorruptChunk, OpenBundle};
use slab::Slab;

use crate::body::{PieceBuffers, PieceRead};
use crate::key_hasher::KeyHasher;
use crate::limits::PIECE_CHUNKS_MAX;
use crate::read_buffers::{ChunkKey, ReadBuffers};
use crate::readers::Readers;
use crate::ring::Ring;
use crate::token::{ConnectionId, Token};

/// All reads in flight of one worker.
pub struct DiskReads {
    reads: Slab<DiskRead>,
    /// Which read brings which chunk.
    chunks: HashMap<ChunkKey, usize, BuildHasherDefault<KeyHasher>>,
    buffers_in_flight: Box<[usize]>,
    /// Many wait for one of the reads.
    is_crowded: bool,
}

struct DiskRead {
    readers: Readers,
    first_chunk: u64,
    bundle: Arc<OpenBundle>,
    began: Instant,
    length_bytes: usize,
    /// Bytes that earlier completions of this read brought.
    read_bytes: usize,
    buffers: PieceBuffers,
    iovecs: Box<[libc::iovec; PIECE_CHUNKS_MAX]>,
}

/// A read that has come back.
pub struct FinishedRead {
    /// Who waits for it.
    pub readers: Readers,
    /// The first of its chunks.
    pub first_chunk: u64,
    /// From which bundle.
    pub bundle: Arc<OpenBundle>,
    /// How many bytes it was to bring.
    pub length_bytes: u64,
    /// When it was given to the kernel.
    pub began: Instant,
    /// The verified chunks, or why there are none.
    pub outcome: Result<PieceBuffers, ReadError>,
}

/// Why a read brought no bytes that may be served.
#[derive(Debug)]
pub enum ReadError {
    /// The device or file system failed.
    Failed(io::Error),
    /// The file ended early: it is shorter than its footer says.
    Truncated,
    /// A chunk does not match its checksum.
    Corrupt(CorruptChunk),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Failed(error) => write!(f, "read failed: {error}"),
            ReadError::Truncated => write!(f, "the file is shorter than its footer says"),
            ReadError::Corrupt(chunk) => write!(f, "{chunk}"),
        }
    }
}

impl DiskReads {
    /// An empty table for reads of `volume_count` volumes.
    pub fn new(volume_count: usize) -> Self {
        Self {
            reads: Slab::new(),
            chunks: HashMap::default(),
            buffers_in_flight: vec![0; volume_count].into(),
            is_crowded: false,
        }
    }

    /// Buffers that the kernel may be writing to, for a volume.
    pub fn buffers_in_flight(&self, volume: usize) -> usize {
        self.buffers_in_flight[volume]
    }

    #[cfg(test)]
    pub(crate) fn pretend_in_flight(&mut self, volume: usize, buffers: usize) {
        self.buffers_in_flight[volume] = buffers;
    }

    /// Whether the chunk is being read.
    pub fn has(&self, chunk: ChunkKey) -> bool {
        self.chunks.contains_key(&chunk)
    }

    /// Waits for a read under way that brings the first chunk of `piece`, if there is one; the piece becomes what that read
    /// brings of it.
    pub fn join(&mut self, reader: ConnectionId, piece: &mut PieceRead, bundle: &OpenBundle) -> bool {
        let first = ChunkKey::new(bundle.bundle(), piece.first_chunk);
        let Some(read) = self.chunks.get(&first).and_then(|slot| self.reads.get_mut(*slot)) else {
            return false;
        };
        let end = read.first_chunk + read.buffers.len() as u64;
        piece.chunk_count = piece.chunk_count.min((end - piece.first_chunk) as usize);
        self.is_crowded |= read.readers.push(reader, *piece);
        true
    }

    /// Starts a read into free buffers, of which there are enough.
    pub fn start(
        &mut self,
        reader: ConnectionId,
        piece: PieceRead,
        bundle: Arc<OpenBundle>,
        now: Instant,
        pool: &mut ReadBuffers,
        ring: &mut Ring,
    ) {
        let buffers: PieceBuffers = (0..piece.chunk_count).filter_map(|_| pool.take()).collect();
        debug_assert_eq!(buffers.len(), piece.chunk_count);
        self.buffers_in_flight[bundle.bundle().volume().as_usize()] += buffers.len();
        let left_in_file = bundle.data_bytes() - piece.first_chunk * CHUNK_BYTES;
        let chunks = piece.first_chunk..piece.first_chunk + piece.chunk_count as u64;
        let keys = chunks.map(|chunk| ChunkKey::new(bundle.bundle(), chunk));
        self.chunks.extend(keys.map(|chunk| (chunk, self.reads.vacant_key())));
        let read = DiskRead {
            readers: Readers::new(reader, piece),
            first_chunk: piece.first_chunk,
            bundle,
            began: now,
            length_bytes: left_in_file.min(piece.chunk_count as u64 * CHUNK_BYTES) as usize,
            read_bytes: 0,
            buffers,
            iovecs: Box::new([libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; PIECE_CHUNKS_MAX]),
        };
        let slot = self.reads.insert(read);
        self.submit(slot, pool, ring);
    }

    /// Takes in a completion: asks for the rest of a read that came back short, else verifies every chunk;
    /// the buffers return to the pool if any is wrong.
    pub fn finish(
        &mut self,
        slot: u32,
        result: i32,
        pool: &mut ReadBuffers,
        ring: &mut Ring,
    ) -> Option<FinishedRead> {
        let read = self.reads.get_mut(slot as usize)?;
        if let Ok(bytes @ 1..) = usize::try_from(result) {
            read.read_bytes += bytes;
            // A failure in the middle of a read is told as a short one; asked again, it shows itself.
            if read.read_bytes < read.length_bytes {
                self.submit(slot as usize, pool, ring);
                return None;
            }
        }
        let DiskRead { readers, first_chunk, bundle, began, length_bytes, buffers, .. } =
            self.reads.remove(slot as usize);
        for position in 0..buffers.len() as u64 {
            self.chunks.remove(&ChunkKey::new(bundle.bundle(), first_chunk + position));
        }
        self.buffers_in_flight[bundle.bundle().volume().as_usize()] -= buffers.len();
        let verified = match result {
            ..0 => Err(ReadError::Failed(io::Error::from_raw_os_error(-result))),
            0 => Err(ReadError::Truncated),
            _ => verify(&bundle, first_chunk, length_bytes, &buffers, pool).map_err(ReadError::Corrupt),
        };
        let outcome = match verified {
            Ok(()) => {
                for (buffer, chunk) in buffers.iter().zip(first_chunk..) {
                    pool.label(buffer, ChunkKey::new(bundle.bundle(), chunk));
                }
                Ok(buffers)
            }
            Err(error) => {
                buffers.into_iter().for_each(|buffer| pool.give(buffer));
                Err(error)
            }
        };
        Some(FinishedRead { readers, first_chunk, bundle, length_bytes: length_bytes as u64, began, outcome })
    }

    /// Forgets those who have given up, where many wait for one read.
    pub fn tidy(&mut self, waits: impl Fn(ConnectionId, PieceRead) -> bool) {
        if std::mem::take(&mut self.is_crowded) {
            let crowds = self.reads.iter_mut().filter(|(_, read)| read.readers.is_crowd());
            crowds.for_each(|(_, read)| read.readers.retain(&waits));
        }
    }

    /// Whether the kernel still owns any buffer.
    pub fn is_empty(&self) -> bool {
        self.reads.is_empty()
    }

    /// Asks the kernel for what a read still lacks.
    fn submit(&mut self, slot: usize, pool: &ReadBuffers, ring: &mut Ring) {
        let read = &mut self.reads[slot];
        let (chunk_bytes, first) = (CHUNK_BYTES as usize, read.read_bytes / CHUNK_BYTES as usize);
        let mut count = 0;
        for (position, buffer) in read.buffers.iter().enumerate().skip(first) {
            let start = position * chunk_bytes;
            let within = read.read_bytes.saturating_sub(start)..(read.length_bytes - start).min(chunk_bytes);
            read.iovecs[count] = pool.iovec(buffer, within);
            count += 1;
        }
        let offset = read.first_chunk * CHUNK_BYTES + read.read_bytes as u64;
        let (file, may_block) = (read.bundle.file(), read.bundle.reads_may_block());
        // SAFETY: `iovecs` is boxed and lies in the table, with the buffers and the open file, until `finish` takes
        // the read out at its last completion; the pool's region outlives the ring.
        unsafe { ring.read(file, &read.iovecs[..count], offset, may_block, Token::Read(slot as u32)) };
    }
}

fn verify(
    bundle: &OpenBundle,
    first_chunk: u64,
    length_bytes: usize,
    buffers: &PieceBuffers,
    pool: &ReadBuffers,
) -> Result<(), CorruptChunk> {
    for (position, buffer) in buffers.iter().enumerate() {
        let chunk_bytes = (length_bytes - position * CHUNK_BYTES as usize).min(CHUNK_BYTES as usize);
        bundle.verify(first_chunk + position as u64, &pool.bytes(buffer)[..chunk_bytes])?;
    }
    Ok(())
}
