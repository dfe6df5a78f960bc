//! The bundle format, version 1.
//!
//! A bundle is one immutable file: a data region, a footer, a trailer. All numbers are little-endian. The
//! length of the file and the start of every part are multiples of 4 KiB ([`ALIGNMENT`]), so that all of it
//! can be read past the page cache (`O_DIRECT`).
//!
//! ```text
//! 0                        data_bytes                 footer end                length - 64        length
//! ├── data region ─────────┼── footer ────────────────┼── zeroes ───────────────┼── trailer ────────┤
//! ```
//!
//! **Data region.** The objects, in the order of their names, each at the next multiple of 4 KiB, with zeroes
//! between them and after the last. So the place of every object follows from the lengths of those before it
//! ([`place`]), and objects cannot overlap.
//!
//! **Footer**, one piece without gaps:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | magic `OCAFOOTR` |
//! | 4 | version, 1 |
//! | 4 | object count, at least 1 |
//! | 4 | chunk count: data bytes divided by 64 KiB, rounded up |
//! | 4 | bytes of the path |
//! | 4 | bytes of all names |
//! | 4 | media type count |
//! | 4 | bytes of all media types |
//! | 4 | zero |
//! | 8 | generation |
//! | 8 | data bytes |
//! | 32 | descriptor digest; zeroes where the bundle was not made from a descriptor |
//! | … | the path, UTF-8 |
//! | 64 × objects | object records, sorted by the bytes of the name, each name once |
//! | … | the names, one after another in the records' order, UTF-8 |
//! | 4 × media types | offset (2 bytes) and length (2 bytes) of each media type in the text that follows |
//! | … | the media types, printable ASCII |
//! | 4 × chunks | CRC32C of each 64 KiB of the data region; the last chunk may be short |
//! | 4 | CRC32C of all of the footer before it |
//!
//! **Object record**: name offset (4, from the first name), name length (2), media type index (2), offset (8,
//! in the file), length (8), last modified (8, seconds since 1970), SHA-256 of the object (32).
//!
//! **Trailer**, the last 64 bytes of the file: magic `OCATRAIL` (8), version (4), CRC32C of the footer (4),
//! offset of the footer (8), bytes of the footer (4), zero (4), generation (8), the first 16 bytes of SHA-256
//! of the path (16), zero (4), CRC32C of the 60 bytes before it (4).
//!
//! Every byte that is not data is covered: the footer by its CRC, which the trailer repeats, the trailer by
//! its own, and the zeroes by being compared. [`Trailer::decode`] and [`Footer::decode`] take any bytes,
//! bound every length before they use it, and check every rule of this page once, so that a lookup in a
//! decoded footer cannot fail. Which bundle a file is (path and generation) is in trailer and footer both,
//! and is compared with what was asked for, never taken from the name of the file alone.

mod footer;
mod trailer;

use std::fmt;

use aws_lc_rs::digest;
use control_client::content::{BundlePath, Generation, ObjectName, Sha256};
use control_client::units::ByteRange;

pub use footer::{CorruptChunk, Footer, Object};
pub use trailer::Trailer;

use crate::limits::{DATA_BYTES_MAX, FOOTER_BYTES_MAX};

/// The version of the format that this program reads and writes.
pub const VERSION: u32 = 1;

/// Every part of a bundle starts at a multiple of this many bytes.
pub const ALIGNMENT: u64 = 4 << 10;

/// The unit of the data region's checksums, in bytes.
pub const CHUNK_BYTES: u64 = 64 << 10;

/// Bytes of a trailer.
pub const TRAILER_BYTES: usize = 64;

/// What a file that is no intact bundle gets wrong, sorted by the part that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatError {
    /// The trailer or the length of the file.
    Trailer(&'static str),
    /// The footer, or the zeroes after it.
    Footer(&'static str),
    /// The record of one object.
    Object {
        /// Which, counted from 0.
        index: u32,
        /// What is wrong.
        what: &'static str,
    },
    /// Written by a later program.
    Version {
        /// The version found.
        found: u32,
    },
}

/// One object as the writer knows it when its bytes are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEntry {
    /// Its name.
    pub name: ObjectName,
    /// Its media type: printable ASCII, at most 255 bytes.
    pub media_type: Box<str>,
    /// Where its bytes lie in the file.
    pub range: ByteRange,
    /// When it was last modified, in seconds since 1970.
    pub last_modified: u64,
    /// The digest of its bytes.
    pub sha256: Sha256,
}

/// Everything that footer and trailer say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The directory that the bundle serves.
    pub path: BundlePath,
    /// Its edition.
    pub generation: Generation,
    /// The digest of the descriptor that the bundle was made from; zeroes where there was none.
    pub descriptor_digest: Sha256,
    /// The objects, sorted by name.
    pub objects: Vec<ObjectEntry>,
    /// Bytes of the data region.
    pub data_bytes: u64,
    /// The CRC32C of each chunk of the data region.
    pub chunk_checksums: Vec<u32>,
}

/// Where objects of these lengths lie in the data region, and the length of the region; `None` where it would
/// pass [`DATA_BYTES_MAX`].
pub fn place(lengths: impl IntoIterator<Item = u64>) -> Option<(Vec<ByteRange>, u64)> {
    let mut ranges = Vec::new();
    let mut data_bytes = 0;
    for length in lengths {
        let range = ByteRange::at(data_bytes, length).filter(|range| range.end <= DATA_BYTES_MAX)?;
        data_bytes = align_up(range.end);
        ranges.push(range);
    }
    Some((ranges, data_bytes))
}

/// The bytes that follow the data region: footer, zeroes and trailer.
pub fn encode_tail(contents: &Contents) -> Result<Vec<u8>, FormatError> {
    let mut tail = footer::encode(contents)?;
    if tail.len() > FOOTER_BYTES_MAX as usize {
        return Err(FormatError::Footer("is larger than a footer may be; divide the bundle"));
    }
    let trailer = Trailer {
        footer_offset: contents.data_bytes,
        footer_bytes: tail.len() as u32,
        footer_checksum: u32_at(&tail, tail.len() - 4),
        generation: contents.generation,
        path_hash: path_hash(&contents.path),
    };
    let length = trailer.file_bytes() - contents.data_bytes;
    tail.resize(length as usize - TRAILER_BYTES, 0);
    tail.extend_from_slice(&trailer.encode());
    Ok(tail)
}

/// Takes the last bytes of a file of `file_bytes` apart, which hold its footer and trailer; `tail` has to
/// start where the footer does.
pub fn decode_tail(tail: &[u8], file_bytes: u64) -> Result<(Trailer, Footer), FormatError> {
    let trailer: &[u8; TRAILER_BYTES] =
        tail.last_chunk().ok_or(FormatError::Trailer("the file is shorter than a trailer"))?;
    let trailer = Trailer::decode(trailer, file_bytes)?;
    if file_bytes - trailer.footer_offset != tail.len() as u64 {
        return Err(FormatError::Trailer("the footer does not start where the data ends"));
    }
    let (footer, rest) = tail.split_at(trailer.footer_bytes as usize);
    if rest[..rest.len() - TRAILER_BYTES].iter().any(|&byte| byte != 0) {
        return Err(FormatError::Footer("bytes after the footer are not zero"));
    }
    let footer = Footer::decode(footer.into(), &trailer)?;
    Ok((trailer, footer))
}

/// What footer, zeroes and trailer cannot be longer than, for so many objects and chunks.
pub(crate) fn tail_bytes_bound(objects: u64, chunks: u64) -> u64 {
    footer::bytes_bound(objects, chunks).saturating_add(TRAILER_BYTES as u64 + ALIGNMENT)
}

/// The first 16 bytes of the SHA-256 of a path: what bundle files are named by.
pub fn path_hash(path: &BundlePath) -> [u8; 16] {
    let digest = digest::digest(&digest::SHA256, path.as_str().as_bytes());
    *digest.as_ref().first_chunk().expect("a SHA-256 has 32 bytes")
}

/// The next multiple of [`ALIGNMENT`].
pub(crate) const fn align_up(offset: u64) -> u64 {
    offset.next_multiple_of(ALIGNMENT)
}

fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(*array_at(bytes, offset))
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(*array_at(bytes, offset))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(*array_at(bytes, offset))
}

/// Panics where the bytes end before: callers have compared the length.
fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> &[u8; N] {
    bytes[offset..].first_chunk().expect("the caller has compared the length")
}

impl fmt::Display for FormatError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trailer(what) => write!(formatter, "trailer: {what}"),
            Self::Footer(what) => write!(formatter, "footer: {what}"),
            Self::Object { index, what } => write!(formatter, "footer: object {index}: {what}"),
            Self::Version { found } => write!(
                formatter,
                "format version {found} is not {VERSION}: the bundle was written by another version of this program"
            ),
        }
    }
}

impl std::error::Error for FormatError {}
