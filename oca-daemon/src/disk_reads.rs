#![expect(
    unsafe_code,
    reason = "a read hands the kernel the addresses of buffers that this table owns until the completion"
)]
//! Disk reads in flight: what the kernel is writing to, for whom, and how much of it a volume may hold.
//!
//! The table owns a read's buffers, its iovecs and the open bundle from submission to completion, whatever becomes of the
//! connection meanwhile. A volume may hold only a share of the pool, so that one hung disk holds up only its own titles.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use cache_store::{CHUNK_BYTES, CorruptChunk, OpenBundle};
use slab::Slab;

use crate::body::{PieceBuffers, PieceRead};
use crate::limits::PIECE_CHUNKS_MAX;
use crate::read_buffers::ReadBuffers;
use crate::ring::Ring;
use crate::token::{ConnectionId, Token};

/// All reads in flight of one worker.
pub struct DiskReads {
    reads: Slab<DiskRead>,
    buffers_in_flight: Box<[usize]>,
    buffers_per_volume: usize,
}

struct DiskRead {
    reader: ConnectionId,
    piece: PieceRead,
    bundle: Arc<OpenBundle>,
    began: Instant,
    length_bytes: usize,
    buffers: PieceBuffers,
    iovecs: Box<[libc::iovec; PIECE_CHUNKS_MAX]>,
}

/// A read that has come back.
pub struct FinishedRead {
    /// Who asked.
    pub reader: ConnectionId,
    /// For which piece.
    pub piece: PieceRead,
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
    /// An empty table over a pool of `pool_buffers`. Of several volumes each may hold half of them.
    pub fn new(pool_buffers: usize, volume_count: usize) -> Self {
        let buffers_per_volume = if volume_count > 1 { pool_buffers.div_ceil(2) } else { pool_buffers };
        Self { reads: Slab::new(), buffers_in_flight: vec![0; volume_count].into(), buffers_per_volume }
    }

    /// How many chunks may be read from a volume now, of at most `wanted`; 0 when its share or the pool is used up.
    pub fn room(&self, volume: usize, wanted: usize, pool: &ReadBuffers) -> usize {
        let share = self.buffers_per_volume.saturating_sub(self.buffers_in_flight[volume]);
        wanted.min(share).min(pool.free_count())
    }

    /// Starts a read; the caller has asked [`Self::room`] for its chunks.
    pub fn start(
        &mut self,
        reader: ConnectionId,
        piece: PieceRead,
        bundle: Arc<OpenBundle>,
        now: Instant,
        pool: &mut ReadBuffers,
        ring: &mut Ring,
    ) {
        let volume = bundle.bundle().volume().as_usize();
        let buffers: PieceBuffers = (0..piece.chunk_count).filter_map(|_| pool.take()).collect();
        debug_assert_eq!(buffers.len(), piece.chunk_count);
        self.buffers_in_flight[volume] += buffers.len();

        let offset = piece.first_chunk * CHUNK_BYTES;
        let length_bytes =
            (bundle.data_bytes() - offset).min(piece.chunk_count as u64 * CHUNK_BYTES) as usize;
        let mut iovecs =
            Box::new([libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; PIECE_CHUNKS_MAX]);
        for (position, buffer) in buffers.iter().enumerate() {
            iovecs[position] = pool.iovec(buffer, length_bytes - position * CHUNK_BYTES as usize);
        }
        let count = buffers.len();
        let slot =
            self.reads.insert(DiskRead { reader, piece, bundle, began: now, length_bytes, buffers, iovecs });
        let read = &self.reads[slot];
        // SAFETY: `iovecs` is boxed and lies in the table, with the buffers and the open file, until `finish` takes
        // the read out at its completion; the pool's region outlives the ring.
        unsafe { ring.read(read.bundle.file(), &read.iovecs[..count], offset, Token::Read(slot as u32)) };
    }

    /// Takes in a completion: verifies every chunk, and returns the buffers to the pool if any is wrong.
    pub fn finish(&mut self, slot: u32, result: i32, pool: &mut ReadBuffers) -> Option<FinishedRead> {
        let DiskRead { reader, piece, bundle, began, length_bytes, buffers, .. } =
            self.reads.try_remove(slot as usize)?;
        self.buffers_in_flight[bundle.bundle().volume().as_usize()] -= buffers.len();
        let outcome = match verify(&bundle, piece, length_bytes, result, &buffers, pool) {
            Ok(()) => Ok(buffers),
            Err(error) => {
                buffers.into_iter().for_each(|buffer| pool.give(buffer));
                Err(error)
            }
        };
        Some(FinishedRead { reader, piece, bundle, length_bytes: length_bytes as u64, began, outcome })
    }

    /// Whether the kernel still owns any buffer.
    pub fn is_empty(&self) -> bool {
        self.reads.is_empty()
    }
}

fn verify(
    bundle: &OpenBundle,
    piece: PieceRead,
    length_bytes: usize,
    result: i32,
    buffers: &PieceBuffers,
    pool: &ReadBuffers,
) -> Result<(), ReadError> {
    if result < 0 {
        return Err(ReadError::Failed(io::Error::from_raw_os_error(-result)));
    }
    if (result as usize) < length_bytes {
        return Err(ReadError::Truncated);
    }
    for (position, buffer) in buffers.iter().enumerate() {
        let chunk_bytes = (length_bytes - position * CHUNK_BYTES as usize).min(CHUNK_BYTES as usize);
        bundle
            .verify(piece.first_chunk + position as u64, &pool.bytes(buffer)[..chunk_bytes])
            .map_err(ReadError::Corrupt)?;
    }
    Ok(())
}
