//! A connection: an explicit state machine, driven by completions. This file owns the states; the files
//! beside it hold what happens in them, in the order of a request's life:
//!
//! 1. `receiving`: bytes from the socket become a request;
//! 2. `deciding`: the request becomes a response; `pulling`: it comes from elsewhere;
//! 3. `reading`: the response's pieces are read ahead, and `awaiting`: of blocks that come into memory, waited for;
//! 4. `sending`, and for what is in memory `resident`: they are sent;
//! 5. `closing`: the connection ends, and why.
//!
//! Beside them `player`: what a player says, and what it gets for it; `prefetching`: what it says of what it will ask for next.
//!
//! ```text
//!                    ┌──────────────────────── next request ────────────────────────┐
//!                    ▼                                                               │
//!  accepted ─▶ ReadingRequest ─▶ (deciding) ─▶ AwaitingDisk ─▶ SendingHead ─▶ SendingBody ─▶ Closing ─▶ Closed
//!                                    │  ▲                                  ◀── AwaitingDisk
//!                                    ▼  │                                      or AwaitingUpstream
//!                                OpeningBundle,
//!                                AwaitingUpstream
//! ```
//!
//! Nothing here waits: where something must happen first, an operation is in flight or somebody will send a
//! message, and a deadline is set. A socket is closed only when the kernel holds no operation on it any more.

mod awaiting;
mod closing;
mod deciding;
mod exchange;
mod player;
mod prefetching;
mod pulling;
mod reading;
mod receiving;
mod resident;
mod sending;

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

pub use exchange::{Exchange, SpareExchanges};

use control_client::units::BitRate;

use crate::reactor::Reactor;
use crate::read_queue::Place;
use crate::request::ContentSkipper;
use crate::service::Service;
use crate::stats::{CloseCause, Transport as TransportKind};
use crate::timer_wheel::Tick;
use crate::token::{ConnectionId, Token};
use crate::transport::Transport;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A TLS handshake, or a request, is being received; or the next one is awaited.
    ReadingRequest,
    /// The bundle's file is being opened, and its footer read, off the worker. The ticket tells this opening
    /// from earlier ones.
    OpeningBundle(u64),
    /// The pull service has been asked for the response; its head, or the next piece of its body, is awaited. The ticket tells this
    /// response from earlier ones.
    AwaitingUpstream(u64),
    /// The next piece of the body is being read, or waits for a buffer to be read into.
    AwaitingDisk,
    /// The head is on its way, with whatever of the body is ready.
    SendingHead,
    /// The head is sent; the body is on its way.
    SendingBody,
    /// We have said our last; what the client still sends is thrown away until it closes too.
    Closing(CloseCause),
    /// Over. The slot is free when the kernel holds no operation on the socket.
    Closed(CloseCause),
}

/// Whether a step changed something that allows another step at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Again,
    Wait,
}

/// One client's connection.
pub struct Connection {
    id: ConnectionId,
    socket: OwnedFd,
    peer: SocketAddr,
    kind: TransportKind,
    transport: Transport,
    state: State,
    /// Plaintext received and not yet done with; starts with the request in hand.
    inbox: Vec<u8>,
    /// Content of the request in hand that is still to be skipped.
    skipper: Option<ContentSkipper>,
    /// That content as far as it has come, where it may be passed upstream.
    content: Option<Vec<u8>>,
    /// The head of the request in hand is complete, and this long.
    head_bytes: Option<usize>,
    exchange: Option<Box<Exchange>>,
    accepted_at: Instant,
    /// Since when it waits for its first or next request.
    awaits_since: Instant,
    requests_served: u64,
    peer_has_ended: bool,
    handshake_counted: bool,
    /// The worker is stopping: the response in hand is the last one.
    is_last: bool,

    receive_armed: bool,
    poll_armed: bool,
    peer_watched: bool,
    /// The connection was reset, or both sides have ended it: told once.
    peer_is_broken: bool,
    cancelled: bool,

    deadline: Instant,
    timer: Option<Tick>,

    /// Since when the socket takes no more.
    blocked_since: Option<Instant>,
    /// Where it stands for read buffers.
    place: Place,
    /// It may hold read buffers, and is among those who are looked through for them.
    is_reader: bool,
    /// Chunks per piece: grows while the client keeps up, shrinks when it does not.
    piece_chunks: usize,
    /// Bytes of bodies sent in this turn.
    turn_bytes: u64,
    /// Bytes that its socket may hold unsent.
    unsent_bytes: u32,
    /// Whether its client has taken what was sent at once, and has not been slow since.
    keeps_up: bool,
    /// How fast the socket may send; `None`: as fast as it can.
    pace: Option<BitRate>,
    /// When its player's words about what comes next were last heeded.
    hinted_at: Option<Instant>,
    /// Bytes thrown away while closing.
    discarded_bytes: usize,
    /// Bytes that the client had not acknowledged when its socket was last found full, or looked at since.
    unacknowledged_bytes: u32,
}

impl Connection {
    /// A connection that was just accepted, and waits for its first bytes.
    pub fn accept(
        id: ConnectionId,
        socket: OwnedFd,
        peer: SocketAddr,
        transport: Transport,
        reactor: &mut Reactor,
        service: &Service,
    ) -> Self {
        let kind = match transport {
            Transport::Cleartext => TransportKind::Cleartext,
            Transport::Tls(_) => TransportKind::Tls,
        };
        service.stats.accepted(kind);
        let mut connection = Self {
            id,
            socket,
            peer,
            kind,
            transport,
            state: State::ReadingRequest,
            inbox: Vec::new(),
            skipper: None,
            content: None,
            head_bytes: None,
            exchange: None,
            accepted_at: reactor.now,
            awaits_since: reactor.now,
            requests_served: 0,
            peer_has_ended: false,
            handshake_counted: false,
            is_last: false,
            receive_armed: false,
            poll_armed: false,
            peer_watched: false,
            peer_is_broken: false,
            cancelled: false,
            deadline: reactor.now,
            timer: None,
            blocked_since: None,
            place: Place::None,
            is_reader: false,
            piece_chunks: sending::PIECE_CHUNKS_FIRST,
            turn_bytes: 0,
            unsent_bytes: service.notsent_lowat_bytes,
            keeps_up: false,
            pace: None,
            hinted_at: None,
            discarded_bytes: 0,
            unacknowledged_bytes: u32::MAX,
        };
        connection.await_bytes(service.timeouts.header, reactor, service);
        connection
    }

    /// Its name on this worker.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Where it stands for read buffers.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Does all that can be done without waiting: here a step leads to the next. What has come with others' requests is done in thirds.
    pub fn advance(&mut self, reactor: &mut Reactor, service: &Service) {
        self.turn_bytes = 0;
        loop {
            let step = match self.state {
                State::ReadingRequest => self.read_request(reactor, service),
                State::AwaitingDisk | State::SendingHead | State::SendingBody => {
                    self.send_response(reactor, service)
                }
                State::AwaitingUpstream(_) => self.take_answer(reactor, service),
                State::OpeningBundle(_) | State::Closing(_) | State::Closed(_) => Step::Wait,
            };
            if step == Step::Wait {
                return;
            }
        }
    }

    /// The first third of [`Self::advance`]: up to where a response is to be sent. The worker comes back to it when it has read what
    /// others have asked for ([`Reactor::decided`]).
    fn advance_to_response(&mut self, reactor: &mut Reactor, service: &Service) {
        while self.state == State::ReadingRequest {
            if self.read_request(reactor, service) == Step::Wait {
                return;
            }
        }
        match self.state {
            State::SendingHead => reactor.decided.push(self.id),
            _ => self.advance(reactor, service),
        }
    }

    /// The second third: up to where the response is with the kernel. The worker comes back to it when it has sent what others are to get
    /// ([`Reactor::sent`]); the last third is [`Self::advance`] again.
    pub fn send_decided(&mut self, reactor: &mut Reactor, service: &Service) {
        self.turn_bytes = 0;
        while matches!(self.state, State::AwaitingDisk | State::SendingHead | State::SendingBody) {
            if self.exchange.as_ref().is_some_and(|exchange| exchange.is_sent()) {
                reactor.sent.push(self.id);
                return;
            }
            if self.send_response(reactor, service) == Step::Wait {
                return;
            }
        }
        self.advance(reactor, service);
    }

    /// Sets the deadline of the state that was just entered; the connection's age bounds every one but that
    /// of closing.
    fn set_deadline(&mut self, after: Duration, reactor: &mut Reactor, service: &Service) {
        let oldest = self.accepted_at + service.timeouts.lifetime;
        let is_closing = matches!(self.state, State::Closing(_));
        self.deadline = reactor.now + after;
        if !is_closing {
            self.deadline = self.deadline.min(oldest.max(reactor.now));
        }
        if self.timer.is_none_or(|tick| tick > reactor.timers.tick_after(self.deadline)) {
            self.timer = Some(reactor.timers.enter(self.id, self.deadline));
        }
    }

    /// A timer entry of this connection has come up.
    pub fn on_timer(&mut self, tick: Tick, reactor: &mut Reactor, service: &Service) {
        if self.timer != Some(tick) {
            return;
        }
        self.timer = None;
        if reactor.now < self.deadline {
            self.timer = Some(reactor.timers.enter(self.id, self.deadline));
        } else {
            self.on_deadline(reactor, service);
        }
    }

    fn is_too_old(&self, reactor: &Reactor, service: &Service) -> bool {
        reactor.now >= self.accepted_at + service.timeouts.lifetime
    }

    fn arm_receive(&mut self, reactor: &mut Reactor) {
        if !self.receive_armed {
            self.receive_armed = true;
            reactor.ring.receive(self.socket.as_fd(), Token::Receive(self.id));
        }
    }

    fn arm_poll(&mut self, reactor: &mut Reactor) {
        if !self.poll_armed {
            self.poll_armed = true;
            reactor.ring.poll_writable(self.socket.as_fd(), Token::Writable(self.id));
        }
    }

    /// Has it told when the connection breaks while nothing is sent or received on it.
    fn watch_peer(&mut self, reactor: &mut Reactor) {
        if !self.peer_watched {
            self.peer_watched = true;
            reactor.ring.watch_peer(self.socket.as_fd(), Token::Peer(self.id));
        }
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
