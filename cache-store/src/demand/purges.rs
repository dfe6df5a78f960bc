//! Which purges there were. Pure: the set, and the bytes of its file.
//!
//! Purges are numbered. A head carries the number of purges that it is known to come after (its mark): a later one that
//! selects its key kills it, wherever it lies, and however often it was written. A purge can be forgotten when no head has
//! a mark before it.
//!
//! ```text
//! head:   "OCAPURGE" (8), version (4), volume id (16), era (8), forgotten through (8), last number (8), CRC32C of these (4)
//! record: bytes of the selector (4), 1 exact or 2 prefix (4), number (8), checksum (4), the selector
//! ```
//!
//! A record's checksum is the CRC32C of the 16 bytes before it and of the selector, continued from the checksum of the
//! record before (of the head, for the first). What is damaged is not guessed at: then it is not known what was
//! purged, and a new file with a new era makes all segments of the old one worthless.

use std::collections::{BTreeMap, HashMap};

use super::entry::{PurgeMark, Selector};
use super::record::{number_u32, number_u64};
use crate::volume::VolumeId;

const MAGIC: &[u8; 8] = b"OCAPURGE";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 56;
const RECORD_BYTES: usize = 20;
const EXACT: u32 = 1;
const PREFIX: u32 = 2;
/// Bytes of memory of one purge beside its selector: a boxed slice, a number, and the map's free places.
const PURGE_MEMORY: u64 = 64;

/// The newest purge of each selector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PurgeSet {
    last: u64,
    /// Up to that number they may be missing.
    forgotten: u64,
    exact: HashMap<Box<[u8]>, u64>,
    /// By length, so that a key is looked up once for each length, however many there are.
    prefixes: BTreeMap<usize, HashMap<Box<[u8]>, u64>>,
    memory: u64,
}

/// What a file of purges says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    pub(super) era: u64,
    pub(super) set: PurgeSet,
    /// The checksum that the next record continues.
    pub(super) chain: u32,
}

impl PurgeSet {
    /// How many there have been.
    pub(super) fn last(&self) -> PurgeMark {
        PurgeMark(self.last)
    }

    /// Adds a purge and returns its number.
    pub(super) fn add(&mut self, selector: Selector<'_>) -> u64 {
        self.last += 1;
        self.insert(selector, self.last);
        self.last
    }

    /// Whether a head with that key and mark must not be served.
    pub(super) fn kills(&self, key: &[u8], mark: PurgeMark) -> bool {
        mark.0 < self.forgotten || (mark.0 < self.last && self.newest(key) > mark.0)
    }

    /// Forgets the purges up to that number. Heads with an older mark are dead from now on, whatever their key.
    pub(super) fn forget(&mut self, through: PurgeMark) {
        let through = through.0.min(self.last);
        self.forgotten = self.forgotten.max(through);
        let (exact, prefixes, memory) = (&mut self.exact, &mut self.prefixes, &mut self.memory);
        let mut is_needed = |selector: &[u8], number: u64| {
            *memory -= if number > through { 0 } else { cost(selector) };
            number > through
        };
        exact.retain(|selector, number| is_needed(selector, *number));
        prefixes.retain(|_, of_length| {
            of_length.retain(|selector, number| is_needed(selector, *number));
            !of_length.is_empty()
        });
    }

    /// Bytes of memory, by this count.
    pub(super) fn memory(&self) -> u64 {
        self.memory
    }

    /// The bytes of a file, and the checksum that the next record continues.
    pub(super) fn encode(&self, volume: VolumeId, era: u64) -> (Vec<u8>, u32) {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.memory as usize);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(volume.bytes());
        for number in [era, self.forgotten, self.last] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let mut chain = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&chain.to_le_bytes());
        for (selector, number) in &self.exact {
            chain = append(&mut bytes, chain, Selector::Exact(selector), *number);
        }
        for (selector, number) in self.prefixes.values().flatten() {
            chain = append(&mut bytes, chain, Selector::Prefix(selector), *number);
        }
        (bytes, chain)
    }

    /// Reads a file of that volume; `None` where anything in it is not as it was written.
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
        let mut set = Self { forgotten: number_u64(head, 36), last: number_u64(head, 44), ..Self::default() };
        let mut chain = checksum;
        while !rest.is_empty() {
            let (record, behind) = rest.split_first_chunk::<RECORD_BYTES>()?;
            let (selector, behind) = behind.split_at_checked(number_u32(record, 0) as usize)?;
            chain = crc32c::crc32c_append(crc32c::crc32c_append(chain, &record[..16]), selector);
            if chain != number_u32(record, 16) {
                return None;
            }
            let selector = match number_u32(record, 4) {
                EXACT => Selector::Exact(selector),
                PREFIX => Selector::Prefix(selector),
                _ => return None,
            };
            set.insert(selector, number_u64(record, 8));
            set.last = set.last.max(number_u64(record, 8));
            rest = behind;
        }
        Some(Decoded { era: number_u64(head, 28), set, chain })
    }

    /// The number of the newest purge that selects a key; 0 where there is none.
    fn newest(&self, key: &[u8]) -> u64 {
        let exact = self.exact.get(key).copied();
        let prefixes = self
            .prefixes
            .iter()
            .filter_map(|(length, of_length)| of_length.get(key.get(..*length)?).copied());
        prefixes.chain(exact).max().unwrap_or(0)
    }

    fn insert(&mut self, selector: Selector<'_>, number: u64) {
        let (of_kind, bytes) = match selector {
            Selector::Exact(key) => (&mut self.exact, key),
            Selector::Prefix(prefix) => (self.prefixes.entry(prefix.len()).or_default(), prefix),
        };
        match of_kind.get_mut(bytes) {
            Some(known) => *known = number.max(*known),
            None => {
                of_kind.insert(bytes.into(), number);
                self.memory += cost(bytes);
            }
        }
    }
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
    let chain = crc32c::crc32c_append(crc32c::crc32c_append(chain, &bytes[start..]), selector);
    bytes.extend_from_slice(&chain.to_le_bytes());
    bytes.extend_from_slice(selector);
    chain
}

fn cost(selector: &[u8]) -> u64 {
    PURGE_MEMORY + selector.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOLUME: VolumeId = VolumeId::new([7; 16]);

    fn purged(selectors: &[Selector<'_>]) -> PurgeSet {
        let mut set = PurgeSet::default();
        for selector in selectors {
            set.add(*selector);
        }
        set
    }

    #[test]
    fn a_purge_kills_what_came_before_it_and_nothing_that_came_after() {
        let set = purged(&[Selector::Exact(b"/a/1"), Selector::Prefix(b"/b/")]);
        assert!(set.kills(b"/a/1", PurgeMark(0)) && !set.kills(b"/a/1", PurgeMark(1)));
        assert!(set.kills(b"/b/2", PurgeMark(1)) && !set.kills(b"/b/2", PurgeMark(2)));
        assert!(!set.kills(b"/a/11", PurgeMark(0)) && !set.kills(b"/b", PurgeMark(0)));
        assert!(purged(&[Selector::Prefix(b"")]).kills(b"", PurgeMark(0)));
    }

    #[test]
    fn purging_the_same_again_takes_no_more_memory() {
        let mut set = purged(&[Selector::Exact(b"/a"), Selector::Prefix(b"/a")]);
        let memory = set.memory();
        set.add(Selector::Exact(b"/a"));
        set.add(Selector::Prefix(b"/a"));
        assert_eq!(set.memory(), memory);
        assert!(set.kills(b"/a", PurgeMark(3)) && !set.kills(b"/a", PurgeMark(4)));
    }

    #[test]
    fn a_purge_that_was_forgotten_kills_all_that_may_have_come_before_it() {
        let mut set = purged(&[Selector::Exact(b"/a"), Selector::Prefix(b"/b"), Selector::Exact(b"/c")]);
        set.forget(PurgeMark(2));
        assert!(set.kills(b"/other", PurgeMark(1)) && !set.kills(b"/other", PurgeMark(2)));
        assert!(set.kills(b"/c", PurgeMark(2)));
        set.forget(PurgeMark(u64::MAX));
        assert_eq!(set.memory(), 0);
        assert!(!set.kills(b"/c", PurgeMark(3)));
    }

    #[test]
    fn the_file_reads_as_it_was_written_and_no_flipped_bit_or_missing_end_passes() {
        let mut set = purged(&[Selector::Exact(b"/a"), Selector::Prefix(b"/b/")]);
        set.forget(PurgeMark(1));
        let (mut bytes, chain) = set.encode(VOLUME, 99);
        let number = set.add(Selector::Exact(b"/late"));
        let chain = append(&mut bytes, chain, Selector::Exact(b"/late"), number);
        assert_eq!(PurgeSet::decode(&bytes, VOLUME), Some(Decoded { era: 99, set, chain }));
        assert_eq!(PurgeSet::decode(&bytes, VolumeId::new([8; 16])), None);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(PurgeSet::decode(&damaged, VOLUME), None, "bit {bit}");
        }
        let whole_records = [HEAD_BYTES, HEAD_BYTES + RECORD_BYTES + 3];
        for length in (0..bytes.len()).filter(|length| !whole_records.contains(length)) {
            assert_eq!(PurgeSet::decode(&bytes[..length], VOLUME), None, "{length} bytes");
        }
    }
}
