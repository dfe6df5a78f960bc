//! The inventory journal: what is cut is cut at a record, and said.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use cache_store::inventory::{BundleRecord, Cut, Decoded, Leaving, Record, append, decode, encode};
use cache_store::{BundleId, Cause, QuarantineReason, VolumeId};
use control_client::content::{BundleKey, BundlePath, Generation};
use proptest::prelude::*;

const VOLUME: VolumeId = VolumeId::new([7; 16]);
const HEAD_BYTES: usize = 32;

fn record() -> impl Strategy<Value = Record> {
    let id = (any::<[u8; 16]>(), any::<u64>())
        .prop_map(|(path_hash, generation)| BundleId { path_hash, generation: Generation::new(generation) });
    let cause = prop::sample::select(vec![
        Cause::Retired,
        Cause::Superseded,
        Cause::Purged,
        Cause::Quarantined(QuarantineReason::Missing),
        Cause::Quarantined(QuarantineReason::Unreadable),
    ]);
    let adopted = ("(/[a-zé0-9]{1,30}){1,5}", any::<u64>(), 0..1000_u64, 1..100_u64, any::<u32>());
    prop_oneof![
        adopted.prop_map(|(path, generation, data_pages, tail_pages, object_count)| {
            let key = BundleKey {
                path: BundlePath::parse(&path).unwrap(),
                generation: Generation::new(generation),
            };
            let (data_bytes, tail_bytes) = (data_pages * 4096, tail_pages * 4096);
            let file_bytes = data_bytes + tail_bytes;
            Record::Adopted(BundleRecord {
                key,
                file_bytes,
                data_bytes,
                object_bytes: data_bytes,
                object_count,
            })
        }),
        (id.clone(), cause, any::<Option<i64>>())
            .prop_map(|(id, cause, written)| Record::Leaving(id, Leaving { cause, written })),
        id.prop_map(Record::Gone),
        Just(Record::Rebuilding),
    ]
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    prop::collection::vec(record(), 0..30)
}

/// A journal to which the records were appended one by one, the checksum after it, and where each append
/// ends; the first is the end of the new journal.
fn appended(records: &[Record]) -> (Vec<u8>, u32, Vec<usize>) {
    let (mut bytes, mut chain) = encode(&[], VOLUME);
    let mut ends = vec![bytes.len()];
    for record in records {
        chain = append(&mut bytes, chain, std::slice::from_ref(record), VOLUME);
        ends.push(bytes.len());
    }
    (bytes, chain, ends)
}

fn gone(numbers: std::ops::Range<u64>) -> Vec<Record> {
    let id = |number: u64| BundleId { path_hash: [number as u8; 16], generation: Generation::new(number) };
    numbers.map(|number| Record::Gone(id(number))).collect()
}

proptest! {
    #[test]
    fn what_is_written_reads_back(records in records(), later in records()) {
        let (mut bytes, chain) = encode(&records, VOLUME);
        let chain = append(&mut bytes, chain, &later, VOLUME);
        let records = [records, later].concat();
        prop_assert_eq!(decode(&bytes, VOLUME), Decoded { records, valid_bytes: bytes.len(), chain, cut: None });
    }

    #[test]
    fn any_truncation_leaves_the_appends_before_it(records in records(), at in any::<prop::sample::Index>()) {
        let (bytes, _, ends) = appended(&records);
        let at = at.index(bytes.len());
        let decoded = decode(&bytes[..at], VOLUME);
        if at < HEAD_BYTES {
            prop_assert!(matches!(decoded.cut, Some(Cut::Head(_))));
            prop_assert!(decoded.records.is_empty());
        } else {
            let whole = ends.iter().filter(|end| **end <= at).count();
            prop_assert_eq!(&decoded.records[..], &records[..whole.saturating_sub(1)]);
            let valid_bytes = whole.checked_sub(1).map_or(HEAD_BYTES, |last| ends[last]);
            prop_assert_eq!(decoded.valid_bytes, valid_bytes);
            prop_assert_eq!(decoded.cut, (valid_bytes != at).then_some(Cut::Torn));
        }
    }

    #[test]
    fn any_flipped_bit_leaves_the_appends_before_it_and_is_damage_unless_it_is_in_the_last(
        records in records(),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let (mut bytes, _, ends) = appended(&records);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let decoded = decode(&bytes, VOLUME);
        if at >= HEAD_BYTES {
            let before = ends.iter().filter(|end| **end <= at).count();
            prop_assert_eq!(&decoded.records[..], &records[..before.saturating_sub(1)]);
            let is_last = before == ends.len() - 1;
            prop_assert_eq!(decoded.cut, Some(if is_last { Cut::Torn } else { Cut::Checksum }));
        } else {
            prop_assert!(matches!(decoded.cut, Some(Cut::Head(_))));
            prop_assert!(decoded.records.is_empty());
        }
    }

    #[test]
    fn an_append_of_which_any_pages_are_missing_is_torn_and_the_appends_before_it_stay(
        before in records(),
        batch in prop::collection::vec(record(), 1..200),
        arrived in prop::collection::vec(any::<bool>(), 64),
    ) {
        let (mut bytes, chain, ends) = appended(&before);
        append(&mut bytes, chain, &batch, VOLUME);
        let start = *ends.last().unwrap();
        let whole = bytes.clone();
        // Pages of 512 bytes, as disks have sectors: what never arrived reads as zeroes.
        for (at, byte) in bytes.iter_mut().enumerate().skip(start) {
            if !arrived[at / 512 % arrived.len()] {
                *byte = 0;
            }
        }
        prop_assume!(bytes != whole);
        let decoded = decode(&bytes, VOLUME);
        prop_assert_eq!((decoded.records, decoded.valid_bytes, decoded.cut), (before, start, Some(Cut::Torn)));
    }

    #[test]
    fn zeroes_after_the_end_are_a_torn_append(records in records(), zeroes in 1..5000_usize) {
        let (mut bytes, _) = encode(&records, VOLUME);
        let valid_bytes = bytes.len();
        bytes.resize(valid_bytes + zeroes, 0);
        let decoded = decode(&bytes, VOLUME);
        prop_assert_eq!((decoded.records, decoded.valid_bytes, decoded.cut), (records, valid_bytes, Some(Cut::Torn)));
    }

    #[test]
    fn a_frame_that_is_lost_or_repeated_ends_what_is_believed(records in prop::collection::vec(record(), 3..10)) {
        let (bytes, _, ends) = appended(&records);
        let without = [&bytes[..ends[1]], &bytes[ends[2]..]].concat();
        let twice = [&bytes[..ends[2]], &bytes[ends[1]..]].concat();
        prop_assert_eq!(&decode(&without, VOLUME).records[..], &records[..1]);
        prop_assert!(decode(&without, VOLUME).cut.is_some());
        prop_assert_eq!(&decode(&twice, VOLUME).records[..], &records[..2]);
        prop_assert!(decode(&twice, VOLUME).cut.is_some());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), whole_head in any::<bool>()) {
        let (mut journal, _) = encode(&[], VOLUME);
        if whole_head {
            journal.extend_from_slice(&bytes);
        } else {
            journal = bytes;
        }
        let decoded = decode(&journal, VOLUME);
        prop_assert!(decoded.valid_bytes <= journal.len());
        prop_assert!(decoded.cut.is_some() || decoded.valid_bytes == journal.len());
    }
}

#[test]
fn a_journal_of_another_volume_is_refused() {
    let (bytes, _) = encode(&[], VolumeId::new([8; 16]));
    assert_eq!(decode(&bytes, VOLUME).cut, Some(Cut::Head("it is the journal of another volume")));
}

#[test]
fn a_flipped_bit_in_a_length_shortly_before_the_end_is_damage_and_no_torn_end() {
    let records = gone(0..400);
    let (mut bytes, _, ends) = appended(&records);
    for at in [5, 9] {
        bytes[ends[380] + at] ^= 4;
        let decoded = decode(&bytes, VOLUME);
        assert_eq!((decoded.cut, decoded.records.len()), (Some(Cut::Checksum), 380));
        bytes[ends[380] + at] ^= 4;
    }
}

#[test]
fn what_is_wrong_anywhere_in_a_new_journal_but_in_its_end_mark_is_damage() {
    for count in [1, 255, 256, 257, 1000] {
        let (bytes, _) = encode(&gone(0..count), VOLUME);
        let last_record = bytes.len() - 21;
        for at in [HEAD_BYTES, HEAD_BYTES + 7, bytes.len() / 2, last_record] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            assert_eq!(decode(&damaged, VOLUME).cut, Some(Cut::Checksum), "byte {at} of {}", bytes.len());
            damaged[at..at + 1].fill(0);
            assert!(decode(&damaged, VOLUME).cut.is_none_or(|cut| cut == Cut::Checksum), "byte {at} is zero");
        }
    }
}
