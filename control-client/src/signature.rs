//! The keys that sign fill manifests: Ed25519 (RFC 8032).
//!
//! The control plane holds a [`SigningKey`]; appliances are configured with the [`TrustedKey`]s whose manifests they obey,
//! several at once while one follows the other.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::{digest, hex};

/// Bytes of a signature.
pub(crate) const SIGNATURE_BYTES: usize = 64;

/// The private key of a control plane.
pub struct SigningKey {
    pair: Ed25519KeyPair,
}

/// A public key by its name, as `control.trusted_keys` lists them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedKey {
    /// The name that manifests give it.
    pub id: String,
    /// The key: 64 hexadecimal digits in text.
    #[serde(serialize_with = "serialize_key", deserialize_with = "deserialize_key")]
    pub public_key: [u8; 32],
}

/// Why there is no signing key.
#[derive(Debug)]
pub enum SigningKeyError {
    /// The file cannot be read or written.
    File(io::Error),
    /// It holds no key: one line of 64 hexadecimal digits, the seed.
    Syntax,
    /// The system gives no randomness.
    Randomness,
}

impl SigningKey {
    /// A new key.
    pub fn generate() -> Result<Self, SigningKeyError> {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| SigningKeyError::Randomness)?;
        Ok(Self::from_seed(&seed))
    }

    /// The key of that seed (RFC 8032, section 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self {
            pair: Ed25519KeyPair::from_seed_unchecked(seed)
                .expect("any 32 bytes are the seed of an Ed25519 key"),
        }
    }

    /// The key of a PKCS #8 document (RFC 8410), as `openssl genpkey -algorithm ed25519 -outform DER` makes it.
    pub fn from_pkcs8(document: &[u8]) -> Result<Self, SigningKeyError> {
        let pair =
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(document).map_err(|_| SigningKeyError::Syntax)?;
        Ok(Self { pair })
    }

    /// Reads the file that [`Self::save`] wrote.
    pub fn load(path: &Path) -> Result<Self, SigningKeyError> {
        let mut text = String::new();
        let file = File::open(path).map_err(SigningKeyError::File)?;
        file.take(SEED_FILE_BYTES_MAX).read_to_string(&mut text).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => SigningKeyError::Syntax,
            _ => SigningKeyError::File(error),
        })?;
        let seed = hex::decode(text.trim_end()).ok_or(SigningKeyError::Syntax)?;
        Ok(Self::from_seed(&seed))
    }

    /// Writes the seed to a new file that only its owner reads, and syncs it. A file that is there is left alone.
    pub fn save(&self, path: &Path) -> Result<(), SigningKeyError> {
        let seed = self.pair.seed().map_err(|_| SigningKeyError::Syntax)?;
        let seed = seed.as_be_bytes().map_err(|_| SigningKeyError::Syntax)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(SigningKeyError::File)?;
        let text = hex::encode(seed.as_ref()) + "\n";
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(SigningKeyError::File)
    }

    /// The public half.
    pub fn public_key(&self) -> [u8; 32] {
        self.pair.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes")
    }

    /// What to call it where nobody gave it a name: the first 16 hexadecimal digits of the SHA-256 of its public half.
    pub fn id(&self) -> String {
        hex::encode(&digest::sha256(&self.public_key()).bytes()[..8])
    }

    /// What appliances have to be configured with.
    pub fn trusted_key(&self, id: &str) -> TrustedKey {
        TrustedKey { id: id.to_owned(), public_key: self.public_key() }
    }

    pub(crate) fn sign(&self, bytes: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.pair.sign(bytes).as_ref().try_into().expect("an Ed25519 signature has 64 bytes")
    }
}

/// The seed, and room for the line's end as any editor writes it.
const SEED_FILE_BYTES_MAX: u64 = 128;

impl TrustedKey {
    pub(crate) fn verifies(&self, bytes: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.public_key).verify(bytes, signature).is_ok()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SigningKey({})", self.id())
    }
}

impl fmt::Display for SigningKeyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => write!(formatter, "the signing key's file: {error}"),
            Self::Syntax => write!(formatter, "the signing key's file does not hold 64 hexadecimal digits"),
            Self::Randomness => write!(formatter, "the system gives no random bytes for a signing key"),
        }
    }
}

impl std::error::Error for SigningKeyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(error) => Some(error),
            _ => None,
        }
    }
}

fn serialize_key<S: Serializer>(key: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(key))
}

fn deserialize_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    let text = String::deserialize(deserializer)?;
    hex::decode(&text).ok_or_else(|| D::Error::custom("a public key is 64 lower-case hexadecimal digits"))
}
