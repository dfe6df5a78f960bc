//! Replays the inputs that fuzzing found worth keeping, and holds the seeds against the format: a bundle or a
//! journal that an earlier program wrote stays readable. `fuzz/README.md` says how the others came about.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[path = "../../fuzz/src/bundle.rs"]
mod bundle;
#[path = "../../fuzz/src/inventory.rs"]
mod inventory;
#[path = "../../fuzz/src/replay.rs"]
mod replay;

use std::path::Path;

use cache_store::format::{
    CHUNK_BYTES, Contents, ObjectEntry, TRAILER_BYTES, decode_tail, encode_tail, place,
};
use cache_store::inventory::{BundleRecord, Leaving, Record, append, encode};
use cache_store::limits::LAST_MODIFIED_MAX;
use cache_store::{BundleId, Cause, QuarantineReason, VolumeId};
use control_client::content::{BundleKey, BundlePath, Generation, ObjectName, Sha256};

const VOLUME: VolumeId = VolumeId::new(*b"a volume of old.");

#[test]
fn every_tail_of_the_corpus_is_refused_or_keeps_what_lookups_rely_on() {
    replay::replay("bundle", bundle::check);
}

#[test]
fn every_journal_of_the_corpus_is_believed_up_to_its_first_damage() {
    replay::replay("inventory", inventory::check);
}

#[test]
fn bundles_and_journals_are_written_as_they_have_always_been() {
    let bundles = bundle_seeds().into_iter().map(|(name, bytes)| ("bundle", name, bytes));
    let journals = journal_seeds().into_iter().map(|(name, bytes)| ("inventory", name, bytes));
    for (target, name, bytes) in bundles.chain(journals) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target).join(name);
        // For a new version of the format: its seeds are added, those of the earlier ones stay.
        if std::env::var_os("OCA_WRITE_SEEDS").is_some() {
            std::fs::write(&path, &bytes).unwrap();
        }
        assert!(std::fs::read(&path).unwrap() == bytes, "{} is not what is written today", path.display());
    }
}

/// Footers with their trailers, without the zeroes between them; the last one with them.
fn bundle_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let one = tail("/titles/abc/1080p", 1, &[("00001.m4s", "video/mp4", 1000)]);
    vec![
        ("one_object", without_zeroes(&one)),
        ("at_the_root", without_zeroes(&tail("/", 0, &[("a", "text/plain", 1)]))),
        ("empty_object", without_zeroes(&tail("/a", 2, &[("empty", "video/mp4", 0)]))),
        ("several_types", without_zeroes(&tail("/a/b", u64::MAX, &SEVERAL))),
        (
            "several_chunks",
            without_zeroes(&tail("/long", 3, &[("a", "video/mp4", 200_000), ("b", "audio/mp4", 70_000)])),
        ),
        (
            "names_in_utf_8",
            without_zeroes(&tail(
                "/é/日本",
                4,
                &[("%2F", "text/vtt", 5), ("a b", "text/vtt", 5), ("é", "text/vtt", 5)],
            )),
        ),
        ("with_its_zeroes", one),
    ]
}

const SEVERAL: [(&str, &str, u64); 6] = [
    ("00001.m4s", "video/iso.segment", 4096),
    ("00002.m4s", "video/iso.segment", 4097),
    ("en.vtt", "text/vtt; charset=utf-8", 120),
    ("init.mp4", "video/mp4", 800),
    ("manifest.mpd", "application/dash+xml", 0),
    ("playlist.m3u8", "application/vnd.apple.mpegurl", 4095),
];

fn tail(path: &str, generation: u64, objects: &[(&str, &str, u64)]) -> Vec<u8> {
    let (ranges, data_bytes) = place(objects.iter().map(|&(_, _, length)| length)).unwrap();
    let entries =
        objects.iter().zip(ranges).enumerate().map(|(index, (&(name, media_type, _), range))| ObjectEntry {
            name: ObjectName::parse(name).unwrap(),
            media_type: media_type.into(),
            range,
            last_modified: [784_111_777, 0, LAST_MODIFIED_MAX][index % 3],
            sha256: Sha256::new([index as u8; 32]),
        });
    let contents = Contents {
        path: BundlePath::parse(path).unwrap(),
        generation: Generation::new(generation),
        descriptor_digest: Sha256::new([0xdd; 32]),
        objects: entries.collect(),
        data_bytes,
        chunk_checksums: (0..data_bytes.div_ceil(CHUNK_BYTES) as u32)
            .map(|chunk| chunk * 0x0101_0101)
            .collect(),
    };
    let tail = encode_tail(&contents).unwrap();
    assert!(decode_tail(&tail, data_bytes + tail.len() as u64).is_ok());
    tail
}

fn without_zeroes(tail: &[u8]) -> Vec<u8> {
    let (rest, trailer) = tail.split_last_chunk::<TRAILER_BYTES>().unwrap();
    let footer_bytes = u32::from_le_bytes(*trailer[24..].first_chunk().unwrap());
    [&rest[..footer_bytes as usize], trailer].concat()
}

fn journal_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let key = |path: &str, generation| BundleKey {
        path: BundlePath::parse(path).unwrap(),
        generation: Generation::new(generation),
    };
    let adopted = |path: &str, generation, data_bytes, object_count| {
        let key = key(path, generation);
        Record::Adopted(BundleRecord {
            key,
            file_bytes: data_bytes + 8192,
            data_bytes,
            object_bytes: data_bytes / 2,
            object_count,
        })
    };
    let id = |path: &str, generation| BundleId::of(&key(path, generation));
    let leaving = |cause| Leaving { cause, written: None };
    let life = [
        adopted("/a", 1, 4096, 1),
        adopted("/a", 2, 1 << 30, 900),
        Record::Leaving(id("/a", 1), leaving(Cause::Superseded)),
        Record::Gone(id("/a", 1)),
        Record::Leaving(id("/a", 2), leaving(Cause::Quarantined(QuarantineReason::Truncated))),
    ];
    let causes = [Cause::Retired, Cause::Superseded, Cause::Purged];
    let causes: Vec<_> =
        causes.into_iter().map(|cause| Record::Leaving(id("/b", 7), leaving(cause))).collect();
    let longest = format!("/{}", "p".repeat(BundlePath::BYTES_MAX - 1));
    let whole = encode(&life, VOLUME).0;
    let mut wrong_length = whole.clone();
    wrong_length[36] ^= 0x80;
    let (mut appended, mut chain) = encode(&[Record::Rebuilding], VOLUME);
    for batch in life.chunks(2) {
        chain = append(&mut appended, chain, batch, VOLUME);
    }
    vec![
        ("no_record", encode(&[], VOLUME).0),
        ("a_life", whole.clone()),
        ("causes", encode(&causes, VOLUME).0),
        ("longest_path", encode(&[adopted(&longest, u64::MAX, 0, 1), adopted("/é", 0, 0, 0)], VOLUME).0),
        ("torn", whole[..whole.len() - 3].to_vec()),
        ("reserved", [whole.as_slice(), &[0; 64]].concat()),
        ("wrong_length", wrong_length),
        ("appended", appended),
    ]
}
