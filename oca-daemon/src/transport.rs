//! The bytes between a connection and its socket: as they are, or as TLS records.
//!
//! Sends never wait: what the socket does not take now stays with the caller (cleartext) or, sealed already
//! and bounded, here (TLS). The caller polls the ring for room and comes back.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use rustls::ServerConfig;

use crate::limits::{INBOX_BYTES_MAX, SEAL_BUFFER_BYTES};
use crate::stats::TlsVersion;
use crate::tier::faults;
use crate::tls::{RECORD_BYTES_MAX, Session, SessionError};

/// How a connection's bytes travel.
pub enum Transport {
    /// HTTP straight on TCP.
    Cleartext,
    /// HTTP in TLS 1.2 or 1.3.
    Tls(Box<TlsTransport>),
}

/// TLS on a socket.
pub struct TlsTransport {
    session: Session,
    /// How much is sealed before it is sent: about what the socket takes at once, so that little is left over.
    batch_bytes: usize,
}

/// A record, and a key update before it.
const BATCH_BYTES_MIN: usize = 2 * RECORD_BYTES_MAX;

/// A chunk of 64 KiB and a head: all of a small response.
const BATCH_BYTES_FIRST: usize = 5 * RECORD_BYTES_MAX;

/// What a send or a flush did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Bytes of the caller's that are taken; it need not keep them.
    pub taken_bytes: usize,
    /// Bytes that the kernel took.
    pub wire_bytes: u64,
    /// The socket's buffer is full: come back when it is writable.
    pub blocked: bool,
}

/// Whether more may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The client may send more.
    Open,
    /// The client has closed its side.
    Ended,
}

/// Why received bytes ended the connection.
#[derive(Debug)]
pub enum ReceiveError {
    /// TLS is over; an alert for the client, if it is to be told why, is pending.
    Tls(SessionError),
    /// More bytes than a request may have before it is answered.
    TooMany,
}

impl Transport {
    /// The transport of a connection that was accepted on a TLS listener.
    pub fn tls(settings: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let session = Session::new(settings)?;
        Ok(Transport::Tls(Box::new(TlsTransport { session, batch_bytes: BATCH_BYTES_FIRST })))
    }

    /// Takes bytes from the socket in, and adds the client's plaintext to `inbox`. `Ended` when the client
    /// has said that it sends no more.
    pub fn receive(&mut self, bytes: &[u8], inbox: &mut Vec<u8>) -> Result<Received, ReceiveError> {
        match self {
            Transport::Cleartext => {
                inbox.extend_from_slice(bytes);
                if inbox.len() > INBOX_BYTES_MAX { Err(ReceiveError::TooMany) } else { Ok(Received::Open) }
            }
            Transport::Tls(tls) => match tls.session.receive(bytes, inbox) {
                Err(SessionError::TooMany) => Err(ReceiveError::TooMany),
                result => result.map_err(ReceiveError::Tls),
            },
        }
    }

    /// The TLS version that was settled on, and whether a session was resumed; `None` on cleartext and during a handshake.
    pub fn handshake(&self) -> Option<(TlsVersion, bool)> {
        let Transport::Tls(tls) = self else { return None };
        Some((tls.session.version()?, tls.session.is_resumed()))
    }

    /// Whether the connection should end soon, because its key has sealed nearly all that it may and there is no other.
    pub fn is_wearing_out(&self) -> bool {
        matches!(self, Transport::Tls(tls) if tls.session.is_wearing_out())
    }

    /// Whether sealed bytes wait for the socket.
    pub fn has_pending(&self) -> bool {
        matches!(self, Transport::Tls(tls) if !tls.session.pending().is_empty())
    }

    /// Sends as much of `slices` as the socket takes, after whatever is pending. TLS seals into `seal_buffer`, whose contents
    /// mean nothing to others.
    pub fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        slices: &[IoSlice<'_>],
        seal_buffer: &mut [u8],
    ) -> io::Result<Sent> {
        match self {
            Transport::Cleartext => {
                let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
                let taken_bytes = send_now(socket, slices)?;
                Ok(Sent { taken_bytes, wire_bytes: taken_bytes as u64, blocked: taken_bytes < wanted })
            }
            Transport::Tls(tls) => tls.send(socket, slices, seal_buffer),
        }
    }

    /// Sends what is pending.
    pub fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<Sent> {
        match self {
            Transport::Cleartext => Ok(Sent { taken_bytes: 0, wire_bytes: 0, blocked: false }),
            Transport::Tls(tls) => tls.send(socket, &[], &mut []),
        }
    }

    /// Queues the farewell that tells a complete response from a cut one (RFC 8446 6.1); nothing on cleartext.
    pub fn say_goodbye(&mut self) {
        if let Transport::Tls(tls) = self {
            tls.session.say_goodbye();
        }
    }
}

impl TlsTransport {
    /// Seals a batch and sends it, after what is pending, by one system call.
    fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        slices: &[IoSlice<'_>],
        seal_buffer: &mut [u8],
    ) -> io::Result<Sent> {
        let wanted_bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        let pending_bytes = self.session.pending().len();
        let room_bytes = self.batch_bytes.saturating_sub(pending_bytes).min(seal_buffer.len());
        let room = &mut seal_buffer[..room_bytes];
        let (taken_bytes, sealed_bytes) = if wanted_bytes == 0 {
            (0, 0)
        } else {
            let plaintext = slices.iter().map(|slice| &**slice);
            self.session.seal(plaintext, room).map_err(io::Error::other)?
        };
        // A page of a mapping that went away meanwhile was sealed as zeroes.
        if !faults::is_intact() {
            return Err(io::Error::other("what was sealed is not what the file holds"));
        }
        let sealed = &room[..sealed_bytes];
        let sent_bytes = send_now(socket, &[IoSlice::new(self.session.pending()), IoSlice::new(sealed)])?;
        self.session.sent(sent_bytes.min(pending_bytes));
        self.session.keep(&sealed[sent_bytes.saturating_sub(pending_bytes)..]);
        let blocked = if sent_bytes < pending_bytes + sealed_bytes {
            self.batch_bytes = sent_bytes.clamp(BATCH_BYTES_MIN, SEAL_BUFFER_BYTES);
            true
        } else if taken_bytes == wanted_bytes {
            false
        } else if has_room(socket) {
            self.batch_bytes = (2 * self.batch_bytes).min(SEAL_BUFFER_BYTES);
            false
        } else {
            // Sealing more would only make something to keep.
            true
        };
        Ok(Sent { taken_bytes, wire_bytes: sent_bytes as u64, blocked })
    }
}

/// Whether the socket would be reported as writable; a socket that has failed is, too.
fn has_room(socket: BorrowedFd<'_>) -> bool {
    let mut asked = [PollFd::from_borrowed_fd(socket, PollFlags::OUT)];
    poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).map_or(true, |ready| ready > 0)
}

/// Sends what the socket takes at once; 0 when its buffer is full.
fn send_now(socket: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    if slices.iter().all(|slice| slice.is_empty()) {
        return Ok(0);
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    match sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), flags) {
        Err(Errno::AGAIN) => Ok(0),
        result => Ok(result?),
    }
}
