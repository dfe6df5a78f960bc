use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use super::VolumeError;
use crate::disk;
use crate::limits::DOCUMENT_BYTES_MAX;

pub(super) const NAME: &str = "oca-volume.json";
const FORMAT_VERSION: u32 = 1;

/// The identity of a volume: 16 random bytes, 32 hexadecimal digits in text. Stays with the disk wherever it
/// is mounted.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct VolumeId([u8; 16]);

#[derive(Serialize, Deserialize)]
struct Marker {
    format_version: u32,
    volume_id: String,
    /// Seconds since 1970.
    created: u64,
}

impl VolumeId {
    /// The identity of those bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads 32 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digits =
            text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_digits
            .then(|| u128::from_str_radix(text, 16).ok().map(|number| Self(number.to_be_bytes())))
            .flatten()
    }

    pub(super) fn random() -> Self {
        let mut bytes = [0; 16];
        SystemRandom::new().fill(&mut bytes).expect("the kernel gives random bytes to every process");
        Self(bytes)
    }
}

pub(super) fn read(root: BorrowedFd<'_>) -> Result<VolumeId, VolumeError> {
    let here = PathBuf::new;
    let bytes = match disk::read_file(root, NAME, DOCUMENT_BYTES_MAX) {
        Ok(Some((_, bytes))) => bytes,
        Ok(None) => return Err(VolumeError::NotAVolume(here())),
        Err(error) => return Err(VolumeError::Io(here(), error)),
    };
    let marker: Marker =
        serde_json::from_slice(&bytes).map_err(|error| VolumeError::Marker(here(), error.to_string()))?;
    if marker.format_version != FORMAT_VERSION {
        let what = format!("format version {} is not {FORMAT_VERSION}", marker.format_version);
        return Err(VolumeError::Marker(here(), what));
    }
    VolumeId::parse(&marker.volume_id)
        .ok_or_else(|| VolumeError::Marker(here(), "volume_id is not 32 hexadecimal digits".to_owned()))
}

pub(super) fn write(root: BorrowedFd<'_>, id: VolumeId) -> io::Result<()> {
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let marker = Marker { format_version: FORMAT_VERSION, volume_id: id.to_string(), created };
    let mut text = serde_json::to_vec_pretty(&marker).map_err(io::Error::other)?;
    text.push(b'\n');
    disk::write_durably(root, NAME, &text)
}

impl fmt::Display for VolumeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for VolumeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "VolumeId({self})")
    }
}
