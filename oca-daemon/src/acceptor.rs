//! Accepting on one listener: armed, paused because something ran out, or ended.
//!
//! While nothing is wrong one multishot accept stays in the ring, or, where clients are to wait at the bound,
//! a single one. A lack of descriptors or memory pauses accepting for a moment, and then it is tried again;
//! clients wait in the kernel's queue meanwhile.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};

use crate::limits::{ACCEPT_PAUSE, ACCEPT_RECOVERED};
use crate::listener::Listener;
use crate::ring::Ring;
use crate::stats::{AcceptPause, Transport};
use crate::token::Token;

/// What a worker does with one listener.
pub struct Acceptor {
    listener: Option<Listener>,
    kind: Transport,
    token: Token,
    /// One connection at a time, so that the bound on connections is kept where clients are to wait rather
    /// than be refused.
    one_by_one: bool,
    armed: bool,
    state: Accepting,
    /// When something last ran out.
    failed_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepting {
    /// As connections come.
    Open,
    /// Not before this time.
    PausedUntil(Instant),
    /// Not while the bound on connections is reached.
    Full,
    /// Never again; what is queued is still taken.
    Ending,
}

impl Acceptor {
    /// Not armed yet. `index` is the listener's number among the worker's.
    pub fn new(listener: Listener, index: u32, one_by_one: bool) -> Self {
        let kind = listener.kind;
        Self {
            listener: Some(listener),
            kind,
            token: Token::Accept(index),
            one_by_one,
            armed: false,
            state: Accepting::Open,
            failed_at: None,
        }
    }

    /// How its clients talk.
    pub fn kind(&self) -> Transport {
        self.kind
    }

    /// Whether the listener is closed.
    pub fn has_ended(&self) -> bool {
        self.listener.is_none()
    }

    /// When a pause ends.
    pub fn resumes_at(&self) -> Option<Instant> {
        match self.state {
            Accepting::PausedUntil(until) => Some(until),
            Accepting::Open | Accepting::Full | Accepting::Ending => None,
        }
    }

    /// Arms the accept unless it is armed or must not be.
    pub fn arm(&mut self, now: Instant, ring: &mut Ring) {
        if matches!(self.state, Accepting::PausedUntil(until) if now >= until) {
            self.state = Accepting::Open;
        }
        if let (Accepting::Open, false, Some(listener)) = (self.state, self.armed, &self.listener) {
            self.armed = true;
            if self.one_by_one {
                ring.accept_one(listener.socket.as_fd(), self.token);
            } else {
                ring.accept(listener.socket.as_fd(), self.token);
            }
        }
    }

    /// Whether accepting is held up: the bound is reached, or something ran out, and it has not gone well for
    /// long enough since.
    pub fn is_held_up(&self, now: Instant) -> bool {
        self.state == Accepting::Full || self.failed_at.is_some_and(|at| now < at + ACCEPT_RECOVERED)
    }

    /// The accept's completion said that no more follow.
    pub fn disarmed(&mut self) {
        self.armed = false;
    }

    /// Accepts nothing for a moment.
    pub fn pause(&mut self, now: Instant) {
        self.failed_at = Some(now);
        if matches!(self.state, Accepting::Open | Accepting::PausedUntil(_)) {
            self.state = Accepting::PausedUntil(now + ACCEPT_PAUSE);
        }
    }

    /// Accepts nothing until [`Self::open`]. True when this is new.
    pub fn fill(&mut self, ring: &mut Ring) -> bool {
        if self.state != Accepting::Open {
            return false;
        }
        self.state = Accepting::Full;
        self.cancel(ring);
        true
    }

    /// Whether it waits for [`Self::open`].
    pub fn is_full(&self) -> bool {
        self.state == Accepting::Full
    }

    /// There is room for connections again.
    pub fn open(&mut self) {
        if self.state == Accepting::Full {
            self.state = Accepting::Open;
        }
    }

    /// Stops accepting; once disarmed, [`Self::drain`] takes what is queued.
    pub fn end(&mut self, ring: &mut Ring) {
        self.state = Accepting::Ending;
        self.cancel(ring);
    }

    /// Whether it is to end, and nothing is armed any more.
    pub fn is_ready_to_drain(&self) -> bool {
        self.state == Accepting::Ending && !self.armed && self.listener.is_some()
    }

    /// The next connection of the queue; closes the listener when the queue is empty or cannot be read.
    pub fn drain(&mut self) -> Option<OwnedFd> {
        loop {
            let listener = self.listener.as_ref()?;
            match accept_with(&listener.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(socket) => return Some(socket),
                // The client was gone before it was accepted; the next may not be.
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(_) => self.listener = None,
            }
        }
    }

    fn cancel(&self, ring: &mut Ring) {
        if let (true, Some(listener)) = (self.armed, &self.listener) {
            ring.cancel_all(listener.socket.as_raw_fd());
        }
    }
}

/// What an accept that failed says about the time ahead; `None`: that one client is gone, nothing else.
pub fn pause_for(error: &io::Error) -> Option<AcceptPause> {
    match error.raw_os_error() {
        Some(libc::EMFILE) => Some(AcceptPause::Descriptors),
        Some(libc::ENFILE) => Some(AcceptPause::SystemDescriptors),
        Some(libc::ENOBUFS | libc::ENOMEM) => Some(AcceptPause::Memory),
        // accept(2): errors that were already pending on the new socket; they concern that client alone.
        Some(
            libc::ECONNABORTED
            | libc::EINTR
            | libc::EPROTO
            | libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EHOSTUNREACH
            | libc::EOPNOTSUPP
            | libc::ENETUNREACH
            | libc::EPERM
            | libc::ECANCELED,
        ) => None,
        _ => Some(AcceptPause::SystemError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_pauses_accepting_and_a_lost_client_does_not() {
        let cause = |errno| pause_for(&io::Error::from_raw_os_error(errno));
        assert_eq!(cause(libc::EMFILE), Some(AcceptPause::Descriptors));
        assert_eq!(cause(libc::ENFILE), Some(AcceptPause::SystemDescriptors));
        assert_eq!(cause(libc::ENOMEM), Some(AcceptPause::Memory));
        assert_eq!(cause(libc::ECONNABORTED), None);
        assert_eq!(cause(libc::EPROTO), None);
        assert_eq!(cause(libc::EBADF), Some(AcceptPause::SystemError));
    }
}
