//! The bytes between a connection and its socket: as they are, or as TLS records.
//!
//! Sends never wait: what the socket does not take now stays with the caller (cleartext) or, sealed already
//! and bounded, here (TLS). The caller polls the ring for room and comes back.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::BorrowedFd;

use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use rustls::ServerConnection;

use crate::limits::{INBOX_BYTES_MAX, TLS_PENDING_BYTES_MAX};
use crate::stats::TlsVersion;

/// How a connection's bytes travel.
pub enum Transport {
    /// HTTP straight on TCP.
    Cleartext,
    /// HTTP in TLS 1.2 or 1.3.
    Tls(Box<ServerConnection>),
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
    /// The peer broke the TLS protocol; an alert for it is queued.
    Tls(rustls::Error),
    /// More bytes than a request may have before it is answered.
    TooMany,
}

impl Transport {
    /// The transport of a connection that was accepted on a TLS listener.
    pub fn tls(mut connection: ServerConnection) -> Self {
        connection.set_buffer_limit(Some(TLS_PENDING_BYTES_MAX));
        Transport::Tls(Box::new(connection))
    }

    /// Takes bytes from the socket in, and adds the client's plaintext to `inbox`. `Ended` when the client
    /// has said that it sends no more.
    pub fn receive(&mut self, mut bytes: &[u8], inbox: &mut Vec<u8>) -> Result<Received, ReceiveError> {
        match self {
            Transport::Cleartext => inbox.extend_from_slice(bytes),
            Transport::Tls(connection) => {
                while !bytes.is_empty() {
                    // Nothing is read after the peer's close_notify.
                    if connection.read_tls(&mut bytes).map_err(|_| ReceiveError::TooMany)? == 0 {
                        return Ok(Received::Ended);
                    }
                    let state = connection.process_new_packets().map_err(ReceiveError::Tls)?;
                    take_plaintext(connection, state.plaintext_bytes_to_read(), inbox)?;
                    if state.peer_has_closed() {
                        return Ok(Received::Ended);
                    }
                }
            }
        }
        if inbox.len() > INBOX_BYTES_MAX { Err(ReceiveError::TooMany) } else { Ok(Received::Open) }
    }

    /// Whether a TLS handshake is still going on.
    pub fn is_handshaking(&self) -> bool {
        matches!(self, Transport::Tls(connection) if connection.is_handshaking())
    }

    /// The TLS version that was settled on, or is about to be; `None` on cleartext.
    pub fn tls_version(&self) -> Option<TlsVersion> {
        let Transport::Tls(connection) = self else { return None };
        Some(match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => TlsVersion::Tls12,
            _ => TlsVersion::Tls13,
        })
    }

    /// Whether sealed bytes wait for the socket.
    pub fn has_pending(&self) -> bool {
        matches!(self, Transport::Tls(connection) if connection.wants_write())
    }

    /// Sends as much of `slices` as the socket takes, after whatever is pending.
    pub fn send(&mut self, socket: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> io::Result<Sent> {
        match self {
            Transport::Cleartext => {
                let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
                let taken_bytes = match send_now(socket, slices) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                    result => result?,
                };
                Ok(Sent { taken_bytes, wire_bytes: taken_bytes as u64, blocked: taken_bytes < wanted })
            }
            Transport::Tls(connection) => {
                let mut taken_bytes = 0;
                for slice in slices {
                    let taken = connection.writer().write(slice)?;
                    taken_bytes += taken;
                    if taken < slice.len() {
                        break;
                    }
                }
                Ok(Sent { taken_bytes, ..flush(connection, socket)? })
            }
        }
    }

    /// Sends what is pending.
    pub fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<Sent> {
        match self {
            Transport::Cleartext => Ok(Sent { taken_bytes: 0, wire_bytes: 0, blocked: false }),
            Transport::Tls(connection) => flush(connection, socket),
        }
    }

    /// Queues the farewell that tells a complete response from a cut one (RFC 8446 6.1); nothing on cleartext.
    pub fn say_goodbye(&mut self) {
        if let Transport::Tls(connection) = self {
            connection.send_close_notify();
        }
    }
}

fn take_plaintext(
    connection: &mut ServerConnection,
    length: usize,
    inbox: &mut Vec<u8>,
) -> Result<(), ReceiveError> {
    if inbox.len() + length > INBOX_BYTES_MAX {
        return Err(ReceiveError::TooMany);
    }
    let start = inbox.len();
    inbox.resize(start + length, 0);
    // The reader holds exactly `length` bytes, so that this neither blocks nor ends early.
    connection.reader().read_exact(&mut inbox[start..]).map_err(|_| ReceiveError::TooMany)
}

fn flush(connection: &mut ServerConnection, socket: BorrowedFd<'_>) -> io::Result<Sent> {
    let mut sent = Sent { taken_bytes: 0, wire_bytes: 0, blocked: false };
    while connection.wants_write() && !sent.blocked {
        match connection.write_tls(&mut SocketWriter(socket)) {
            Ok(written) => sent.wire_bytes += written as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sent.blocked = true,
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

fn send_now(socket: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    Ok(sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), flags)?)
}

/// The socket as rustls wants to write to it.
struct SocketWriter<'a>(BorrowedFd<'a>);

impl Write for SocketWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        send_now(self.0, &[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        send_now(self.0, slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
