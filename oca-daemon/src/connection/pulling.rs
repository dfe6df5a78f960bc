//! What no bundle holds is asked of the pull service, and its answer sent as it comes: from the pipe only as much as the socket soon
//! takes, so that a slow client slows upstream down and nothing else.
//!
//! Before the head, what goes wrong is answered; after it, only a reset tells the client that the response is not whole.

use bytes::Bytes;

use super::{Connection, Exchange, State, Step};
use crate::limits::PULLED_AHEAD_BYTES_MAX;
use crate::outcome::Outcome;
use crate::pull::pipe::{Piece, Reader};
use crate::pull::{AnswerHead, PullFailure, PullRequest};
use crate::reactor::Reactor;
use crate::request::{self, Cause, NormalTarget, Parsed, Request, Scheme};
use crate::response::Part;
use crate::ring::Completion;
use crate::serve::{self, Coding, Miss, Pulled, Source};
use crate::service::Service;
use crate::stats::CloseCause;

/// A response that comes from the pull service.
pub struct Pull {
    reader: Reader,
    ticket: u64,
    /// `None`: its head has not come yet.
    coding: Option<Coding>,
    /// Where it comes from; `None`: its head has not come yet.
    source: Option<Source>,
    /// Nothing more comes.
    has_ended: bool,
}

impl Pull {
    /// Whether all of it has come.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Where it comes from; `None`: its head has not come yet, or there is none.
    pub(super) fn source(&self) -> Option<Source> {
        self.source
    }
}

impl Connection {
    /// No bundle has what is asked for, or can have it: answers, or asks the pull service.
    pub(super) fn miss(
        &mut self,
        request: &Request<'_>,
        scheme: Scheme,
        cause: Cause,
        reactor: &mut Reactor,
        service: &Service,
    ) -> Step {
        let (target, handle) = match (serve::miss(request, scheme, cause, &service.policy), &service.pull) {
            (Miss::Answer(response), _) => return self.respond(response, None, reactor, service),
            (Miss::Pull(_), None) => return self.fail_pull(request, PullFailure::Stopping, reactor, service),
            (Miss::Pull(target), Some(handle)) => (target, handle),
        };
        let Some(question) = self.question(request, target, scheme) else {
            return self.fail_pull(request, PullFailure::Defect, reactor, service);
        };
        let ticket = reactor.reads.ticket();
        let Ok(reader) = handle.ask(question, service.mailbox.clone(), self.id, ticket) else {
            return self.fail_pull(request, PullFailure::Busy, reactor, service);
        };
        if let Some(exchange) = &mut self.exchange {
            exchange.pull = Some(Pull { reader, ticket, coding: None, source: None, has_ended: false });
        }
        self.await_upstream(ticket, reactor, service);
        Step::Wait
    }

    fn question(
        &mut self,
        request: &Request<'_>,
        target: NormalTarget,
        scheme: Scheme,
    ) -> Option<PullRequest> {
        let content = self.content.take().map_or_else(Bytes::new, Bytes::from);
        PullRequest::of(request, target, scheme, self.peer, content)
    }

    /// There is something in the pipe of an answer. One that was given up is of no interest; one whose socket is full is looked at when
    /// it has room.
    pub fn on_pulled(&mut self, ticket: u64, reactor: &mut Reactor, service: &Service) {
        let pull = self.exchange.as_ref().and_then(|exchange| exchange.pull.as_ref());
        if pull.is_some_and(|pull| pull.ticket == ticket) && self.blocked_since.is_none() {
            self.advance(reactor, service);
        }
    }

    /// The client has ended its side, or the connection was reset, or both sides have ended it.
    pub fn on_peer_event(&mut self, completion: &Completion, reactor: &mut Reactor, service: &Service) {
        self.peer_watched = completion.more;
        self.peer_is_broken |= completion.is_broken();
        // Whoever has only ended his side waits for the answer; that he asks for nothing more is told by the receive after it. In any
        // other state a send or a receive tells what is broken, or the next wait for upstream does.
        if !matches!(self.state, State::AwaitingUpstream(_)) {
            return;
        }
        if self.peer_is_broken {
            self.on_broken(service, reactor);
        } else if completion.result >= 0 {
            // The kernel ends the watch where it has no room to tell of it.
            self.watch_peer(reactor);
        }
    }

    /// Takes the head of the answer, if it is there, or goes on with its body.
    pub(super) fn take_answer(&mut self, reactor: &mut Reactor, service: &Service) -> Step {
        let Some(pull) = self.exchange.as_mut().and_then(|exchange| exchange.pull.as_mut()) else {
            return Step::Wait;
        };
        if pull.coding.is_some() {
            return self.send_response(reactor, service);
        }
        match pull.reader.take() {
            None => Step::Wait,
            Some(Piece::Head(head)) => self.with_request(|connection, request| {
                connection.begin_pulled(request, &head, reactor, service)
            }),
            Some(Piece::Failed(failure)) => self
                .with_request(|connection, request| connection.fail_pull(request, failure, reactor, service)),
            // A body without a head.
            Some(Piece::Chunk(_) | Piece::End) => self.with_request(|connection, request| {
                connection.fail_pull(request, PullFailure::Defect, reactor, service)
            }),
        }
    }

    /// The head has come: the response begins.
    fn begin_pulled(
        &mut self,
        request: &Request<'_>,
        head: &AnswerHead,
        reactor: &mut Reactor,
        service: &Service,
    ) -> Step {
        let Some(mut pull) = self.exchange.as_mut().and_then(|exchange| exchange.pull.take()) else {
            return Step::Wait;
        };
        let Pulled { response, coding } = match serve::pulled(head, request, &service.policy) {
            Ok(pulled) => pulled,
            Err(failure) => return self.fail_pull(request, failure, reactor, service),
        };
        pull.coding = Some(coding);
        pull.source = Some(if head.source == Outcome::DemandHit { Source::Pulled } else { Source::Upstream });
        pull.has_ended = matches!(coding, Coding::None | Coding::Length(0));
        self.set_pace(coding.bytes_max(), service);
        let step = self.respond(response, None, reactor, service);
        if let Some(exchange) = &mut self.exchange {
            exchange.pull = Some(pull);
            exchange.record.range = head.range();
        }
        step
    }

    fn fail_pull(
        &mut self,
        request: &Request<'_>,
        failure: PullFailure,
        reactor: &mut Reactor,
        service: &Service,
    ) -> Step {
        self.respond(serve::not_pulled(failure, request, &service.policy), None, reactor, service)
    }

    /// Takes from the pipe what is to be sent next. False when the response cannot be completed, and the connection is over.
    pub(super) fn take_pulled(&mut self, reactor: &mut Reactor, service: &Service) -> bool {
        let Some(exchange) = &mut self.exchange else { return false };
        match exchange.take_pulled() {
            Ok(()) => true,
            Err(failure) => {
                self.abort(failure.aborted(), CloseCause::ContentFailed, reactor, service);
                false
            }
        }
    }

    /// Waits for the head or the next piece; a message will come.
    pub(super) fn await_upstream(&mut self, ticket: u64, reactor: &mut Reactor, service: &Service) {
        if self.state == State::AwaitingUpstream(ticket) {
            return;
        }
        self.state = State::AwaitingUpstream(ticket);
        if self.peer_is_broken {
            // It was told while it did something else, and is not told again.
            return self.on_broken(service, reactor);
        }
        self.set_deadline(service.timeouts.pull, reactor, service);
        self.watch_peer(reactor);
    }

    /// The pull service has not kept its own timeouts.
    pub(super) fn on_pull_timeout(&mut self, reactor: &mut Reactor, service: &Service) {
        if self.exchange.as_ref().is_some_and(|exchange| exchange.has_answered()) {
            return self.abort(Outcome::AbortedUpstreamTimeout, CloseCause::ContentFailed, reactor, service);
        }
        let step = self.with_request(|connection, request| {
            connection.fail_pull(request, PullFailure::TimedOut, reactor, service)
        });
        if step == Step::Again {
            self.advance(reactor, service);
        }
    }

    /// Does something about the request at the front of the inbox, which has been parsed before.
    fn with_request(&mut self, act: impl FnOnce(&mut Self, &Request<'_>) -> Step) -> Step {
        let inbox = std::mem::take(&mut self.inbox);
        let step = match request::parse(&inbox) {
            Parsed::Complete(request) => act(self, &request),
            // The same bytes parse the same way.
            Parsed::Partial | Parsed::Refused(_) => Step::Wait,
        };
        self.inbox = inbox;
        step
    }
}

impl Exchange {
    /// The ticket of the answer that comes from the pull service, while more of it is to come.
    pub(super) fn awaited_answer(&self) -> Option<u64> {
        self.pull.as_ref().filter(|pull| !pull.has_ended).map(|pull| pull.ticket)
    }

    /// Takes from the pipe, while the body may hold more. What does not add up to what the head has said is a failure.
    fn take_pulled(&mut self) -> Result<(), PullFailure> {
        let Some(pull) = &mut self.pull else { return Ok(()) };
        while !pull.has_ended && self.body.pulled_bytes() < PULLED_AHEAD_BYTES_MAX {
            let Some(piece) = pull.reader.take() else { return Ok(()) };
            match (piece, pull.coding) {
                (Piece::Chunk(bytes), Some(Coding::Length(left))) => {
                    let left = left.checked_sub(bytes.len() as u64).ok_or(PullFailure::Invalid)?;
                    pull.coding = Some(Coding::Length(left));
                    self.body.append(Part::Bytes(bytes));
                }
                (Piece::Chunk(bytes), Some(Coding::Chunked)) => {
                    self.body.append(Part::Text(format!("{:x}\r\n", bytes.len()).into_bytes()));
                    self.body.append(Part::Bytes(bytes));
                    self.body.append(Part::Text(b"\r\n".to_vec()));
                }
                (Piece::Chunk(bytes), Some(Coding::UntilClose)) => self.body.append(Part::Bytes(bytes)),
                (Piece::End, Some(Coding::Length(1..))) => return Err(PullFailure::Invalid),
                (Piece::End, coding) => {
                    if coding == Some(Coding::Chunked) {
                        self.body.append(Part::Text(b"0\r\n\r\n".to_vec()));
                    }
                    pull.has_ended = true;
                }
                (Piece::Failed(failure), _) => return Err(failure),
                (Piece::Head(_) | Piece::Chunk(_), _) => return Err(PullFailure::Defect),
            }
        }
        Ok(())
    }
}
