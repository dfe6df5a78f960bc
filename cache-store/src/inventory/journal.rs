//! The journal's bytes and its file.
//!
//! ```text
//! head:  "OCAJOURN" (8), version (4), volume id (16), CRC32C of these 28 bytes (4)
//! frame: length of the record (4), checksum (4), record
//! ```
//!
//! A frame's checksum is the CRC32C of its length and its record, continued from the checksum before it (the
//! first one from the head's). So a frame that is lost, repeated, swapped or from another volume's journal
//! ends what is believed, as a flipped bit does.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::record::Record;
use crate::disk::{self, Access};
use crate::limits::{JOURNAL_RESERVE_BYTES, RECORD_BYTES_MAX};
use crate::volume::VolumeId;

const MAGIC: &[u8; 8] = b"OCAJOURN";
const VERSION: u32 = 1;
pub(super) const HEAD_BYTES: usize = 32;
pub(super) const FRAME_BYTES: usize = 8;
pub(super) const NAME: &str = "journal";
const NEW_NAME: &str = "journal.new";

/// What a journal's bytes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The records up to the first thing that is wrong.
    pub records: Vec<Record>,
    /// How many bytes they take, the head included; 0 where the head is wrong.
    pub valid_bytes: usize,
    /// The checksum that the next frame continues.
    pub chain: u32,
    /// Why the rest was cut; `None` where there is none.
    pub cut: Option<Cut>,
}

/// Why the rest of a journal is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It does not start with the head of this volume's journal.
    Head(&'static str),
    /// The last append was not finished: the rest is zeroes, or ends within a frame, or is one frame whose
    /// checksum does not match. Nothing that was acknowledged is lost: reconciliation finds what the record
    /// would have said.
    Torn,
    /// A frame whose checksum does not match, with more behind it.
    Checksum,
    /// A frame whose checksum matches, and that is no record: written by a later program.
    Record,
}

/// Reads a journal of the volume `id`. Takes any bytes.
pub fn decode(bytes: &[u8], id: VolumeId) -> Decoded {
    let mut decoded = Decoded { records: Vec::new(), valid_bytes: 0, chain: 0, cut: None };
    decoded.chain = match decode_head(bytes, id) {
        Ok(chain) => chain,
        Err(what) => {
            decoded.cut = Some(Cut::Head(what));
            return decoded;
        }
    };
    decoded.valid_bytes = HEAD_BYTES;
    while decoded.valid_bytes < bytes.len() {
        match decode_frame(&bytes[decoded.valid_bytes..], decoded.chain) {
            Ok((record, chain, length)) => {
                decoded.records.push(record);
                decoded.chain = chain;
                decoded.valid_bytes += length;
            }
            Err(cut) => {
                decoded.cut = Some(cut);
                break;
            }
        }
    }
    decoded
}

/// The bytes of a whole journal, and the checksum that the next frame continues.
pub fn encode(records: &[Record], id: VolumeId) -> (Vec<u8>, u32) {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + records.len() * 96);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(id.bytes());
    let mut chain = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&chain.to_le_bytes());
    encode_frames(records, &mut chain, &mut bytes);
    (bytes, chain)
}

/// A journal that can be appended to.
#[derive(Debug)]
pub(super) struct JournalFile {
    file: OwnedFd,
    end: u64,
    reserved: u64,
    chain: u32,
}

impl JournalFile {
    /// Goes on after the valid bytes of a journal; the rest is cut off.
    pub(super) fn resume(directory: BorrowedFd<'_>, decoded: &Decoded) -> io::Result<Self> {
        let file = disk::open_or_create(directory, NAME)?;
        let end = decoded.valid_bytes as u64;
        if decoded.cut.is_some() {
            disk::set_length(file.as_fd(), end)?;
            disk::sync(file.as_fd())?;
        }
        Ok(Self { file, end, reserved: end, chain: decoded.chain })
    }

    /// Writes a journal of these records beside the one that there is, which stays as it is.
    pub(super) fn write_new(directory: BorrowedFd<'_>, id: VolumeId, records: &[Record]) -> io::Result<Self> {
        let (bytes, chain) = encode(records, id);
        disk::remove_file(directory, NEW_NAME)?;
        let file = disk::create_file(directory, NEW_NAME, Access::Buffered)?;
        disk::write_all_at(file.as_fd(), &bytes, 0)?;
        disk::sync(file.as_fd())?;
        let end = bytes.len() as u64;
        Ok(Self { file, end, reserved: end, chain })
    }

    /// Puts a new journal in the place of the one that there is. After an error it is unknown which of them
    /// has the name.
    pub(super) fn install(self, directory: BorrowedFd<'_>) -> io::Result<Self> {
        disk::rename_over(directory, NEW_NAME, directory, NAME)?;
        disk::sync(directory)?;
        Ok(self)
    }

    /// Appends records durably. After an error the file's end is unknown: the journal has to be replaced.
    pub(super) fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut chain = self.chain;
        encode_frames(records, &mut chain, &mut bytes);
        let end = self.end + bytes.len() as u64;
        if end > self.reserved {
            disk::reserve_beyond(self.file.as_fd(), self.end, bytes.len() as u64 + JOURNAL_RESERVE_BYTES);
            self.reserved = end + JOURNAL_RESERVE_BYTES;
        }
        disk::write_all_at(self.file.as_fd(), &bytes, self.end)?;
        disk::sync_data(self.file.as_fd())?;
        self.end = end;
        self.chain = chain;
        Ok(())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.end
    }
}

fn encode_frames(records: &[Record], chain: &mut u32, bytes: &mut Vec<u8>) {
    for record in records {
        let start = bytes.len();
        bytes.extend_from_slice(&[0; FRAME_BYTES]);
        record.encode(bytes);
        let length = ((bytes.len() - start - FRAME_BYTES) as u32).to_le_bytes();
        *chain = frame_checksum(*chain, &length, &bytes[start + FRAME_BYTES..]);
        bytes[start..start + 4].copy_from_slice(&length);
        bytes[start + 4..start + FRAME_BYTES].copy_from_slice(&chain.to_le_bytes());
    }
}

fn frame_checksum(chain: u32, length: &[u8], record: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(chain, length), record)
}

fn decode_head(bytes: &[u8], id: VolumeId) -> Result<u32, &'static str> {
    let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else {
        return Err("it is shorter than its head");
    };
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if &head[..8] != MAGIC || number(28) != crc32c::crc32c(&head[..28]) {
        return Err("its head is damaged");
    }
    if number(8) != VERSION {
        return Err("it was written by another version of this program");
    }
    if head[12..28] != id.bytes()[..] {
        return Err("it is the journal of another volume");
    }
    Ok(number(28))
}

/// The record at the start of `bytes`, the checksum after it, and the bytes that it takes.
fn decode_frame(bytes: &[u8], chain: u32) -> Result<(Record, u32, usize), Cut> {
    let Some((head, rest)) = bytes.split_first_chunk::<FRAME_BYTES>() else {
        return Err(Cut::Torn);
    };
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let checksum = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    if length == 0 || length > RECORD_BYTES_MAX {
        return Err(if bytes.iter().all(|&byte| byte == 0) { Cut::Torn } else { Cut::Checksum });
    }
    let Some(record) = rest.get(..length as usize) else {
        return Err(Cut::Torn);
    };
    if frame_checksum(chain, &head[..4], record) != checksum {
        return Err(if rest.len() == record.len() { Cut::Torn } else { Cut::Checksum });
    }
    let record = Record::decode(record).ok_or(Cut::Record)?;
    Ok((record, checksum, FRAME_BYTES + length as usize))
}

impl Cut {
    /// The name of the reason in metrics and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Head(_) => "head",
            Self::Torn => "torn",
            Self::Checksum => "checksum",
            Self::Record => "record",
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(what) => formatter.write_str(what),
            Self::Torn => write!(formatter, "its last append was not finished"),
            Self::Checksum => write!(formatter, "a checksum does not match"),
            Self::Record => write!(formatter, "a record is of no known kind"),
        }
    }
}
