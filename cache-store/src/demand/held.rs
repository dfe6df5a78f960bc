//! One entry that is held: where its head and its blocks lie, and how often they are read. Pure.

use std::mem::size_of;
use std::ops::Range;
use std::sync::Arc;

use super::entry::EntryId;
use super::record::record_bytes;

/// How often a record was read since it was written: no more than 3 is counted.
pub(super) const USES_MAX: u8 = 3;
/// Bytes of an entry beside its keys: itself, its place in the hash map, its key's place in the tree and list, and what
/// these keep free to grow.
const ENTRY_MEMORY: u64 = size_of::<Entry>() as u64 * 3 / 2 + 160;
/// Bytes of a block, with what its list keeps free to grow.
const BLOCK_MEMORY: u64 = size_of::<HeldBlock>() as u64 * 3 / 2;

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The sequence number of its segment.
    pub(super) segment: u64,
    /// In its segment, in pages.
    pub(super) page: u32,
    pub(super) payload_bytes: u32,
}

/// One record of a segment: an entry's head, or its block of that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RecordRef {
    pub(super) entry: EntryId,
    pub(super) block: Option<u32>,
}

/// A head that is to be held.
#[derive(Clone, Debug)]
pub(super) struct NewHead {
    pub(super) key: Arc<[u8]>,
    pub(super) secondary: Arc<[u8]>,
    pub(super) place: Place,
    pub(super) revision: u32,
    pub(super) total_bytes: Option<u64>,
}

/// What an entry's head says, and where its records lie.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Arc<[u8]>,
    pub(super) secondary: Arc<[u8]>,
    pub(super) head: Place,
    revision: u32,
    /// The revision that was last given out.
    revision_given: u32,
    total_bytes: Option<u64>,
    uses: u8,
    /// In the order of their numbers.
    blocks: Vec<HeldBlock>,
}

#[derive(Clone, Copy, Debug)]
struct HeldBlock {
    number: u32,
    uses: u8,
    place: Place,
}

impl Entry {
    pub(super) fn new(head: NewHead) -> Self {
        Self {
            key: head.key,
            secondary: head.secondary,
            head: head.place,
            revision: head.revision,
            revision_given: head.revision,
            total_bytes: head.total_bytes,
            uses: 0,
            blocks: Vec::new(),
        }
    }

    /// Bytes of memory that a record of an entry adds at most, whose keys have that length together.
    pub(super) fn memory_of(key_bytes: usize) -> u64 {
        ENTRY_MEMORY + BLOCK_MEMORY + key_bytes as u64
    }

    /// Bytes of memory, by this count.
    pub(super) fn memory(&self) -> u64 {
        let keys = self.key.len() + self.secondary.len();
        ENTRY_MEMORY + keys as u64 + self.blocks.len() as u64 * BLOCK_MEMORY
    }

    /// Takes another head of the entry, unless the one there is has a higher revision, or is the same one written again later.
    pub(super) fn take_head(&mut self, head: &NewHead) -> bool {
        let is_newer = (head.revision, head.place) >= (self.revision, self.head);
        if is_newer {
            (self.head, self.revision, self.total_bytes) = (head.place, head.revision, head.total_bytes);
            self.revision_given = self.revision_given.max(head.revision);
        }
        is_newer
    }

    /// The revision of its next head.
    pub(super) fn next_revision(&mut self) -> Option<u32> {
        // An entry that was updated four billion times has no newer head: it is stored anew.
        self.revision_given = self.revision_given.checked_add(1)?;
        Some(self.revision_given)
    }

    /// Takes a block; of two with the same number the newer place counts.
    pub(super) fn take_block(&mut self, number: u32, place: Place) {
        match self.position(number) {
            Ok(at) => {
                let held = &mut self.blocks[at];
                held.place = held.place.max(place);
            }
            Err(at) => self.blocks.insert(at, HeldBlock { number, uses: 0, place }),
        }
    }

    pub(super) fn remove_block(&mut self, number: u32) {
        if let Ok(at) = self.position(number) {
            self.blocks.remove(at);
        }
    }

    /// Where its head lies, or a block.
    pub(super) fn place(&self, block: Option<u32>) -> Option<Place> {
        match block {
            None => Some(self.head),
            Some(number) => self.position(number).ok().map(|at| self.blocks[at].place),
        }
    }

    /// A record that was written again lies elsewhere now, if it is still held where it was; it has to be read again to
    /// count as hot.
    pub(super) fn relocate(&mut self, block: Option<u32>, from: Place, to: Place) -> bool {
        let (place, uses) = match block {
            None => (&mut self.head, &mut self.uses),
            Some(number) => match self.position(number) {
                Ok(at) => {
                    let block = &mut self.blocks[at];
                    (&mut block.place, &mut block.uses)
                }
                Err(_) => return false,
            },
        };
        let is_there = *place == from;
        if is_there {
            (*place, *uses) = (to, 0);
        }
        is_there
    }

    /// Its head is read.
    pub(super) fn use_head(&mut self) {
        self.uses = (self.uses + 1).min(USES_MAX);
    }

    /// A block is read; says where it lies.
    pub(super) fn use_block(&mut self, number: u32) -> Option<Place> {
        let at = self.position(number).ok()?;
        self.use_head();
        let block = &mut self.blocks[at];
        block.uses = (block.uses + 1).min(USES_MAX);
        Some(block.place)
    }

    /// How often it was read since its head was written.
    pub(super) fn uses(&self) -> u8 {
        self.uses
    }

    /// How often a block was read since it was written, and the bytes of its record.
    pub(super) fn block_use(&self, number: u32) -> Option<(u8, u64)> {
        let block = &self.blocks[self.position(number).ok()?];
        Some((block.uses, record_bytes(block.place.payload_bytes)))
    }

    /// The numbers of its blocks, as runs.
    pub(super) fn held(&self) -> Vec<Range<u32>> {
        let mut runs: Vec<Range<u32>> = Vec::new();
        for block in &self.blocks {
            match runs.last_mut() {
                Some(run) if run.end == block.number => run.end += 1,
                _ => runs.push(block.number..block.number + 1),
            }
        }
        runs
    }

    pub(super) fn block_count(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// Whether it has no blocks at all: a response without a body.
    pub(super) fn is_bodiless(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Whether one of its blocks lies in another segment.
    pub(super) fn has_blocks_outside(&self, segment: u64) -> bool {
        self.blocks.iter().any(|block| block.place.segment != segment)
    }

    fn position(&self, number: u32) -> Result<usize, usize> {
        // Blocks come in order as a rule.
        match self.blocks.last() {
            Some(last) if last.number < number => Err(self.blocks.len()),
            _ => self.blocks.binary_search_by_key(&number, |block| block.number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(page: u32) -> Place {
        Place { segment: 1, page, payload_bytes: 100 }
    }

    fn entry() -> Entry {
        let (key, secondary) = (b"/a".as_slice().into(), b"".as_slice().into());
        Entry::new(NewHead { key, secondary, place: place(0), revision: 0, total_bytes: None })
    }

    #[test]
    fn held_blocks_are_told_as_runs() {
        let mut entry = entry();
        for number in [7, 0, 2, 1, 6] {
            entry.take_block(number, place(number));
        }
        assert_eq!(entry.held(), [0..3, 6..8]);
        entry.remove_block(1);
        assert_eq!(entry.held(), [0..1, 2..3, 6..8]);
    }

    #[test]
    fn of_a_head_that_was_written_again_the_later_place_counts_whichever_is_found_first() {
        for places in [[3, 9], [9, 3]] {
            let mut entry = entry();
            for page in places {
                let head = NewHead {
                    key: entry.key.clone(),
                    secondary: entry.secondary.clone(),
                    place: place(page),
                    revision: 1,
                    total_bytes: None,
                };
                entry.take_head(&head);
            }
            assert_eq!(entry.head, place(9));
        }
    }

    #[test]
    fn a_block_that_was_written_again_is_found_at_its_new_place_and_is_cold_there() {
        let mut entry = entry();
        entry.take_block(3, place(3));
        assert_eq!(entry.use_block(3), Some(place(3)));
        assert!(entry.relocate(Some(3), place(3), place(9)));
        assert!(
            !entry.relocate(Some(3), place(3), place(10)) && !entry.relocate(Some(4), place(4), place(9))
        );
        assert_eq!(
            (entry.place(Some(3)), entry.block_use(3).map(|(uses, _)| uses)),
            (Some(place(9)), Some(0))
        );
    }
}
