//! The bundle format: what is written reads back, and nothing else is believed.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use cache_store::format::{
    CHUNK_BYTES, Contents, Footer, FormatError, ObjectEntry, TRAILER_BYTES, Trailer, decode_tail,
    encode_tail, place,
};
use control_client::content::{BundlePath, Generation, ObjectName, Sha256};
use proptest::prelude::*;

fn contents() -> impl Strategy<Value = Contents> {
    let name = "[a-zA-Z0-9 é._-]{1,20}".prop_filter_map("a name", |name| ObjectName::parse(&name).ok());
    let media_type = prop::sample::select(vec!["video/mp4", "text/vtt", "application/dash+xml; a=\"b\""]);
    let object = (0..300_000_u64, media_type, 0..2_000_000_000_u64, any::<[u8; 32]>());
    let objects = prop::collection::btree_map(name, object, 1..20);
    let path = "(/[a-z0-9]{1,9}){1,4}";
    (path, any::<u64>(), any::<[u8; 32]>(), objects).prop_map(|(path, generation, descriptor, objects)| {
        let (ranges, data_bytes) = place(objects.values().map(|object| object.0)).unwrap();
        let entries = objects.into_iter().zip(ranges).map(|((name, object), range)| ObjectEntry {
            name,
            media_type: object.1.into(),
            range,
            last_modified: object.2,
            sha256: Sha256::new(object.3),
        });
        Contents {
            path: BundlePath::parse(&path).unwrap(),
            generation: Generation::new(generation),
            descriptor_digest: Sha256::new(descriptor),
            objects: entries.collect(),
            data_bytes,
            chunk_checksums: (0..data_bytes.div_ceil(CHUNK_BYTES)).map(|chunk| chunk as u32).collect(),
        }
    })
}

fn decode(tail: &[u8], contents: &Contents) -> Result<Footer, FormatError> {
    decode_tail(tail, contents.data_bytes + tail.len() as u64).map(|(_, footer)| footer)
}

proptest! {
    #[test]
    fn what_is_encoded_reads_back(contents in contents()) {
        let tail = encode_tail(&contents).unwrap();
        prop_assert_eq!(tail.len() % 4096, 0);
        let footer = decode(&tail, &contents).unwrap();
        prop_assert_eq!(footer.path(), contents.path.as_str());
        prop_assert_eq!(footer.generation(), contents.generation);
        prop_assert_eq!(footer.descriptor_digest(), contents.descriptor_digest);
        prop_assert_eq!(footer.data_bytes(), contents.data_bytes);
        prop_assert_eq!(footer.object_count() as usize, contents.objects.len());
        for (chunk, checksum) in contents.chunk_checksums.iter().enumerate() {
            prop_assert_eq!(footer.chunk_checksum(chunk as u64), Some(*checksum));
        }
        prop_assert_eq!(footer.chunk_checksum(contents.chunk_checksums.len() as u64), None);
        for (object, entry) in footer.objects().zip(&contents.objects) {
            prop_assert_eq!(object.name, entry.name.as_str());
            prop_assert_eq!(object.media_type, &*entry.media_type);
            prop_assert_eq!(object.range, entry.range);
            prop_assert_eq!(object.last_modified, entry.last_modified);
            prop_assert_eq!(object.sha256, entry.sha256.bytes());
            prop_assert_eq!(footer.object(entry.name.as_str()), Some(object));
        }
        prop_assert_eq!(footer.object("no such object"), None);
    }

    #[test]
    fn any_flipped_bit_is_refused(contents in contents(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut tail = encode_tail(&contents).unwrap();
        let at = at.index(tail.len());
        tail[at] ^= 1 << bit;
        prop_assert!(decode(&tail, &contents).is_err(), "byte {} of {}", at, tail.len());
    }

    #[test]
    fn another_file_length_is_refused(contents in contents(), length in any::<u64>()) {
        let tail = encode_tail(&contents).unwrap();
        let file_bytes = contents.data_bytes + tail.len() as u64;
        prop_assume!(length != file_bytes);
        let trailer = tail.last_chunk().unwrap();
        prop_assert!(Trailer::decode(trailer, length).is_err());
        prop_assert!(Trailer::decode(trailer, file_bytes).is_ok());
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..500), length in any::<u64>()) {
        prop_assert!(decode_tail(&bytes, length).is_err());
        if let Some(trailer) = bytes.last_chunk::<TRAILER_BYTES>() {
            prop_assert!(Trailer::decode(trailer, length).is_err());
        }
    }

    /// Checksums keep accidents out; this shows what holds where they match: whatever a footer says, it is
    /// refused or every lookup in it is within bounds.
    #[test]
    fn a_footer_with_right_checksums_and_wrong_fields_is_refused_or_sound(
        contents in contents(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let tail = encode_tail(&contents).unwrap();
        let file_bytes = contents.data_bytes + tail.len() as u64;
        let (trailer, _) = decode_tail(&tail, file_bytes).unwrap();
        let mut bytes = tail[..trailer.footer_bytes as usize].to_vec();
        let covered = bytes.len() - 4;
        for (at, byte) in changes {
            let at = at.index(covered);
            bytes[at] = byte;
        }
        let checksum = crc32c::crc32c(&bytes[..covered]);
        bytes[covered..].copy_from_slice(&checksum.to_le_bytes());
        if let Ok(footer) = Footer::decode(bytes.into(), &Trailer { footer_checksum: checksum, ..trailer }) {
            let mut end = 0;
            for object in footer.objects() {
                prop_assert!(object.range.start >= end && object.range.end <= footer.data_bytes());
                prop_assert!(object.media_type.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
                prop_assert_eq!(footer.object(object.name), Some(object));
                end = object.range.end;
            }
        }
    }
}

#[test]
fn the_first_bytes_of_a_bundle_are_those_of_the_document() {
    let contents = Contents {
        path: BundlePath::parse("/a").unwrap(),
        generation: Generation::new(5),
        descriptor_digest: Sha256::new([0; 32]),
        objects: vec![ObjectEntry {
            name: ObjectName::parse("x").unwrap(),
            media_type: "text/vtt".into(),
            range: control_client::units::ByteRange::new(0, 3),
            last_modified: 7,
            sha256: Sha256::new([9; 32]),
        }],
        data_bytes: 4096,
        chunk_checksums: vec![0xaabb_ccdd],
    };
    let tail = encode_tail(&contents).unwrap();
    assert_eq!(tail.len(), 4096);
    assert_eq!(&tail[..8], b"OCAFOOTR");
    assert_eq!(
        tail[8..40],
        [1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(tail[40..56], [5, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0]);
    assert_eq!(&tail[88..90], b"/a");
    assert_eq!(tail[90..98], [0, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(&tail[154..155], b"x");
    assert_eq!(tail[155..159], [0, 0, 8, 0]);
    assert_eq!(&tail[159..167], b"text/vtt");
    assert_eq!(tail[167..171], [0xdd, 0xcc, 0xbb, 0xaa]);
    assert_eq!(&tail[4096 - 64..4096 - 56], b"OCATRAIL");
}

#[test]
fn objects_are_placed_at_multiples_of_4_kib_within_the_bound() {
    let (ranges, data_bytes) = place([1, 4096, 0, 5000]).unwrap();
    let starts: Vec<_> = ranges.iter().map(|range| range.start).collect();
    assert_eq!((starts, data_bytes), (vec![0, 4096, 8192, 8192], 16_384));
    assert_eq!(place([1 << 38, 1]), None);
    assert_eq!(place([u64::MAX, u64::MAX]), None);
}
