//! What may be held: the answers that were stored, and which of them had been asked for before a purge.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;
use super::{KEYS, SECONDARIES, Slot};
use crate::demand::{PurgeMark, Selector};

/// What may be served: which answers were stored, and which of them had been asked for before a purge.
pub(super) struct Model {
    pub(super) site: Site,
    pub(super) log: Option<DemandLog>,
    /// Counts what was asked for: the number of an answer. A head is of one answer, a block of the same or another one.
    answers: u32,
    /// The bytes of the blocks of an answer.
    lengths: BTreeMap<u32, usize>,
    /// Heads that were stored: answer and revision.
    heads: BTreeSet<(Slot, u32, u32)>,
    /// The head of each object that this process stored or found last.
    pub(super) newest: BTreeMap<Slot, (u32, u32, EntryId)>,
    /// What was asked for and has not come.
    pub(super) under_way: BTreeMap<Slot, (u32, PurgeMark)>,
    /// All answers up to this one of a key have been purged.
    purged: [u32; KEYS.len()],
    /// Some file was damaged at some time: not all that is held can be read.
    pub(super) is_damaged: bool,
}

/// What a lookup told.
pub(super) type Held = BTreeMap<Slot, (EntryId, Vec<u32>)>;

/// A block says of which answer it is.
fn block(answer: u32, number: u32, length: usize) -> Vec<u8> {
    [&answer.to_le_bytes(), &bytes(length, (answer * 64 + number) as usize)[..]].concat()
}

impl Model {
    pub(super) fn new(shape: Shape) -> Self {
        let site = Site::new(shape);
        let log = Some(site.log());
        let (lengths, heads, newest, under_way) = Default::default();
        let purged = [0; KEYS.len()];
        Self { site, log, answers: 0, lengths, heads, newest, under_way, purged, is_damaged: false }
    }

    pub(super) fn log(&self) -> &DemandLog {
        self.log.as_ref().unwrap()
    }

    /// The number of an answer that is asked for now.
    pub(super) fn answer(&mut self, block_bytes: usize) -> u32 {
        self.answers += 1;
        self.lengths.insert(self.answers, block_bytes);
        self.answers
    }

    pub(super) fn store(&mut self, slot: Slot, blocks: u32, length: usize) {
        let asked = (self.answer(length), self.log().mark());
        let id = self.append_head(slot, asked).expect("nothing was purged since");
        (0..blocks).for_each(|number| self.append(id, asked.0, number, asked.1));
    }

    fn append_head(&mut self, slot: Slot, (answer, asked): (u32, PurgeMark)) -> Option<EntryId> {
        let metadata = format!("{} {} {answer} 0", slot.0, slot.1);
        let entry = NewEntry {
            key: KEYS[slot.0].as_bytes(),
            secondary: SECONDARIES[slot.1].as_bytes(),
            metadata: metadata.as_bytes(),
            total_bytes: Some(answer.into()),
        };
        self.heads.insert((slot, answer, 0));
        match self.log().append_head(&entry, asked) {
            Ok(id) => {
                self.newest.insert(slot, (answer, 0, id));
                Some(id)
            }
            Err(AppendError::Gone) => None,
            Err(error) => panic!("{error}"),
        }
    }

    pub(super) fn append(&self, id: EntryId, answer: u32, number: u32, asked: PurgeMark) {
        let bytes = block(answer, number, self.lengths[&answer]);
        let was_held = self.log().read_block(id, number).unwrap().is_some();
        match self.log().append_block(id, number, &bytes, asked) {
            Ok(()) => {
                let read = self.log().read_block(id, number).unwrap();
                assert!(self.is_damaged || read.is_some_and(|read| was_held || read.as_ref() == bytes));
            }
            Err(AppendError::Gone) => {}
            Err(error) => panic!("{error}"),
        }
    }

    pub(super) fn update(&mut self, slot: Slot) {
        let asked = (self.answer(1000), self.log().mark());
        self.update_head(slot, asked);
    }

    fn update_head(&mut self, slot: Slot, (answer, asked): (u32, PurgeMark)) {
        let Some((_, revision, id)) = self.newest.get(&slot).copied() else { return };
        let metadata = format!("{} {} {answer} {}", slot.0, slot.1, revision + 1);
        // One that makes its own entry leave is written, refused, and found by the next process if this one is killed.
        self.heads.insert((slot, answer, revision + 1));
        match self.log().update_head(id, metadata.as_bytes(), Some(answer.into()), asked) {
            Ok(()) => drop(self.newest.insert(slot, (answer, revision + 1, id))),
            Err(AppendError::Gone) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// A part of an object has come, maybe long after it was asked for: into the entry that has other parts, or a new one.
    pub(super) fn arrive(&mut self, slot: Slot, number: u32) {
        let Some((answer, asked)) = self.under_way.remove(&slot) else { return };
        let id = match self.read(slot) {
            Some((id, _)) => {
                self.update_head(slot, (answer, asked));
                Some(id)
            }
            None => self.append_head(slot, (answer, asked)),
        };
        if let Some(id) = id {
            self.append(id, answer, number, asked);
        }
    }

    pub(super) fn purge(&mut self, selector: Selector<'_>, selects: impl Fn(&str) -> bool) {
        self.log().purge(selector).unwrap();
        for (key, purged) in self.purged.iter_mut().enumerate() {
            if selects(KEYS[key]) {
                *purged = self.answers;
                self.newest.retain(|slot, _| slot.0 != key);
            }
        }
    }

    /// Whether some may have gone for want of memory.
    pub(super) fn has_dropped(&self) -> bool {
        self.log().stats().index_bytes > self.site.shape.index_bytes_max / 2
    }

    pub(super) fn read_all(&mut self) -> Held {
        let slots =
            (0..KEYS.len()).flat_map(|key| (0..SECONDARIES.len()).map(move |secondary| (key, secondary)));
        slots.filter_map(|slot| self.read(slot).map(|held| (slot, held))).collect()
    }

    /// Reads all that is held of an object, and checks that it is what it may be.
    pub(super) fn read(&mut self, slot: Slot) -> Option<(EntryId, Vec<u32>)> {
        let views = self.log().entries(KEYS[slot.0].as_bytes()).unwrap();
        assert!(views.len() <= SECONDARIES.len());
        let view = views.into_iter().find(|view| &*view.secondary == SECONDARIES[slot.1].as_bytes())?;
        let text = String::from_utf8(view.metadata.into()).unwrap();
        let numbers: Vec<u32> = text.split(' ').map(|number| number.parse().unwrap()).collect();
        let [key, secondary, answer, revision] = numbers[..] else { panic!("{text}") };
        assert_eq!((key as usize, secondary as usize), slot);
        assert!(self.heads.contains(&(slot, answer, revision)));
        assert_eq!(view.total_bytes, Some(answer.into()));
        assert!(answer > self.purged[slot.0], "{text} was asked for before a purge");
        let found = (answer, revision, view.id);
        assert_eq!(*self.newest.entry(slot).or_insert(found), found);
        let mut held = Vec::new();
        for number in view.held.into_iter().flatten() {
            match self.log().read_block(view.id, number).unwrap() {
                Some(read) => {
                    let answer = u32::from_le_bytes(*read.as_ref().first_chunk().unwrap());
                    assert_eq!(read.as_ref(), block(answer, number, self.lengths[&answer]));
                    assert!(answer > self.purged[slot.0], "{answer} was asked for before a purge");
                }
                None => assert!(self.is_damaged),
            }
            held.push(number);
        }
        Some((view.id, held))
    }

    pub(super) fn check_bounds(&self) {
        let (stats, shape) = (self.log().stats(), self.site.shape);
        assert_eq!(stats.bytes, self.site.segment_bytes());
        assert!(stats.bytes <= shape.capacity_bytes, "{stats:?}");
        assert!(stats.index_bytes <= shape.index_bytes_max, "{stats:?}");
    }
}
