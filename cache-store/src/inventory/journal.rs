//! The journal's bytes and its file.
//!
//! ```text
//! head:   "OCAJOURN" (8), version (4), volume id (16), CRC32C of these 28 bytes (4)
//! frame:  "OCAF" (4), bytes of its records (4), number of its records (4), head checksum (4), checksum (4), records
//! record: its length (2), and what `record` says
//! ```
//!
//! A frame is one append, and durable before the next is made. Its head checksum is the CRC32C of the 12 bytes
//! before it, continued from the checksum of the journal's head: so a frame's head is known wherever it is
//! found. Its checksum is the CRC32C of the 16 bytes before it and of its records, continued from the checksum
//! of the frame before (of the journal's head, for the first): so a frame that is lost, repeated, swapped or
//! from another volume's journal ends what is believed, as a flipped bit does.
//!
//! Only the last append can be unfinished after a crash, however its pages reached the disk. So what is wrong
//! is a torn end where no frame begins behind it, and damage where one does. A new journal is whole before it
//! has its name, and ends with a frame without records: nothing in it passes for torn.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::record::Record;
use crate::disk;
use crate::limits::{JOURNAL_FRAME_RECORDS, JOURNAL_FRAME_RECORDS_MAX, JOURNAL_RESERVE_BYTES};
use crate::volume::VolumeId;

const MAGIC: &[u8; 8] = b"OCAJOURN";
const VERSION: u32 = 2;
const FRAME_MAGIC: &[u8; 4] = b"OCAF";
pub(super) const HEAD_BYTES: usize = 32;
/// Bytes of a frame without its records.
const FRAME_BYTES: usize = 20;
/// Bytes that say how long a record is.
pub(super) const LENGTH_BYTES: usize = 2;
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
    /// The last append was not finished: what is there is no whole frame, and none begins behind it. Nothing
    /// that was acknowledged is lost: reconciliation finds what the records would have said.
    Torn,
    /// A frame whose checksum does not match, with another one behind it.
    Checksum,
    /// A frame whose checksum matches, and that holds something else than records: written by a later program.
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
    let seed = decoded.chain;
    decoded.valid_bytes = HEAD_BYTES;
    while decoded.valid_bytes < bytes.len() {
        let rest = &bytes[decoded.valid_bytes..];
        let Some((frame, body)) = intact_frame(rest, seed, decoded.chain) else {
            decoded.cut = Some(if begins_frame_behind(rest, seed) { Cut::Checksum } else { Cut::Torn });
            break;
        };
        let Some(records) = decode_records(body, frame.record_count) else {
            decoded.cut = Some(Cut::Record);
            break;
        };
        decoded.records.extend(records);
        decoded.chain = frame.checksum;
        decoded.valid_bytes += FRAME_BYTES + body.len();
    }
    decoded
}

/// The bytes of a new journal, and the checksum that the next frame continues.
pub fn encode(records: &[Record], id: VolumeId) -> (Vec<u8>, u32) {
    let mut bytes = encode_head(id).to_vec();
    bytes.reserve(records.len() * 96);
    let mut chain = seed(id);
    for batch in records.chunks(JOURNAL_FRAME_RECORDS).chain([&[][..]]) {
        chain = append(&mut bytes, chain, batch, id);
    }
    (bytes, chain)
}

/// Adds records to the bytes of a journal as one append, after the checksum `chain`; returns the one that the
/// next append continues.
pub fn append(bytes: &mut Vec<u8>, chain: u32, records: &[Record], id: VolumeId) -> u32 {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; FRAME_BYTES]);
    for record in records {
        let length_at = bytes.len();
        bytes.extend_from_slice(&[0; LENGTH_BYTES]);
        record.encode(bytes);
        let length = (bytes.len() - length_at - LENGTH_BYTES) as u16;
        bytes[length_at..length_at + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    }
    let (head, body) = bytes[start..].split_at_mut(FRAME_BYTES);
    head[..4].copy_from_slice(FRAME_MAGIC);
    head[4..8].copy_from_slice(&(body.len() as u32).to_le_bytes());
    head[8..12].copy_from_slice(&(records.len() as u32).to_le_bytes());
    let head_checksum = crc32c::crc32c_append(seed(id), &head[..12]);
    head[12..16].copy_from_slice(&head_checksum.to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c_append(chain, &head[..16]), body);
    head[16..].copy_from_slice(&checksum.to_le_bytes());
    checksum
}

/// A journal that can be appended to.
#[derive(Debug)]
pub(super) struct JournalFile {
    file: OwnedFd,
    id: VolumeId,
    end: u64,
    reserved: u64,
    chain: u32,
}

impl JournalFile {
    /// Goes on after the valid bytes of a journal; the rest is cut off.
    pub(super) fn resume(directory: BorrowedFd<'_>, id: VolumeId, decoded: &Decoded) -> io::Result<Self> {
        let file = disk::open_to_write(directory, NAME, disk::Access::Buffered)?;
        let end = decoded.valid_bytes as u64;
        if decoded.cut.is_some() {
            disk::set_length(file.as_fd(), end)?;
            disk::sync(file.as_fd())?;
        }
        Ok(Self { file, id, end, reserved: end, chain: decoded.chain })
    }

    /// Writes a journal of these records beside the one that there is, which stays as it is.
    pub(super) fn write_new(directory: BorrowedFd<'_>, id: VolumeId, records: &[Record]) -> io::Result<Self> {
        let (bytes, chain) = encode(records, id);
        disk::remove_file(directory, NEW_NAME)?;
        let file = disk::create_shared_file(directory, NEW_NAME)?;
        disk::write_all_at(file.as_fd(), &bytes, 0)?;
        disk::sync(file.as_fd())?;
        let end = bytes.len() as u64;
        Ok(Self { file, id, end, reserved: end, chain })
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
        if records.len() > JOURNAL_FRAME_RECORDS_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "more records than a frame can hold"));
        }
        let mut bytes = Vec::new();
        let chain = append(&mut bytes, self.chain, records, self.id);
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

/// What a frame's head says.
struct FrameHead {
    record_bytes: usize,
    record_count: u32,
    checksum: u32,
}

fn encode_head(id: VolumeId) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(MAGIC);
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    head[12..28].copy_from_slice(id.bytes());
    let checksum = crc32c::crc32c(&head[..28]);
    head[28..].copy_from_slice(&checksum.to_le_bytes());
    head
}

/// The checksum of a journal's head.
fn seed(id: VolumeId) -> u32 {
    crc32c::crc32c(&encode_head(id)[..28])
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

/// The frame at the start of `bytes`, and the bytes of its records; `None` where it is not as it was written.
fn intact_frame(bytes: &[u8], seed: u32, chain: u32) -> Option<(FrameHead, &[u8])> {
    let head = frame_head(bytes, seed)?;
    let body = bytes[FRAME_BYTES..].get(..head.record_bytes)?;
    let checksum = crc32c::crc32c_append(crc32c::crc32c_append(chain, &bytes[..16]), body);
    (checksum == head.checksum).then_some((head, body))
}

fn frame_head(bytes: &[u8], seed: u32) -> Option<FrameHead> {
    let head = bytes.first_chunk::<FRAME_BYTES>()?;
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let is_head = &head[..4] == FRAME_MAGIC && number(12) == crc32c::crc32c_append(seed, &head[..12]);
    is_head.then(|| FrameHead {
        record_bytes: number(4) as usize,
        record_count: number(8),
        checksum: number(16),
    })
}

fn begins_frame_behind(bytes: &[u8], seed: u32) -> bool {
    bytes.windows(FRAME_BYTES).skip(1).any(|window| frame_head(window, seed).is_some())
}

/// `None` for anything that [`append`] does not write.
fn decode_records(mut body: &[u8], record_count: u32) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    while let Some((length, rest)) = body.split_first_chunk::<LENGTH_BYTES>() {
        let (record, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        records.push(Record::decode(record)?);
        body = rest;
    }
    (body.is_empty() && records.len() == record_count as usize).then_some(records)
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
