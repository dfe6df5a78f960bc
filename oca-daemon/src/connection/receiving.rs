//! Bytes from the socket become a request: handshake, head, and content that is skipped.

use std::os::fd::AsFd;
use std::time::Duration;

use super::{Connection, State, Step, TransportKind};
use crate::access_log::Record;
use crate::limits::{CLOSING_BYTES_MAX, EMPTY_LINES_BEFORE_REQUEST};
use crate::outcome::Outcome;
use crate::reactor::Reactor;
use crate::request::{self, Cause, Method, Parsed, Progress, Refusal};
use crate::ring::Completion;
use crate::serve;
use crate::service::Service;
use crate::stats::CloseCause;
use crate::tls::SessionError;
use crate::transport::{ReceiveError, Received};

impl Connection {
    /// Waits for bytes, at most so long since it began to wait: bytes that bring no request nearer do not extend it.
    pub(super) fn await_bytes(&mut self, at_most: Duration, reactor: &mut Reactor, service: &Service) {
        if self.inbox.is_empty() {
            // An idle connection keeps no memory for what it may receive.
            self.inbox = Vec::new();
        }
        let left = (self.awaits_since + at_most).saturating_duration_since(reactor.now);
        self.set_deadline(left, reactor, service);
        self.arm_receive(reactor);
    }

    /// A receive has completed. The provided buffer, if any, stays valid until this returns.
    pub fn on_received(&mut self, completion: &Completion, reactor: &mut Reactor, service: &Service) {
        self.receive_armed = false;
        match (self.state, completion.result) {
            (State::Closed(_), _) => {}
            // All provided buffers were taken at this moment; they come back within this batch.
            (_, result) if result == -libc::ENOBUFS => self.arm_receive(reactor),
            (State::Closing(cause), result) => self.discard(cause, result, reactor),
            (_, 1..) => self.on_bytes(completion, reactor, service),
            (_, 0) => {
                self.peer_has_ended = true;
                self.advance(reactor, service);
            }
            (_, _) => self.on_broken(service, reactor),
        }
    }

    /// What a client sends after our last word is thrown away, within a bound.
    fn discard(&mut self, cause: CloseCause, result: i32, reactor: &mut Reactor) {
        self.discarded_bytes += usize::try_from(result).unwrap_or(0);
        if result == 0 && self.blocked_since.is_some() {
            // It may still take the end of what is on its way.
            self.peer_has_ended = true;
        } else if result <= 0 {
            self.state = State::Closed(cause);
        } else if self.discarded_bytes < CLOSING_BYTES_MAX {
            self.arm_receive(reactor);
        } else {
            self.reset(cause);
        }
    }

    fn on_bytes(&mut self, completion: &Completion, reactor: &mut Reactor, service: &Service) {
        let Some(buffer) = &completion.buffer else { return };
        let bytes = reactor.ring.received(buffer, completion.result as usize);
        match self.transport.receive(bytes, &mut self.inbox) {
            Ok(received) => {
                self.peer_has_ended |= received == Received::Ended;
                self.count_handshake(service);
                if !self.flush_pending(reactor, service) {
                    return;
                }
                self.advance_to_response(reactor, service);
            }
            Err(ReceiveError::Tls(error)) => {
                let cause = match error {
                    SessionError::Handshake(_) => CloseCause::HandshakeFailed,
                    _ => CloseCause::PeerReset,
                };
                if self.exchange.as_ref().is_some_and(|exchange| exchange.has_answered()) {
                    self.abort(Outcome::AbortedTls, cause, reactor, service);
                } else {
                    // The alert that is pending tells the peer why.
                    self.end_exchange(Outcome::AbortedTls, reactor, service);
                    self.close_gracefully(cause, reactor, service);
                }
            }
            Err(ReceiveError::TooMany) => {
                let (outcome, cause) = (Outcome::ClientErrorContentTooLarge, CloseCause::RequestRefused);
                if self.exchange.as_ref().is_some_and(|exchange| exchange.has_answered()) {
                    self.abort(outcome, cause, reactor, service);
                } else {
                    self.end_exchange(outcome, reactor, service);
                    self.close_gracefully(cause, reactor, service);
                }
            }
        }
    }

    /// Sends what the handshake has queued. False when the connection waits for room, or is over.
    fn flush_pending(&mut self, reactor: &mut Reactor, service: &Service) -> bool {
        if !self.transport.has_pending() {
            return true;
        }
        match self.transport.flush(self.socket.as_fd()) {
            Ok(flushed) => {
                self.count_sent(flushed.wire_bytes, service);
                if flushed.blocked {
                    self.arm_poll(reactor);
                }
                !flushed.blocked
            }
            Err(_) => {
                self.on_broken(service, reactor);
                false
            }
        }
    }

    /// The handshake's bytes have room again.
    pub(super) fn on_writable_while_reading(&mut self, reactor: &mut Reactor, service: &Service) {
        if self.flush_pending(reactor, service) {
            self.advance(reactor, service);
        }
    }

    fn count_handshake(&mut self, service: &Service) {
        if !self.handshake_counted
            && let Some((version, is_resumed)) = self.transport.handshake()
        {
            self.handshake_counted = true;
            service.stats.handshake_completed(version, is_resumed);
        }
    }

    /// Reads the request at the front of the inbox, or waits for more of it.
    pub(super) fn read_request(&mut self, reactor: &mut Reactor, service: &Service) -> Step {
        if self.exchange.is_none() {
            self.skip_empty_lines();
        }
        if self.inbox.is_empty() {
            return self.await_next_request(reactor, service);
        }
        if self.exchange.is_none() {
            self.begin_exchange(reactor, service);
        }
        if let Some(head_bytes) = self.head_bytes {
            return self.skip_content(head_bytes, reactor, service);
        }
        // The request borrows from the inbox while the rest of the connection changes.
        let inbox = std::mem::take(&mut self.inbox);
        let step = match request::parse(&inbox) {
            Parsed::Partial => None,
            Parsed::Refused(refusal) => {
                self.note_unread_head(&inbox);
                Some(self.respond(serve::refuse(refusal, &service.policy), None, reactor, service))
            }
            Parsed::Complete(request) => {
                self.head_bytes = Some(request.head_bytes);
                self.skipper = request.content_skipper();
                let is_kept = self.skipper.is_some() && serve::takes_content(&request, &service.policy);
                self.content = is_kept.then(Vec::new);
                Some(match self.skipper {
                    Some(_) => Step::Again,
                    None => self.decide(&request, None, reactor, service),
                })
            }
        };
        self.inbox = inbox;
        step.unwrap_or_else(|| self.await_rest_of_request(reactor, service))
    }

    /// The first byte of a request has arrived, or the connection is answered without one.
    pub(super) fn begin_exchange(&mut self, reactor: &mut Reactor, service: &Service) {
        service.stats.began();
        if let Some(layer) = self.transport.choose_record_layer(service.kernel_tls, self.socket.as_fd()) {
            service.stats.record_layer_chosen(layer);
        }
        let tls = self.transport.handshake().map(|(version, _)| version);
        let record = Record::begin(reactor.wall_clock.unix_nanos(), self.peer, service.worker, tls);
        self.exchange = Some(reactor.spare_exchanges.begin(reactor.now, record));
    }

    /// Empty lines before a request are no request (RFC 9112 §2.2): some clients end their content with one.
    fn skip_empty_lines(&mut self) {
        let lines = self.inbox.chunks_exact(2).take_while(|line| line == b"\r\n").count();
        // More than that is refused when it is parsed.
        if lines <= EMPTY_LINES_BEFORE_REQUEST {
            self.inbox.drain(..2 * lines);
        }
    }

    fn skip_content(&mut self, head_bytes: usize, reactor: &mut Reactor, service: &Service) -> Step {
        if let Some(skipper) = &mut self.skipper {
            let bytes = &self.inbox[head_bytes..];
            let progress = match &mut self.content {
                Some(content) => skipper.keep(bytes, content),
                None => skipper.skip(bytes),
            };
            match progress {
                Progress::More => {
                    self.inbox.truncate(head_bytes);
                    return self.await_rest_of_request(reactor, service);
                }
                Progress::Done { consumed } => {
                    self.inbox.drain(head_bytes..head_bytes + consumed);
                    self.skipper = None;
                }
                Progress::Refused(cause) => {
                    let is_head = matches!(
                        request::parse(&self.inbox),
                        Parsed::Complete(request) if request.method == Method::Head
                    );
                    let refusal = Refusal { cause, is_head };
                    return self.respond(serve::refuse(refusal, &service.policy), None, reactor, service);
                }
            }
        }
        self.decide_again(None, reactor, service)
    }

    fn await_next_request(&mut self, reactor: &mut Reactor, service: &Service) -> Step {
        if self.peer_has_ended {
            self.close_gracefully(CloseCause::PeerClosed, reactor, service);
        } else if self.is_last && self.requests_served > 0 {
            self.close_gracefully(CloseCause::Shutdown, reactor, service);
        } else if self.requests_served > 0 {
            self.await_bytes(service.timeouts.idle, reactor, service);
        } else if !self.receive_armed {
            self.await_bytes(service.timeouts.header, reactor, service);
        }
        Step::Wait
    }

    fn await_rest_of_request(&mut self, reactor: &mut Reactor, service: &Service) -> Step {
        if self.peer_has_ended {
            match self.kind {
                TransportKind::Cleartext => {
                    self.abort(Outcome::AbortedClientGone, CloseCause::PeerClosed, reactor, service);
                }
                // A farewell is answered with one (RFC 8446 §6.1).
                TransportKind::Tls => {
                    self.end_exchange(Outcome::AbortedClientGone, reactor, service);
                    self.close_gracefully(CloseCause::PeerClosed, reactor, service);
                }
            }
            return Step::Wait;
        }
        let began = self.exchange.as_ref().map_or(reactor.now, |exchange| exchange.began);
        let left = (began + service.timeouts.header).saturating_duration_since(reactor.now);
        self.set_deadline(left, reactor, service);
        self.arm_receive(reactor);
        Step::Wait
    }

    /// The request did not arrive in time.
    pub(super) fn on_request_timeout(&mut self, reactor: &mut Reactor, service: &Service) {
        if self.exchange.is_some() {
            self.note_unread_head(&self.inbox.clone());
            let refusal = Refusal { cause: Cause::Timeout, is_head: false };
            if self.respond(serve::refuse(refusal, &service.policy), None, reactor, service) == Step::Again {
                self.advance(reactor, service);
            }
        } else if self.requests_served > 0 {
            self.close_gracefully(CloseCause::IdleTimeout, reactor, service);
        } else {
            self.close_gracefully(CloseCause::HeaderTimeout, reactor, service);
        }
    }

    /// Logs the first line of a head that could not be read.
    fn note_unread_head(&mut self, inbox: &[u8]) {
        let line = inbox
            .split(|byte| matches!(byte, b'\r' | b'\n'))
            .find(|line| !line.is_empty())
            .unwrap_or_default();
        if let Some(exchange) = &mut self.exchange {
            exchange.record.target.set(line);
        }
    }
}
