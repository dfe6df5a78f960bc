//! What of a segment is written again before it leaves. Pure.
//!
//! A block is hot when it was read since it was written, or given from a copy, and the head of an entry is kept when it was read and one of its
//! blocks lies elsewhere, or it has none to have. Of the hot blocks, those that were read most often come first: as many
//! as fit in half a segment, with their heads. So every segment that leaves gives back at least the other half, whatever
//! is hot.

use std::collections::HashMap;

use super::held::{RecordRef, USES_MAX};
use super::index::Index;
use super::record::{HEAD_RECORD_BYTES_MAX, record_bytes};

/// A segment on its way out.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) segment: u64,
    /// What is to be written again: the blocks of an entry, then its head.
    candidates: Vec<RecordRef>,
    /// How many of them are done with.
    done: usize,
    /// Bytes that may still be written.
    budget_bytes: u64,
    /// Bytes of the record that was given last.
    given_bytes: u64,
}

impl Leaving {
    /// Decides for a segment that held these records.
    pub(super) fn plan(index: &Index, segment: u64, records: &[RecordRef], budget_bytes: u64) -> Self {
        let mut held: Vec<RecordRef> =
            records.iter().copied().filter(|record| index.is_held_in(*record, segment)).collect();
        // A head after the blocks of its entry.
        held.sort_unstable_by_key(|record| (record.entry, record.block.is_none(), record.block));
        held.dedup();
        let least_uses = least_uses(index, &held, budget_bytes);
        held.retain(|record| match record.block {
            None => is_wanted_head(index, *record),
            Some(number) => uses(index, *record, number).is_some_and(|(uses, _)| uses >= least_uses),
        });
        Self { segment, candidates: held, done: 0, budget_bytes, given_bytes: 0 }
    }

    /// The next record to write again, unless the budget is used up.
    pub(super) fn next(&mut self, index: &Index) -> Option<RecordRef> {
        let (segment, left) = (self.segment, &self.candidates[self.done..]);
        let skipped = left.iter().position(|record| {
            let is_worth_it = || record.block.is_some() || is_worth_a_head(index, *record, segment);
            index.is_held_in(*record, segment) && is_worth_it()
        })?;
        let record = left[skipped];
        self.given_bytes = record_bytes(index.place(record)?.payload_bytes);
        self.budget_bytes = self.budget_bytes.checked_sub(self.given_bytes)?;
        self.done += skipped + 1;
        Some(record)
    }

    /// The record that was given last could not be written now: it is the next one again.
    pub(super) fn put_back(&mut self) {
        self.budget_bytes += std::mem::take(&mut self.given_bytes);
        self.done = self.done.saturating_sub(1);
    }
}

/// How often a block has to have been read for all of that kind to fit.
fn least_uses(index: &Index, held: &[RecordRef], budget_bytes: u64) -> u8 {
    let mut bytes_by_uses = [0; USES_MAX as usize + 1];
    let mut entries: HashMap<_, u8> = HashMap::new();
    for record in held {
        let Some((uses, bytes)) = record.block.and_then(|number| uses(index, *record, number)) else {
            continue;
        };
        bytes_by_uses[usize::from(uses)] += bytes;
        let most = entries.entry(record.entry).or_default();
        *most = uses.max(*most);
    }
    for (entry, uses) in entries {
        let head_bytes = index.get(entry).map_or(0, |entry| record_bytes(entry.head.payload_bytes));
        bytes_by_uses[usize::from(uses)] += head_bytes.min(HEAD_RECORD_BYTES_MAX as u64);
    }
    let mut least_uses = USES_MAX;
    let mut bytes = bytes_by_uses[usize::from(USES_MAX)];
    for uses in (1..USES_MAX).rev() {
        bytes += bytes_by_uses[usize::from(uses)];
        if bytes > budget_bytes {
            break;
        }
        least_uses = uses;
    }
    least_uses
}

fn uses(index: &Index, record: RecordRef, number: u32) -> Option<(u8, u64)> {
    index.get(record.entry)?.block_use(number)
}

fn is_wanted_head(index: &Index, record: RecordRef) -> bool {
    index.get(record.entry).is_some_and(|entry| entry.uses() > 0)
}

/// A head without blocks is worth nothing, unless it never had any.
fn is_worth_a_head(index: &Index, record: RecordRef, segment: u64) -> bool {
    index.get(record.entry).is_some_and(|entry| entry.is_bodiless() || entry.has_blocks_outside(segment))
}

#[cfg(test)]
mod tests {
    use super::super::entry::EntryId;
    use super::super::held::{NewHead, Place};
    use super::*;

    const KIB_56: u32 = 56 << 10;

    /// Entries in segment 1 with one block each, read so often.
    fn index(uses: &[u8]) -> (Index, Vec<RecordRef>) {
        let mut index = Index::default();
        let mut records = Vec::new();
        for (id, uses) in uses.iter().enumerate() {
            let entry = EntryId(id as u64);
            let place = |page| Place { segment: 1, page, payload_bytes: KIB_56 };
            let head = NewHead {
                key: id.to_string().as_bytes().into(),
                secondary: std::sync::Arc::default(),
                place: Place { payload_bytes: 10, ..place(0) },
                revision: 0,
                total_bytes: None,
            };
            index.insert_head(entry, head);
            index.insert_block(entry, 0, place(1));
            (0..*uses).for_each(|_| assert!(index.use_block(entry, 0).is_some()));
            records.extend([RecordRef { entry, block: None }, RecordRef { entry, block: Some(0) }]);
        }
        (index, records)
    }

    /// What is written again, as entry and block.
    fn rewritten(index: &mut Index, records: &[RecordRef], budget_bytes: u64) -> Vec<(u64, Option<u32>)> {
        let mut leaving = Leaving::plan(index, 1, records, budget_bytes);
        let mut rewritten = Vec::new();
        while let Some(record) = leaving.next(index) {
            let from = index.place(record).unwrap();
            index.relocate(record, from, Place { segment: 2, ..from });
            rewritten.push((record.entry.0, record.block));
        }
        rewritten
    }

    #[test]
    fn what_was_read_is_written_again_with_its_head_and_nothing_else() {
        let (mut index, records) = index(&[0, 1, 0, 2]);
        let rewritten = rewritten(&mut index, &records, 1 << 20);
        assert_eq!(rewritten, [(1, Some(0)), (1, None), (3, Some(0)), (3, None)]);
    }

    #[test]
    fn what_could_not_be_written_is_given_again_within_the_same_budget() {
        let (index, records) = index(&[1]);
        let mut leaving = Leaving::plan(&index, 1, &records, 64 << 10);
        for _ in 0..3 {
            assert_eq!(leaving.next(&index), Some(records[1]));
            leaving.put_back();
        }
    }

    #[test]
    fn where_not_all_fits_what_was_read_most_often_is_kept() {
        let (mut index, records) = index(&[1, 3, 1, 2, 1]);
        let rewritten = rewritten(&mut index, &records, 140 << 10);
        assert_eq!(rewritten, [(1, Some(0)), (1, None), (3, Some(0)), (3, None)]);
    }

    #[test]
    fn however_hot_a_segment_is_no_more_than_the_budget_is_written_again() {
        let (mut index, records) = index(&[3; 10]);
        let rewritten = rewritten(&mut index, &records, 200 << 10);
        assert_eq!(rewritten.iter().filter(|(_, block)| block.is_some()).count(), 3);
    }

    #[test]
    fn a_head_is_kept_for_blocks_that_lie_elsewhere_and_where_it_has_none_to_have() {
        let (mut index, mut records) = index(&[0, 0, 0]);
        for id in [0, 1] {
            let place = Place { segment: 2, page: 1, payload_bytes: KIB_56 };
            index.insert_block(EntryId(id), 1, place);
        }
        let bodiless = RecordRef { entry: EntryId(2), block: Some(0) };
        index.forget(bodiless, index.place(bodiless).unwrap());
        records.retain(|record| *record != bodiless);
        index.use_head(EntryId(0));
        index.use_head(EntryId(2));
        assert_eq!(rewritten(&mut index, &records, 1 << 20), [(0, None), (2, None)]);
    }
}
