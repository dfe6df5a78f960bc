//! What remains of a response's body, in the order of sending: text, ranges of a bundle's file that are read in pieces, and
//! ranges that are in memory.
//!
//! A piece is 1 to [`PIECE_CHUNKS_MAX`] whole chunks, so that each chunk's checksum can be verified before
//! any of its bytes leave. Pieces are asked for ahead of the sending, come back in any order, and leave in
//! order; a buffer returns to the pool as soon as its chunk is sent. Nothing here does I/O.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};
use cache_store::CHUNK_BYTES;
use control_client::units::ByteRange;
use smallvec::SmallVec;

use crate::limits::{PIECE_CHUNKS_MAX, SEND_SLICES_MAX};
use crate::read_buffers::{ReadBuffer, ReadBuffers};
use crate::response::Part;

/// The buffers of one piece, a chunk each, in the file's order.
pub type PieceBuffers = SmallVec<[ReadBuffer; PIECE_CHUNKS_MAX]>;

/// The slices of one send.
pub type SendSlices<'a> = SmallVec<[IoSlice<'a>; SEND_SLICES_MAX]>;

/// A read for a body: whole chunks of the bundle's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceRead {
    /// Names the read when it has completed. Never used twice on a worker: a read of an earlier response that
    /// comes back late must not be taken for one of the present response.
    pub ticket: u64,
    /// Index of the first chunk in the file.
    pub first_chunk: u64,
    /// How many chunks.
    pub chunk_count: usize,
}

impl PieceRead {
    /// A read of the first bytes of `range`, of at most `chunks_max` chunks.
    pub fn of(range: ByteRange, ticket: u64, chunks_max: usize) -> Self {
        let first_chunk = range.start / CHUNK_BYTES;
        let chunk_count = (range.end.div_ceil(CHUNK_BYTES) - first_chunk).min(chunks_max as u64) as usize;
        Self { ticket, first_chunk, chunk_count }
    }
}

enum Piece {
    Text {
        bytes: Vec<u8>,
        sent_bytes: usize,
    },
    /// From upstream; what is not sent of it.
    Bytes(Bytes),
    /// Of one block that was in memory when the piece was queued.
    Resident {
        range: ByteRange,
    },
    Reading {
        ticket: u64,
        range: ByteRange,
    },
    Ready {
        first_chunk: u64,
        range: ByteRange,
        buffers: PieceBuffers,
        freed: usize,
    },
}

impl Piece {
    /// Whether it never had to be read.
    fn is_at_hand(&self) -> bool {
        matches!(self, Self::Text { .. } | Self::Bytes(_))
    }
}

/// The body of a response in flight.
#[derive(Default)]
pub struct ResponseBody {
    parts: VecDeque<Part>,
    pieces: VecDeque<Piece>,
}

impl ResponseBody {
    /// Makes it a body of these parts; buffers of what it was were given back before ([`Self::rewind`]).
    pub fn begin_with(&mut self, parts: impl IntoIterator<Item = Part>) {
        self.clear();
        self.parts.extend(parts);
    }

    /// Makes it an empty body; its buffers were given back before.
    pub fn clear(&mut self) {
        debug_assert!(!self.pieces.iter().any(|piece| matches!(piece, Piece::Ready { .. })));
        self.parts.clear();
        self.pieces.clear();
    }

    /// Adds what comes after all that is there: of a body that is known only as it comes.
    pub fn append(&mut self, part: Part) {
        self.parts.push_back(part);
    }

    /// Bytes that are there, have come from upstream, and wait to be sent.
    pub fn pulled_bytes(&self) -> usize {
        let in_parts =
            self.parts.iter().map(|part| if let Part::Bytes(bytes) = part { bytes.len() } else { 0 });
        let in_pieces =
            self.pieces.iter().map(|piece| if let Piece::Bytes(bytes) = piece { bytes.len() } else { 0 });
        in_parts.sum::<usize>() + in_pieces.sum::<usize>()
    }

    /// Whether every byte has been sent.
    pub fn is_sent(&self) -> bool {
        self.parts.is_empty() && self.pieces.is_empty()
    }

    /// Whether the next byte to send is there.
    pub fn is_ready(&self) -> bool {
        !matches!(self.pieces.front(), None | Some(Piece::Reading { .. }))
    }

    /// What is to be sent next, if it is in memory.
    pub fn resident(&self) -> Option<ByteRange> {
        match self.pieces.front() {
            Some(Piece::Resident { range }) => Some(*range),
            _ => None,
        }
    }

    /// Whether what is to be sent next was read into buffers.
    pub fn is_read_next(&self) -> bool {
        matches!(self.pieces.front(), Some(Piece::Ready { .. }))
    }

    /// Whether the response may begin: the first bytes of the file, if it has any, are there, and were verified.
    pub fn can_start(&self) -> bool {
        match self.pieces.iter().find(|piece| !piece.is_at_hand()) {
            Some(piece) => !matches!(piece, Piece::Reading { .. }),
            None => self.parts.is_empty(),
        }
    }

    /// Whether what is to be sent next is being read now, as against waiting for a buffer.
    pub fn is_being_read(&self) -> bool {
        let next = self.pieces.iter().find(|piece| !piece.is_at_hand());
        matches!(next, Some(Piece::Reading { .. }))
    }

    /// Whether the piece is still waited for.
    pub fn awaits(&self, read: PieceRead) -> bool {
        self.pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Reading { ticket, .. } if *ticket == read.ticket))
    }

    /// Pieces of the file that are being read or wait to be sent.
    pub fn pieces_ahead(&self) -> usize {
        self.pieces.iter().filter(|piece| !piece.is_at_hand()).count()
    }

    /// What of the file comes next and is neither being read nor queued, if anything is left; what is there already on the way to it
    /// is queued.
    pub fn next_range(&mut self) -> Option<ByteRange> {
        while !matches!(self.parts.front(), None | Some(Part::File(_))) {
            match self.parts.pop_front() {
                Some(Part::Text(bytes)) => self.pieces.push_back(Piece::Text { bytes, sent_bytes: 0 }),
                Some(Part::Bytes(bytes)) => self.pieces.push_back(Piece::Bytes(bytes)),
                Some(Part::File(_)) | None => {}
            }
        }
        match self.parts.front() {
            Some(Part::File(range)) => Some(*range),
            _ => None,
        }
    }

    /// Queues what comes next of the file up to `end`: it is in memory.
    pub fn queue_resident(&mut self, end: u64) {
        if let Some(range) = self.take_range(end) {
            self.pieces.push_back(Piece::Resident { range });
        }
    }

    /// Notes that a read of what comes next is under way.
    pub fn begin(&mut self, read: PieceRead) {
        if let Some(range) = self.take_range((read.first_chunk + read.chunk_count as u64) * CHUNK_BYTES) {
            self.pieces.push_back(Piece::Reading { ticket: read.ticket, range });
        }
    }

    /// Takes what comes next of the file, up to `end`, off what is left.
    fn take_range(&mut self, end: u64) -> Option<ByteRange> {
        let Some(Part::File(range)) = self.parts.front_mut() else { return None };
        let taken = ByteRange { start: range.start, end: range.end.min(end) };
        range.start = taken.end;
        if range.start == range.end {
            self.parts.pop_front();
        }
        Some(taken)
    }

    /// Takes in a piece that was read and verified. The buffers come back if nobody waits for them any more.
    pub fn complete(&mut self, read: PieceRead, buffers: PieceBuffers) -> Result<(), PieceBuffers> {
        let waiting = self
            .pieces
            .iter_mut()
            .find(|piece| matches!(piece, Piece::Reading { ticket, .. } if *ticket == read.ticket));
        let Some(piece) = waiting else { return Err(buffers) };
        if let Piece::Reading { range, .. } = *piece {
            *piece = Piece::Ready { first_chunk: read.first_chunk, range, buffers, freed: 0 };
        }
        Ok(())
    }

    /// The bytes that can be sent now, up to the capacity of `slices`.
    pub fn gather<'a>(&'a self, pool: &'a ReadBuffers, slices: &mut SendSlices<'a>) {
        for piece in &self.pieces {
            match piece {
                Piece::Text { bytes, sent_bytes } => slices.push(IoSlice::new(&bytes[*sent_bytes..])),
                Piece::Bytes(bytes) => slices.push(IoSlice::new(bytes)),
                Piece::Reading { .. } | Piece::Resident { .. } => return,
                Piece::Ready { first_chunk, range, buffers, freed } => {
                    for (offset, buffer) in buffers.iter().enumerate() {
                        if slices.len() == SEND_SLICES_MAX {
                            return;
                        }
                        let chunk = chunk_range(first_chunk + (freed + offset) as u64);
                        let (start, end) = (range.start.max(chunk.start), range.end.min(chunk.end));
                        let within = (start - chunk.start) as usize..(end - chunk.start) as usize;
                        slices.push(IoSlice::new(&pool.bytes(buffer)[within]));
                    }
                }
            }
            if slices.len() == SEND_SLICES_MAX {
                return;
            }
        }
    }

    /// Notes that the next `sent_bytes` of what was gathered or is resident are sent; buffers that are done with return to the pool.
    pub fn advance(&mut self, mut sent_bytes: usize, pool: &mut ReadBuffers) {
        while sent_bytes > 0 {
            let Some(piece) = self.pieces.front_mut() else { return };
            let (step, done) = match piece {
                Piece::Text { bytes, sent_bytes: already } => {
                    let step = sent_bytes.min(bytes.len() - *already);
                    *already += step;
                    (step, *already == bytes.len())
                }
                Piece::Bytes(bytes) => {
                    let step = sent_bytes.min(bytes.len());
                    bytes.advance(step);
                    (step, bytes.is_empty())
                }
                Piece::Resident { range } => {
                    let step = sent_bytes.min((range.end - range.start) as usize);
                    range.start += step as u64;
                    (step, range.start == range.end)
                }
                Piece::Reading { .. } => return,
                Piece::Ready { first_chunk, range, buffers, freed } => {
                    let step = sent_bytes.min((range.end - range.start) as usize);
                    range.start += step as u64;
                    let done = range.start == range.end;
                    let sent_chunks = if done {
                        buffers.len()
                    } else {
                        (range.start / CHUNK_BYTES - *first_chunk) as usize - *freed
                    };
                    *freed += sent_chunks;
                    buffers.drain(..sent_chunks).for_each(|buffer| pool.give(buffer));
                    (step, done)
                }
            };
            sent_bytes -= step;
            if done {
                self.pieces.pop_front();
            }
        }
    }

    /// Gives back every buffer and forgets the reads under way; what was not sent will be read again.
    pub fn rewind(&mut self, pool: &mut ReadBuffers) {
        while let Some(piece) = self.pieces.pop_back() {
            match piece {
                Piece::Text { bytes, sent_bytes } => {
                    self.parts.push_front(Part::Text(bytes[sent_bytes..].to_vec()))
                }
                Piece::Bytes(bytes) => self.parts.push_front(Part::Bytes(bytes)),
                Piece::Reading { range, .. } | Piece::Resident { range } => self.push_front(range),
                Piece::Ready { range, buffers, .. } => {
                    buffers.into_iter().for_each(|buffer| pool.give(buffer));
                    self.push_front(range);
                }
            }
        }
    }

    fn push_front(&mut self, range: ByteRange) {
        match self.parts.front_mut() {
            Some(Part::File(next)) if next.start == range.end => next.start = range.start,
            _ => self.parts.push_front(Part::File(range)),
        }
    }
}

fn chunk_range(chunk: u64) -> ByteRange {
    ByteRange { start: chunk * CHUNK_BYTES, end: (chunk + 1) * CHUNK_BYTES }
}
