//! The end of an exchange and of a connection.
//!
//! A connection ends in one of two ways. Gracefully: everything was sent, our side is shut, and what the
//! client still sends is thrown away until it closes too, so that no reset overtakes the response (RFC 9112
//! §9.6). Or by a reset: a response that is not complete must not look complete.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use rustix::net::{Shutdown, shutdown, sockopt};

use super::{Connection, Exchange, State, Step};
use crate::access_log::Record;
use crate::demand::Counted;
use crate::limits::CLOSING_TIMEOUT;
use crate::outcome::Outcome;
use crate::reactor::Reactor;
use crate::service::Service;
use crate::socket_options::unacknowledged_bytes;
use crate::stats::{CloseCause, RecordLayer, Transport as TransportKind};

impl Connection {
    /// The response is with the kernel, whole: counts it, and turns to the next request.
    pub(super) fn finish_exchange(&mut self, reactor: &mut Reactor, service: &Service) -> Step {
        let Some(mut exchange) = self.exchange.take() else { return Step::Wait };
        if exchange.pull.is_some() {
            // Upstream's end may come long after its last bytes.
            exchange.record.duration = exchange.began.elapsed();
        }
        self.requests_served += 1;
        self.awaits_since = reactor.now;
        self.state = State::ReadingRequest;
        self.inbox.drain(..self.head_bytes.take().unwrap_or(self.inbox.len()));
        self.skipper = None;
        self.content = None;
        let is_close = exchange.persistence.is_close();
        let is_refusal = (400..600).contains(&exchange.record.status);
        let outcome = exchange.outcome();
        self.count(exchange, outcome, reactor, service);
        if !is_close {
            return Step::Again;
        }
        let cause = match outcome {
            Outcome::RefusedCapacity => CloseCause::Capacity,
            Outcome::ClientErrorTimeout => CloseCause::HeaderTimeout,
            _ if self.is_last => CloseCause::Shutdown,
            _ if is_refusal => CloseCause::RequestRefused,
            _ => CloseCause::Finished,
        };
        self.close_gracefully(cause, reactor, service);
        Step::Wait
    }

    /// Shuts our side and waits for the client to do the same.
    pub(super) fn close_gracefully(&mut self, cause: CloseCause, reactor: &mut Reactor, service: &Service) {
        self.inbox = Vec::new();
        self.transport.say_goodbye();
        self.state = State::Closing(cause);
        self.finish_closing(cause, reactor, service);
        if self.blocked_since.is_some() {
            // What was said last, or the end of a response, still waits for the client.
            self.unacknowledged_bytes = unacknowledged_bytes(&self.socket);
            self.set_deadline(service.timeouts.send_stall, reactor, service);
        }
    }

    /// Sends the last pending bytes, then our FIN.
    pub(super) fn finish_closing(&mut self, cause: CloseCause, reactor: &mut Reactor, service: &Service) {
        match self.transport.flush(self.socket.as_fd()) {
            Ok(flushed) => {
                self.count_sent(flushed.wire_bytes, service);
                self.blocked_since = flushed.blocked.then_some(reactor.now);
                if flushed.blocked {
                    self.arm_poll(reactor);
                } else if shutdown(&self.socket, Shutdown::Write).is_err() || self.peer_has_ended {
                    self.state = State::Closed(cause);
                } else {
                    self.unacknowledged_bytes = u32::MAX;
                    self.set_deadline(CLOSING_TIMEOUT, reactor, service);
                    self.arm_receive(reactor);
                }
            }
            Err(_) => self.state = State::Closed(cause),
        }
    }

    /// Ends the exchange, if there is one, with `outcome`, and the connection with a reset.
    pub(super) fn abort(
        &mut self,
        outcome: Outcome,
        cause: CloseCause,
        reactor: &mut Reactor,
        service: &Service,
    ) {
        if matches!(self.state, State::OpeningBundle(_)) {
            service.stats.opening_ended();
        }
        self.end_exchange(outcome, reactor, service);
        self.reset(cause);
    }

    /// Ends the exchange, if there is one, without an answer.
    pub(super) fn end_exchange(&mut self, outcome: Outcome, reactor: &mut Reactor, service: &Service) {
        if let Some(mut exchange) = self.exchange.take() {
            exchange.body.rewind(&mut reactor.reads.buffers);
            exchange.record.duration = exchange.began.elapsed();
            self.count(exchange, outcome, reactor, service);
        }
    }

    /// Closes with a reset as soon as the kernel holds no operation on the socket.
    pub(super) fn reset(&mut self, cause: CloseCause) {
        // Failing, it closes with a FIN; a cut body is then told by its Content-Length.
        let _ = sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO));
        self.state = State::Closed(cause);
    }

    /// The client or the network broke the connection off.
    pub(super) fn on_broken(&mut self, service: &Service, reactor: &mut Reactor) {
        self.abort(Outcome::AbortedClientGone, CloseCause::PeerReset, reactor, service);
    }

    /// Nothing more can be sent: the socket has failed, or the record layer has, which is our fault and no client's.
    pub(super) fn on_send_failed(&mut self, error: &io::Error, service: &Service, reactor: &mut Reactor) {
        if error.raw_os_error().is_some() {
            return self.on_broken(service, reactor);
        }
        tracing::warn!(%error, "a response could not be sealed");
        self.abort(Outcome::AbortedTls, CloseCause::SystemError, reactor, service);
    }

    /// The present state has lasted as long as it may.
    pub(super) fn on_deadline(&mut self, reactor: &mut Reactor, service: &Service) {
        let too_old = self.is_too_old(reactor, service);
        match self.state {
            State::Closed(_) => {}
            State::Closing(cause) => self.on_closing_timeout(cause, reactor, service),
            State::ReadingRequest if too_old && self.exchange.is_none() => {
                self.close_gracefully(CloseCause::Lifetime, reactor, service);
            }
            _ if too_old => self.abort(Outcome::AbortedLifetime, CloseCause::Lifetime, reactor, service),
            State::ReadingRequest => self.on_request_timeout(reactor, service),
            State::OpeningBundle(_) => self.on_opening_timeout(reactor, service),
            State::AwaitingDisk => self.on_disk_timeout(reactor, service),
            State::AwaitingUpstream(_) => self.on_pull_timeout(reactor, service),
            State::SendingHead | State::SendingBody => self.on_sending_timeout(reactor, service),
        }
    }

    /// The socket has had no room for long. A large one has room again only when a third of it is free, which takes a slow client
    /// long; one that takes something is no stalled one.
    fn on_sending_timeout(&mut self, reactor: &mut Reactor, service: &Service) {
        if self.has_taken_more() {
            self.set_deadline(service.timeouts.send_stall, reactor, service);
        } else {
            self.abort(Outcome::AbortedSendStall, CloseCause::SendStall, reactor, service);
        }
    }

    /// The client has not closed its side. While it still takes what was sent, it is waited for; then the
    /// socket is closed without a reset, so that the kernel goes on delivering what is left, unless the kernel would lose some of it.
    fn on_closing_timeout(&mut self, cause: CloseCause, reactor: &mut Reactor, service: &Service) {
        let is_blocked = self.blocked_since.is_some();
        if self.has_taken_more() && (is_blocked || self.unacknowledged_bytes > 0) {
            let patience = if is_blocked { service.timeouts.send_stall } else { CLOSING_TIMEOUT };
            self.set_deadline(patience, reactor, service);
        } else if self.would_be_cut() {
            self.reset(CloseCause::SendStall);
        } else {
            self.state = State::Closed(cause);
        }
    }

    /// Whether the kernel, which seals, may hold the end of a response back from TCP, and would lose it if the socket were closed.
    fn would_be_cut(&self) -> bool {
        self.blocked_since.is_some() && self.transport.record_layer() == Some(RecordLayer::Kernel)
    }

    /// Whether the client has acknowledged something since this was last asked, or since its socket was last found full.
    fn has_taken_more(&mut self) -> bool {
        let before = self.unacknowledged_bytes;
        self.unacknowledged_bytes = unacknowledged_bytes(&self.socket);
        self.unacknowledged_bytes < before
    }

    /// The worker stops: the exchange in hand, or the one about to arrive, is the last; a connection between
    /// two requests ends.
    pub fn on_stop(&mut self, reactor: &mut Reactor, service: &Service) {
        self.is_last = true;
        if self.state == State::ReadingRequest && self.exchange.is_none() {
            if self.requests_served > 0 {
                self.close_gracefully(CloseCause::Shutdown, reactor, service);
            } else {
                self.set_deadline(service.timeouts.header.min(CLOSING_TIMEOUT), reactor, service);
            }
        }
    }

    /// All connections that may be are open: says so at once, without waiting for a request.
    pub fn refuse_for_capacity(&mut self, reactor: &mut Reactor, service: &Service) {
        self.begin_exchange(reactor, service);
        self.is_last = true;
        if self.refuse(None, Outcome::RefusedCapacity, reactor, service) == Step::Again {
            self.advance(reactor, service);
        }
    }

    /// The time for stopping is over.
    pub fn on_stop_deadline(&mut self, reactor: &mut Reactor, service: &Service) {
        match self.state {
            State::Closed(_) => {}
            // Everything was sent: the kernel goes on delivering it.
            State::Closing(cause) if !self.would_be_cut() => self.state = State::Closed(cause),
            _ => self.abort(Outcome::AbortedShutdown, CloseCause::Shutdown, reactor, service),
        }
    }

    /// Whether the slot can be given up: the connection is closed, and the kernel holds nothing of it.
    /// Cancels what it holds.
    pub fn is_gone(&mut self, reactor: &mut Reactor) -> Option<CloseCause> {
        let State::Closed(cause) = self.state else { return None };
        if !self.receive_armed && !self.poll_armed && !self.peer_watched {
            return Some(cause);
        }
        if !self.cancelled {
            self.cancelled = true;
            reactor.ring.cancel_all(self.socket().as_raw_fd());
        }
        None
    }

    /// Whether it came in over TLS.
    pub fn kind(&self) -> TransportKind {
        self.kind
    }

    /// Counts and logs an exchange that ended with `outcome`.
    fn count(
        &mut self,
        mut exchange: Box<Exchange>,
        outcome: Outcome,
        reactor: &mut Reactor,
        service: &Service,
    ) {
        let Record { body_bytes, first_byte, duration, .. } = exchange.record;
        service.stats.ended(outcome, body_bytes, first_byte, duration);
        let object_bytes = if exchange.bundle.is_some() { body_bytes } else { 0 };
        if reactor.demand.count(&exchange.asked, object_bytes) == Counted::TableFull {
            service.stats.demand_uncounted();
        }
        if let Some(cmcd) = &exchange.record.cmcd {
            service.stats.players.said(cmcd);
        }
        if reactor.log.is_on() {
            if !exchange.has_answered() {
                exchange.record.status = 0;
            }
            exchange.record.outcome = outcome;
            reactor.log.push(&exchange.record);
        }
        reactor.spare_exchanges.keep(exchange);
    }
}
