//! A TLS connection without its socket: bytes from it in, plaintext out; plaintext in, records out. rustls does the handshake;
//! then its keys are ours (`traffic`).
//!
//! What is sealed goes into the caller's buffer, which the worker's connections share. A session keeps only what a socket did
//! not take, and the parts of a record that has not come whole; idle, it keeps neither.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;

use super::handshake::{Handshake, Progress};
use super::pending::{Pending, SealedBytes};
use super::record::{Alert, HEADER_BYTES, RecordHeader};
use super::sealer::SealError;
use super::traffic::{Opened, Traffic};
use crate::limits::INBOX_BYTES_MAX;
use crate::stats::TlsVersion;
use crate::transport::Received;

/// One connection's TLS.
pub struct Session {
    stage: Stage,
    /// The start of a record that is not here whole.
    arrived: Vec<u8>,
    pending: Pending,
    is_resumed: bool,
    /// Nothing is read after the client's farewell, nor after a failure.
    has_ended: bool,
    /// Nothing is sealed after our own farewell, nor after an alert that ends the connection.
    has_said_last: bool,
}

enum Stage {
    /// In a box, because it is large, and soon over.
    Handshaking(Box<Handshake>),
    Established(Box<Traffic>),
    Failed,
}

/// Why a session is over before its time.
#[derive(Debug)]
pub enum SessionError {
    /// The handshake failed.
    Handshake(rustls::Error),
    /// The client broke the protocol, and is being told so with this alert.
    Peer(Alert),
    /// The client has sent this alert.
    Told(u8),
    /// More bytes than a request may have before it is answered.
    TooMany,
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SessionError::Handshake(error) => write!(f, "handshake: {error}"),
            SessionError::Peer(alert) => write!(f, "the client broke the protocol: {alert:?}"),
            SessionError::Told(number) => write!(f, "the client gave up with alert {number}"),
            SessionError::TooMany => f.write_str("more bytes than a request may have"),
        }
    }
}

impl Session {
    /// Waits for a client's hello. What is sealed and waits is counted in `sealed_bytes`, which the worker's sessions share.
    pub fn new(settings: Arc<ServerConfig>, sealed_bytes: Arc<SealedBytes>) -> Result<Self, rustls::Error> {
        Ok(Self {
            stage: Stage::Handshaking(Box::new(Handshake::new(settings)?)),
            arrived: Vec::new(),
            pending: Pending::new(sealed_bytes),
            is_resumed: false,
            has_ended: false,
            has_said_last: false,
        })
    }

    /// Whether the handshake is still going on.
    #[cfg(test)]
    fn is_handshaking(&self) -> bool {
        matches!(self.stage, Stage::Handshaking(_))
    }

    /// The version that was settled on, once the handshake is done.
    pub fn version(&self) -> Option<TlsVersion> {
        match &self.stage {
            Stage::Established(traffic) => Some(traffic.version()),
            Stage::Handshaking(_) | Stage::Failed => None,
        }
    }

    /// Whether the handshake resumed an earlier session.
    pub fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Whether the key has sealed most of what it may, and cannot be changed.
    pub fn is_wearing_out(&self) -> bool {
        matches!(&self.stage, Stage::Established(traffic) if traffic.is_wearing_out())
    }

    /// Memory for what has not come whole: parts of a handshake, or of a record.
    pub fn held_bytes(&self) -> usize {
        let of_handshake = match &self.stage {
            Stage::Handshaking(handshake) => handshake.held_bytes(),
            Stage::Established(_) | Stage::Failed => 0,
        };
        self.arrived.capacity() + of_handshake
    }

    // ---- receiving ----

    /// Takes bytes from the socket in, and adds the client's plaintext to `inbox`.
    pub fn receive(&mut self, bytes: &[u8], inbox: &mut Vec<u8>) -> Result<Received, SessionError> {
        if self.has_ended {
            return Ok(Received::Ended);
        }
        let result = match std::mem::replace(&mut self.stage, Stage::Failed) {
            Stage::Handshaking(handshake) => self.shake_hands(handshake, bytes, inbox),
            Stage::Established(traffic) => self.read(traffic, bytes, inbox),
            Stage::Failed => Ok(Received::Ended),
        };
        self.has_ended = !matches!(result, Ok(Received::Open));
        result
    }

    fn shake_hands(
        &mut self,
        handshake: Box<Handshake>,
        bytes: &[u8],
        inbox: &mut Vec<u8>,
    ) -> Result<Received, SessionError> {
        let received = self.pending.add(|outgoing| handshake.receive(bytes, outgoing));
        let (handshake, progress) = received.map_err(SessionError::Handshake)?;
        if let Some(handshake) = handshake {
            self.stage = Stage::Handshaking(handshake);
        }
        match progress {
            Progress::More => Ok(Received::Open),
            Progress::Closed => Ok(Received::Ended),
            Progress::Done(established) => {
                self.is_resumed = established.is_resumed;
                self.read(established.traffic, &established.rest, inbox)
            }
        }
    }

    fn read(
        &mut self,
        mut traffic: Box<Traffic>,
        bytes: &[u8],
        inbox: &mut Vec<u8>,
    ) -> Result<Received, SessionError> {
        let result = self.read_records(&mut traffic, bytes, inbox);
        if let Err(SessionError::Peer(alert)) = &result
            && !self.has_said_last
        {
            self.pending.add(|outgoing| traffic.seal_alert(*alert, outgoing));
        }
        if let Err(error) = &result {
            // Of what is too much the client is told by our farewell.
            self.has_said_last |= matches!(error, SessionError::Peer(_) | SessionError::Told(_));
            self.arrived = Vec::new();
        }
        self.stage = Stage::Established(traffic);
        result
    }

    fn read_records(
        &mut self,
        traffic: &mut Traffic,
        mut bytes: &[u8],
        inbox: &mut Vec<u8>,
    ) -> Result<Received, SessionError> {
        loop {
            let so_far = if self.arrived.is_empty() { bytes } else { self.arrived.as_slice() };
            let needed_bytes = match so_far.first_chunk::<HEADER_BYTES>() {
                None => HEADER_BYTES,
                Some(header) => {
                    let header =
                        RecordHeader::parse(*header, traffic.body_bytes_max()).map_err(SessionError::Peer)?;
                    let record_bytes = HEADER_BYTES + header.body_bytes;
                    if let Some(body) = so_far.get(HEADER_BYTES..record_bytes) {
                        if inbox.len() + body.len() > INBOX_BYTES_MAX {
                            return Err(SessionError::TooMany);
                        }
                        let open = |outgoing: &mut Vec<u8>| traffic.open(header, body, inbox, outgoing);
                        let opened = self.pending.add(open).map_err(SessionError::Peer)?;
                        if self.arrived.is_empty() {
                            bytes = &bytes[record_bytes..];
                        } else {
                            self.arrived = Vec::new();
                        }
                        match opened {
                            Opened::Handled => continue,
                            Opened::Closed => return Ok(Received::Ended),
                            Opened::Failed(number) => return Err(SessionError::Told(number)),
                        }
                    }
                    record_bytes
                }
            };
            if bytes.is_empty() {
                return Ok(Received::Open);
            }
            // Never more than the record that it starts.
            let more_bytes = bytes.len().min(needed_bytes - self.arrived.len());
            self.arrived.extend_from_slice(&bytes[..more_bytes]);
            bytes = &bytes[more_bytes..];
        }
    }

    // ---- sending ----

    /// Seals as much of `slices` into `out` as it has room for. Returns how much of the slices is sealed, and how much of `out`
    /// that took; it must be sent, after what is pending, or what of it was not sent be given to [`Self::keep`].
    pub fn seal<'a>(
        &mut self,
        slices: impl IntoIterator<Item = &'a [u8]>,
        out: &mut [u8],
    ) -> Result<(usize, usize), SealError> {
        match &mut self.stage {
            Stage::Established(traffic) if !self.has_said_last => traffic.seal(slices, out),
            _ => Err(SealError::Refused),
        }
    }

    /// What is sealed and was not sent yet.
    pub fn pending(&self) -> &[u8] {
        self.pending.bytes()
    }

    /// So much of what is pending is sent.
    pub fn sent(&mut self, sent_bytes: usize) {
        self.pending.sent(sent_bytes);
    }

    /// Keeps sealed bytes that the socket did not take.
    pub fn keep(&mut self, sealed: &[u8]) {
        self.pending.keep(sealed);
    }

    /// Whether the worker's connections hold so much that is sealed that this one should seal no more than it must.
    pub fn is_much_pending(&self) -> bool {
        self.pending.total().is_much()
    }

    /// Queues the farewell that tells a complete response from a cut one (RFC 8446 §6.1). Before the handshake is done there is
    /// nothing to be told apart.
    pub fn say_goodbye(&mut self) {
        if let Stage::Established(traffic) = &mut self.stage
            && !std::mem::replace(&mut self.has_said_last, true)
        {
            self.pending.add(|outgoing| traffic.seal_alert(Alert::CloseNotify, outgoing));
        }
    }
}

mod kernel;
#[cfg(test)]
pub(crate) mod tests;
