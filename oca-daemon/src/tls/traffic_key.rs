//! The key of one direction: what nonces and what additional data a record is sealed with (RFC 8446 §5.2 and §5.3,
//! RFC 5288 §3, RFC 7905 §2).

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use rustls::ConnectionTrafficSecrets;

use super::kernel::Cipher;
use super::record::{ContentType, PLAINTEXT_BYTES_MAX, RecordHeader, TAG_BYTES, WIRE_VERSION};
use crate::stats::TlsVersion;

/// Bytes of a nonce that TLS 1.2 with GCM sends with each record.
pub(super) const EXPLICIT_NONCE_BYTES: usize = 8;

/// The bytes of TLS 1.2's additional data.
const ADDITIONAL_BYTES_12: usize = 13;

/// How a version and a suite make records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The content type is sealed too; nonces are never sent.
    Tls13,
    /// TLS 1.2 with GCM: half of the nonce is sent with each record.
    Tls12Gcm,
    /// TLS 1.2 with ChaCha20-Poly1305.
    Tls12ChaCha,
}

/// A suite that this record layer does not know, or a key of the wrong length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownSuite;

/// The key of one direction of one connection.
pub struct TrafficKey {
    pub(super) aead: LessSafeKey,
    pub(super) shape: Shape,
    iv: [u8; NONCE_LEN],
}

impl TrafficKey {
    /// The key that a handshake has agreed on.
    pub fn new(secrets: &ConnectionTrafficSecrets, version: TlsVersion) -> Result<Self, UnknownSuite> {
        let (cipher, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Cipher::Aes128Gcm, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Cipher::Aes256Gcm, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (Cipher::ChaCha20Poly1305, key, iv),
            _ => return Err(UnknownSuite),
        };
        let iv = iv.as_ref().try_into().map_err(|_| UnknownSuite)?;
        Self::from_parts(cipher, version, key.as_ref(), iv)
    }

    /// A key of which all is known.
    pub(super) fn from_parts(
        cipher: Cipher,
        version: TlsVersion,
        key: &[u8],
        iv: [u8; NONCE_LEN],
    ) -> Result<Self, UnknownSuite> {
        let algorithm: &'static Algorithm = match cipher {
            Cipher::Aes128Gcm => &AES_128_GCM,
            Cipher::Aes256Gcm => &AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        let shape = match (version, cipher) {
            (TlsVersion::Tls13, _) => Shape::Tls13,
            (TlsVersion::Tls12, Cipher::ChaCha20Poly1305) => Shape::Tls12ChaCha,
            (TlsVersion::Tls12, _) => Shape::Tls12Gcm,
        };
        let key = UnboundKey::new(algorithm, key).map_err(|_| UnknownSuite)?;
        Ok(Self { aead: LessSafeKey::new(key), shape, iv })
    }

    /// The nonce of the record with that number. GCM of TLS 1.2 leaves the sent half to the sender: ours counts too.
    pub(super) fn nonce(&self, sequence: u64) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (byte, of_sequence) in nonce[NONCE_LEN - 8..].iter_mut().zip(sequence.to_be_bytes()) {
            *byte ^= of_sequence;
        }
        nonce
    }

    /// The nonce of a received record, whose body starts with `explicit` where half of it is sent.
    pub(super) fn received_nonce(&self, sequence: u64, explicit: &[u8]) -> Nonce {
        let mut nonce = self.nonce(sequence);
        if self.shape == Shape::Tls12Gcm {
            nonce[..NONCE_LEN - EXPLICIT_NONCE_BYTES]
                .copy_from_slice(&self.iv[..NONCE_LEN - EXPLICIT_NONCE_BYTES]);
            nonce[NONCE_LEN - EXPLICIT_NONCE_BYTES..].copy_from_slice(explicit);
        }
        Nonce::assume_unique_for_key(nonce)
    }

    /// The bytes between a record's header and its ciphertext.
    pub(super) fn explicit_bytes(&self) -> usize {
        if self.shape == Shape::Tls12Gcm { EXPLICIT_NONCE_BYTES } else { 0 }
    }

    /// The bytes of the sealed content type.
    pub(super) fn inner_type_bytes(&self) -> usize {
        usize::from(self.shape == Shape::Tls13)
    }

    /// What a record's body is longer than its content.
    pub(super) fn overhead_bytes(&self) -> usize {
        self.explicit_bytes() + self.inner_type_bytes() + TAG_BYTES
    }

    /// The longest body that may be received (RFC 8446 §5.2, RFC 5246 §6.2.3).
    pub(super) fn body_bytes_max(&self) -> usize {
        PLAINTEXT_BYTES_MAX + if self.shape == Shape::Tls13 { 256 } else { 2048 }
    }

    /// What is authenticated beside the content.
    pub(super) fn additional_data(
        &self,
        sequence: u64,
        kind: ContentType,
        content_bytes: usize,
    ) -> AdditionalData {
        if self.shape == Shape::Tls13 {
            let body_bytes = content_bytes + self.overhead_bytes();
            return AdditionalData::Tls13(RecordHeader::bytes(ContentType::ApplicationData, body_bytes));
        }
        let mut data = [0; ADDITIONAL_BYTES_12];
        data[..8].copy_from_slice(&sequence.to_be_bytes());
        data[8] = kind as u8;
        data[9..11].copy_from_slice(&WIRE_VERSION);
        data[11..].copy_from_slice(&(content_bytes as u16).to_be_bytes());
        AdditionalData::Tls12(data)
    }
}

/// What is authenticated beside the content, in either version's form.
pub(super) enum AdditionalData {
    Tls12([u8; ADDITIONAL_BYTES_12]),
    Tls13([u8; super::record::HEADER_BYTES]),
}

impl AsRef<[u8]> for AdditionalData {
    fn as_ref(&self) -> &[u8] {
        match self {
            AdditionalData::Tls12(data) => data,
            AdditionalData::Tls13(data) => data,
        }
    }
}
