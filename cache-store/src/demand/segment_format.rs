//! The bytes of a segment file beside its records. Pure; takes any bytes.
//!
//! ```text
//! 0        4 KiB                                   end                  length - 4 KiB    length
//! ├── head ─┼── records, each at a multiple of 4 KiB ─┼── summary, zeroes ──┼── trailer ───────┤
//! ```
//!
//! Head and trailer take 4 KiB each: magic `OCADSEGM` or `OCADSEAL` (8), version (4), volume id (16), era (8), sequence (8),
//! nonce (8), then in the trailer number of records (4), where the summary begins (8), its bytes (4), its CRC32C (4); the
//! CRC32C of all these (4); zeroes. The era is that of the file of purges: where that was lost, segments of another era
//! are worthless.
//!
//! The *summary* is what opening a log reads instead of the records: the header of each, after a head's the two keys. It
//! and the trailer are written when a segment is *sealed*: before, the file has its full length, and zeroes behind the last
//! record, and its records are looked for one by one.

use super::record::{HEADER_BYTES, Header, PAGE_BYTES, Part, number_u32, number_u64};
use crate::volume::VolumeId;

const HEAD_MAGIC: &[u8; 8] = b"OCADSEGM";
const TRAILER_MAGIC: &[u8; 8] = b"OCADSEAL";
const VERSION: u32 = 1;
const IDENTITY_BYTES: usize = 52;
const TRAILER_BYTES: usize = IDENTITY_BYTES + 20;
const SUFFIX: &str = ".segment";

/// Which segment a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) volume: VolumeId,
    pub(super) era: u64,
    /// Counts up, never given twice while anything of the log is left.
    pub(super) sequence: u64,
    /// Random; repeated in each of its records.
    pub(super) nonce: u64,
}

/// Where the summary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trailer {
    records: u32,
    pub(super) summary_at: u64,
    pub(super) summary_bytes: u32,
    summary_checksum: u32,
}

/// One record as a summary has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) header: Header,
    /// A head's primary key and secondary key; empty for a block.
    pub(super) key: Box<[u8]>,
    pub(super) secondary: Box<[u8]>,
}

/// The summary of a segment, as it grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    bytes: Vec<u8>,
    records: u32,
}

/// The name of a segment's file.
pub(super) fn file_name(sequence: u64) -> String {
    format!("{sequence:016x}{SUFFIX}")
}

/// Reads what [`file_name`] writes, and nothing else.
pub(super) fn parse_file_name(name: &str) -> Option<u64> {
    let sequence = u64::from_str_radix(name.strip_suffix(SUFFIX)?, 16).ok()?;
    (file_name(sequence) == name).then_some(sequence)
}

impl Identity {
    /// The first 4 KiB of the file.
    pub(super) fn encode_head(&self) -> [u8; PAGE_BYTES] {
        let mut page = [0; PAGE_BYTES];
        self.encode(HEAD_MAGIC, &mut page);
        seal(&mut page, IDENTITY_BYTES);
        page
    }

    pub(super) fn decode_head(page: &[u8]) -> Option<Self> {
        is_sealed(page, IDENTITY_BYTES).then(|| Self::decode(HEAD_MAGIC, page))?
    }

    fn encode(&self, magic: &[u8; 8], page: &mut [u8]) {
        page[..8].copy_from_slice(magic);
        page[8..12].copy_from_slice(&VERSION.to_le_bytes());
        page[12..28].copy_from_slice(self.volume.bytes());
        page[28..36].copy_from_slice(&self.era.to_le_bytes());
        page[36..44].copy_from_slice(&self.sequence.to_le_bytes());
        page[44..52].copy_from_slice(&self.nonce.to_le_bytes());
    }

    fn decode(magic: &[u8; 8], page: &[u8]) -> Option<Self> {
        let volume = VolumeId::new(page[12..28].try_into().ok()?);
        let identity = Self {
            volume,
            era: number_u64(page, 28),
            sequence: number_u64(page, 36),
            nonce: number_u64(page, 44),
        };
        (&page[..8] == magic && number_u32(page, 8) == VERSION).then_some(identity)
    }
}

impl Trailer {
    /// The last 4 KiB of a file.
    pub(super) fn decode(page: &[u8]) -> Option<(Identity, Self)> {
        if !is_sealed(page, TRAILER_BYTES) {
            return None;
        }
        let trailer = Self {
            records: number_u32(page, IDENTITY_BYTES),
            summary_at: number_u64(page, IDENTITY_BYTES + 4),
            summary_bytes: number_u32(page, IDENTITY_BYTES + 12),
            summary_checksum: number_u32(page, IDENTITY_BYTES + 16),
        };
        Identity::decode(TRAILER_MAGIC, page).map(|identity| (identity, trailer))
    }

    fn encode(&self, identity: &Identity) -> [u8; PAGE_BYTES] {
        let mut page = [0; PAGE_BYTES];
        identity.encode(TRAILER_MAGIC, &mut page);
        let rest = &mut page[IDENTITY_BYTES..];
        rest[..4].copy_from_slice(&self.records.to_le_bytes());
        rest[4..12].copy_from_slice(&self.summary_at.to_le_bytes());
        rest[12..16].copy_from_slice(&self.summary_bytes.to_le_bytes());
        rest[16..20].copy_from_slice(&self.summary_checksum.to_le_bytes());
        seal(&mut page, TRAILER_BYTES);
        page
    }

    /// The records of the summary that this trailer finds; `None` where it is not as it was written.
    pub(super) fn decode_summary(&self, bytes: &[u8], nonce: u64) -> Option<Vec<Found>> {
        let mut rest = bytes.get(..self.summary_bytes as usize)?;
        if crc32c::crc32c(rest) != self.summary_checksum {
            return None;
        }
        let mut records = Vec::new();
        while !rest.is_empty() {
            let header = Header::decode(rest, nonce)?;
            let (key_bytes, secondary_bytes) = match header.part {
                Part::Head(head) => (head.key_bytes.into(), head.secondary_bytes.into()),
                Part::Block { .. } => (0, 0),
            };
            let (key, behind) = rest[HEADER_BYTES..].split_at_checked(key_bytes)?;
            let (secondary, behind) = behind.split_at_checked(secondary_bytes)?;
            records.push(Found { header, key: key.into(), secondary: secondary.into() });
            rest = behind;
        }
        (records.len() == self.records as usize).then_some(records)
    }
}

impl Summary {
    /// Bytes that a record with keys of that length adds.
    pub(super) fn line_bytes(key_bytes: usize) -> u64 {
        (HEADER_BYTES + key_bytes) as u64
    }

    /// Bytes of summary and trailer in the file.
    pub(super) fn file_bytes(summary_bytes: u64) -> u64 {
        summary_bytes.next_multiple_of(PAGE_BYTES as u64) + PAGE_BYTES as u64
    }

    pub(super) fn push(&mut self, header: &Header, nonce: u64, key: &[u8], secondary: &[u8]) {
        self.bytes.extend_from_slice(&header.encode(nonce));
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(secondary);
        self.records += 1;
    }

    /// What is written at `summary_at` to seal the segment: the summary, zeroes, the trailer.
    pub(super) fn encode(mut self, identity: &Identity, summary_at: u64) -> Vec<u8> {
        let trailer = Trailer {
            records: self.records,
            summary_at,
            summary_bytes: self.bytes.len() as u32,
            summary_checksum: crc32c::crc32c(&self.bytes),
        };
        self.bytes.resize(self.bytes.len().next_multiple_of(PAGE_BYTES), 0);
        self.bytes.extend_from_slice(&trailer.encode(identity));
        self.bytes
    }
}

/// Ends the `length` bytes at the start of a page with their checksum.
fn seal(page: &mut [u8; PAGE_BYTES], length: usize) {
    let checksum = crc32c::crc32c(&page[..length]);
    page[length..length + 4].copy_from_slice(&checksum.to_le_bytes());
}

fn is_sealed(page: &[u8], length: usize) -> bool {
    page.len() == PAGE_BYTES && number_u32(page, length) == crc32c::crc32c(&page[..length])
}

#[cfg(test)]
mod tests {
    use super::super::entry::{EntryId, PurgeMark};
    use super::super::record::HeadFacts;
    use super::*;

    const IDENTITY: Identity =
        Identity { volume: VolumeId::new([3; 16]), era: 4, sequence: 5, nonce: 0xabcd };

    fn found(part: Part, key: &[u8], secondary: &[u8]) -> Found {
        let header = Header { entry: EntryId(1), part, page: 1, payload_bytes: 100, payload_checksum: 2 };
        Found { header, key: key.into(), secondary: secondary.into() }
    }

    #[test]
    fn a_sealed_segments_end_reads_as_it_was_written_and_no_flipped_bit_passes() {
        let head = HeadFacts {
            revision: 0,
            mark: PurgeMark(1),
            total_bytes: Some(10),
            key_bytes: 5,
            secondary_bytes: 2,
        };
        let records = [found(Part::Head(head), b"/keys", b"gz"), found(Part::Block { number: 3 }, b"", b"")];
        let mut summary = Summary::default();
        for record in &records {
            summary.push(&record.header, IDENTITY.nonce, &record.key, &record.secondary);
        }
        let summary_bytes = summary.bytes.len() as u64;
        assert_eq!(summary_bytes, Summary::line_bytes(7) + Summary::line_bytes(0));
        let bytes = summary.encode(&IDENTITY, 1 << 20);
        assert_eq!(bytes.len() as u64, Summary::file_bytes(summary_bytes));
        let read = |bytes: &[u8]| {
            let (identity, trailer) = Trailer::decode(&bytes[PAGE_BYTES..])?;
            assert_eq!((identity, trailer.summary_at), (IDENTITY, 1 << 20));
            trailer.decode_summary(bytes, IDENTITY.nonce)
        };
        assert_eq!(read(&bytes).unwrap(), records);
        let covered = (0..summary_bytes as usize).chain(PAGE_BYTES..PAGE_BYTES + TRAILER_BYTES + 4);
        for byte in covered {
            let mut damaged = bytes.clone();
            damaged[byte] ^= 1;
            assert_eq!(read(&damaged), None, "byte {byte}");
        }
    }

    #[test]
    fn a_head_page_says_which_segment_it_is_and_is_no_trailer() {
        let mut page = IDENTITY.encode_head();
        assert_eq!(Identity::decode_head(&page), Some(IDENTITY));
        assert_eq!(Trailer::decode(&page), None);
        page[40] ^= 1;
        assert_eq!(Identity::decode_head(&page), None);
        assert_eq!(Identity::decode_head(&[]), None);
    }

    #[test]
    fn a_file_name_is_a_sequence_number_and_nothing_else_is() {
        assert_eq!(parse_file_name(&file_name(0x1f)), Some(0x1f));
        for name in ["purges", "1f.segment", "000000000000001F.segment", "+00000000000001f.segment"] {
            assert_eq!(parse_file_name(name), None, "{name}");
        }
    }
}
