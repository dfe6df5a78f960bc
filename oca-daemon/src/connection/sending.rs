//! The response is sent: pieces of the body are handed to the socket as it takes them.
//!
//! The head waits for the first verified piece, so that a disk that fails at once is answered with a clean
//! 503; after that, only a reset tells the client that the response is not whole.

use std::io::IoSlice;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::{Connection, State, Step};
use crate::body::SendSlices;
use crate::limits::{PIECE_CHUNKS_MAX, TIER_WAIT_MAX, TURN_BYTES_MAX};
use crate::outcome::Outcome;
use crate::reactor::Reactor;
use crate::service::Service;
use crate::socket_options::{set_notsent_lowat, unacknowledged_bytes};
use crate::stats::CloseCause;
use crate::transport::Sent;

/// Chunks of a response's first piece: 128 KiB arrive soon, and are a quarter of what a fast client's pieces become.
pub(super) const PIECE_CHUNKS_FIRST: usize = 2;

/// A client whose socket has room again within this time keeps up, and gets larger pieces.
const PROMPT: Duration = Duration::from_millis(50);
/// One whose socket has room again within this time takes 50 Mbit/s and more.
const AT_ONCE: Duration = Duration::from_millis(10);
/// A client whose socket is full for this long is slow, and gets smaller pieces, so that it holds few buffers.
pub(super) const SLOW: Duration = Duration::from_millis(200);

impl Connection {
    /// Sends what is ready, and asks for what comes next.
    pub(super) fn send_response(&mut self, reactor: &mut Reactor, service: &Service) -> Step {
        if self.exchange.as_ref().is_some_and(|exchange| exchange.pull.is_some())
            && !self.take_pulled(reactor, service)
        {
            return Step::Wait;
        }
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
            let awaited_answer = exchange.awaited_answer();
            if self.transport.has_pending() && self.flush_response(reactor, service) == Step::Wait {
                return Step::Wait;
            }
            if let Some(ticket) = awaited_answer {
                self.await_upstream(ticket, reactor, service);
                return Step::Wait;
            }
            self.state = State::AwaitingDisk;
            let awaits_block = self
                .exchange
                .as_ref()
                .is_some_and(|exchange| exchange.awaits_block() && !exchange.body.is_being_read());
            let disk = service.timeouts.disk;
            let patience = if awaits_block { TIER_WAIT_MAX.min(disk) } else { disk };
            self.set_deadline(patience, reactor, service);
            return Step::Wait;
        }

        if !exchange.head_is_complete {
            exchange.complete_head(reactor.read_clock_again(), self.socket.as_fd(), service);
        }
        if self.turn_bytes >= TURN_BYTES_MAX {
            return self.yield_turn(reactor, service);
        }
        if let Some(range) = exchange.body.resident() {
            return self.send_resident(range, reactor, service);
        }
        self.let_socket_hold(service.notsent_lowat_bytes);
        let Some(exchange) = &mut self.exchange else { return Step::Wait };
        let mut slices = SendSlices::new();
        let unsent_head = &exchange.head[exchange.head_sent_bytes..];
        if !unsent_head.is_empty() {
            slices.push(IoSlice::new(unsent_head));
        }
        exchange.body.gather(&reactor.reads.buffers, &mut slices);
        match self.transport.send(self.socket.as_fd(), &slices, &mut reactor.seal_buffer) {
            Ok(sent) => {
                drop(slices);
                self.on_sent(sent, reactor, service)
            }
            Err(error) => {
                drop(slices);
                self.on_send_failed(&error, service, reactor);
                Step::Wait
            }
        }
    }

    /// Whether what is to be sent next was read from a disk.
    pub fn sends_what_was_read(&self) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| exchange.body.is_read_next())
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

    /// The socket has room, or has failed; a send will tell. How long it had none was noted when that was told ([`Self::note_room`]).
    pub fn on_writable(&mut self, reactor: &mut Reactor, service: &Service) {
        self.poll_armed = false;
        if matches!(self.state, State::Closed(_)) {
            return;
        }
        // It may have been filled once more since.
        self.blocked_since = None;
        match self.state {
            State::ReadingRequest => self.on_writable_while_reading(reactor, service),
            State::Closing(cause) => self.finish_closing(cause, reactor, service),
            _ => self.advance(reactor, service),
        }
    }

    /// The socket has room since `now`: how long it had none says how fast its client is.
    pub fn note_room(&mut self, now: Instant) {
        if let Some(since) = self.blocked_since.take() {
            let waited = now.saturating_duration_since(since);
            self.keeps_up = keeps_up(self.keeps_up, waited);
            if waited < PROMPT {
                self.piece_chunks = (self.piece_chunks * 2).min(PIECE_CHUNKS_MAX);
            } else if waited > SLOW {
                self.piece_chunks = (self.piece_chunks / 2).max(1);
            }
        }
    }

    fn flush_response(&mut self, reactor: &mut Reactor, service: &Service) -> Step {
        match self.transport.flush(self.socket.as_fd()) {
            Ok(flushed) => {
                self.count_sent(flushed.wire_bytes, service);
                if let Some(exchange) = &mut self.exchange {
                    exchange.record.duration = exchange.began.elapsed();
                }
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

    /// The transport has taken bytes of the response.
    pub(super) fn on_sent(&mut self, sent: Sent, reactor: &mut Reactor, service: &Service) -> Step {
        self.count_sent(sent.wire_bytes, service);
        self.note_sent(sent.taken_bytes, reactor);
        self.state = if self.head_is_sent() { State::SendingBody } else { State::SendingHead };
        if sent.blocked { self.await_room(sent.wire_bytes > 0, reactor, service) } else { self.keep_pace() }
    }

    /// The kernel has taken bytes for the client.
    pub(super) fn count_sent(&self, wire_bytes: u64, service: &Service) {
        service.stats.sent(wire_bytes);
        if let Some(layer) = self.transport.record_layer() {
            service.stats.sent_over_tls(layer, wire_bytes);
        }
    }

    /// Lets others have their turn; the socket has room, so that this one's comes again when they had theirs.
    fn yield_turn(&mut self, reactor: &mut Reactor, service: &Service) -> Step {
        self.set_deadline(service.timeouts.send_stall, reactor, service);
        self.unacknowledged_bytes = unacknowledged_bytes(&self.socket);
        self.arm_poll(reactor);
        Step::Wait
    }

    fn note_sent(&mut self, sent_bytes: usize, reactor: &mut Reactor) {
        let Some(exchange) = &mut self.exchange else { return };
        if sent_bytes > 0 {
            exchange.record.duration = reactor.read_clock_again().saturating_duration_since(exchange.began);
            exchange.record.first_byte.get_or_insert(exchange.record.duration);
        }
        let of_head = sent_bytes.min(exchange.head.len() - exchange.head_sent_bytes);
        exchange.head_sent_bytes += of_head;
        self.turn_bytes += (sent_bytes - of_head) as u64;
        exchange.record.body_bytes += (sent_bytes - of_head) as u64;
        exchange.body.advance(sent_bytes - of_head, &mut reactor.reads.buffers);
    }

    /// How much the socket may hold unsent. Each waking costs processor time, and pages of the RAM tier, sent without a copy, cost
    /// nothing there. What is copied into it waits in the kernel's memory, and is better kept short, unless it is soon gone.
    pub(super) fn let_socket_hold(&mut self, bytes: u32) {
        if self.unsent_bytes != bytes {
            self.unsent_bytes = bytes;
            // Refused, it goes on with what it had.
            let _ = set_notsent_lowat(&self.socket, bytes);
        }
    }

    fn head_is_sent(&self) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| exchange.head_sent_bytes == exchange.head.len())
    }

    /// Waits for room in the socket; a client that takes nothing at all meets the deadline.
    fn await_room(&mut self, progressed: bool, reactor: &mut Reactor, service: &Service) -> Step {
        if progressed || self.blocked_since.is_none() {
            self.set_deadline(service.timeouts.send_stall, reactor, service);
            self.unacknowledged_bytes = unacknowledged_bytes(&self.socket);
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

/// Whether a client keeps up, that did so or not before, and whose socket has had no room for so long.
fn keeps_up(before: bool, waited: Duration) -> bool {
    waited < AT_ONCE || before && waited <= SLOW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_keeps_up_from_when_it_takes_all_at_once_until_it_is_slow() {
        let millis = Duration::from_millis;
        assert!(!keeps_up(false, millis(40)) && !keeps_up(false, millis(500)));
        assert!(keeps_up(false, millis(2)) && keeps_up(true, millis(40)));
        assert!(!keeps_up(true, millis(500)));
    }
}
