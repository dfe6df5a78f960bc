//! Who may read now: the pool of read buffers, the reads in flight, and the lines of those who wait for buffers.
//!
//! A line per volume, first come first served: whoever has not been called lets those who stand in line go
//! first, so that responses under way cannot take every freed buffer before a newcomer. Of several volumes
//! each may hold half of the pool in flight, so that one hung disk holds up only its own titles.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use cache_store::{OpenBundle, VolumeIndex};

use crate::body::{PieceBuffers, PieceRead};
use crate::disk_reads::{DiskReads, FinishedRead};
use crate::limits::LINE_SLACK;
use crate::read_buffers::{ChunkKey, ReadBuffers};
use crate::ring::Ring;
use crate::token::ConnectionId;

/// Where a connection stands for read buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In no line.
    None,
    /// In the line of this volume.
    InLine(VolumeIndex),
    /// Called from the line of this volume: it may take buffers now.
    Called(VolumeIndex),
}

/// What a worker has of a piece, or of as many of its chunks as share the answer.
pub enum Found {
    /// In buffers, verified.
    There(PieceRead, PieceBuffers),
    /// It is being read for somebody else; the asker waits for it now, too.
    OnItsWay(PieceRead),
    /// Nothing: it has to be read.
    Absent(PieceRead),
}

/// The reads of one worker.
pub struct ReadQueue {
    /// The pool; pieces of responses hold buffers of it.
    pub buffers: ReadBuffers,
    reads: DiskReads,
    lines: Box<[VecDeque<ConnectionId>]>,
    buffers_per_volume: usize,
    last_ticket: u64,
}

impl ReadQueue {
    /// A pool of `buffer_bytes` for reads of `volume_count` volumes.
    pub fn new(buffer_bytes: u64, volume_count: usize) -> io::Result<Self> {
        let buffers = ReadBuffers::new(buffer_bytes)?;
        let buffers_per_volume = if volume_count > 1 { buffers.count().div_ceil(2) } else { buffers.count() };
        Ok(Self {
            buffers,
            reads: DiskReads::new(volume_count),
            lines: vec![VecDeque::new(); volume_count].into(),
            buffers_per_volume,
            last_ticket: 0,
        })
    }

    /// A name for a read or an opening, unlike any before on this worker.
    pub fn ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// What of a piece is there or on its way already.
    pub fn look_up(&mut self, reader: ConnectionId, mut piece: PieceRead, bundle: &OpenBundle) -> Found {
        let key = |chunk| ChunkKey::new(bundle.bundle(), chunk);
        let chunks = piece.first_chunk..piece.first_chunk + piece.chunk_count as u64;
        let buffers: PieceBuffers = chunks.clone().map_while(|chunk| self.buffers.find(key(chunk))).collect();
        if !buffers.is_empty() {
            piece.chunk_count = buffers.len();
            return Found::There(piece, buffers);
        }
        if self.reads.join(reader, &mut piece, bundle) {
            return Found::OnItsWay(piece);
        }
        let is_absent = |chunk: &u64| !self.buffers.has(key(*chunk)) && !self.reads.has(key(*chunk));
        piece.chunk_count = chunks.take_while(is_absent).count();
        Found::Absent(piece)
    }

    /// References for one who waited for `piece`, of what a read has brought.
    pub fn share(&mut self, piece: PieceRead, first_chunk: u64, buffers: &PieceBuffers) -> PieceBuffers {
        let start = (piece.first_chunk - first_chunk) as usize;
        buffers[start..start + piece.chunk_count].iter().map(|buffer| self.buffers.share(buffer)).collect()
    }

    /// How many chunks a connection may read from a volume now, of at most `wanted`. 0: it is to stand in line.
    pub fn room(&self, volume: VolumeIndex, place: Place, wanted: usize) -> usize {
        let is_called = place == Place::Called(volume);
        if is_called || self.lines[volume.as_usize()].is_empty() { self.room_for(volume, wanted) } else { 0 }
    }

    /// Starts a read, for which there is room.
    pub fn start(
        &mut self,
        reader: ConnectionId,
        piece: PieceRead,
        bundle: Arc<OpenBundle>,
        now: Instant,
        ring: &mut Ring,
    ) {
        self.reads.start(reader, piece, bundle, now, &mut self.buffers, ring);
    }

    /// Takes in a read's completion; see [`DiskReads::finish`].
    pub fn finish(&mut self, slot: u32, result: i32, ring: &mut Ring) -> Option<FinishedRead> {
        self.reads.finish(slot, result, &mut self.buffers, ring)
    }

    /// Takes buffers back that nobody waits for any more.
    pub fn take_back(&mut self, buffers: PieceBuffers) {
        buffers.into_iter().for_each(|buffer| self.buffers.give(buffer));
    }

    /// Puts a connection at the end of a volume's line.
    pub fn stand_in_line(&mut self, id: ConnectionId, volume: VolumeIndex) {
        self.lines[volume.as_usize()].push_back(id);
    }

    /// The next in the volume's line, if a buffer can be had now.
    pub fn call(&mut self, volume: VolumeIndex) -> Option<ConnectionId> {
        if self.room_for(volume, 1) == 0 { None } else { self.lines[volume.as_usize()].pop_front() }
    }

    /// Every volume.
    pub fn volumes(&self) -> impl Iterator<Item = VolumeIndex> + use<> {
        (0..self.lines.len()).map(|index| VolumeIndex(index as u8))
    }

    /// Whether connections wait because the pool is empty.
    pub fn is_short_of_buffers(&self) -> bool {
        self.buffers.free_count() == 0 && self.lines.iter().any(|line| !line.is_empty())
    }

    /// Forgets those in line who are not there any more, where they have become many. `place_of` says where a
    /// connection stands.
    pub fn tidy(&mut self, connection_count: usize, place_of: impl Fn(ConnectionId) -> Place) {
        for (index, line) in self.lines.iter_mut().enumerate() {
            if line.len() > 2 * connection_count + LINE_SLACK {
                let mut seen = std::collections::HashSet::new();
                line.retain(|id| {
                    place_of(*id) == Place::InLine(VolumeIndex(index as u8)) && seen.insert(*id)
                });
            }
        }
    }

    /// Forgets those who have given up waiting for a read, where they have become many.
    pub fn tidy_readers(&mut self, waits: impl Fn(ConnectionId, PieceRead) -> bool) {
        self.reads.tidy(waits);
    }

    /// Whether the kernel may still write to buffers.
    pub fn has_reads_in_flight(&self) -> bool {
        !self.reads.is_empty()
    }

    fn room_for(&self, volume: VolumeIndex, wanted: usize) -> usize {
        let share = self.buffers_per_volume.saturating_sub(self.reads.buffers_in_flight(volume.as_usize()));
        wanted.min(share).min(self.buffers.free_count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache_store::CHUNK_BYTES;

    const ONE: VolumeIndex = VolumeIndex(0);
    const OTHER: VolumeIndex = VolumeIndex(1);

    fn id(slot: u32) -> ConnectionId {
        ConnectionId { slot, generation: 0 }
    }

    /// Found in review: a running response took every freed buffer before those who stood in line were called.
    #[test]
    fn whoever_has_not_been_called_lets_those_in_line_go_first() {
        let mut queue = ReadQueue::new(8 * CHUNK_BYTES, 2).unwrap();
        assert_eq!(queue.room(ONE, Place::None, 8), 4);
        queue.stand_in_line(id(1), ONE);
        assert_eq!(queue.room(ONE, Place::None, 8), 0);
        assert_eq!(queue.room(ONE, Place::Called(OTHER), 8), 0);
        assert_eq!(queue.room(ONE, Place::Called(ONE), 8), 4);
        assert_eq!(queue.room(OTHER, Place::None, 8), 4, "another volume's line is another line");
        assert_eq!(queue.call(ONE), Some(id(1)));
        assert_eq!(queue.room(ONE, Place::None, 8), 4);
    }

    #[test]
    fn nobody_is_called_while_no_buffer_is_free() {
        let mut queue = ReadQueue::new(CHUNK_BYTES, 1).unwrap();
        let buffer = queue.buffers.take().unwrap();
        queue.stand_in_line(id(1), ONE);
        assert_eq!(queue.call(ONE), None);
        assert!(queue.is_short_of_buffers());
        queue.buffers.give(buffer);
        assert_eq!(queue.call(ONE), Some(id(1)));
    }

    #[test]
    fn a_long_line_forgets_those_who_have_left_and_repetitions() {
        let mut queue = ReadQueue::new(CHUNK_BYTES, 1).unwrap();
        for number in 0..(LINE_SLACK as u32 + 10) {
            queue.stand_in_line(id(number % 3), ONE);
        }
        queue.tidy(1, |id| if id.slot == 1 { Place::InLine(ONE) } else { Place::None });
        assert_eq!((queue.call(ONE), queue.call(ONE)), (Some(id(1)), None));
    }
}
