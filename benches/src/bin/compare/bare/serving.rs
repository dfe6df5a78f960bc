#![expect(unsafe_code, reason = "the kernel is given sockets and memory by number and address")]
//! The loop itself: connections are accepted, a request is received, and whoever sends its object says what to wait for.

use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::objects::Objects;
use super::ring::{Completion, Ring};

/// A request of ours, or a TLS record with one.
const INBOX_BYTES: usize = 4096;

/// Tokens: the connection, and what it is about.
const ACCEPTED: u64 = u64::MAX;
const KINDS: u64 = 8;
const RECEIVED: u64 = 0;
const WRITABLE: u64 = 1;
const READ: u64 = 2;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// For a request.
    Request,
    /// For room in its socket.
    Room,
    /// For the others to have their turns.
    Turn,
    /// For the disk.
    Disk,
}

/// How a loop sends objects.
pub(super) trait Sends {
    /// What it keeps of a connection.
    type State;

    /// A connection was accepted; its socket does not block.
    fn accept(&mut self, socket: &OwnedFd) -> io::Result<Self::State>;

    /// Whether a request came while it was being accepted.
    fn has_request(&self, _state: &Self::State) -> bool {
        false
    }

    /// Bytes have come. Whether it is a whole request; else more is awaited.
    fn receive(&mut self, state: &mut Self::State, bytes: &[u8], objects: &Objects) -> io::Result<bool>;

    /// Sends what can be sent.
    fn send(
        &mut self,
        state: &mut Self::State,
        socket: &OwnedFd,
        objects: &Objects,
        disk: &mut Disk<'_>,
    ) -> io::Result<Waits>;

    /// A read has ended.
    fn read(&mut self, _state: &mut Self::State, _slot: usize, _result: i32) -> io::Result<()> {
        Ok(())
    }

    /// Whether a connection that has ended must be kept, because the kernel still reads for it.
    fn is_reading(&self, _state: &Self::State) -> bool {
        false
    }
}

/// Where a connection's reads are asked for.
pub(super) struct Disk<'a> {
    ring: &'a mut Ring,
    connection: usize,
}

struct Connection<S> {
    socket: OwnedFd,
    inbox: Box<[u8]>,
    state: S,
    /// Ended, and kept for what the kernel still does with its memory.
    is_over: bool,
    /// What it waits for: a read that ends wakes only who waits for the disk.
    waits: Waits,
}

impl Disk<'_> {
    /// Reads into memory of the connection's state.
    ///
    /// # Safety
    ///
    /// There are so many bytes, and the state neither uses nor frees them until [`Sends::read`] says that it is done; until then
    /// [`Sends::is_reading`].
    pub(super) unsafe fn read(
        &mut self,
        file: RawFd,
        into: *mut u8,
        bytes: usize,
        offset: u64,
        slot: usize,
    ) -> io::Result<()> {
        // SAFETY: as the caller promises; the loop keeps the state while it is reading.
        unsafe { self.ring.read(file, into, bytes, offset, token(self.connection, READ + slot as u64)) }
    }
}

struct Loop<'a, S: Sends> {
    ring: Ring,
    listener: RawFd,
    objects: &'a Objects,
    sends: S,
    connections: Vec<Option<Box<Connection<S::State>>>>,
    free: Vec<usize>,
    in_line: VecDeque<usize>,
}

/// Serves until it is ended.
pub(super) fn serve<S: Sends>(listener: &TcpListener, objects: &Objects, sends: S) -> io::Result<()> {
    let mut serving = Loop {
        ring: Ring::new()?,
        listener: listener.as_raw_fd(),
        objects,
        sends,
        connections: Vec::new(),
        free: Vec::new(),
        in_line: VecDeque::new(),
    };
    serving.ring.accept(serving.listener, ACCEPTED)?;
    let mut done = Vec::new();
    loop {
        serving.ring.turn(serving.in_line.is_empty(), &mut done)?;
        for completion in done.drain(..) {
            serving.apply(completion)?;
        }
        for _ in 0..serving.in_line.len() {
            if let Some(number) = serving.in_line.pop_front() {
                serving.advance(number)?;
            }
        }
    }
}

impl<S: Sends> Loop<'_, S> {
    fn apply(&mut self, completion: Completion) -> io::Result<()> {
        if completion.token == ACCEPTED {
            if completion.result >= 0 {
                self.accepted(completion.result)?;
            }
            return if completion.goes_on { Ok(()) } else { self.ring.accept(self.listener, ACCEPTED) };
        }
        let number = (completion.token / KINDS) as usize;
        match completion.token % KINDS {
            RECEIVED => self.received(number, completion.result),
            WRITABLE => self.advance(number),
            kind => self.read(number, (kind - READ) as usize, completion.result),
        }
    }

    fn accepted(&mut self, socket: RawFd) -> io::Result<()> {
        let socket = owned(socket);
        rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
        // A client that goes in its handshake is no reason to end.
        let Ok(state) = self.sends.accept(&socket) else { return Ok(()) };
        let connection = Box::new(Connection {
            socket,
            inbox: vec![0; INBOX_BYTES].into_boxed_slice(),
            state,
            is_over: false,
            waits: Waits::Request,
        });
        let number = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        let has_request = self.sends.has_request(&connection.state);
        self.connections[number] = Some(connection);
        if has_request { self.advance(number) } else { self.receive(number) }
    }

    fn receive(&mut self, number: usize) -> io::Result<()> {
        let Some(connection) = &mut self.connections[number] else { return Ok(()) };
        let (socket, inbox) = (connection.socket.as_raw_fd(), connection.inbox.as_mut_ptr());
        // SAFETY: the inbox is the connection's, looked at only when this is done, and kept until then: a connection ends by it.
        unsafe { self.ring.receive(socket, inbox, INBOX_BYTES, token(number, RECEIVED)) }
    }

    fn received(&mut self, number: usize, result: i32) -> io::Result<()> {
        let Some(connection) = &mut self.connections[number] else { return Ok(()) };
        let bytes = match usize::try_from(result) {
            Ok(bytes) if bytes > 0 => bytes,
            _ => {
                self.end(number);
                return Ok(());
            }
        };
        match self.sends.receive(&mut connection.state, &connection.inbox[..bytes], self.objects) {
            Ok(true) => self.advance(number),
            Ok(false) => self.receive(number),
            Err(_) => {
                self.end(number);
                Ok(())
            }
        }
    }

    /// A disk that fails has no limit to show: that ends the loop.
    fn read(&mut self, number: usize, slot: usize, result: i32) -> io::Result<()> {
        let Some(connection) = &mut self.connections[number] else { return Ok(()) };
        self.sends.read(&mut connection.state, slot, result)?;
        if connection.is_over {
            self.end(number);
            return Ok(());
        }
        if connection.waits == Waits::Disk { self.advance(number) } else { Ok(()) }
    }

    fn advance(&mut self, number: usize) -> io::Result<()> {
        let Some(connection) = &mut self.connections[number] else { return Ok(()) };
        let mut disk = Disk { ring: &mut self.ring, connection: number };
        let sent = self.sends.send(&mut connection.state, &connection.socket, self.objects, &mut disk);
        let Ok(waits) = sent else {
            self.end(number);
            return Ok(());
        };
        connection.waits = waits;
        match waits {
            Waits::Request => self.receive(number),
            Waits::Room => {
                let socket = connection.socket.as_raw_fd();
                self.ring.writable(socket, token(number, WRITABLE))
            }
            Waits::Turn => {
                self.in_line.push_back(number);
                Ok(())
            }
            Waits::Disk => Ok(()),
        }
    }

    /// Nothing but reads is under way for a connection that ends: its own receive or poll is what told of it.
    fn end(&mut self, number: usize) {
        let Some(connection) = &mut self.connections[number] else { return };
        connection.is_over = true;
        if !self.sends.is_reading(&connection.state) {
            self.connections[number] = None;
            self.free.push(number);
        }
    }
}

fn token(connection: usize, kind: u64) -> u64 {
    connection as u64 * KINDS + kind
}

fn owned(socket: RawFd) -> OwnedFd {
    // SAFETY: an accept has just returned it, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(socket) }
}
