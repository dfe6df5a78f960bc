//! The bytes of the file of purges. Pure; believes none before they are checked.
//!
//! ```text
//! head:   "OCAPURGE" (8), version (4), volume id (16), era (8), forgotten through (8), last number (8), CRC32C of these (4)
//! record: bytes of the selector (4), 1 exact or 2 prefix (4), number (8), checksum (4), the selector, checksum (4)
//! ```
//!
//! Each checksum is the CRC32C of the bytes since the one before, continued from that: first of the head, then of the first 16
//! bytes of a record and of its selector. What is damaged is not guessed at: then it is not known what was purged, and a new
//! file with a new era makes all segments of the old one worthless. A last record that only begins is not damaged: nobody
//! was told that it was purged, and it is cut off. Nor are zeroes up to the end, as a file system leaves them that was stopped
//! between the length and the bytes: no record is all zeroes. Its length is believed because its first checksum is right, so that a
//! damaged one earlier in the file does not pass for it.

use super::entry::{PurgeMark, Selector};
use super::purges::PurgeSet;
use super::record::{number_u32, number_u64};
use crate::volume::VolumeId;

const MAGIC: &[u8; 8] = b"OCAPURGE";
const VERSION: u32 = 2;
const HEAD_BYTES: usize = 56;
/// Bytes of a record before its selector.
const RECORD_BYTES: usize = 20;
const CHECKSUM_BYTES: usize = 4;
const EXACT: u32 = 1;
const PREFIX: u32 = 2;

/// What a file of purges says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    pub(super) era: u64,
    pub(super) set: PurgeSet,
    /// The checksum that the next record continues.
    pub(super) chain: u32,
    /// Where that goes.
    pub(super) end: u64,
}

/// What a file goes on with.
enum Next<'a> {
    Record {
        selector: Selector<'a>,
        number: u64,
        chain: u32,
        rest: &'a [u8],
    },
    /// A record that only begins.
    Torn,
}

/// The bytes of a file of these purges, and the checksum that the next record continues.
pub(super) fn encode(purges: &PurgeSet, volume: VolumeId, era: u64) -> (Vec<u8>, u32) {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + purges.memory() as usize);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(volume.bytes());
    for number in [era, purges.forgotten().0, purges.last().0] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    let mut chain = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&chain.to_le_bytes());
    for (selector, number) in purges.iter() {
        chain = append(&mut bytes, chain, selector, number);
    }
    (bytes, chain)
}

/// Reads a file of that volume; `None` where anything in it is not as it was written. Where its last record only begins, the
/// file ends before that.
pub(super) fn decode(bytes: &[u8], volume: VolumeId) -> Option<Decoded> {
    let (head, mut rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let checksum = number_u32(head, 52);
    let is_head = &head[..8] == MAGIC
        && number_u32(head, 8) == VERSION
        && head[12..28] == volume.bytes()[..]
        && checksum == crc32c::crc32c(&head[..52]);
    if !is_head {
        return None;
    }
    let mut set = PurgeSet::restored(PurgeMark(number_u64(head, 44)), PurgeMark(number_u64(head, 36)));
    let mut chain = checksum;
    while !rest.is_empty() {
        match next(rest, chain)? {
            Next::Record { selector, number, chain: continued, rest: behind } => {
                set.insert(selector, number);
                (chain, rest) = (continued, behind);
            }
            Next::Torn => break,
        }
    }
    let end = (bytes.len() - rest.len()) as u64;
    Some(Decoded { era: number_u64(head, 28), set, chain, end })
}

/// Adds a purge to the bytes of a file, after the checksum `chain`; returns the one that the next continues.
pub(super) fn append(bytes: &mut Vec<u8>, chain: u32, selector: Selector<'_>, number: u64) -> u32 {
    let (kind, selector) = match selector {
        Selector::Exact(key) => (EXACT, key),
        Selector::Prefix(prefix) => (PREFIX, prefix),
    };
    let start = bytes.len();
    bytes.extend_from_slice(&(selector.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&kind.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    let chain = crc32c::crc32c_append(chain, &bytes[start..]);
    bytes.extend_from_slice(&chain.to_le_bytes());
    let chain = crc32c::crc32c_append(chain, selector);
    bytes.extend_from_slice(selector);
    bytes.extend_from_slice(&chain.to_le_bytes());
    chain
}

/// Reads the record that a file goes on with, after the checksum `chain`; `None` where it is damaged.
fn next(bytes: &[u8], chain: u32) -> Option<Next<'_>> {
    // Its length has reached the disk, and nothing of it.
    if bytes.iter().all(|byte| *byte == 0) {
        return Some(Next::Torn);
    }
    let Some((header, rest)) = bytes.split_first_chunk::<RECORD_BYTES>() else { return Some(Next::Torn) };
    let chain = crc32c::crc32c_append(chain, &header[..16]);
    if chain != number_u32(header, 16) {
        return None;
    }
    let Some((selector, rest)) = rest.split_at_checked(number_u32(header, 0) as usize) else {
        return Some(Next::Torn);
    };
    let Some((checksum, rest)) = rest.split_first_chunk::<CHECKSUM_BYTES>() else {
        return Some(Next::Torn);
    };
    let chain = crc32c::crc32c_append(chain, selector);
    if chain != u32::from_le_bytes(*checksum) {
        return None;
    }
    let selector = match number_u32(header, 4) {
        EXACT => Selector::Exact(selector),
        PREFIX => Selector::Prefix(selector),
        _ => return None,
    };
    Some(Next::Record { selector, number: number_u64(header, 8), chain, rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOLUME: VolumeId = VolumeId::new([7; 16]);

    /// A file of two purges, and one that was appended; where its records end.
    fn file() -> (Vec<u8>, Decoded, [usize; 3]) {
        let mut set = PurgeSet::default();
        set.add(Selector::Exact(b"/a"));
        set.add(Selector::Prefix(b"/b/"));
        set.forget(PurgeMark(1));
        let (mut bytes, chain) = encode(&set, VOLUME, 99);
        let ends = [HEAD_BYTES, bytes.len()];
        let number = set.add(Selector::Exact(b"/late"));
        let chain = append(&mut bytes, chain, Selector::Exact(b"/late"), number);
        let decoded = Decoded { era: 99, set, chain, end: bytes.len() as u64 };
        let ends = [ends[0], ends[1], bytes.len()];
        (bytes, decoded, ends)
    }

    #[test]
    fn the_file_reads_as_it_was_written_and_no_flipped_bit_passes() {
        let (bytes, decoded, _) = file();
        assert_eq!(decode(&bytes, VOLUME), Some(decoded));
        assert_eq!(decode(&bytes, VolumeId::new([8; 16])), None);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged, VOLUME), None, "bit {bit}");
        }
    }

    #[test]
    fn zeroes_behind_the_last_record_are_cut_off_and_nothing_else_is() {
        let (bytes, decoded, _) = file();
        for zeroes in [1, RECORD_BYTES, RECORD_BYTES + CHECKSUM_BYTES, 4096] {
            let mut longer = [&bytes[..], &vec![0; zeroes]].concat();
            assert_eq!(decode(&longer, VOLUME), Some(decoded.clone()), "{zeroes}");
            *longer.last_mut().unwrap() = 1;
            assert_eq!(decode(&longer, VOLUME).is_some(), zeroes < RECORD_BYTES, "{zeroes}");
        }
    }

    #[test]
    fn a_last_record_that_only_begins_is_cut_off_and_a_head_that_does_is_none() {
        let (bytes, _, ends) = file();
        for length in 0..bytes.len() {
            let end = ends.into_iter().filter(|end| *end <= length).max();
            let decoded = decode(&bytes[..length], VOLUME);
            assert_eq!(decoded.map(|decoded| decoded.end as usize), end, "{length} bytes");
        }
    }
}
