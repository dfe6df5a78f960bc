//! What remains of a response's body, in the order of sending: text, and ranges of a bundle's file that are
//! read in pieces.
//!
//! A piece is 1 to [`PIECE_CHUNKS_MAX`] whole chunks, so that each chunk's checksum can be verified before
//! any of its bytes leave. Pieces are asked for ahead of the sending, come back in any order, and leave in
//! order; a buffer returns to the pool as soon as its chunk is sent. Nothing here does I/O.

use std::collections::VecDeque;
use std::io::IoSlice;

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

/// A read that a body asks for: whole chunks of the bundle's file.
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

enum Piece {
    Text { bytes: Vec<u8>, sent_bytes: usize },
    Reading { ticket: u64, range: ByteRange },
    Ready { first_chunk: u64, range: ByteRange, buffers: PieceBuffers, freed: usize },
}

/// The body of a response in flight.
#[derive(Default)]
pub struct ResponseBody {
    parts: VecDeque<Part>,
    pieces: VecDeque<Piece>,
}

impl ResponseBody {
    /// A body of these parts.
    pub fn new(parts: impl IntoIterator<Item = Part>) -> Self {
        Self { parts: parts.into_iter().collect(), pieces: VecDeque::new() }
    }

    /// Whether every byte has been sent.
    pub fn is_sent(&self) -> bool {
        self.parts.is_empty() && self.pieces.is_empty()
    }

    /// Whether the next byte to send is there.
    pub fn is_ready(&self) -> bool {
        matches!(self.pieces.front(), Some(Piece::Text { .. } | Piece::Ready { .. }))
    }

    /// Whether the response may begin: the first bytes of the file, if it has any, are there and verified.
    pub fn can_start(&self) -> bool {
        match self.pieces.iter().find(|piece| !matches!(piece, Piece::Text { .. })) {
            Some(piece) => matches!(piece, Piece::Ready { .. }),
            None => self.parts.is_empty(),
        }
    }

    /// Whether what is to be sent next is being read now, as against waiting for a buffer.
    pub fn is_being_read(&self) -> bool {
        let next = self.pieces.iter().find(|piece| !matches!(piece, Piece::Text { .. }));
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
        self.pieces.iter().filter(|piece| !matches!(piece, Piece::Text { .. })).count()
    }

    /// The next piece to read, of at most `chunks_max` chunks, if any is left; text on the way to it is queued.
    /// [`Self::begin`] marks it as being read.
    pub fn next_read(&mut self, ticket: u64, chunks_max: usize) -> Option<PieceRead> {
        while let Some(Part::Text(_)) = self.parts.front() {
            if let Some(Part::Text(bytes)) = self.parts.pop_front() {
                self.pieces.push_back(Piece::Text { bytes, sent_bytes: 0 });
            }
        }
        let Some(Part::File(range)) = self.parts.front() else { return None };
        let first_chunk = range.start / CHUNK_BYTES;
        let chunk_count = (range.end.div_ceil(CHUNK_BYTES) - first_chunk).min(chunks_max as u64) as usize;
        Some(PieceRead { ticket, first_chunk, chunk_count })
    }

    /// Notes that the read just named is under way.
    pub fn begin(&mut self, read: PieceRead) {
        let Some(Part::File(range)) = self.parts.front_mut() else { return };
        let end = range.end.min((read.first_chunk + read.chunk_count as u64) * CHUNK_BYTES);
        let piece = ByteRange { start: range.start, end };
        range.start = end;
        if range.start == range.end {
            self.parts.pop_front();
        }
        self.pieces.push_back(Piece::Reading { ticket: read.ticket, range: piece });
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
                Piece::Reading { .. } => return,
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

    /// Notes that the next `sent_bytes` of what was gathered are sent; buffers that are done with return to the pool.
    pub fn advance(&mut self, mut sent_bytes: usize, pool: &mut ReadBuffers) {
        while sent_bytes > 0 {
            let Some(piece) = self.pieces.front_mut() else { return };
            let (step, done) = match piece {
                Piece::Text { bytes, sent_bytes: already } => {
                    let step = sent_bytes.min(bytes.len() - *already);
                    *already += step;
                    (step, *already == bytes.len())
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
                Piece::Reading { range, .. } => self.push_front(range),
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A byte of the imaginary file at `offset`.
    fn file_byte(offset: u64) -> u8 {
        (offset % 251) as u8
    }

    /// Plays reads and sends of any size, with rewinds in between, and returns the bytes that were sent.
    fn play(parts: Vec<Part>, chunks_max: usize, sends: &[usize], pool: &mut ReadBuffers) -> Vec<u8> {
        let mut body = ResponseBody::new(parts);
        let mut sent = Vec::new();
        // The pool's memory stays zero here: what a slice would hold is told by where it lies.
        for step in 0..100_000 {
            if body.is_sent() {
                return sent;
            }
            if body.pieces_ahead() < 2
                && let Some(read) = body.next_read(step as u64, chunks_max)
            {
                body.begin(read);
                let buffers = (0..read.chunk_count).map(|_| pool.take().unwrap()).collect();
                body.complete(read, buffers).unwrap();
            }
            let want = sends[step % sends.len()];
            let bytes = first_bytes(&body, want);
            sent.extend_from_slice(&bytes);
            body.advance(bytes.len(), pool);
            if step % 7 == 3 {
                body.rewind(pool);
            }
        }
        panic!("the body never ended");
    }

    fn first_bytes(body: &ResponseBody, want: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for piece in &body.pieces {
            match piece {
                Piece::Text { bytes: text, sent_bytes } => bytes.extend_from_slice(&text[*sent_bytes..]),
                Piece::Ready { range, .. } => bytes.extend((range.start..range.end).map(file_byte)),
                Piece::Reading { .. } => break,
            }
        }
        bytes.truncate(want);
        bytes
    }

    proptest! {
        #[test]
        fn every_byte_is_sent_once_and_in_order_and_every_buffer_comes_back(
            ranges in proptest::collection::vec((0u64..400_000, 1u64..300_000), 1..4),
            chunks_max in 1usize..=PIECE_CHUNKS_MAX,
            sends in proptest::collection::vec(1usize..200_000, 1..8),
        ) {
            let mut pool = ReadBuffers::new(32 * CHUNK_BYTES).unwrap();
            let mut parts = Vec::new();
            let mut expected = Vec::new();
            for (start, length) in ranges {
                let text = format!("--part {start}\r\n").into_bytes();
                expected.extend_from_slice(&text);
                parts.push(Part::Text(text));
                expected.extend((start..start + length).map(file_byte));
                parts.push(Part::File(ByteRange { start, end: start + length }));
            }
            prop_assert_eq!(play(parts, chunks_max, &sends, &mut pool), expected);
            prop_assert_eq!(pool.free_count(), pool.count());
        }
    }

    #[test]
    fn slices_are_the_parts_of_the_chunks_that_the_range_covers() {
        let mut pool = ReadBuffers::new(4 * CHUNK_BYTES).unwrap();
        let range = ByteRange { start: CHUNK_BYTES - 10, end: 2 * CHUNK_BYTES + 5 };
        let mut body = ResponseBody::new([Part::File(range)]);
        let read = body.next_read(1, 8).unwrap();
        assert_eq!((read.first_chunk, read.chunk_count), (0, 3));
        body.begin(read);
        assert_eq!(body.next_read(1, 8), None);
        let buffers = (0..3).map(|_| pool.take().unwrap()).collect();
        body.complete(read, buffers).unwrap();
        let mut slices = SendSlices::new();
        body.gather(&pool, &mut slices);
        assert_eq!(slices.iter().map(|slice| slice.len()).collect::<Vec<_>>(), [10, CHUNK_BYTES as usize, 5]);
    }

    /// Found in review: tickets were counted anew for every response, so that after a 503 for a disk that
    /// hung, the late read was taken for the first piece of the connection's next response.
    #[test]
    fn a_late_read_of_an_earlier_response_is_not_taken_for_the_present_one() {
        let mut pool = ReadBuffers::new(4 * CHUNK_BYTES).unwrap();
        let mut earlier = ResponseBody::new([Part::File(ByteRange { start: 0, end: 10 })]);
        let late = earlier.next_read(1, 1).unwrap();
        earlier.begin(late);
        let mut present = ResponseBody::new([Part::File(ByteRange { start: 0, end: 10 })]);
        let read = present.next_read(2, 1).unwrap();
        present.begin(read);
        let buffers = std::iter::once(pool.take().unwrap()).collect();
        let returned = present.complete(late, buffers).unwrap_err();
        assert!(!present.is_ready() && !present.awaits(late) && present.awaits(read));
        returned.into_iter().for_each(|buffer| pool.give(buffer));
    }

    #[test]
    fn a_read_that_nobody_waits_for_hands_its_buffers_back() {
        let mut pool = ReadBuffers::new(4 * CHUNK_BYTES).unwrap();
        let mut body = ResponseBody::new([Part::File(ByteRange { start: 0, end: 10 })]);
        let read = body.next_read(1, 1).unwrap();
        body.begin(read);
        body.rewind(&mut pool);
        let buffers = std::iter::once(pool.take().unwrap()).collect();
        let returned = body.complete(read, buffers).unwrap_err();
        returned.into_iter().for_each(|buffer| pool.give(buffer));
        assert_eq!(body.next_read(2, 1).unwrap().first_chunk, 0);
    }
}
