use control_client::content::Generation;

use super::{ALIGNMENT, FormatError, TRAILER_BYTES, VERSION, align_up, array_at, footer, u32_at, u64_at};
use crate::limits::{DATA_BYTES_MAX, FOOTER_BYTES_MAX};

const MAGIC: &[u8; 8] = b"OCATRAIL";

/// The last 64 bytes of a bundle: where its footer is, and which bundle it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Where the footer starts, which is where the data region ends; a multiple of 4 KiB.
    pub footer_offset: u64,
    /// Bytes of the footer.
    pub footer_bytes: u32,
    /// The CRC32C that ends the footer.
    pub footer_checksum: u32,
    /// The bundle's edition.
    pub generation: Generation,
    /// The first 16 bytes of the SHA-256 of the bundle's path.
    pub path_hash: [u8; 16],
}

impl Trailer {
    /// Reads the trailer of a file of `file_bytes`.
    pub fn decode(bytes: &[u8; TRAILER_BYTES], file_bytes: u64) -> Result<Self, FormatError> {
        if &bytes[..8] != MAGIC {
            return Err(FormatError::Trailer("the file does not end with a bundle's trailer"));
        }
        if u32_at(bytes, 60) != crc32c::crc32c(&bytes[..60]) {
            return Err(FormatError::Trailer("its checksum does not match"));
        }
        if u32_at(bytes, 8) != VERSION {
            return Err(FormatError::Version { found: u32_at(bytes, 8) });
        }
        let trailer = Self {
            footer_checksum: u32_at(bytes, 12),
            footer_offset: u64_at(bytes, 16),
            footer_bytes: u32_at(bytes, 24),
            generation: Generation::new(u64_at(bytes, 32)),
            path_hash: *array_at(bytes, 40),
        };
        if u32_at(bytes, 28) != 0 || u32_at(bytes, 56) != 0 {
            return Err(FormatError::Trailer("a reserved field is not zero"));
        }
        if trailer.footer_offset > DATA_BYTES_MAX || !trailer.footer_offset.is_multiple_of(ALIGNMENT) {
            return Err(FormatError::Trailer("the footer's offset is out of bounds"));
        }
        if trailer.footer_bytes < footer::BYTES_MIN || trailer.footer_bytes > FOOTER_BYTES_MAX {
            return Err(FormatError::Trailer("the footer's length is out of bounds"));
        }
        if trailer.file_bytes() != file_bytes {
            return Err(FormatError::Trailer("the file's length is not that of this bundle"));
        }
        Ok(trailer)
    }

    /// The 64 bytes.
    pub fn encode(&self) -> [u8; TRAILER_BYTES] {
        let mut bytes = [0; TRAILER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.footer_checksum.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.footer_offset.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.footer_bytes.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.generation.number().to_le_bytes());
        bytes[40..56].copy_from_slice(&self.path_hash);
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        align_up(self.footer_offset + u64::from(self.footer_bytes) + TRAILER_BYTES as u64)
    }
}
