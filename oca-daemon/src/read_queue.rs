//! Who may read now: the pool of read buffers, the reads in flight, and the lines of those who wait for buffers.
//!
//! A line per volume, first come first served: whoever has not been called lets those who stand in line go
//! first, so that responses under way cannot take every freed buffer before a newcomer. It is called when there is room for the whole
//! of what it wants to read. Of several volumes
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
    /// Who stands there, and how many chunks it wants to read.
    lines: Box<[VecDeque<(ConnectionId, usize)>]>,
    /// Connections that have read something since they were last looked through: who may hold buffers, each once.
    readers: Vec<ConnectionId>,
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
            readers: Vec::new(),
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

    /// Whether a response may be read further ahead than one piece at a time needs: nobody is short of buffers, or soon will be.
    pub fn is_ample(&self) -> bool {
        2 * self.buffers.free_count() > self.buffers.count()
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

    /// Puts a connection that wants to read so many chunks at the end of a volume's line.
    pub fn stand_in_line(&mut self, id: ConnectionId, volume: VolumeIndex, wanted: usize) {
        self.lines[volume.as_usize()].push_back((id, wanted));
    }

    /// The next in the volume's line, if there is room for what it wants to read.
    pub fn call(&mut self, volume: VolumeIndex) -> Option<ConnectionId> {
        let (_, wanted) = *self.lines[volume.as_usize()].front()?;
        if self.room_for(volume, wanted) == 0 {
            return None;
        }
        self.lines[volume.as_usize()].pop_front().map(|(id, _)| id)
    }

    /// Every volume.
    pub fn volumes(&self) -> impl Iterator<Item = VolumeIndex> + use<> {
        (0..self.lines.len()).map(|index| VolumeIndex(index as u8))
    }

    /// A connection is about to hold buffers; told once until it is looked at ([`Self::look_through_readers`]).
    pub fn note_reader(&mut self, id: ConnectionId) {
        self.readers.push(id);
    }

    /// Those who may hold buffers, to be looked at where somebody is short of them, or where most have gone. Whoever goes on is to be
    /// noted again.
    pub fn look_through_readers(&mut self) -> Vec<ConnectionId> {
        let is_crowded = self.readers.len() > 2 * self.buffers.count() + LINE_SLACK;
        if self.is_short_of_buffers() || is_crowded { std::mem::take(&mut self.readers) } else { Vec::new() }
    }

    /// Whether connections wait because the pool has no room for them.
    fn is_short_of_buffers(&self) -> bool {
        (0..self.lines.len()).any(|index| {
            let wanted = self.lines[index].front().map(|(_, wanted)| *wanted);
            wanted.is_some_and(|wanted| self.buffers.free_count() < wanted)
        })
    }

    /// Forgets those in line who are not there any more, where they have become many. `place_of` says where a
    /// connection stands.
    pub fn tidy(&mut self, connection_count: usize, place_of: impl Fn(ConnectionId) -> Place) {
        for (index, line) in self.lines.iter_mut().enumerate() {
            if line.len() > 2 * connection_count + LINE_SLACK {
                let mut seen = std::collections::HashSet::new();
                line.retain(|(id, _)| {
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

    /// All that is wanted or nothing, so that a pool that runs short is not used up in reads of a chunk or two, which a disk is slow
    /// with; a part of it only where the disk would stand idle meanwhile.
    fn room_for(&self, volume: VolumeIndex, wanted: usize) -> usize {
        let in_flight = self.reads.buffers_in_flight(volume.as_usize());
        let room = self.buffers_per_volume.saturating_sub(in_flight).min(self.buffers.free_count());
        if room >= wanted {
            wanted
        } else if in_flight == 0 {
            room
        } else {
            0
        }
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
        queue.stand_in_line(id(1), ONE, 1);
        assert_eq!(queue.room(ONE, Place::None, 8), 0);
        assert_eq!(queue.room(ONE, Place::Called(OTHER), 8), 0);
        assert_eq!(queue.room(ONE, Place::Called(ONE), 8), 4);
        assert_eq!(queue.room(OTHER, Place::None, 8), 4, "another volume's line is another line");
        assert_eq!(queue.call(ONE), Some(id(1)));
        assert_eq!(queue.room(ONE, Place::None, 8), 4);
    }

    /// Found by measurement: with 256 clients the pool was used up in reads of one to four chunks, and some had their object ten times
    /// as soon as others.
    #[test]
    fn whoever_is_called_has_room_for_all_that_it_wants_unless_the_disk_would_stand_idle() {
        let mut queue = ReadQueue::new(8 * CHUNK_BYTES, 1).unwrap();
        let taken: Vec<_> = (0..4).map(|_| queue.buffers.take().unwrap()).collect();
        assert_eq!(queue.room(ONE, Place::None, 6), 4, "nothing is being read");
        queue.reads.pretend_in_flight(0, 4);
        assert_eq!((queue.room(ONE, Place::None, 6), queue.room(ONE, Place::None, 4)), (0, 4));
        queue.stand_in_line(id(1), ONE, 6);
        assert_eq!(queue.call(ONE), None);
        taken.into_iter().take(2).for_each(|buffer| queue.buffers.give(buffer));
        assert_eq!(queue.call(ONE), None, "reads in flight may use what is left only");
        queue.reads.pretend_in_flight(0, 2);
        assert_eq!(queue.call(ONE), Some(id(1)));
    }

    #[test]
    fn nobody_is_called_while_no_buffer_is_free() {
        let mut queue = ReadQueue::new(CHUNK_BYTES, 1).unwrap();
        let buffer = queue.buffers.take().unwrap();
        queue.stand_in_line(id(1), ONE, 1);
        assert_eq!(queue.call(ONE), None);
        queue.note_reader(id(2));
        assert_eq!(queue.look_through_readers(), [id(2)], "who may hold it is looked at, and nobody else");
        assert!(queue.look_through_readers().is_empty());
        queue.buffers.give(buffer);
        assert_eq!(queue.call(ONE), Some(id(1)));
    }

    #[test]
    fn a_long_line_forgets_those_who_have_left_and_repetitions() {
        let mut queue = ReadQueue::new(CHUNK_BYTES, 1).unwrap();
        for number in 0..(LINE_SLACK as u32 + 10) {
            queue.stand_in_line(id(number % 3), ONE, 1);
        }
        queue.tidy(1, |id| if id.slot == 1 { Place::InLine(ONE) } else { Place::None });
        assert_eq!((queue.call(ONE), queue.call(ONE)), (Some(id(1)), None));
    }
}
