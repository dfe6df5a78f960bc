//! The descriptor of a bundle: its objects with lengths and digests. A fill manifest binds it by the SHA-256 of its exact
//! bytes, so it may come from anywhere.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::content::{BundleKey, BundlePath, Generation, ObjectName, Sha256};
use crate::wire::DocumentVersion;
use crate::{digest, limits};

/// What a bundle consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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

impl Descriptor {
    /// Its JSON: the bytes that the digest in a manifest is of. Nothing is checked; [`Self::parse`] does that.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self)
            .expect("a descriptor holds only strings, numbers and lists, which JSON can say")
    }

    /// Reads the descriptor that has this digest and describes this bundle.
    pub fn parse(bytes: &[u8], digest: &Sha256, key: &BundleKey) -> Result<Self, DescriptorError> {
        if bytes.len() as u64 > limits::DESCRIPTOR_BYTES_MAX {
            return Err(DescriptorError::Syntax(format!(
                "it has {} bytes; at most {} are possible",
                bytes.len(),
                limits::DESCRIPTOR_BYTES_MAX
            )));
        }
        let found = digest::sha256(bytes);
        if found != *digest {
            return Err(DescriptorError::Digest { found });
        }
        let descriptor: Self =
            serde_json::from_slice(bytes).map_err(|error| DescriptorError::Syntax(error.to_string()))?;
        if descriptor.path != key.path || descriptor.generation != key.generation {
            return Err(DescriptorError::Key(descriptor.key()));
        }
        descriptor.check().map_err(DescriptorError::Objects)?;
        Ok(descriptor)
    }

    /// Whether a bundle can be made of it: bounds of all numbers, objects sorted, each once. Otherwise what is wrong, in words.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=limits::DESCRIPTOR_OBJECTS_MAX).contains(&self.objects.len()) {
            return Err(format!(
                "{} objects; a bundle has 1 to {}",
                self.objects.len(),
                limits::DESCRIPTOR_OBJECTS_MAX
            ));
        }
        for pair in self.objects.windows(2) {
            match pair[0].name.as_str().cmp(pair[1].name.as_str()) {
                Ordering::Less => {}
                Ordering::Equal => return Err(format!("{} is listed twice", pair[0].name)),
                Ordering::Greater => {
                    return Err(format!("{} comes before {}", pair[0].name, pair[1].name));
                }
            }
        }
        let mut bytes = 0_u64;
        for object in &self.objects {
            object.check().map_err(|what| format!("{}: {what}", object.name))?;
            bytes = bytes.saturating_add(object.bytes);
        }
        if bytes > limits::BUNDLE_BYTES_MAX {
            return Err(format!("{bytes} bytes in all; a bundle has at most {}", limits::BUNDLE_BYTES_MAX));
        }
        Ok(())
    }

    /// The bytes of all objects. Saturates.
    pub fn bytes(&self) -> u64 {
        self.objects.iter().fold(0, |sum, object| sum.saturating_add(object.bytes))
    }

    /// What it describes.
    pub fn key(&self) -> BundleKey {
        BundleKey { path: self.path.clone(), generation: self.generation }
    }
}

impl DescribedObject {
    fn check(&self) -> Result<(), String> {
        let media_type = self.media_type.as_bytes();
        if media_type.len() > limits::MEDIA_TYPE_BYTES_MAX
            || !media_type.iter().all(|byte| (b' '..=b'~').contains(byte))
        {
            return Err(format!(
                "its media type is not printable ASCII of at most {} bytes",
                limits::MEDIA_TYPE_BYTES_MAX
            ));
        }
        if self.last_modified > limits::TIMESTAMP_MAX {
            return Err(format!("last_modified {} is beyond the year 9999", self.last_modified));
        }
        Ok(())
    }
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
