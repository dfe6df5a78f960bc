//! The request becomes a response. Every question is answered by a pure function (`request`, `serve`) or a
//! lock-free look-up (the store's); what must be opened first is opened elsewhere, and the request is decided
//! again from its bytes then.

use std::sync::Arc;

use cache_store::{Bundle, OpenBundle, OpenError, QuarantineReason};
use control_client::units::ByteRange;

use super::{Connection, State, Step};
use crate::demand::Asked;
use crate::mailbox::Message;
use crate::outcome::Outcome;
use crate::reactor::Reactor;
use crate::request::{self, Cause, Parsed, Persistence, Request, Scheme};
use crate::response::{Body, Part, Response};
use crate::serve::{self, ObjectFacts, Route};
use crate::service::Service;
use crate::stats::Transport;

impl Connection {
    /// Decides what a complete request is answered with. `opened` is the bundle that was opened for it, if it
    /// had to be.
    pub(super) fn decide(
        &mut self,
        request: &Request<'_>,
        opened: Option<Arc<OpenBundle>>,
        reactor: &mut Reactor,
        service: &Service,
    ) -> Step {
        self.note_request(request);
        let scheme = match self.kind {
            Transport::Cleartext => Scheme::Http,
            Transport::Tls => Scheme::Https,
        };
        let location = match serve::route(request, scheme, &service.policy) {
            Route::Find(location) => location,
            Route::Nowhere(cause) => return self.miss(request, scheme, cause, reactor, service),
            Route::Answer(response) => return self.respond(response, None, reactor, service),
        };
        let bundle = match opened {
            Some(open) => open,
            None => match service.store.lookup(&location.directory) {
                None => {
                    self.note_asked(request, Asked::Absent(location.directory.into()));
                    return self.miss(request, scheme, Cause::Absent, reactor, service);
                }
                Some(bundle) => match bundle.opened() {
                    Some(open) => {
                        self.note_asked(request, Asked::Bundle(bundle));
                        open
                    }
                    None => {
                        self.note_asked(request, Asked::Bundle(Arc::clone(&bundle)));
                        return self.open(request, &bundle, reactor, service);
                    }
                },
            },
        };
        let Some(object) = bundle.object(&location.object) else {
            self.note_asked(request, Asked::Nothing);
            return self.miss(request, scheme, Cause::Absent, reactor, service);
        };
        let facts = ObjectFacts {
            range_in_file: object.range,
            sha256: object.sha256,
            last_modified: object.last_modified,
            media_type: object.media_type,
        };
        let response = serve::answer(request, &facts, &service.policy, reactor.wall_clock.unix_seconds());
        let range = first_range(&response, object.range.start);
        if matches!(response.body, Body::Object(_)) {
            self.prefetch_next(request, &bundle, object.range, reactor, service);
        }
        self.set_pace(response.body_bytes(), service);
        let step = self.respond(response, Some(bundle), reactor, service);
        if let Some(exchange) = &mut self.exchange {
            exchange.record.range = range;
        }
        step
    }

    /// Decides the request at the front of the inbox, which has been parsed before.
    pub(super) fn decide_again(
        &mut self,
        opened: Option<Arc<OpenBundle>>,
        reactor: &mut Reactor,
        service: &Service,
    ) -> Step {
        let inbox = std::mem::take(&mut self.inbox);
        let step = match request::parse(&inbox) {
            Parsed::Complete(request) => self.decide(&request, opened, reactor, service),
            // The same bytes parse the same way; were it not so, refusing is the safe answer.
            Parsed::Partial => Step::Wait,
            Parsed::Refused(refusal) => {
                self.respond(serve::refuse(refusal, &service.policy), None, reactor, service)
            }
        };
        self.inbox = inbox;
        step
    }

    /// Has the bundle opened; [`Self::on_opened`] goes on.
    fn open(
        &mut self,
        request: &Request<'_>,
        bundle: &Arc<Bundle>,
        reactor: &mut Reactor,
        service: &Service,
    ) -> Step {
        let (mailbox, connection, ticket) = (service.mailbox.clone(), self.id, reactor.reads.ticket());
        let done = Box::new(move |result| mailbox.send(Message::Opened { connection, ticket, result }));
        if service.store.open_bundle(bundle, done).is_err() {
            return self.refuse(Some(request), Outcome::RefusedVolumeBusy, reactor, service);
        }
        service.stats.opening_began();
        self.state = State::OpeningBundle(ticket);
        self.set_deadline(service.timeouts.disk, reactor, service);
        Step::Wait
    }

    /// A bundle that this connection asked for is open, or cannot be opened. An opening that was given up is
    /// of no interest.
    pub fn on_opened(
        &mut self,
        ticket: u64,
        result: Result<Arc<OpenBundle>, OpenError>,
        reactor: &mut Reactor,
        service: &Service,
    ) {
        if self.state != State::OpeningBundle(ticket) {
            return;
        }
        service.stats.opening_ended();
        match result {
            Ok(open) => self.decide_and_advance(Some(open), reactor, service),
            // It was replaced or retired meanwhile: the index has the answer.
            Err(OpenError::Leaving) => self.decide_and_advance(None, reactor, service),
            Err(error) => self.refuse_again(outcome_of(error), reactor, service),
        }
    }

    fn decide_and_advance(
        &mut self,
        opened: Option<Arc<OpenBundle>>,
        reactor: &mut Reactor,
        service: &Service,
    ) {
        if self.decide_again(opened, reactor, service) == Step::Again {
            self.advance(reactor, service);
        }
    }

    /// The opening has taken as long as it may; when it ends it finds nobody.
    pub(super) fn on_opening_timeout(&mut self, reactor: &mut Reactor, service: &Service) {
        service.stats.opening_ended();
        self.refuse_again(Outcome::RefusedDiskTimeout, reactor, service);
    }

    /// Answers 503: nothing is wrong with the request, but it cannot be answered here and now. Without a
    /// request the connection closes.
    pub(super) fn refuse(
        &mut self,
        request: Option<&Request<'_>>,
        outcome: Outcome,
        reactor: &mut Reactor,
        service: &Service,
    ) -> Step {
        self.respond(serve::unavailable(request, outcome, &service.policy), None, reactor, service)
    }

    /// Answers 503 to the request at the front of the inbox, which has been decided before.
    pub(super) fn refuse_again(&mut self, outcome: Outcome, reactor: &mut Reactor, service: &Service) {
        let inbox = std::mem::take(&mut self.inbox);
        let step = match request::parse(&inbox) {
            Parsed::Complete(request) => self.refuse(Some(&request), outcome, reactor, service),
            _ => self.refuse(None, outcome, reactor, service),
        };
        self.inbox = inbox;
        if step == Step::Again {
            self.advance(reactor, service);
        }
    }

    /// Starts a response; [`Self::send_response`] goes on.
    pub(super) fn respond(
        &mut self,
        mut response: Response,
        bundle: Option<Arc<OpenBundle>>,
        reactor: &mut Reactor,
        service: &Service,
    ) -> Step {
        if self.is_last || self.is_retiring(reactor, service) {
            response.persistence = Persistence::Close;
        }
        let Some(exchange) = &mut self.exchange else { return Step::Wait };
        exchange.head.clear();
        response.write_head(&mut exchange.head, reactor.wall_clock.date());
        exchange.head_is_complete = false;
        exchange.record.status = response.status.code();
        exchange.record.outcome = response.outcome;
        exchange.persistence = response.persistence;
        exchange.body.rewind(&mut reactor.reads.buffers);
        exchange.pull = None;
        exchange.bundle = bundle.filter(|_| matches!(response.body, Body::Object(_)));
        match response.body {
            Body::Empty => exchange.body.clear(),
            Body::Text(text) => exchange.body.begin_with([Part::Text(text.into_owned().into_bytes())]),
            Body::Object(parts) => exchange.body.begin_with(parts),
        }
        exchange.record.range = None;
        self.state = State::SendingHead;
        Step::Again
    }

    /// In the last tenth of its lifetime, or of what its key may seal, a connection is told to close after the response, so that
    /// the limit cuts nothing.
    fn is_retiring(&self, reactor: &Reactor, service: &Service) -> bool {
        reactor.now >= self.accepted_at + service.timeouts.lifetime / 10 * 9
            || self.transport.is_wearing_out()
    }

    fn note_request(&mut self, request: &Request<'_>) {
        let Some(exchange) = &mut self.exchange else { return };
        exchange.record.method = request.method.as_str();
        exchange.record.version = request.version.as_str();
        exchange.record.target.set(request.target.as_bytes());
        exchange.note_player(request);
    }

    /// Whose demand the request is; it counts when the exchange ends. A peer that fills from here is no viewer.
    fn note_asked(&mut self, request: &Request<'_>, asked: Asked) {
        if let Some(exchange) = &mut self.exchange {
            exchange.asked = if request.fields.is_fill { Asked::Nothing } else { asked };
            exchange.is_viewer = !request.fields.is_fill;
        }
    }
}

/// The first range of the object that a partial response sends, for the log.
fn first_range(response: &Response, object_start: u64) -> Option<ByteRange> {
    let Body::Object(parts) = &response.body else { return None };
    let first = parts.iter().find_map(|part| match part {
        Part::File(range) => Some(*range),
        Part::Text(_) | Part::Bytes(_) => None,
    })?;
    let range = ByteRange { start: first.start - object_start, end: first.end - object_start };
    (response.status.code() == 206).then_some(range)
}

fn outcome_of(error: OpenError) -> Outcome {
    match error {
        OpenError::Damaged(QuarantineReason::Unreadable) => Outcome::RefusedReadError,
        OpenError::Damaged(_) => Outcome::RefusedCorrupt,
        OpenError::VolumeFailed => Outcome::RefusedVolumeFailed,
        OpenError::Exhausted(_) => Outcome::RefusedExhausted,
        OpenError::Denied(_) => Outcome::RefusedReadError,
        OpenError::Leaving | OpenError::Closing => Outcome::RefusedShutdown,
    }
}
