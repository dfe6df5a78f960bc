//! The descriptor of a bundle: its objects with lengths and digests. A fill manifest binds it by the SHA-256 of its exact
//! bytes, so it may come from anywhere.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::content::{BundleKey, BundlePath, Generation, ObjectName, Sha256};
use crate::wire::DocumentVersion;

/// What a bundle consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Always 1.
    pub version: DocumentVersion,
    /// The directory that the bundle serves.
    pub path: BundlePath,
    /// Its edition.
    pub generation: Generation,
    /// Its objects, sorted by the bytes of their names, each once, at least one.
    pub objects: Vec<DescribedObject>,
}

/// One object of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribedObject {
    /// Its name.
    pub name: ObjectName,
    /// Its length.
    pub bytes: u64,
    /// Its digest.
    pub sha256: Sha256,
    /// Its media type: printable ASCII, at most 255 bytes.
    pub media_type: String,
    /// When it was last modified, in seconds since 1970.
    pub last_modified: u64,
}

/// Why bytes are not the descriptor that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DescriptorError {
    /// They have another digest.
    Digest {
        /// What they have.
        found: Sha256,
    },
    /// They are no descriptor.
    Syntax(String),
    /// It describes another bundle.
    Key(BundleKey),
    /// Its objects cannot be: none, too many, out of order, or one twice.
    Objects(String),
}

impl fmt::Display for DescriptorError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest { found } => {
                write!(formatter, "the descriptor has SHA-256 {found}, not the manifest's")
            }
            Self::Syntax(what) => write!(formatter, "the descriptor cannot be read: {what}"),
            Self::Key(key) => {
                write!(formatter, "the descriptor is of {} generation {}", key.path, key.generation.number())
            }
            Self::Objects(what) => write!(formatter, "the descriptor's objects cannot be: {what}"),
        }
    }
}

impl std::error::Error for DescriptorError {}
