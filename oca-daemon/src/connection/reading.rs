//! The body is read ahead: of blocks in memory nothing is read, of chunks that are there or being read already neither; the
//! rest is read from disk, in pieces, as far as there are buffers.

use std::io;
use std::time::Duration;

use cache_store::VolumeIndex;
use control_client::units::ByteRange;

use super::awaiting::Whereabouts;
use super::sending::SLOW;
use super::{Connection, State};
use crate::body::{PieceBuffers, PieceRead};
use crate::disk_reads::ReadError;
use crate::limits::{PIECE_CHUNKS_MAX, PIECES_AHEAD_MAX, PIECES_AHEAD_USUAL};
use crate::outcome::Outcome;
use crate::reactor::Reactor;
use crate::read_queue::{Found, Place};
use crate::service::Service;
use crate::stats::CloseCause;
use crate::tier::BLOCK_BYTES;

impl Connection {
    /// Starts reads while the body has more and may hold more; without a buffer, takes its place in line.
    pub(super) fn read_ahead(&mut self, reactor: &mut Reactor, service: &Service) {
        let Some(exchange) = &mut self.exchange else { return };
        while exchange.body.pieces_ahead() < pieces_max(self.piece_chunks, reactor.reads.is_ample()) {
            let Some(range) = exchange.body.next_range() else { return };
            let block_end = (range.start / BLOCK_BYTES + 1) * BLOCK_BYTES;
            // No further than the block: the next one may be in memory.
            let range = ByteRange { end: range.end.min(block_end), ..range };
            match exchange.look_at_block(self.id, range, reactor, service) {
                Whereabouts::Resident => {
                    exchange.body.queue_resident(block_end);
                    continue;
                }
                Whereabouts::Awaited => {
                    exchange.was_read = true;
                    return;
                }
                Whereabouts::Absent => {}
            }
            let Some(bundle) = &exchange.bundle else { return };
            if !self.is_reader {
                self.is_reader = true;
                reactor.reads.note_reader(self.id);
            }
            let wanted = PieceRead::of(range, reactor.reads.ticket(), self.piece_chunks);
            let mut piece = match reactor.reads.look_up(self.id, wanted, bundle) {
                Found::Absent(piece) => piece,
                Found::There(piece, buffers) => {
                    exchange.was_read = true;
                    exchange.body.begin(piece);
                    if let Err(unwanted) = exchange.body.complete(piece, buffers) {
                        reactor.reads.take_back(unwanted);
                    }
                    continue;
                }
                Found::OnItsWay(piece) => {
                    exchange.was_read = true;
                    exchange.body.begin(piece);
                    continue;
                }
            };
            let volume = bundle.bundle().volume();
            let wanted_chunks = piece.chunk_count;
            piece.chunk_count = reactor.reads.room(volume, self.place, wanted_chunks);
            if piece.chunk_count == 0 {
                if self.place != Place::InLine(volume) {
                    self.place = Place::InLine(volume);
                    reactor.reads.stand_in_line(self.id, volume, wanted_chunks);
                    service.stats.buffer_waited();
                }
                return;
            }
            // A turn is for one piece.
            self.place = Place::None;
            exchange.was_read = true;
            exchange.body.begin(piece);
            reactor.reads.start(self.id, piece, bundle.clone(), reactor.now, &mut reactor.ring);
            service.stats.read_began(volume.0);
        }
    }

    /// Buffers of a volume are free, and it is this connection's turn, unless it has left that line.
    pub fn on_turn(&mut self, volume: VolumeIndex, reactor: &mut Reactor, service: &Service) {
        if self.place != Place::InLine(volume) {
            return;
        }
        self.place = Place::Called(volume);
        match self.blocked_since {
            None => self.advance(reactor, service),
            // What is read meanwhile is there when the socket has room.
            Some(since) if reactor.now.saturating_duration_since(since) < SLOW => {
                self.read_ahead(reactor, service)
            }
            Some(_) => {}
        }
        // Not taken up: whoever is next may have it.
        if self.place == Place::Called(volume) {
            self.place = Place::None;
        }
    }

    /// A read that this connection waits for has come back: the chunks of `piece`, or why there are none.
    pub fn on_read(
        &mut self,
        piece: PieceRead,
        outcome: Result<PieceBuffers, &ReadError>,
        reactor: &mut Reactor,
        service: &Service,
    ) {
        let waits = matches!(self.state, State::AwaitingDisk | State::SendingHead | State::SendingBody);
        match (outcome, &mut self.exchange) {
            (Ok(buffers), Some(exchange)) if waits => {
                if let Err(unwanted) = exchange.body.complete(piece, buffers) {
                    reactor.reads.take_back(unwanted);
                }
                if self.blocked_since.is_none() {
                    self.advance(reactor, service);
                }
            }
            (Ok(buffers), _) => reactor.reads.take_back(buffers),
            (Err(error), Some(exchange)) if waits && exchange.body.awaits(piece) => {
                self.on_read_error(error, reactor, service);
            }
            (Err(_), _) => {}
        }
    }

    /// Whether it waits for the piece.
    pub fn awaits(&self, piece: PieceRead) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| exchange.body.awaits(piece))
    }

    fn on_read_error(&mut self, error: &ReadError, reactor: &mut Reactor, service: &Service) {
        let (refused, aborted) = match error {
            ReadError::Failed(_) => (Outcome::RefusedReadError, Outcome::AbortedReadError),
            ReadError::Truncated | ReadError::Corrupt(_) => {
                (Outcome::RefusedCorrupt, Outcome::AbortedCorrupt)
            }
        };
        self.give_up(refused, aborted, CloseCause::ContentFailed, reactor, service);
    }

    /// What comes next was not there in time, unless it has come into memory meanwhile. A read, if one is in flight, stays so and
    /// finds nobody.
    pub(super) fn on_disk_timeout(&mut self, reactor: &mut Reactor, service: &Service) {
        let Some(exchange) = &mut self.exchange else { return };
        if exchange.lose_patience() {
            return self.advance(reactor, service);
        }
        let (refused, aborted) = if exchange.body.is_being_read() {
            if let Some(bundle) = exchange.bundle.as_ref().map(|open| open.bundle()) {
                service.stats.read_timed_out(bundle.volume().0);
                service.store.report_read_error(bundle, &io::ErrorKind::TimedOut.into());
            }
            (Outcome::RefusedDiskTimeout, Outcome::AbortedDiskTimeout)
        } else {
            (Outcome::RefusedBuffers, Outcome::AbortedBuffers)
        };
        exchange.body.rewind(&mut reactor.reads.buffers);
        if exchange.is_next_resident(service) {
            self.place = Place::None;
            return self.advance(reactor, service);
        }
        self.give_up(refused, aborted, CloseCause::ContentFailed, reactor, service);
    }

    /// Gives back the buffers of a client that has taken nothing for `idle` or longer; they are read again
    /// when it does. One that still has some is noted again.
    pub fn surrender_buffers(&mut self, idle: Duration, reactor: &mut Reactor) {
        let is_idle =
            self.blocked_since.is_some_and(|since| reactor.now.saturating_duration_since(since) >= idle);
        if let (true, Some(exchange)) = (is_idle, &mut self.exchange) {
            exchange.body.rewind(&mut reactor.reads.buffers);
            self.piece_chunks = 1;
        }
        self.is_reader = self.exchange.as_ref().is_some_and(|exchange| exchange.body.pieces_ahead() > 0);
        if self.is_reader {
            reactor.reads.note_reader(self.id);
        }
    }
}

/// How many pieces of a response may be read ahead or wait to be sent. A slow client has one buffer at a time; a fast one, where buffers are
/// ample, as many as keep a disk busy for a few clients.
const fn pieces_max(piece_chunks: usize, is_ample: bool) -> usize {
    match (piece_chunks, is_ample) {
        (1, _) => 1,
        (PIECE_CHUNKS_MAX, true) => PIECES_AHEAD_MAX,
        _ => PIECES_AHEAD_USUAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::sending::PIECE_CHUNKS_FIRST;
    use crate::limits::SEND_SLICES_MAX;

    #[test]
    fn a_slow_client_has_one_piece_ahead_and_a_fast_one_more_than_others_while_buffers_are_ample() {
        for is_ample in [false, true] {
            assert_eq!(pieces_max(1, is_ample), 1);
            assert_eq!(pieces_max(PIECE_CHUNKS_FIRST, is_ample), PIECES_AHEAD_USUAL);
        }
        assert_eq!(pieces_max(PIECE_CHUNKS_MAX, true), PIECES_AHEAD_MAX);
        assert_eq!(pieces_max(PIECE_CHUNKS_MAX, false), PIECES_AHEAD_USUAL);
    }

    #[test]
    fn while_one_piece_is_sent_another_is_read_for_all_but_slow_clients_and_all_pieces_fit_one_send() {
        for piece_chunks in 1..=PIECE_CHUNKS_MAX {
            for is_ample in [false, true] {
                let pieces = pieces_max(piece_chunks, is_ample);
                assert!(pieces >= 1 && (pieces >= 2 || piece_chunks == 1), "{piece_chunks} chunks: {pieces}");
                assert!(pieces <= PIECES_AHEAD_MAX, "{piece_chunks} chunks: {pieces}");
                assert!(pieces * piece_chunks < SEND_SLICES_MAX, "beside the head");
            }
        }
    }
}
