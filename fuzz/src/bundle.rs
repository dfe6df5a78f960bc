//! Footer and trailer of a bundle: whatever is taken for one keeps every promise that a lookup relies on.

use std::collections::BTreeSet;

use cache_store::format::{
    ALIGNMENT, CHUNK_BYTES, Contents, Footer, ObjectEntry, TRAILER_BYTES, Trailer, decode_tail, encode_tail,
    path_hash, place,
};
use cache_store::inventory::{BundleRecord, Record, decode, encode};
use cache_store::limits::LAST_MODIFIED_MAX;
use cache_store::{Object, VolumeId};
use control_client::content::{BundlePath, ObjectName, Sha256};

const HEADER_BYTES: usize = 88;

/// Reads `data` as footer and trailer, in two ways: as it is; and with everything made right that no fuzzer can guess
/// (checksums, the hash of the path) or that is there twice, and with the zeroes between footer and trailer.
pub(crate) fn check(data: &[u8]) {
    check_tail(data, claimed_file_bytes(data));
    if let Some(tail) = repaired(data) {
        check_tail(&tail, claimed_file_bytes(&tail));
    }
}

/// The length of the file that would end so, by its own word.
fn claimed_file_bytes(tail: &[u8]) -> u64 {
    let offset = tail.last_chunk::<TRAILER_BYTES>().map_or(0, |trailer| u64_at(trailer, 16));
    offset.saturating_add(tail.len() as u64)
}

fn check_tail(tail: &[u8], file_bytes: u64) {
    let (trailer, footer) = match decode_tail(tail, file_bytes) {
        Ok(decoded) => decoded,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert!(tail.ends_with(&trailer.encode()));
    assert_eq!(trailer.file_bytes(), file_bytes);
    assert_eq!((footer.generation(), footer.data_bytes()), (trailer.generation, trailer.footer_offset));
    let path = BundlePath::parse(footer.path()).expect("a bundle's path is one");
    assert_eq!(path_hash(&path), trailer.path_hash);
    check_lengths(tail, &trailer);
    check_objects(&footer);
    check_chunks(&footer);
    check_rewritten(&footer, path);
    check_journalled(&footer, file_bytes);
    check_damage(tail, &trailer);
}

/// The footer is one piece without gaps: its parts are as long together as it is.
fn check_lengths(footer: &[u8], trailer: &Trailer) {
    let [objects, chunks, path, names, media_types, media_texts] =
        [12, 16, 20, 24, 28, 32].map(|offset| u64::from(u32_at(footer, offset)));
    let tables = objects * 64 + media_types * 4 + chunks * 4;
    let length = HEADER_BYTES as u64 + path + names + media_texts + tables + 4;
    assert_eq!(length, u64::from(trailer.footer_bytes));
}

fn check_objects(footer: &Footer) {
    let names: BTreeSet<&str> = footer.objects().map(|object| object.name).collect();
    assert_eq!(names.len(), footer.object_count() as usize, "each name is there once");
    assert!(footer.objects().map(|object| object.name).eq(names.iter().copied()), "names are in order");
    let mut free_from = 0;
    for object in footer.objects() {
        let Object { name, range, media_type, last_modified, .. } = object;
        assert_eq!(footer.object(name), Some(object));
        assert!(ObjectName::parse(name).is_ok());
        assert!(
            range.start.is_multiple_of(ALIGNMENT) && range.start >= free_from && range.start <= range.end
        );
        free_from = range.end;
        assert!(!media_type.is_empty() && media_type.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
        assert!(last_modified <= LAST_MODIFIED_MAX);
        let shorter = &name[..name.len() - name.chars().next_back().map_or(0, char::len_utf8)];
        for probe in [shorter, &format!("{name}\0"), &format!("/{name}")] {
            assert_eq!(footer.object(probe).is_some(), names.contains(probe), "{probe:?}");
        }
    }
    assert!(free_from <= footer.data_bytes());
    assert!(footer.object_bytes() <= footer.data_bytes());
}

fn check_chunks(footer: &Footer) {
    static ZEROES: [u8; CHUNK_BYTES as usize] = [0; CHUNK_BYTES as usize];
    let count = u64::from(footer.chunk_count());
    assert_eq!(count, footer.data_bytes().div_ceil(CHUNK_BYTES));
    assert!((0..count).all(|chunk| footer.chunk_checksum(chunk).is_some()), "every byte of data is covered");
    assert_eq!((footer.chunk_checksum(count), footer.chunk_checksum(u64::MAX)), (None, None));
    assert!(footer.verify(0, &[]).is_ok());
    for chunk in [0, count.saturating_sub(1), count, u64::MAX / CHUNK_BYTES, u64::MAX] {
        let length = footer.data_bytes().saturating_sub(chunk.saturating_mul(CHUNK_BYTES)).min(CHUNK_BYTES);
        let zeroes = &ZEROES[..length as usize];
        let is_zero = length == 0 || footer.chunk_checksum(chunk) == Some(crc32c::crc32c(zeroes));
        assert_eq!(footer.verify(chunk, zeroes).is_ok(), is_zero);
        assert!(footer.verify(chunk, &ZEROES[..length as usize / 2 + 1]).is_err());
    }
}

/// The contents of a footer can be written again, and then say the same.
fn check_rewritten(footer: &Footer, path: BundlePath) {
    let contents = contents(footer, path.clone());
    let lengths = contents.objects.iter().map(|object| object.range.len());
    let ranges = contents.objects.iter().map(|object| object.range).collect();
    assert_eq!(place(lengths), Some((ranges, contents.data_bytes)));
    let tail = encode_tail(&contents).expect("what was read can be written");
    let file_bytes = contents.data_bytes + tail.len() as u64;
    assert!(file_bytes.is_multiple_of(ALIGNMENT));
    let (_, again) = decode_tail(&tail, file_bytes).expect("what was written can be read");
    assert_eq!(self::contents(&again, path), contents);
}

fn contents(footer: &Footer, path: BundlePath) -> Contents {
    let entry = |object: Object<'_>| ObjectEntry {
        name: ObjectName::parse(object.name).expect("an object's name is one"),
        media_type: object.media_type.into(),
        range: object.range,
        last_modified: object.last_modified,
        sha256: Sha256::new(*object.sha256),
    };
    Contents {
        path,
        generation: footer.generation(),
        descriptor_digest: footer.descriptor_digest(),
        objects: footer.objects().map(entry).collect(),
        data_bytes: footer.data_bytes(),
        chunk_checksums: (0..u64::from(footer.chunk_count()))
            .filter_map(|chunk| footer.chunk_checksum(chunk))
            .collect(),
    }
}

/// What the inventory keeps of a bundle, it reads back after a restart.
fn check_journalled(footer: &Footer, file_bytes: u64) {
    let record = BundleRecord::new(footer, file_bytes).expect("a bundle's path is one");
    let records = [Record::Adopted(record)];
    let id = VolumeId::new([7; 16]);
    let decoded = decode(&encode(&records, id).0, id);
    assert_eq!((decoded.records.as_slice(), decoded.cut), (records.as_slice(), None));
}

/// One wrong byte, wherever it is, or one too few, and it is no bundle any more.
fn check_damage(tail: &[u8], trailer: &Trailer) {
    let footer_end = trailer.footer_bytes as usize;
    let spread = (0..tail.len()).step_by(tail.len().div_ceil(16));
    for place in spread.chain([footer_end - 1, footer_end, tail.len() - 1]) {
        let mut damaged = tail.to_vec();
        damaged[place] ^= 1 << (place % 8);
        assert!(
            decode_tail(&damaged, trailer.file_bytes()).is_err(),
            "a flipped bit at {place} went unnoticed"
        );
    }
    for file_bytes in [trailer.file_bytes() - ALIGNMENT, trailer.file_bytes() + ALIGNMENT] {
        assert!(decode_tail(tail, file_bytes).is_err(), "a file of another length was taken");
    }
    assert!(decode_tail(&tail[1..], trailer.file_bytes()).is_err());
    assert!(decode_tail(&tail[..tail.len() - 1], trailer.file_bytes()).is_err());
}

fn repaired(data: &[u8]) -> Option<Vec<u8>> {
    let (footer, trailer) = data.split_last_chunk::<TRAILER_BYTES>()?;
    let (mut footer, mut trailer) = (footer.to_vec(), *trailer);
    if footer.len() < HEADER_BYTES + 4 {
        return None;
    }
    trailer[16..24].copy_from_slice(&footer[48..56]);
    footer[40..48].copy_from_slice(&trailer[32..40]);
    let path_end = (u32_at(&footer, 20) as usize).checked_add(HEADER_BYTES)?;
    let path = footer.get(HEADER_BYTES..path_end).and_then(|path| str::from_utf8(path).ok());
    if let Some(path) = path.and_then(|path| BundlePath::parse(path).ok()) {
        trailer[40..56].copy_from_slice(&path_hash(&path));
    }
    let covered_bytes = footer.len() - 4;
    let (covered, checksum) = footer.split_at_mut(covered_bytes);
    checksum.copy_from_slice(&crc32c::crc32c(covered).to_le_bytes());
    trailer[12..16].copy_from_slice(checksum);
    trailer[24..28].copy_from_slice(&(footer.len() as u32).to_le_bytes());
    let checksum = crc32c::crc32c(&trailer[..60]);
    trailer[60..].copy_from_slice(&checksum.to_le_bytes());
    let tail_bytes = (footer.len() + TRAILER_BYTES).next_multiple_of(ALIGNMENT as usize);
    footer.resize(tail_bytes - TRAILER_BYTES, 0);
    footer.extend_from_slice(&trailer);
    Some(footer)
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(*bytes[offset..].first_chunk().expect("the caller has compared the length"))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(*bytes[offset..].first_chunk().expect("the caller has compared the length"))
}
