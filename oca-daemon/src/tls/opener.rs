//! Opening: one received record in, its content out, decrypted from where it arrived to where it is read.

use aws_lc_rs::aead::Aad;

use super::record::{Alert, ContentType, PLAINTEXT_BYTES_MAX, RecordHeader, TAG_BYTES, WIRE_VERSION};
use super::traffic_key::{Shape, TrafficKey};

/// Opens the records of one direction under one key.
pub struct Opener {
    key: TrafficKey,
    sequence: u64,
}

impl Opener {
    /// `sequence` is the number of the next record.
    pub fn new(key: TrafficKey, sequence: u64) -> Self {
        Self { key, sequence }
    }

    /// The longest body that a record may have.
    pub fn body_bytes_max(&self) -> usize {
        self.key.body_bytes_max()
    }

    /// Opens one record and adds its content to `out`. The alert is what the peer is told when it cannot be opened; `out` is then
    /// as it was.
    pub fn open(
        &mut self,
        header: RecordHeader,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<ContentType, Alert> {
        self.check(header)?;
        let overhead_bytes = self.key.overhead_bytes();
        let Some(content_bytes) = body.len().checked_sub(overhead_bytes) else {
            return Err(Alert::BadRecordMac);
        };
        let (explicit, sealed) = body.split_at(self.key.explicit_bytes());
        let (ciphertext, tag) = sealed.split_at(sealed.len() - TAG_BYTES);
        let nonce = self.key.received_nonce(self.sequence, explicit);
        let additional_data = self.key.additional_data(self.sequence, header.kind, content_bytes);
        let start = out.len();
        out.resize(start + ciphertext.len(), 0);
        let opened = self.key.aead.open_separate_gather(
            nonce,
            Aad::from(additional_data),
            ciphertext,
            tag,
            &mut out[start..],
        );
        let content = match opened {
            Ok(()) => self.content(header.kind, &out[start..]),
            Err(_) => Err(Alert::BadRecordMac),
        };
        match content {
            Ok((kind, content_bytes)) => {
                out.truncate(start + content_bytes);
                self.sequence += 1;
                Ok(kind)
            }
            Err(alert) => {
                out.truncate(start);
                Err(alert)
            }
        }
    }

    /// What can be said before a record is opened.
    fn check(&self, header: RecordHeader) -> Result<(), Alert> {
        if self.key.shape == Shape::Tls13 {
            // After a handshake nothing comes unsealed, and what is sealed looks like this (RFC 8446 §5).
            if header.kind != ContentType::ApplicationData {
                return Err(Alert::UnexpectedMessage);
            }
        } else if header.version != WIRE_VERSION {
            return Err(Alert::ProtocolVersion);
        }
        Ok(())
    }

    /// The type of an opened record, and how much of it is content: in TLS 1.3 the last byte that is not zero is the type, and
    /// zeroes after it are padding (RFC 8446 §5.4).
    fn content(&self, outer_kind: ContentType, opened: &[u8]) -> Result<(ContentType, usize), Alert> {
        if self.key.shape != Shape::Tls13 {
            let is_too_long = opened.len() > PLAINTEXT_BYTES_MAX;
            return if is_too_long { Err(Alert::RecordOverflow) } else { Ok((outer_kind, opened.len())) };
        }
        if opened.len() > PLAINTEXT_BYTES_MAX + 1 {
            return Err(Alert::RecordOverflow);
        }
        let Some(place) = opened.iter().rposition(|byte| *byte != 0) else {
            return Err(Alert::UnexpectedMessage);
        };
        let kind = ContentType::from_byte(opened[place]).ok_or(Alert::UnexpectedMessage)?;
        Ok((kind, place))
    }
}
