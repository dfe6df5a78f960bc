//! The bytes of a record. Pure; believes none before they are checked.
//!
//! A record starts at a multiple of 4 KiB: a header of 64 bytes, the payload, zeroes up to the next multiple.
//! Little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | magic `OCDR` |
//! | 4 | kind: 1 head, 2 block |
//! | 8 | the nonce of its segment |
//! | 8 | entry |
//! | 4 | a head's revision; a block's number |
//! | 4 | bytes of the payload |
//! | 8 | a head's purge mark; 0 |
//! | 8 | a head's total bytes, all ones where unknown; 0 |
//! | 2 + 2 | bytes of a head's primary and secondary key, with which its payload starts; 0 |
//! | 4 | CRC32C of the payload |
//! | 4 | where it is in its segment, in units of 4 KiB |
//! | 4 | CRC32C of the 60 bytes before it |
//!
//! The nonce is random, and no upstream knows it: so bytes of a body cannot pass for a record where records are looked for
//! one by one, and neither can what another segment left on the disk.

use super::entry::{EntryId, PurgeMark};
use crate::aligned::AlignedBuffer;
use crate::format::ALIGNMENT;
use crate::limits::{
    DEMAND_BLOCK_BYTES_MAX, DEMAND_KEY_BYTES_MAX, DEMAND_METADATA_BYTES_MAX, DEMAND_SECONDARY_BYTES_MAX,
};

/// Bytes of a record before its payload.
pub(super) const HEADER_BYTES: usize = 64;
/// The unit in which places are counted.
pub(super) const PAGE_BYTES: usize = ALIGNMENT as usize;
/// Bytes of the longest head, which has to be read whole to be believed.
pub(super) const HEAD_RECORD_BYTES_MAX: usize =
    record_bytes((DEMAND_KEY_BYTES_MAX + DEMAND_SECONDARY_BYTES_MAX + DEMAND_METADATA_BYTES_MAX) as u32)
        as usize;

const MAGIC: &[u8; 4] = b"OCDR";
const HEAD: u32 = 1;
const BLOCK: u32 = 2;

/// What a record's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) entry: EntryId,
    pub(super) part: Part,
    /// Where it is in its segment, in pages.
    pub(super) page: u32,
    pub(super) payload_bytes: u32,
    pub(super) payload_checksum: u32,
}

/// What of an entry a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Head(HeadFacts),
    Block { number: u32 },
}

/// What a head's header says beside its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeadFacts {
    /// The head of an entry with the highest revision counts.
    pub(super) revision: u32,
    /// The purges that it is known to come after.
    pub(super) mark: PurgeMark,
    pub(super) total_bytes: Option<u64>,
    pub(super) key_bytes: u16,
    pub(super) secondary_bytes: u16,
}

/// A record that is to be written: its payload is in place, its header is not.
pub(super) struct Draft {
    pub(super) buffer: AlignedBuffer,
    payload_bytes: u32,
    payload_checksum: u32,
}

/// Bytes that a record with such a payload takes, a multiple of 4 KiB.
pub(super) const fn record_bytes(payload_bytes: u32) -> u64 {
    (HEADER_BYTES as u64 + payload_bytes as u64).next_multiple_of(ALIGNMENT)
}

impl Part {
    /// What the header of a head says.
    pub(super) fn head(&self) -> Option<&HeadFacts> {
        match self {
            Self::Head(facts) => Some(facts),
            Self::Block { .. } => None,
        }
    }
}

impl Header {
    pub(super) fn encode(&self, nonce: u64) -> [u8; HEADER_BYTES] {
        let (kind, number, mark, total_bytes, key_bytes, secondary_bytes) = match self.part {
            Part::Head(head) => (
                HEAD,
                head.revision,
                head.mark.0,
                head.total_bytes.unwrap_or(u64::MAX),
                head.key_bytes,
                head.secondary_bytes,
            ),
            Part::Block { number } => (BLOCK, number, 0, 0, 0, 0),
        };
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4..8].copy_from_slice(&kind.to_le_bytes());
        bytes[8..16].copy_from_slice(&nonce.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.entry.0.to_le_bytes());
        bytes[24..28].copy_from_slice(&number.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[32..40].copy_from_slice(&mark.to_le_bytes());
        bytes[40..48].copy_from_slice(&total_bytes.to_le_bytes());
        bytes[48..50].copy_from_slice(&key_bytes.to_le_bytes());
        bytes[50..52].copy_from_slice(&secondary_bytes.to_le_bytes());
        bytes[52..56].copy_from_slice(&self.payload_checksum.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.page.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads what [`Self::encode`] writes for that segment; `None` for anything else.
    pub(super) fn decode(bytes: &[u8], nonce: u64) -> Option<Self> {
        let bytes = bytes.first_chunk::<HEADER_BYTES>()?;
        if &bytes[..4] != MAGIC || number_u32(bytes, 60) != crc32c::crc32c(&bytes[..60]) {
            return None;
        }
        let number = number_u32(bytes, 24);
        let part = match number_u32(bytes, 4) {
            HEAD => Part::Head(HeadFacts {
                revision: number,
                mark: PurgeMark(number_u64(bytes, 32)),
                total_bytes: Some(number_u64(bytes, 40)).filter(|total| *total != u64::MAX),
                key_bytes: u16::from_le_bytes([bytes[48], bytes[49]]),
                secondary_bytes: u16::from_le_bytes([bytes[50], bytes[51]]),
            }),
            BLOCK => Part::Block { number },
            _ => return None,
        };
        let header = Self {
            entry: EntryId(number_u64(bytes, 16)),
            part,
            page: number_u32(bytes, 56),
            payload_bytes: number_u32(bytes, 28),
            payload_checksum: number_u32(bytes, 52),
        };
        (number_u64(bytes, 8) == nonce && header.is_within_bounds()).then_some(header)
    }

    /// The payload of this record, which starts `bytes`; `None` where it is not as it was written.
    pub(super) fn payload<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let payload = bytes.get(HEADER_BYTES..)?.get(..self.payload_bytes as usize)?;
        (crc32c::crc32c(payload) == self.payload_checksum).then_some(payload)
    }

    /// Bytes that it takes in its segment.
    pub(super) fn record_bytes(&self) -> u64 {
        record_bytes(self.payload_bytes)
    }

    fn is_within_bounds(&self) -> bool {
        let payload_bytes = self.payload_bytes as usize;
        match self.part {
            Part::Block { .. } => payload_bytes <= DEMAND_BLOCK_BYTES_MAX,
            Part::Head(head) => {
                let (key, secondary) = (usize::from(head.key_bytes), usize::from(head.secondary_bytes));
                let metadata = payload_bytes.checked_sub(key + secondary);
                key <= DEMAND_KEY_BYTES_MAX
                    && secondary <= DEMAND_SECONDARY_BYTES_MAX
                    && metadata.is_some_and(|bytes| bytes <= DEMAND_METADATA_BYTES_MAX)
            }
        }
    }
}

impl HeadFacts {
    /// The primary key, the secondary key, the metadata.
    pub(super) fn split<'a>(&self, payload: &'a [u8]) -> Option<(&'a [u8], &'a [u8], &'a [u8])> {
        let (key, rest) = payload.split_at_checked(self.key_bytes.into())?;
        let (secondary, metadata) = rest.split_at_checked(self.secondary_bytes.into())?;
        Some((key, secondary, metadata))
    }
}

impl Draft {
    /// A record whose payload is these pieces, one after another.
    pub(super) fn new(pieces: &[&[u8]]) -> Self {
        let payload_bytes = pieces.iter().map(|piece| piece.len()).sum::<usize>() as u32;
        let mut buffer = AlignedBuffer::new(record_bytes(payload_bytes) as usize);
        let (mut at, mut payload_checksum) = (HEADER_BYTES, 0);
        for piece in pieces {
            buffer.bytes_mut()[at..at + piece.len()].copy_from_slice(piece);
            payload_checksum = crc32c::crc32c_append(payload_checksum, piece);
            at += piece.len();
        }
        Self { buffer, payload_bytes, payload_checksum }
    }

    /// The record that was read, to be written elsewhere.
    pub(super) fn again(buffer: AlignedBuffer, header: &Header) -> Self {
        Self { buffer, payload_bytes: header.payload_bytes, payload_checksum: header.payload_checksum }
    }

    pub(super) fn record_bytes(&self) -> u64 {
        record_bytes(self.payload_bytes)
    }

    /// Puts the header before the payload, and returns it.
    pub(super) fn address(&mut self, entry: EntryId, part: Part, page: u32, nonce: u64) -> Header {
        let header = Header {
            entry,
            part,
            page,
            payload_bytes: self.payload_bytes,
            payload_checksum: self.payload_checksum,
        };
        self.buffer.bytes_mut()[..HEADER_BYTES].copy_from_slice(&header.encode(nonce));
        header
    }
}

pub(super) fn number_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(super) fn number_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from(number_u32(bytes, at)) | u64::from(number_u32(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Part {
        Part::Head(HeadFacts {
            revision: 3,
            mark: PurgeMark(7),
            total_bytes: None,
            key_bytes: 4,
            secondary_bytes: 2,
        })
    }

    #[test]
    fn a_record_reads_as_it_was_written_and_starts_and_ends_at_a_page() {
        for part in [head(), Part::Block { number: 9 }] {
            let mut draft = Draft::new(&[b"/key", b"gz", b"metadata"]);
            let header = draft.address(EntryId(5), part, 12, 0xfeed);
            let bytes = draft.buffer.bytes();
            assert_eq!(bytes.len(), PAGE_BYTES);
            assert_eq!(Header::decode(bytes, 0xfeed), Some(header));
            let payload = header.payload(bytes).unwrap();
            assert_eq!(payload, b"/keygzmetadata");
            if let Part::Head(head) = header.part {
                assert_eq!(head.split(payload).unwrap(), (&b"/key"[..], &b"gz"[..], &b"metadata"[..]));
            }
        }
        assert_eq!(record_bytes((PAGE_BYTES - HEADER_BYTES) as u32), PAGE_BYTES as u64);
        assert_eq!(record_bytes((PAGE_BYTES - HEADER_BYTES + 1) as u32), 2 * PAGE_BYTES as u64);
    }

    #[test]
    fn a_flipped_bit_anywhere_and_another_segments_record_are_found() {
        let mut draft = Draft::new(&[b"/key", b"gz", b"metadata"]);
        let header = draft.address(EntryId(5), head(), 12, 0xfeed);
        let bytes = draft.buffer.bytes().to_vec();
        assert_eq!(Header::decode(&bytes, 0xbeef), None);
        for bit in 0..(HEADER_BYTES + 14) * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let read =
                Header::decode(&bytes, 0xfeed).and_then(|header| header.payload(&bytes).map(|_| header));
            assert_eq!(read, None, "bit {bit} of {header:?}");
        }
    }

    #[test]
    fn lengths_that_no_record_has_are_refused_whatever_their_checksum_says() {
        let block = |payload_bytes| Header {
            entry: EntryId(1),
            part: Part::Block { number: 0 },
            page: 1,
            payload_bytes,
            payload_checksum: 0,
        };
        assert!(Header::decode(&block(DEMAND_BLOCK_BYTES_MAX as u32).encode(1), 1).is_some());
        assert!(Header::decode(&block(DEMAND_BLOCK_BYTES_MAX as u32 + 1).encode(1), 1).is_none());
        let short = Header { part: head(), ..block(5) };
        assert!(Header::decode(&short.encode(1), 1).is_none());
        assert!(Header::decode(&[0; 63], 1).is_none());
    }
}
