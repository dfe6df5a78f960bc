//! A key as the kernel takes it: `struct tls12_crypto_info_*` of `linux/tls.h`, whose name is older than what it is used for.

use rustls::ConnectionTrafficSecrets;

use crate::stats::TlsVersion;
use crate::tls::record::{HEADER_BYTES, TAG_BYTES};
use crate::tls::traffic_key::EXPLICIT_NONCE_BYTES;

/// What both ends of a connection seal with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Cipher {
    /// `TLS_CIPHER_AES_GCM_128`.
    Aes128Gcm = 51,
    /// `TLS_CIPHER_AES_GCM_256`.
    Aes256Gcm = 52,
    /// `TLS_CIPHER_CHACHA20_POLY1305`.
    ChaCha20Poly1305 = 54,
}

/// The longest of the structures.
const INFO_BYTES_MAX: usize = 56;

/// Version and cipher.
const INFO_HEADER_BYTES: usize = 4;

/// The number of the next record ends each of the structures.
const SEQUENCE_BYTES: usize = 8;

/// What nonces are made from; of GCM the first four are the salt.
const IV_BYTES: usize = 12;
const SALT_BYTES: usize = 4;

/// The argument of `setsockopt(SOL_TLS, TLS_TX)`.
pub(super) struct CryptoInfo {
    bytes: [u8; INFO_BYTES_MAX],
    cipher: Cipher,
    version: TlsVersion,
}

impl Cipher {
    pub(super) const ALL: [Cipher; 3] = [Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305];

    /// The cipher of a connection's keys.
    pub fn of(secrets: &ConnectionTrafficSecrets) -> Option<Self> {
        match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { .. } => Some(Cipher::Aes128Gcm),
            ConnectionTrafficSecrets::Aes256Gcm { .. } => Some(Cipher::Aes256Gcm),
            ConnectionTrafficSecrets::Chacha20Poly1305 { .. } => Some(Cipher::ChaCha20Poly1305),
            _ => None,
        }
    }

    pub(super) const fn key_bytes(self) -> usize {
        match self {
            Cipher::Aes128Gcm => 16,
            Cipher::Aes256Gcm | Cipher::ChaCha20Poly1305 => 32,
        }
    }

    /// The length of the structure for it.
    pub(super) const fn info_bytes(self) -> usize {
        INFO_HEADER_BYTES + IV_BYTES + self.key_bytes() + SEQUENCE_BYTES
    }
}

impl CryptoInfo {
    /// `None` for what the kernel knows by no name of ours.
    pub(super) fn new(
        secrets: &ConnectionTrafficSecrets,
        version: TlsVersion,
        sequence: u64,
    ) -> Option<Self> {
        let (ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) = secrets
        else {
            return None;
        };
        let iv = iv.as_ref().try_into().ok()?;
        Self::from_parts(Cipher::of(secrets)?, version, key.as_ref(), iv, sequence)
    }

    /// `None` for a key of the wrong length.
    pub(super) fn from_parts(
        cipher: Cipher,
        version: TlsVersion,
        key: &[u8],
        iv: [u8; IV_BYTES],
        sequence: u64,
    ) -> Option<Self> {
        if key.len() != cipher.key_bytes() {
            return None;
        }
        let number: u16 = match version {
            TlsVersion::Tls12 => 0x0303,
            TlsVersion::Tls13 => 0x0304,
        };
        let (salt, mut rest) = match cipher {
            Cipher::ChaCha20Poly1305 => iv.split_at(0),
            Cipher::Aes128Gcm | Cipher::Aes256Gcm => iv.split_at(SALT_BYTES),
        };
        let mut own;
        if version == TlsVersion::Tls12 && cipher != Cipher::ChaCha20Poly1305 {
            own = explicit_nonces_from(rest);
            rest = &mut own;
        }
        let mut bytes = [0; INFO_BYTES_MAX];
        let mut end = 0;
        let parts: [&[u8]; 6] =
            [&number.to_ne_bytes(), &(cipher as u16).to_ne_bytes(), rest, key, salt, &sequence.to_be_bytes()];
        for part in parts {
            bytes[end..end + part.len()].copy_from_slice(part);
            end += part.len();
        }
        Some(Self { bytes, cipher, version })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.cipher.info_bytes()]
    }

    pub(super) fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// What a record of it is longer than its content.
    pub(super) fn overhead_bytes(&self) -> u64 {
        let of_version = match (self.version, self.cipher) {
            // The content type is sealed too.
            (TlsVersion::Tls13, _) => 1,
            (TlsVersion::Tls12, Cipher::ChaCha20Poly1305) => 0,
            (TlsVersion::Tls12, _) => EXPLICIT_NONCE_BYTES,
        };
        (HEADER_BYTES + of_version + TAG_BYTES) as u64
    }
}

/// The first of the kernel's explicit nonces, which it counts up by one for each record. rustls and our own sealer have used
/// others with the same key, the number of each record laid over `iv`, which never changes its first bit. So the kernel's are the
/// numbers whose first bit is the other: none of them meets one of those (RFC 5288 §3 leaves them to the sender).
fn explicit_nonces_from(iv: &[u8]) -> [u8; EXPLICIT_NONCE_BYTES] {
    let mut first = [0; EXPLICIT_NONCE_BYTES];
    first[0] = !iv[0] & 0x80;
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    const IV: [u8; IV_BYTES] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

    fn info(cipher: Cipher, version: TlsVersion) -> CryptoInfo {
        let key: Vec<u8> = (100..).take(cipher.key_bytes()).collect();
        CryptoInfo::from_parts(cipher, version, &key, IV, 7).unwrap()
    }

    #[test]
    fn a_key_is_laid_out_as_the_kernel_s_header_has_it() {
        let aes = info(Cipher::Aes128Gcm, TlsVersion::Tls13);
        let mut expected = [0x0304u16.to_ne_bytes(), 51u16.to_ne_bytes()].concat();
        expected.extend([5, 6, 7, 8, 9, 10, 11, 12]);
        expected.extend(100..116);
        expected.extend([1, 2, 3, 4]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(aes.bytes(), expected);
        assert_eq!(info(Cipher::Aes256Gcm, TlsVersion::Tls13).bytes().len(), 56);

        let chacha = info(Cipher::ChaCha20Poly1305, TlsVersion::Tls12);
        let mut expected = [0x0303u16.to_ne_bytes(), 54u16.to_ne_bytes()].concat();
        expected.extend(IV);
        expected.extend(100..132);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(chacha.bytes(), expected);
    }

    #[test]
    fn in_1_2_the_kernel_s_nonces_are_none_that_were_used_before() {
        for first in [0x00, 0x7f, 0x80, 0xff] {
            let iv = [first, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
            let from = u64::from_be_bytes(explicit_nonces_from(&iv));
            let used = |sequence: u64| u64::from_be_bytes(iv) ^ sequence;
            let last = from + (1 << 32);
            for sequence in [0, 1, 2, 1 << 32] {
                assert!(!(from..=last).contains(&used(sequence)), "{first:x} {sequence}");
            }
        }
    }

    #[test]
    fn a_key_of_the_wrong_length_is_none() {
        assert!(CryptoInfo::from_parts(Cipher::Aes256Gcm, TlsVersion::Tls13, &[0; 16], IV, 0).is_none());
    }
}
