//! Reads a bundle's trailer and footer from its file.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use crate::aligned::AlignedBuffer;
use crate::disk;
use crate::format::{ALIGNMENT, Footer, FormatError, TRAILER_BYTES, Trailer, decode_tail};
use crate::identity::BundleId;
use crate::limits::TAIL_GUESS_BYTES;
use crate::quarantine::QuarantineReason;

/// Why a file cannot be read as the bundle that it should be.
#[derive(Debug)]
pub enum ReadError {
    /// It is not an intact bundle.
    Format(FormatError),
    /// It is an intact bundle, but another one.
    Identity,
    /// The file is longer than the inventory says.
    Overlong,
    /// The disk could not read it.
    Io(io::Error),
}

/// Reads and checks trailer and footer of a file, whatever bundle it is.
pub fn read_footer_of(file: &Path) -> Result<Footer, ReadError> {
    let file = File::open(file).map_err(ReadError::Io)?;
    let file_bytes = disk::file_bytes(file.as_fd()).map_err(ReadError::Io)?;
    let mut buffer = AlignedBuffer::new(TAIL_GUESS_BYTES as usize);
    read_any_footer(file.as_fd(), file_bytes, None, &mut buffer).map(|(_, footer)| footer)
}

/// Reads and checks trailer and footer of the bundle `id`. `footer_offset` is where the footer starts if that
/// is known: then one read does. `buffer` is used where it is large enough.
pub(crate) fn read_footer(
    file: BorrowedFd<'_>,
    file_bytes: u64,
    id: BundleId,
    footer_offset: Option<u64>,
    buffer: &mut AlignedBuffer,
) -> Result<Footer, ReadError> {
    let (trailer, footer) = read_any_footer(file, file_bytes, footer_offset, buffer)?;
    if BundleId::claimed_by(&trailer) != id {
        return Err(ReadError::Identity);
    }
    Ok(footer)
}

fn read_any_footer(
    file: BorrowedFd<'_>,
    file_bytes: u64,
    footer_offset: Option<u64>,
    buffer: &mut AlignedBuffer,
) -> Result<(Trailer, Footer), ReadError> {
    if file_bytes < ALIGNMENT || !file_bytes.is_multiple_of(ALIGNMENT) {
        return Err(ReadError::Format(FormatError::Trailer("the file's length is not a multiple of 4 KiB")));
    }
    let start = footer_offset.unwrap_or(file_bytes.saturating_sub(TAIL_GUESS_BYTES));
    let start = match read_tail(file, file_bytes, start, buffer)? {
        Tail::Complete(trailer, footer) => return Ok((trailer, footer)),
        Tail::StartsAt(start) => start,
    };
    match read_tail(file, file_bytes, start, buffer)? {
        Tail::Complete(trailer, footer) => Ok((trailer, footer)),
        Tail::StartsAt(_) => Err(ReadError::Format(FormatError::Trailer("it changes while it is read"))),
    }
}

impl ReadError {
    /// What to quarantine the bundle for.
    pub fn reason(&self) -> QuarantineReason {
        match self {
            Self::Format(error) => (*error).into(),
            Self::Identity => QuarantineReason::Identity,
            Self::Overlong => QuarantineReason::Overlong,
            Self::Io(error) if error.kind() == io::ErrorKind::NotFound => QuarantineReason::Missing,
            Self::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => QuarantineReason::Truncated,
            Self::Io(_) => QuarantineReason::Unreadable,
        }
    }
}

enum Tail {
    Complete(Trailer, Footer),
    /// The footer starts elsewhere.
    StartsAt(u64),
}

fn read_tail(
    file: BorrowedFd<'_>,
    file_bytes: u64,
    start: u64,
    buffer: &mut AlignedBuffer,
) -> Result<Tail, ReadError> {
    // The trailer bounds what a footer may have; a start that comes from elsewhere is bounded by its caller.
    let length = (file_bytes - start) as usize;
    let mut larger;
    let buffer = if length <= buffer.len() {
        buffer
    } else {
        larger = AlignedBuffer::new(length);
        &mut larger
    };
    let bytes = &mut buffer.bytes_mut()[..length];
    disk::read_exact_at(file, bytes, start).map_err(ReadError::Io)?;
    let trailer: &[u8; TRAILER_BYTES] = bytes.last_chunk().expect("at least 4 KiB were read");
    let footer_offset = Trailer::decode(trailer, file_bytes).map_err(ReadError::Format)?.footer_offset;
    match footer_offset.checked_sub(start) {
        Some(skipped) => {
            let (trailer, footer) =
                decode_tail(&bytes[skipped as usize..], file_bytes).map_err(ReadError::Format)?;
            Ok(Tail::Complete(trailer, footer))
        }
        None => Ok(Tail::StartsAt(footer_offset)),
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(error) => error.fmt(formatter),
            Self::Identity => write!(formatter, "it holds another bundle than its name says"),
            Self::Overlong => write!(formatter, "it is longer than the inventory says"),
            Self::Io(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for ReadError {}
