//! Sealing: plaintext in, one record out, from where the bytes lie into the buffer that is sent, with no copy between
//! and nothing allocated.
//!
//! aws-lc seals out of place (`seal_out_of_place_scatter`); its interface for records of its own (`TlsRecordSealingKey`)
//! would only count nonces a second time. The content type of TLS 1.3 is sealed as the few bytes after the content that the
//! interface takes for that.

use std::fmt;

use aws_lc_rs::aead::{Aad, Nonce};

use super::record::{ContentType, HEADER_BYTES, PLAINTEXT_BYTES_MAX, RecordHeader};
use super::traffic_key::{Shape, TrafficKey};

/// Why nothing was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealError {
    /// The key has sealed as many records as it may.
    WornOut,
    /// More than a record holds, or more than there is room for, or aws-lc refused: a defect of ours.
    Refused,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SealError::WornOut => "the key has sealed as many records as it may",
            SealError::Refused => "a record could not be sealed",
        })
    }
}

impl std::error::Error for SealError {}

/// Seals the records of one direction under one key.
pub struct Sealer {
    key: TrafficKey,
    sequence: u64,
    records_max: u64,
}

impl Sealer {
    /// `sequence` is the number of the next record, and `records_max` how many the key may seal altogether.
    pub fn new(key: TrafficKey, sequence: u64, records_max: u64) -> Self {
        Self { key, sequence, records_max }
    }

    /// The number of the next record.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How many records it may seal yet.
    pub fn records_left(&self) -> u64 {
        self.records_max.saturating_sub(self.sequence)
    }

    #[cfg(test)]
    pub(super) fn limit_records(&mut self, records_max: u64) {
        self.records_max = self.sequence + records_max;
    }

    /// How long a record with that much content is.
    pub fn record_bytes(&self, content_bytes: usize) -> usize {
        HEADER_BYTES + content_bytes + self.key.overhead_bytes()
    }

    /// Seals `content` as one record at the start of `out`; returns its length.
    pub fn seal(&mut self, kind: ContentType, content: &[u8], out: &mut [u8]) -> Result<usize, SealError> {
        if self.records_left() == 0 {
            return Err(SealError::WornOut);
        }
        let record_bytes = self.record_bytes(content.len());
        if content.len() > PLAINTEXT_BYTES_MAX || record_bytes > out.len() {
            return Err(SealError::Refused);
        }
        let is_tls13 = self.key.shape == Shape::Tls13;
        let outer_kind = if is_tls13 { ContentType::ApplicationData } else { kind };
        let (header, body) = out[..record_bytes].split_at_mut(HEADER_BYTES);
        header.copy_from_slice(&RecordHeader::bytes(outer_kind, body.len()));
        let nonce = self.key.nonce(self.sequence);
        let (explicit, sealed) = body.split_at_mut(self.key.explicit_bytes());
        explicit.copy_from_slice(&nonce[nonce.len() - explicit.len()..]);
        let (ciphertext, inner_type_and_tag) = sealed.split_at_mut(content.len());
        let additional_data = self.key.additional_data(self.sequence, kind, content.len());
        let inner_type = [kind as u8];
        // Whatever becomes of it, this nonce is used.
        self.sequence += 1;
        self.key
            .aead
            .seal_out_of_place_scatter(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(additional_data),
                content,
                ciphertext,
                if is_tls13 { &inner_type } else { &[] },
                inner_type_and_tag,
            )
            .map_err(|_| SealError::Refused)?;
        Ok(record_bytes)
    }
}
