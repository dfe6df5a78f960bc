//! A connection's keys after the handshake: records are sealed and opened, and keys are changed in time.

use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{ConnectionTrafficSecrets, ExtractedSecrets, SupportedCipherSuite};

use super::control::{Control, ControlReader, OUR_KEY_UPDATE};
use super::kernel::KernelSealer;
use super::opener::Opener;
use super::record::{Alert, ContentType, PLAINTEXT_BYTES_MAX, RecordHeader};
use super::sealer::{SealError, Sealer};
use super::traffic_key::{TrafficKey, UnknownSuite};
use crate::limits::KEY_UPDATE_PENDING_BYTES_MAX;
use crate::stats::TlsVersion;

/// Records that a key keeps for the end: a key update, or a farewell.
const RECORDS_KEPT: u64 = 4;

/// Bytes up to which slices that follow each other are copied into one record: a head, and a text or a small playlist. Another
/// record would cost more.
const GATHERED_BYTES_MAX: usize = 2048;

/// Both directions of a connection whose handshake is done.
pub struct Traffic {
    pub(super) version: TlsVersion,
    /// Not used any more once the kernel seals.
    pub(super) sealer: Sealer,
    /// What the kernel needs to seal instead; kept until that is settled.
    pub(super) secrets: Option<ConnectionTrafficSecrets>,
    /// The kernel seals.
    pub(super) kernel: Option<Box<KernelSealer>>,
    opener: Opener,
    control: ControlReader,
    /// What makes the next keys. TLS 1.2 has no next keys.
    pub(super) keys: Option<Box<KernelConnection<ServerConnectionData>>>,
    /// How many records one of our keys may seal.
    pub(super) records_max: u64,
    /// The client wants us to change our key.
    pub(super) key_update_owed: bool,
}

/// What a record brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Data, added to the inbox, or something that is dealt with.
    Handled,
    /// The client sends no more.
    Closed,
    /// The client has given up, with this alert.
    Failed(u8),
}

impl Traffic {
    /// Takes the keys over from a handshake.
    pub fn new(
        secrets: ExtractedSecrets,
        keys: KernelConnection<ServerConnectionData>,
        version: TlsVersion,
    ) -> Result<Self, rustls::Error> {
        let records_max = records_max(keys.negotiated_cipher_suite());
        let (ours, theirs) = (secrets.tx, secrets.rx);
        Ok(Self {
            version,
            sealer: Sealer::new(key(&ours.1, version)?, ours.0, records_max),
            secrets: Some(ours.1),
            kernel: None,
            opener: Opener::new(key(&theirs.1, version)?, theirs.0),
            control: ControlReader::new(version),
            keys: (version == TlsVersion::Tls13).then(|| Box::new(keys)),
            records_max,
            key_update_owed: false,
        })
    }

    /// The version that was settled on.
    pub fn version(&self) -> TlsVersion {
        self.version
    }

    /// Whether the key has sealed most of what it may, or should not be used any more, and cannot be changed: with GCM, 32 GiB
    /// are left then.
    pub fn is_wearing_out(&self) -> bool {
        match &self.kernel {
            None => self.keys.is_none() && self.sealer.records_left() < self.records_max / 8,
            Some(kernel) => {
                let is_worn = self.key_update_owed || kernel.records_left() < self.records_max / 8;
                is_worn && !kernel.can_change_key()
            }
        }
    }

    /// The longest body that a received record may have.
    pub fn body_bytes_max(&self) -> usize {
        self.opener.body_bytes_max()
    }

    // ---- receiving ----

    /// Opens a record; its data is added to `inbox`. The alert is what the client is to be told.
    pub fn open(
        &mut self,
        header: RecordHeader,
        body: &[u8],
        inbox: &mut Vec<u8>,
        outgoing: &mut Vec<u8>,
    ) -> Result<Opened, Alert> {
        let start = inbox.len();
        let kind = self.opener.open(header, body, inbox)?;
        if kind == ContentType::ApplicationData {
            return self.control.on_data(inbox.len() - start).map(|()| Opened::Handled);
        }
        let control = match kind {
            ContentType::Alert => self.control.on_alert(&inbox[start..]),
            ContentType::Handshake => self.control.on_handshake(&inbox[start..]),
            ContentType::ChangeCipherSpec | ContentType::ApplicationData => Err(Alert::UnexpectedMessage),
        };
        inbox.truncate(start);
        match control? {
            Control::Nothing => {}
            Control::Closed => return Ok(Opened::Closed),
            Control::Failed(number) => return Ok(Opened::Failed(number)),
            Control::KeyUpdate { is_requested } => {
                self.change_their_key()?;
                if is_requested {
                    self.key_update_owed = true;
                    self.answer_key_update(outgoing);
                }
            }
            Control::Renegotiation => self.seal_alert(Alert::NoRenegotiation, outgoing),
        }
        Ok(Opened::Handled)
    }

    fn change_their_key(&mut self) -> Result<(), Alert> {
        let keys = self.keys.as_mut().ok_or(Alert::UnexpectedMessage)?;
        let (sequence, secrets) = keys.update_rx_secret().map_err(|_| Alert::InternalError)?;
        let key = TrafficKey::new(&secrets, self.version).map_err(|_| Alert::InternalError)?;
        self.opener = Opener::new(key, sequence);
        Ok(())
    }

    // ---- sending ----

    /// Seals as much of `slices` into `out` as it has room for: each slice in records of its own, so that nothing is copied
    /// together first, but small ones that follow each other in one. Returns how much of the slices is sealed, and how much of
    /// `out` that took.
    pub fn seal<'a>(
        &mut self,
        slices: impl IntoIterator<Item = &'a [u8]>,
        out: &mut [u8],
    ) -> Result<(usize, usize), SealError> {
        let (mut taken_bytes, mut written_bytes) = (0, 0);
        let mut slices = slices.into_iter().filter(|slice| !slice.is_empty()).peekable();
        let mut together = [0; GATHERED_BYTES_MAX];
        while let Some(slice) = slices.next() {
            let mut content = slice;
            if slices.peek().is_some_and(|next| slice.len() + next.len() <= GATHERED_BYTES_MAX) {
                let mut gathered_bytes = 0;
                let mut gather = |part: &[u8]| {
                    together[gathered_bytes..gathered_bytes + part.len()].copy_from_slice(part);
                    gathered_bytes += part.len();
                    gathered_bytes
                };
                let mut length = gather(slice);
                while let Some(next) = slices.next_if(|next| length + next.len() <= GATHERED_BYTES_MAX) {
                    length = gather(next);
                }
                content = &together[..length];
            }
            for content in content.chunks(PLAINTEXT_BYTES_MAX) {
                let record_bytes = self.seal_next(content, &mut out[written_bytes..])?;
                if record_bytes == 0 {
                    return Ok((taken_bytes, written_bytes));
                }
                written_bytes += record_bytes;
                taken_bytes += content.len();
            }
        }
        Ok((taken_bytes, written_bytes))
    }

    /// Seals one record, after a change of the key where one is due; returns how much of `out` that took: nothing, where there
    /// is not room for all of it.
    fn seal_next(&mut self, content: &[u8], out: &mut [u8]) -> Result<usize, SealError> {
        let needed_bytes = self.sealer.record_bytes(content.len());
        if !self.is_key_due() {
            return if out.len() < needed_bytes { Ok(0) } else { self.seal_data(content, out) };
        }
        if out.len() < needed_bytes + self.sealer.record_bytes(OUR_KEY_UPDATE.len()) {
            return Ok(0);
        }
        let update_bytes = self.change_our_key(out)?;
        Ok(update_bytes + self.seal_data(content, &mut out[update_bytes..])?)
    }

    /// Pretends that suites allow fewer records to a key.
    #[cfg(test)]
    pub(super) fn limit_records(&mut self, records_max: u64) {
        self.records_max = records_max;
        self.sealer.limit_records(records_max);
    }

    fn seal_data(&mut self, content: &[u8], out: &mut [u8]) -> Result<usize, SealError> {
        if self.sealer.records_left() <= RECORDS_KEPT {
            return Err(SealError::WornOut);
        }
        self.sealer.seal(ContentType::ApplicationData, content, out)
    }

    /// Adds the new key that the client has asked for to what is to be sent. It may wait for the next data (RFC 8446 §4.6.3), as it does
    /// where the kernel seals, and where the client leaves so much unread; but there are clients that wait for it.
    fn answer_key_update(&mut self, outgoing: &mut Vec<u8>) {
        if self.kernel.is_some() || outgoing.len() > KEY_UPDATE_PENDING_BYTES_MAX {
            return;
        }
        let start = outgoing.len();
        outgoing.resize(start + self.sealer.record_bytes(OUR_KEY_UPDATE.len()), 0);
        if self.change_our_key(&mut outgoing[start..]).is_err() {
            outgoing.truncate(start);
        }
    }

    /// Adds an alert to what is to be sent; where the kernel seals, as it is.
    pub fn seal_alert(&mut self, alert: Alert, outgoing: &mut Vec<u8>) {
        let start = outgoing.len();
        let content = alert.bytes();
        if self.kernel.is_some() {
            return outgoing.extend(content);
        }
        outgoing.resize(start + self.sealer.record_bytes(content.len()), 0);
        // A key that is worn out sends none: the connection then ends without.
        if self.sealer.seal(ContentType::Alert, &content, &mut outgoing[start..]).is_err() {
            outgoing.truncate(start);
        }
    }

    /// Whether a new key must be announced before more data is sealed: the client has asked for it, or ours is nearly used up.
    fn is_key_due(&self) -> bool {
        self.keys.is_some() && (self.key_update_owed || self.sealer.records_left() <= RECORDS_KEPT)
    }

    /// Seals the announcement with the old key, and takes the next (RFC 8446 §4.6.3).
    fn change_our_key(&mut self, out: &mut [u8]) -> Result<usize, SealError> {
        let Some(keys) = &mut self.keys else { return Err(SealError::WornOut) };
        let (sequence, secrets) = keys.update_tx_secret().map_err(|_| SealError::Refused)?;
        let key = TrafficKey::new(&secrets, self.version).map_err(|_| SealError::Refused)?;
        let written = self.sealer.seal(ContentType::Handshake, &OUR_KEY_UPDATE, out)?;
        self.sealer = Sealer::new(key, sequence, self.records_max);
        // Of the first key, which is not the kernel's to take any more.
        self.secrets = None;
        self.key_update_owed = false;
        Ok(written)
    }
}

fn key(secrets: &ConnectionTrafficSecrets, version: TlsVersion) -> Result<TrafficKey, rustls::Error> {
    TrafficKey::new(secrets, version)
        .map_err(|UnknownSuite| rustls::Error::General("the suite is not one that we seal".into()))
}

/// How many records a key of that suite may seal (RFC 8446 §5.5): for GCM 2^23 or 2^24, 128 or 256 GiB.
fn records_max(suite: SupportedCipherSuite) -> u64 {
    match suite {
        SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
        SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
    }
}
