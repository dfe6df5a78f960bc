//! The handshake, by rustls, until it gives the keys away.
//!
//! rustls sees one more record only when it has asked for it, so that whatever follows the client's last handshake record is
//! opened by our own record layer, and nothing is ever left half-done inside rustls: a key update that it had answered but not
//! yet sent would be lost with it.

use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig};

use super::record::{Alert, ContentType, HEADER_BYTES, RecordHeader};
use super::tickets;
use super::traffic::Traffic;
use crate::limits::{HANDSHAKE_BYTES_MAX, HANDSHAKE_RECORDS_MAX};
use crate::stats::TlsVersion;

/// A handshake in progress.
pub struct Handshake {
    connection: UnbufferedServerConnection,
    /// What the client has sent and rustls has not used up.
    arrived: Vec<u8>,
    /// How much of that rustls has seen: whole records.
    seen_bytes: usize,
    /// How many records these are.
    seen_records: u32,
    /// Nothing was sealed for the client yet, so that an alert may be sent as it is.
    speaks_plainly: bool,
}

/// How far a handshake has come.
pub enum Progress {
    /// The client must send more.
    More,
    /// The client has closed its side.
    Closed,
    /// It is done.
    Done(Established),
}

/// What a handshake leaves.
pub struct Established {
    /// The keys, in use.
    pub traffic: Box<Traffic>,
    /// Whether a session was resumed.
    pub is_resumed: bool,
    /// What the client has sent after it.
    pub rest: Vec<u8>,
}

/// What rustls wants next.
enum Step {
    Again,
    More,
    Closed,
    Ready,
}

impl Handshake {
    /// Waits for a client's hello.
    pub fn new(settings: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let connection = UnbufferedServerConnection::new(settings)?;
        Ok(Self { connection, arrived: Vec::new(), seen_bytes: 0, seen_records: 0, speaks_plainly: true })
    }

    /// Memory for what rustls has not used up.
    pub fn held_bytes(&self) -> usize {
        self.arrived.capacity()
    }

    /// Takes in what the client has sent, and adds what it is to be sent to `outgoing`: on an error, the alert that says why.
    pub fn receive(
        mut self: Box<Self>,
        bytes: &[u8],
        outgoing: &mut Vec<u8>,
    ) -> Result<(Option<Box<Self>>, Progress), rustls::Error> {
        self.arrived.reserve_exact(bytes.len());
        self.arrived.extend_from_slice(bytes);
        loop {
            match self.step(outgoing) {
                Ok(Step::Again) => {}
                Ok(Step::More) if self.seen_records < HANDSHAKE_RECORDS_MAX && self.show_next_record() => {}
                Ok(Step::More)
                    if self.arrived.len() > HANDSHAKE_BYTES_MAX
                        || self.seen_records == HANDSHAKE_RECORDS_MAX =>
                {
                    let error = rustls::Error::General("the handshake is too long".into());
                    self.tell(&error, outgoing);
                    return Err(error);
                }
                Ok(Step::More) => return Ok((Some(self), Progress::More)),
                Ok(Step::Closed) => return Ok((Some(self), Progress::Closed)),
                Ok(Step::Ready) => return Ok((None, Progress::Done(self.establish()?))),
                Err(error) => {
                    // Its alert, and nothing more: rustls must not look at the same bytes again.
                    let before = outgoing.len();
                    while self.connection.wants_write() && matches!(self.step(outgoing), Ok(Step::Again)) {}
                    if outgoing.len() == before {
                        self.tell(&error, outgoing);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// An alert for an error that rustls sends none for, or that is our own (RFC 8446 §6.2). Once something was sealed nobody can:
    /// the key is rustls's.
    fn tell(&self, error: &rustls::Error, outgoing: &mut Vec<u8>) {
        let alert = match error {
            // It has given up.
            rustls::Error::AlertReceived(_) => return,
            rustls::Error::PeerMisbehaved(_) => Alert::UnexpectedMessage,
            _ => Alert::DecodeError,
        };
        if self.speaks_plainly {
            let content = alert.bytes();
            outgoing.extend(RecordHeader::bytes(ContentType::Alert, content.len()));
            outgoing.extend(content);
        }
    }

    /// One turn of rustls.
    fn step(&mut self, outgoing: &mut Vec<u8>) -> Result<Step, rustls::Error> {
        tickets::begin_turn();
        let before = outgoing.len();
        let UnbufferedStatus { discard, state } =
            self.connection.process_tls_records(&mut self.arrived[..self.seen_bytes]);
        let is_done = matches!(state, Ok(ConnectionState::WriteTraffic(_)));
        let step = match state {
            Err(error) => Err(error),
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                encode(outgoing, |room| data.encode(room)).map(|()| Step::Again)
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                Ok(Step::Again)
            }
            Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => Ok(Step::More),
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Ok(Step::Closed),
            // Early data is switched off, and other data comes only after the handshake.
            Ok(_) => Err(rustls::Error::General("data came during the handshake".into())),
        };
        let is_plain = |kind: &u8| *kind == ContentType::Handshake as u8 || *kind == ContentType::Alert as u8;
        self.speaks_plainly &= outgoing.get(before).is_none_or(is_plain);
        self.arrived.drain(..discard);
        self.seen_bytes -= discard;
        if discard > 0 {
            self.seen_records = 0;
        }
        // It may write before the client has finished; it is done when it may also read.
        if is_done && !self.connection.is_handshaking() { Ok(Step::Ready) } else { step }
    }

    /// Lets rustls see the next record, once it is here whole. What has no header that could be one is shown as well: rustls
    /// says what is wrong with it.
    fn show_next_record(&mut self) -> bool {
        let unseen = &self.arrived[self.seen_bytes..];
        let Some(&[kind, major, _, high, low]) = unseen.first_chunk::<HEADER_BYTES>() else { return false };
        let record_bytes = HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
        let is_record = (20..=24).contains(&kind) && major == 3 && record_bytes <= RECEIVED_BYTES_MAX;
        if is_record && unseen.len() < record_bytes {
            return false;
        }
        self.seen_bytes += if is_record { record_bytes } else { unseen.len() };
        self.seen_records += 1;
        true
    }

    fn establish(self) -> Result<Established, rustls::Error> {
        if self.seen_bytes != 0 {
            return Err(rustls::Error::General(
                "the handshake's last record holds more than the handshake".into(),
            ));
        }
        let version = match self.connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => TlsVersion::Tls12,
            _ => TlsVersion::Tls13,
        };
        let is_resumed = self.connection.handshake_kind() == Some(HandshakeKind::Resumed);
        let (secrets, keys) = self.connection.dangerous_into_kernel_connection()?;
        let traffic = Box::new(Traffic::new(secrets, keys, version)?);
        Ok(Established { traffic, is_resumed, rest: self.arrived })
    }
}

/// The longest record that rustls takes.
const RECEIVED_BYTES_MAX: usize = HEADER_BYTES + super::record::PLAINTEXT_BYTES_MAX + 2048;

/// Adds what rustls encodes to `outgoing`.
fn encode(
    outgoing: &mut Vec<u8>,
    mut data: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<(), rustls::Error> {
    let start = outgoing.len();
    let mut room_bytes = 0;
    loop {
        outgoing.resize(start + room_bytes, 0);
        match data(&mut outgoing[start..]) {
            Ok(written) => {
                outgoing.truncate(start + written);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(needed)) if needed.required_size > room_bytes => {
                room_bytes = needed.required_size;
            }
            Err(error) => return Err(rustls::Error::General(error.to_string())),
        }
    }
}
