//! Which entries are held, and how they are found. Pure, and bounded by whoever asks for [`Index::memory`].

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use super::entry::{EntryId, Selector};
use super::held::{Entry, NewHead, Place, RecordRef};
use crate::limits::DEMAND_VARIANTS_MAX;

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
            return entry.take_head(&head);
        }
        let variants = self.keys.get(&head.key).map_or(&[][..], Vec::as_slice);
        let surplus = match self.find(&head.key, &head.secondary) {
            Some(other) => Some(other),
            None if variants.len() >= DEMAND_VARIANTS_MAX => variants.iter().copied().min(),
            None => None,
        };
        match surplus {
            Some(other) if other > id => return false,
            Some(other) => self.remove(other),
            None => {}
        }
        self.keys.entry(Arc::clone(&head.key)).or_default().push(id);
        let entry = Entry::new(head);
        self.memory += entry.memory();
        self.entries.insert(id, entry);
        true
    }

    /// Holds a block of an entry that is held. Where the block is held already, the newer place counts.
    pub(super) fn insert_block(&mut self, id: EntryId, number: u32, place: Place) -> bool {
        self.change(id, |entry| entry.take_block(number, place)).is_some()
    }

    pub(super) fn get(&self, id: EntryId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// The entry with these keys.
    pub(super) fn find(&self, key: &[u8], secondary: &[u8]) -> Option<EntryId> {
        let variants = self.keys.get(key)?;
        variants.iter().copied().find(|id| *self.entries[id].secondary == *secondary)
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
        entry.use_head();
        Some(entry)
    }

    /// Where a block lies that is about to be read.
    pub(super) fn use_block(&mut self, id: EntryId, number: u32) -> Option<Place> {
        self.entries.get_mut(&id)?.use_block(number)
    }

    /// The revision of the next head of an entry.
    pub(super) fn next_revision(&mut self, id: EntryId) -> Option<u32> {
        self.entries.get_mut(&id)?.next_revision()
    }

    /// Where a record lies now.
    pub(super) fn place(&self, record: RecordRef) -> Option<Place> {
        self.entries.get(&record.entry)?.place(record.block)
    }

    /// Whether a record of a segment is held there.
    pub(super) fn is_held_in(&self, record: RecordRef, segment: u64) -> bool {
        self.place(record).is_some_and(|place| place.segment == segment)
    }

    /// A record was written again ([`Entry::relocate`]).
    pub(super) fn relocate(&mut self, record: RecordRef, from: Place, to: Place) -> bool {
        let entry = self.entries.get_mut(&record.entry);
        entry.is_some_and(|entry| entry.relocate(record.block, from, to))
    }

    /// Lets go of a record, if it is still held where it was: an entry that loses its head is gone with all its blocks.
    pub(super) fn forget(&mut self, record: RecordRef, place: Place) -> bool {
        if self.place(record) != Some(place) {
            return false;
        }
        match record.block {
            None => self.remove(record.entry),
            Some(number) => {
                self.change(record.entry, |entry| entry.remove_block(number));
            }
        }
        true
    }

    /// Lets go of an entry.
    pub(super) fn remove(&mut self, id: EntryId) {
        let Some(entry) = self.entries.remove(&id) else { return };
        self.blocks -= entry.block_count();
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

    /// Changes an entry, if it is there, and the counts with it.
    fn change<T>(&mut self, id: EntryId, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let entry = self.entries.get_mut(&id)?;
        let (blocks, memory) = (entry.block_count(), entry.memory());
        let changed = change(entry);
        self.blocks = self.blocks - blocks + entry.block_count();
        self.memory = self.memory - memory + entry.memory();
        Some(changed)
    }
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
}
