//! The response is sent: pieces of the body are read ahead, verified, and handed to the socket as it takes them.
//!
//! The head waits for the first verified piece, so that a disk that fails at once is answered with a clean
//! 503; after that, only a reset tells the client that the response is not whole.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::time::Duration;

use cache_store::VolumeIndex;

use super::{Connection, State, Step};
use crate::body::SendSlices;
use crate::disk_reads::{FinishedRead, ReadError};
use crate::limits::{PIECE_CHUNKS_MAX, PIECES_AHEAD_MAX};
use crate::outcome::Outcome;
use crate::reactor::Reactor;
use crate::read_queue::Place;
use crate::service::Service;
use crate::stats::CloseCause;

/// Chunks of a response's first piece: 128 KiB arrive soon, and are a quarter of what a fast client's pieces become.
pub(super) const PIECE_CHUNKS_FIRST: usize = 2;

/// A client whose socket has room again within this time keeps up, and gets larger pieces.
const PROMPT: Duration = Duration::from_millis(50);
/// A client whose socket is full for this long is slow, and gets smaller pieces, so that it holds few buffers.
const SLOW: Duration = Duration::from_millis(200);

impl Connection {
    /// Sends what is ready, and asks for what comes next.
    pub(super) fn send_response(&mut self, reactor: &mut Reactor, service: &Service) -> Step {
        self.read_ahead(reactor, service);
        let Some(exchange) = &mut self.exchange else { return Step::Wait };
        if exchange.is_sent() {
            return if self.transport.has_pending() {
                self.flush_response(reactor, service)
            } else {
                self.finish_exchange(reactor, service)
            };
        }
        let can_send =
            if exchange.has_answered() { exchange.has_bytes_ready() } else { exchange.body.can_start() };
        if !can_send {
            if self.transport.has_pending() && self.flush_response(reactor, service) == Step::Wait {
                return Step::Wait;
            }
            self.state = State::AwaitingDisk;
            self.set_deadline(service.timeouts.disk, reactor, service);
            return Step::Wait;
        }

        let mut slices = SendSlices::new();
        let unsent_head = &exchange.head[exchange.head_sent_bytes..];
        if !unsent_head.is_empty() {
            slices.push(IoSlice::new(unsent_head));
        }
        exchange.body.gather(&reactor.reads.buffers, &mut slices);
        match self.transport.send(self.socket.as_fd(), &slices) {
            Ok(sent) => {
                drop(slices);
                service.stats.sent(sent.wire_bytes);
                self.note_sent(sent.taken_bytes, reactor);
                self.state = if self.head_is_sent() { State::SendingBody } else { State::SendingHead };
                if sent.blocked {
                    self.await_room(sent.wire_bytes > 0, reactor, service)
                } else {
                    self.keep_pace()
                }
            }
            Err(_) => {
                drop(slices);
                self.on_broken(service, reactor);
                Step::Wait
            }
        }
    }

    /// Starts reads while the body has more and may hold more; without a buffer, takes its place in line.
    fn read_ahead(&mut self, reactor: &mut Reactor, service: &Service) {
        let Some(exchange) = &mut self.exchange else { return };
        // A slow client reads from one buffer at a time.
        let pieces_max = if self.piece_chunks == 1 { 1 } else { PIECES_AHEAD_MAX };
        while exchange.body.pieces_ahead() < pieces_max {
            let Some(mut piece) = exchange.body.next_read(reactor.reads.ticket(), self.piece_chunks) else {
                return;
            };
            let Some(bundle) = &exchange.bundle else { return };
            let volume = bundle.bundle().volume();
            piece.chunk_count = reactor.reads.room(volume, self.place, piece.chunk_count);
            if piece.chunk_count == 0 {
                if self.place != Place::InLine(volume) {
                    self.place = Place::InLine(volume);
                    reactor.reads.stand_in_line(self.id, volume);
                    service.stats.buffer_waited();
                }
                return;
            }
            // A turn is for one piece.
            self.place = Place::None;
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
        if self.blocked_since.is_none() {
            self.advance(reactor, service);
        }
        // Not taken up: whoever is next may have it.
        if self.place == Place::Called(volume) {
            self.place = Place::None;
        }
    }

    /// A read for this connection has come back.
    pub fn on_read(&mut self, read: FinishedRead, reactor: &mut Reactor, service: &Service) {
        let waits = matches!(self.state, State::AwaitingDisk | State::SendingHead | State::SendingBody);
        match (read.outcome, &mut self.exchange) {
            (Ok(buffers), Some(exchange)) if waits => {
                if let Err(unwanted) = exchange.body.complete(read.piece, buffers) {
                    reactor.reads.take_back(unwanted);
                }
                if self.blocked_since.is_none() {
                    self.advance(reactor, service);
                }
            }
            (Ok(buffers), _) => reactor.reads.take_back(buffers),
            (Err(error), Some(exchange)) if waits && exchange.body.awaits(read.piece) => {
                self.on_read_error(&error, reactor, service);
            }
            (Err(_), _) => {}
        }
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

    /// What comes next was not there in time. A read, if one is in flight, stays so and finds nobody.
    pub(super) fn on_disk_timeout(&mut self, reactor: &mut Reactor, service: &Service) {
        let Some(exchange) = &self.exchange else { return };
        let (refused, aborted) = if exchange.body.is_being_read() {
            if let Some(bundle) = exchange.bundle.as_ref().map(|open| open.bundle()) {
                service.stats.read_timed_out(bundle.volume().0);
                service.store.report_read_error(bundle, &io::ErrorKind::TimedOut.into());
            }
            (Outcome::RefusedDiskTimeout, Outcome::AbortedDiskTimeout)
        } else {
            (Outcome::RefusedBuffers, Outcome::AbortedBuffers)
        };
        self.give_up(refused, aborted, CloseCause::ContentFailed, reactor, service);
    }

    /// Ends the exchange with a 503 where nothing of the response has left, else with a reset.
    pub(super) fn give_up(
        &mut self,
        refused: Outcome,
        aborted: Outcome,
        cause: CloseCause,
        reactor: &mut Reactor,
        service: &Service,
    ) {
        if self.exchange.as_ref().is_some_and(|exchange| exchange.has_answered()) {
            self.abort(aborted, cause, reactor, service);
        } else {
            self.refuse_again(refused, reactor, service);
        }
    }

    /// The socket has room, or has failed; a send will tell.
    pub fn on_writable(&mut self, reactor: &mut Reactor, service: &Service) {
        self.poll_armed = false;
        if matches!(self.state, State::Closed(_)) {
            return;
        }
        if let Some(since) = self.blocked_since.take() {
            let waited = reactor.now.saturating_duration_since(since);
            if waited < PROMPT {
                self.piece_chunks = (self.piece_chunks * 2).min(PIECE_CHUNKS_MAX);
            } else if waited > SLOW {
                self.piece_chunks = (self.piece_chunks / 2).max(1);
            }
        }
        match self.state {
            State::ReadingRequest => self.on_writable_while_reading(reactor, service),
            State::Closing(cause) => self.finish_closing(cause, reactor, service),
            _ => self.advance(reactor, service),
        }
    }

    /// Gives back the buffers of a client that has taken nothing for `idle` or longer; they are read again
    /// when it does.
    pub fn surrender_buffers(&mut self, idle: Duration, reactor: &mut Reactor) {
        let is_idle =
            self.blocked_since.is_some_and(|since| reactor.now.saturating_duration_since(since) >= idle);
        if let (true, Some(exchange)) = (is_idle, &mut self.exchange) {
            exchange.body.rewind(&mut reactor.reads.buffers);
            self.piece_chunks = 1;
        }
    }

    fn flush_response(&mut self, reactor: &mut Reactor, service: &Service) -> Step {
        match self.transport.flush(self.socket.as_fd()) {
            Ok(flushed) => {
                service.stats.sent(flushed.wire_bytes);
                if flushed.blocked {
                    self.await_room(flushed.wire_bytes > 0, reactor, service)
                } else {
                    Step::Again
                }
            }
            Err(_) => {
                self.on_broken(service, reactor);
                Step::Wait
            }
        }
    }

    fn note_sent(&mut self, sent_bytes: usize, reactor: &mut Reactor) {
        let Some(exchange) = &mut self.exchange else { return };
        if sent_bytes > 0 && exchange.record.first_byte.is_none() {
            exchange.record.first_byte = Some(exchange.began.elapsed());
        }
        let of_head = sent_bytes.min(exchange.head.len() - exchange.head_sent_bytes);
        exchange.head_sent_bytes += of_head;
        exchange.record.body_bytes += (sent_bytes - of_head) as u64;
        exchange.body.advance(sent_bytes - of_head, &mut reactor.reads.buffers);
    }

    fn head_is_sent(&self) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| exchange.head_sent_bytes == exchange.head.len())
    }

    /// Waits for room in the socket; a client that takes nothing at all meets the deadline.
    fn await_room(&mut self, progressed: bool, reactor: &mut Reactor, service: &Service) -> Step {
        if progressed || self.blocked_since.is_none() {
            self.set_deadline(service.timeouts.send_stall, reactor, service);
        }
        self.blocked_since = Some(reactor.now);
        self.arm_poll(reactor);
        Step::Wait
    }

    /// The client has taken everything at once.
    fn keep_pace(&mut self) -> Step {
        self.piece_chunks = (self.piece_chunks * 2).min(PIECE_CHUNKS_MAX);
        Step::Again
    }
}
