//! The inventory journal: what is cut is cut at a record, and said.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use cache_store::inventory::{BundleRecord, Cut, Decoded, Record, decode, encode};
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
        (id.clone(), cause).prop_map(|(id, cause)| Record::Leaving(id, cause)),
        id.prop_map(Record::Gone),
    ]
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    prop::collection::vec(record(), 0..30)
}

/// Where each record ends.
fn ends(records: &[Record]) -> Vec<usize> {
    (0..=records.len()).map(|count| encode(&records[..count], VOLUME).0.len()).collect()
}

proptest! {
    #[test]
    fn what_is_written_reads_back(records in records()) {
        let (bytes, chain) = encode(&records, VOLUME);
        prop_assert_eq!(decode(&bytes, VOLUME), Decoded { records, valid_bytes: bytes.len(), chain, cut: None });
    }

    #[test]
    fn any_truncation_leaves_the_records_before_it(records in records(), at in any::<prop::sample::Index>()) {
        let (bytes, _) = encode(&records, VOLUME);
        let at = at.index(bytes.len());
        let decoded = decode(&bytes[..at], VOLUME);
        let whole = ends(&records).iter().filter(|end| **end <= at).count();
        if at < HEAD_BYTES {
            prop_assert!(matches!(decoded.cut, Some(Cut::Head(_))));
            prop_assert!(decoded.records.is_empty());
        } else {
            prop_assert_eq!(&decoded.records[..], &records[..whole - 1]);
            prop_assert_eq!(decoded.valid_bytes, ends(&records)[whole - 1]);
            prop_assert_eq!(decoded.cut, (decoded.valid_bytes != at).then_some(Cut::Torn));
        }
    }

    #[test]
    fn any_flipped_bit_leaves_the_records_before_it_and_a_reason(
        records in records(),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let (mut bytes, _) = encode(&records, VOLUME);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let decoded = decode(&bytes, VOLUME);
        prop_assert!(decoded.cut.is_some());
        if at >= HEAD_BYTES {
            let before = ends(&records).iter().filter(|end| **end <= at).count() - 1;
            prop_assert_eq!(&decoded.records[..], &records[..before]);
        } else {
            prop_assert!(decoded.records.is_empty());
        }
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
        let (bytes, _) = encode(&records, VOLUME);
        let ends = ends(&records);
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
