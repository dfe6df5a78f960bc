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
use crate::stats::{RecordLayer, TlsVersion};
use crate::tier::faults;
use crate::tls::kernel::KernelTls;
use crate::tls::{RECORD_BYTES_MAX, SealedBytes, Session, SessionError};

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
    batch: Batch,
    /// Who seals responses, once that is settled.
    layer: Option<RecordLayer>,
}

/// How much is sealed before it is sent: about what the socket takes at once, so that little is left over. What is left is
/// copied, and kept for as long as the client is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Batch {
    bytes: usize,
    /// Whether a socket has taken less than all of it.
    has_met_its_bound: bool,
}

/// A record, and a key update before it.
const BATCH_BYTES_MIN: usize = 2 * RECORD_BYTES_MAX;

/// A chunk of 64 KiB and a head: all of a small response.
const BATCH_BYTES_FIRST: usize = 5 * RECORD_BYTES_MAX;

impl Default for Batch {
    fn default() -> Self {
        Self { bytes: BATCH_BYTES_FIRST, has_met_its_bound: false }
    }
}

impl Batch {
    /// The socket has taken all of it, and has room.
    fn grow(&mut self) {
        let more_bytes = if self.has_met_its_bound { RECORD_BYTES_MAX } else { self.bytes };
        self.bytes = (self.bytes + more_bytes).min(SEAL_BUFFER_BYTES);
    }

    /// The socket has taken so much, and not all.
    fn shrink(&mut self, sent_bytes: usize) {
        *self = Self { bytes: sent_bytes.clamp(BATCH_BYTES_MIN, SEAL_BUFFER_BYTES), has_met_its_bound: true };
    }
}

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

impl Sent {
    /// The socket's buffer was full.
    pub const NOTHING: Self = Self { taken_bytes: 0, wire_bytes: 0, blocked: true };
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
    /// What it has sealed and could not send is counted in `sealed_bytes`, which is the worker's.
    pub fn tls(settings: Arc<ServerConfig>, sealed_bytes: Arc<SealedBytes>) -> Result<Self, rustls::Error> {
        let session = Session::new(settings, sealed_bytes)?;
        Ok(Transport::Tls(Box::new(TlsTransport { session, batch: Batch::default(), layer: None })))
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

    /// Settles, before the first response, who seals: `kernel`, where there is one and it will. `Some` when that is settled now.
    pub fn choose_record_layer(
        &mut self,
        kernel: Option<KernelTls>,
        socket: BorrowedFd<'_>,
    ) -> Option<RecordLayer> {
        match self {
            Transport::Tls(tls) if tls.layer.is_none() => {
                tls.layer = tls.session.choose_record_layer(kernel, socket);
                tls.layer
            }
            _ => None,
        }
    }

    /// Who seals responses; `None` on cleartext, and before the first.
    pub fn record_layer(&self) -> Option<RecordLayer> {
        let Transport::Tls(tls) = self else { return None };
        tls.layer
    }

    /// Whether the socket takes bytes as they are, from files too: on cleartext, and where the kernel seals.
    pub fn takes_files(&self) -> bool {
        match self {
            Transport::Cleartext => true,
            Transport::Tls(tls) => tls.session.is_sealed_by_kernel(),
        }
    }

    /// Sends what must go before bytes that the caller gives to the socket; false when its buffer is full. Only where it
    /// [takes files](Self::takes_files), and answered by [`took`](Self::took).
    pub fn make_way(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        match self {
            Transport::Cleartext => Ok(true),
            Transport::Tls(tls) => tls.session.make_way(socket),
        }
    }

    /// The socket has taken so many bytes from the caller.
    pub fn took(&mut self, bytes: usize) {
        if let Transport::Tls(tls) = self {
            tls.session.on_kernel_took(bytes);
        }
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
            Transport::Tls(tls) if !tls.session.is_sealed_by_kernel() => {
                tls.send(socket, slices, seal_buffer)
            }
            _ => {
                if !self.make_way(socket)? {
                    return Ok(Sent::NOTHING);
                }
                let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
                let taken_bytes = send_now(socket, slices)?;
                self.took(taken_bytes);
                Ok(Sent { taken_bytes, wire_bytes: taken_bytes as u64, blocked: taken_bytes < wanted })
            }
        }
    }

    /// Sends what is pending.
    pub fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<Sent> {
        match self {
            Transport::Cleartext => Ok(Sent { blocked: false, ..Sent::NOTHING }),
            Transport::Tls(tls) if tls.session.is_sealed_by_kernel() => {
                Ok(Sent { blocked: !tls.session.flush_to_kernel(socket)?, ..Sent::NOTHING })
            }
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
        let batch_bytes = if self.session.is_much_pending() { BATCH_BYTES_MIN } else { self.batch.bytes };
        let room_bytes = batch_bytes.saturating_sub(pending_bytes).min(seal_buffer.len());
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
            self.batch.shrink(sent_bytes);
            true
        } else if taken_bytes == wanted_bytes {
            false
        } else if has_room(socket) {
            self.batch.grow();
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

/// Sends what the socket takes at once; 0 when its buffer is full, or a signal came first: then poll tells of room.
fn send_now(socket: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    if slices.iter().all(|slice| slice.is_empty()) {
        return Ok(0);
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    match sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), flags) {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::limits::SEALED_BYTES_MAX;
    use crate::tls::session::tests::established;

    impl Transport {
        /// Over TLS, after a handshake with nobody who is still there.
        pub(crate) fn established(sealed_bytes: Arc<SealedBytes>) -> Self {
            let session = established(sealed_bytes);
            Transport::Tls(Box::new(TlsTransport { session, batch: Batch::default(), layer: None }))
        }
    }

    fn sends_at_once(sealed_bytes: &Arc<SealedBytes>) -> usize {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut tls = Transport::established(Arc::clone(sealed_bytes));
        let mut buffer = vec![0; SEAL_BUFFER_BYTES];
        tls.send(ours.as_fd(), &[IoSlice::new(&[7; 1 << 20])], &mut buffer).unwrap().taken_bytes
    }

    #[test]
    fn where_a_worker_keeps_much_that_is_sealed_no_more_than_two_records_are() {
        let sealed_bytes = Arc::default();
        assert!(sends_at_once(&sealed_bytes) > BATCH_BYTES_MIN);
        let mut others = established(Arc::clone(&sealed_bytes));
        others.keep(&vec![0; SEALED_BYTES_MAX as usize]);
        assert!((1..BATCH_BYTES_MIN).contains(&sends_at_once(&sealed_bytes)));
        drop(others);
        assert!(sends_at_once(&sealed_bytes) > BATCH_BYTES_MIN);
        assert_eq!(sealed_bytes.bytes(), 0);
    }

    #[test]
    fn a_batch_doubles_until_a_socket_does_not_take_it_and_then_follows_that_socket() {
        let mut batch = Batch::default();
        batch.grow();
        assert_eq!(batch.bytes, (2 * BATCH_BYTES_FIRST).min(SEAL_BUFFER_BYTES));
        batch.shrink(50_000);
        assert_eq!(batch.bytes, 50_000);
        batch.grow();
        assert_eq!(batch.bytes, 50_000 + RECORD_BYTES_MAX);
        (0..100).for_each(|_| batch.grow());
        assert_eq!(batch.bytes, SEAL_BUFFER_BYTES);
        batch.shrink(0);
        assert_eq!(batch.bytes, BATCH_BYTES_MIN);
    }
}
