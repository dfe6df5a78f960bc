//! Which entries are held, and where their records lie. Pure, and bounded by whoever asks for [`Index::memory`].

use std::collections::{BTreeMap, HashMap};
use std::mem::size_of;
use std::ops::{Bound, Range};
use std::sync::Arc;

use super::entry::{EntryId, Selector};
use super::record::record_bytes;
use crate::limits::DEMAND_VARIANTS_MAX;

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

/// What an entry's head says, and where it lies.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Arc<[u8]>,
    pub(super) secondary: Arc<[u8]>,
    pub(super) head: Place,
    pub(super) revision: u32,
    /// The revision that was last given out.
    revision_given: u32,
    pub(super) total_bytes: Option<u64>,
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

/// A head that is to be held.
#[derive(Clone, Debug)]
pub(super) struct NewHead {
    pub(super) key: Arc<[u8]>,
    pub(super) secondary: Arc<[u8]>,
    pub(super) place: Place,
    pub(super) revision: u32,
    pub(super) total_bytes: Option<u64>,
}

/// One record of a segment: an entry's head, or its block of that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RecordRef {
    pub(super) entry: EntryId,
    pub(super) block: Option<u32>,
}

/// What was held in a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Evicted {
    pub(super) entries: u64,
    pub(super) blocks: u64,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    /// By primary key, in order, so that a prefix is a range.
    keys: BTreeMap<Arc<[u8]>, Vec<EntryId>>,
    entries: HashMap<EntryId, Entry>,
    blocks: u64,
    memory: u64,
}

impl Index {
    /// Holds a head. The head of an entry that is held replaces it where its revision is not older; a new entry
    /// replaces the one with the same keys, unless that is the newer one. `false` where it is not held.
    pub(super) fn insert_head(&mut self, id: EntryId, head: NewHead) -> bool {
        if let Some(entry) = self.entries.get_mut(&id) {
            if head.revision < entry.revision {
                return false;
            }
            (entry.head, entry.revision) = (head.place, head.revision);
            entry.revision_given = entry.revision_given.max(head.revision);
            entry.total_bytes = head.total_bytes;
            return true;
        }
        let variants = self.keys.get(&head.key).map_or(&[][..], Vec::as_slice);
        let same = variants.iter().copied().find(|other| self.entries[other].secondary == head.secondary);
        let surplus = match same {
            Some(other) => Some(other),
            None if variants.len() >= DEMAND_VARIANTS_MAX => variants.iter().copied().min(),
            None => None,
        };
        match surplus {
            Some(other) if other > id => return false,
            Some(other) => self.remove(other),
            None => {}
        }
        self.memory += entry_memory(&head);
        self.keys.entry(Arc::clone(&head.key)).or_default().push(id);
        let entry = Entry {
            key: head.key,
            secondary: head.secondary,
            head: head.place,
            revision: head.revision,
            revision_given: head.revision,
            total_bytes: head.total_bytes,
            uses: 0,
            blocks: Vec::new(),
        };
        self.entries.insert(id, entry);
        true
    }

    /// Holds a block of an entry that is held. Where the block is held already, the newer place counts.
    pub(super) fn insert_block(&mut self, id: EntryId, number: u32, place: Place) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        match entry.position(number) {
            Ok(at) => {
                let held = &mut entry.blocks[at];
                held.place = held.place.max(place);
            }
            Err(at) => {
                entry.blocks.insert(at, HeldBlock { number, uses: 0, place });
                self.blocks += 1;
                self.memory += BLOCK_MEMORY;
            }
        }
        true
    }

    pub(super) fn get(&self, id: EntryId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// The entries of a primary key, the newest first.
    pub(super) fn variants(&self, key: &[u8]) -> Vec<EntryId> {
        let mut ids = self.keys.get(key).cloned().unwrap_or_default();
        ids.sort_unstable_by(|one, other| other.cmp(one));
        ids
    }

    /// Where a head lies that is about to be read.
    pub(super) fn use_head(&mut self, id: EntryId) -> Option<&Entry> {
        let entry = self.entries.get_mut(&id)?;
        entry.uses = (entry.uses + 1).min(USES_MAX);
        Some(entry)
    }

    /// Where a block lies that is about to be read.
    pub(super) fn use_block(&mut self, id: EntryId, number: u32) -> Option<Place> {
        let entry = self.entries.get_mut(&id)?;
        let at = entry.position(number).ok()?;
        entry.uses = (entry.uses + 1).min(USES_MAX);
        let block = &mut entry.blocks[at];
        block.uses = (block.uses + 1).min(USES_MAX);
        Some(block.place)
    }

    /// The revision of the next head of an entry.
    pub(super) fn next_revision(&mut self, id: EntryId) -> Option<u32> {
        let entry = self.entries.get_mut(&id)?;
        // An entry that was updated four billion times has no newer head: it is stored anew.
        entry.revision_given = entry.revision_given.checked_add(1)?;
        Some(entry.revision_given)
    }

    /// Where a record lies now.
    pub(super) fn place(&self, record: RecordRef) -> Option<Place> {
        let entry = self.entries.get(&record.entry)?;
        match record.block {
            None => Some(entry.head),
            Some(number) => entry.position(number).ok().map(|at| entry.blocks[at].place),
        }
    }

    /// A record that was written again lies elsewhere now, if it is still held where it was; it has to be read again to
    /// count as hot.
    pub(super) fn relocate(&mut self, record: RecordRef, from: Place, to: Place) -> bool {
        let Some(entry) = self.entries.get_mut(&record.entry) else { return false };
        let (place, uses) = match record.block {
            None => (&mut entry.head, &mut entry.uses),
            Some(number) => match entry.position(number) {
                Ok(at) => {
                    let block = &mut entry.blocks[at];
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

    /// Lets go of a record, if it is still held where it was: an entry that loses its head is gone with all its blocks.
    pub(super) fn forget(&mut self, record: RecordRef, place: Place) -> bool {
        if self.place(record) != Some(place) {
            return false;
        }
        match record.block {
            None => self.remove(record.entry),
            Some(number) => self.remove_block(record.entry, number),
        }
        true
    }

    /// Lets go of an entry.
    pub(super) fn remove(&mut self, id: EntryId) {
        let Some(entry) = self.entries.remove(&id) else { return };
        self.blocks -= entry.blocks.len() as u64;
        self.memory -= entry.memory();
        if let Some(variants) = self.keys.get_mut(&entry.key) {
            variants.retain(|other| *other != id);
            if variants.is_empty() {
                self.keys.remove(&entry.key);
            }
        }
    }

    /// Lets go of what lies in a segment, which held these records.
    pub(super) fn evict(&mut self, segment: u64, records: &[RecordRef]) -> Evicted {
        let before = (self.entries.len() as u64, self.blocks);
        for record in records {
            if let Some(place) = self.place(*record).filter(|place| place.segment == segment) {
                self.forget(*record, place);
            }
        }
        Evicted { entries: before.0 - self.entries.len() as u64, blocks: before.1 - self.blocks }
    }

    /// Lets go of all entries that a purge selects, and returns how many there were.
    pub(super) fn purge(&mut self, selector: Selector<'_>) -> usize {
        let ids: Vec<EntryId> = match selector {
            Selector::Exact(key) => self.variants(key),
            Selector::Prefix(prefix) => {
                let from = (Bound::Included(prefix), Bound::Unbounded);
                let within = self.keys.range::<[u8], _>(from).take_while(|(key, _)| key.starts_with(prefix));
                within.flat_map(|(_, ids)| ids.iter().copied()).collect()
            }
        };
        for id in &ids {
            self.remove(*id);
        }
        ids.len()
    }

    pub(super) fn entry_count(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(super) fn block_count(&self) -> u64 {
        self.blocks
    }

    /// Bytes of memory, by this count.
    pub(super) fn memory(&self) -> u64 {
        self.memory
    }

    /// Bytes of memory that a record adds at most.
    pub(super) fn memory_of(key_bytes: usize) -> u64 {
        ENTRY_MEMORY + BLOCK_MEMORY + key_bytes as u64
    }

    fn remove_block(&mut self, id: EntryId, number: u32) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if let Ok(at) = entry.position(number) {
            entry.blocks.remove(at);
            self.blocks -= 1;
            self.memory -= BLOCK_MEMORY;
        }
    }
}

impl Entry {
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

    /// How often it was read since its head was written.
    pub(super) fn uses(&self) -> u8 {
        self.uses
    }

    /// Whether it has no blocks at all: a response without a body.
    pub(super) fn is_bodiless(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Whether one of its blocks lies in another segment.
    pub(super) fn has_blocks_outside(&self, segment: u64) -> bool {
        self.blocks.iter().any(|block| block.place.segment != segment)
    }

    /// How often a block was read since it was written, and the bytes of its record.
    pub(super) fn block_use(&self, number: u32) -> Option<(u8, u64)> {
        let block = &self.blocks[self.position(number).ok()?];
        Some((block.uses, record_bytes(block.place.payload_bytes)))
    }

    fn position(&self, number: u32) -> Result<usize, usize> {
        // Blocks come in order as a rule.
        match self.blocks.last() {
            Some(last) if last.number < number => Err(self.blocks.len()),
            _ => self.blocks.binary_search_by_key(&number, |block| block.number),
        }
    }

    fn memory(&self) -> u64 {
        let keys = self.key.len() + self.secondary.len();
        ENTRY_MEMORY + keys as u64 + self.blocks.len() as u64 * BLOCK_MEMORY
    }
}

fn entry_memory(head: &NewHead) -> u64 {
    ENTRY_MEMORY + (head.key.len() + head.secondary.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(segment: u64, page: u32) -> Place {
        Place { segment, page, payload_bytes: 100 }
    }

    fn insert(index: &mut Index, id: u64, key: &str, secondary: &str, revision: u32) -> bool {
        let head = NewHead {
            key: key.as_bytes().into(),
            secondary: secondary.as_bytes().into(),
            place: place(id, revision),
            revision,
            total_bytes: Some(id),
        };
        index.insert_head(EntryId(id), head)
    }

    fn ids(index: &Index, key: &str) -> Vec<u64> {
        index.variants(key.as_bytes()).into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn in_whatever_order_heads_are_found_the_newest_entry_and_its_newest_revision_are_held() {
        let heads = [(1, 0), (1, 1), (2, 0), (2, 1)];
        for first in 0..heads.len() {
            let mut index = Index::default();
            for (id, revision) in heads.iter().cycle().skip(first).take(heads.len()) {
                insert(&mut index, *id, "/a", "", *revision);
            }
            assert_eq!(ids(&index, "/a"), [2]);
            assert_eq!(index.get(EntryId(2)).unwrap().head, place(2, 1));
        }
    }

    #[test]
    fn variants_of_one_key_are_bounded_and_the_oldest_goes() {
        let mut index = Index::default();
        for id in 0..=DEMAND_VARIANTS_MAX as u64 {
            assert!(insert(&mut index, id, "/a", &id.to_string(), 0));
        }
        let expected: Vec<u64> = (1..=DEMAND_VARIANTS_MAX as u64).rev().collect();
        assert_eq!(ids(&index, "/a"), expected);
    }

    #[test]
    fn a_prefix_purges_what_starts_with_it() {
        let mut index = Index::default();
        for (id, key) in ["/a", "/a/1", "/a/2", "/ab", "/b"].into_iter().enumerate() {
            insert(&mut index, id as u64, key, "", 0);
        }
        assert_eq!(index.purge(Selector::Prefix(b"/a/")), 2);
        assert_eq!(index.purge(Selector::Exact(b"/a")), 1);
        assert_eq!(index.purge(Selector::Exact(b"/a")), 0);
        assert_eq!((ids(&index, "/ab"), ids(&index, "/b")), (vec![3], vec![4]));
        assert_eq!(index.purge(Selector::Prefix(b"")), 2);
        assert_eq!((index.memory(), index.entry_count()), (0, 0));
    }

    #[test]
    fn a_segment_takes_along_what_still_lies_in_it() {
        let mut index = Index::default();
        insert(&mut index, 1, "/a", "", 0);
        insert(&mut index, 2, "/b", "", 0);
        for (id, number, segment) in [(1, 0, 1), (1, 1, 2), (2, 0, 1), (2, 1, 2)] {
            assert!(index.insert_block(EntryId(id), number, place(segment, number)));
        }
        assert!(!index.insert_block(EntryId(9), 0, place(1, 1)));
        let record = RecordRef { entry: EntryId(2), block: Some(0) };
        assert!(index.relocate(record, place(1, 0), place(3, 7)));
        assert!(!index.relocate(record, place(1, 0), place(3, 8)));
        let records = [(1, None), (1, Some(0)), (2, Some(0))];
        let records = records.map(|(id, block)| RecordRef { entry: EntryId(id), block });
        // The first entry's head lies in segment 1, and so both of its blocks go.
        assert_eq!(index.evict(1, &records), Evicted { entries: 1, blocks: 2 });
        assert!(index.get(EntryId(2)).unwrap().held().into_iter().flatten().eq([0, 1]));
        index.remove(EntryId(2));
        assert_eq!((index.memory(), index.block_count()), (0, 0));
    }

    #[test]
    fn held_blocks_are_told_as_runs() {
        let mut index = Index::default();
        insert(&mut index, 1, "/a", "", 0);
        for number in [7, 0, 2, 1, 6] {
            index.insert_block(EntryId(1), number, place(1, number));
        }
        assert_eq!(index.get(EntryId(1)).unwrap().held(), [0..3, 6..8]);
        assert!(index.forget(RecordRef { entry: EntryId(1), block: Some(1) }, place(1, 1)));
        assert_eq!(index.get(EntryId(1)).unwrap().held(), [0..1, 2..3, 6..8]);
    }
}
