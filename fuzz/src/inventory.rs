//! The inventory's journal: whatever its bytes are, what is believed of them is exactly what was written, and no more.

use cache_store::VolumeId;
use cache_store::format::ALIGNMENT;
use cache_store::inventory::{Cut, Decoded, Record, append, decode, encode};
use cache_store::limits::FOOTER_BYTES_MAX;

const HEAD_BYTES: usize = 32;
const FRAME_BYTES: usize = 20;

/// Reads `data` as a journal in three ways: as it is; with its checksums made right, which no fuzzer can guess; and as records,
/// each after one byte for its length and in a frame of its own.
pub(crate) fn check(data: &[u8]) {
    check_journal(data);
    check_journal(&with_checksums(data.to_vec()));
    check_journal(&with_checksums(framed(data)));
}

fn check_journal(bytes: &[u8]) {
    let id = VolumeId::new(bytes.get(12..28).and_then(|id| id.try_into().ok()).unwrap_or_default());
    let decoded = decode(bytes, id);
    assert_eq!(decoded, decode(bytes, id), "the same bytes say the same");
    assert!(decoded.valid_bytes <= bytes.len());
    match decoded.cut {
        None => assert_eq!(decoded.valid_bytes, bytes.len()),
        Some(cut) => assert!(!cut.to_string().is_empty() && !cut.as_str().is_empty()),
    }
    if matches!(decoded.cut, Some(Cut::Head(_))) {
        assert!(decoded.valid_bytes == 0 && decoded.records.is_empty());
        return;
    }
    // There is one way to write a record, so that what is believed can be appended again, byte for byte.
    assert!(bytes[..decoded.valid_bytes] == appended_again(bytes, &decoded, id));
    decoded.records.iter().for_each(check_lengths);
    let (written, chain) = encode(&decoded.records, id);
    assert_eq!(chain, decode(&written, id).chain);
    let again = decode(&written, id);
    assert_eq!((&again.records, again.cut), (&decoded.records, None));
    check_damage(&written, id);
}

/// What an opener relies on, which reads the end of a file where the inventory says that it starts.
fn check_lengths(record: &Record) {
    if let Record::Adopted(bundle) = record {
        let end_bytes = bundle.file_bytes.checked_sub(bundle.data_bytes).expect("the footer is in the file");
        assert!(bundle.data_bytes.is_multiple_of(ALIGNMENT) && end_bytes.is_multiple_of(ALIGNMENT));
        assert!((ALIGNMENT..=u64::from(FOOTER_BYTES_MAX) + 2 * ALIGNMENT).contains(&end_bytes));
    }
}

/// The bytes of a journal that was appended to as the one in `bytes` was, as far as that is believed.
fn appended_again(bytes: &[u8], decoded: &Decoded, id: VolumeId) -> Vec<u8> {
    let number = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().expect("a frame is whole"));
    let mut again = bytes[..HEAD_BYTES].to_vec();
    let mut chain = number(HEAD_BYTES - 4);
    let mut records = decoded.records.as_slice();
    while again.len() < decoded.valid_bytes {
        let (batch, rest) = records.split_at(number(again.len() + 8) as usize);
        chain = append(&mut again, chain, batch, id);
        records = rest;
    }
    assert!(records.is_empty() && chain == decoded.chain);
    again
}

/// A journal that is whole, then damaged: the records before the damage are believed, and none that was never written.
fn check_damage(whole: &[u8], id: VolumeId) {
    let records = decode(whole, id).records;
    for length in spread(whole.len(), 24) {
        let torn = decode(&whole[..length], id);
        assert!(records.starts_with(&torn.records));
        match torn.cut {
            Some(Cut::Head(_)) => assert!(length < HEAD_BYTES),
            Some(cut) => assert_eq!(cut, Cut::Torn),
            None => assert_eq!(torn.valid_bytes, length),
        }
    }
    let reserved = [whole, &[0; 40]].concat();
    assert_eq!(
        (decode(&reserved, id).records, decode(&reserved, id).cut),
        (records.clone(), Some(Cut::Torn))
    );
    let other = VolumeId::new(id.bytes().map(|byte| !byte));
    assert!(matches!(decode(whole, other).cut, Some(Cut::Head(_))));
    for place in spread(whole.len(), 24) {
        let mut damaged = whole.to_vec();
        damaged[place] ^= 1 << (place % 8);
        let damaged = decode(&damaged, id);
        assert!(damaged.cut.is_some(), "a flipped bit at {place} went unnoticed");
        assert!(damaged.valid_bytes <= place && records.starts_with(&damaged.records));
    }
}

/// Up to `count` places, from 0 up to, not including, `end`.
fn spread(end: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..end).step_by(end.div_ceil(count).max(1))
}

/// The length of the records whose frame starts there, where all of it is there.
fn record_bytes(bytes: &[u8], start: usize) -> Option<usize> {
    let length = u32::from_le_bytes(*bytes.get(start..)?.get(4..)?.first_chunk()?) as usize;
    (bytes.len() - start).checked_sub(FRAME_BYTES)?.checked_sub(length).map(|_| length)
}

/// The same journal, with the checksums of the head and of all frames that it holds whole.
fn with_checksums(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() < HEAD_BYTES {
        return bytes;
    }
    let seed = crc32c::crc32c(&bytes[..28]);
    let mut chain = seed;
    bytes[28..HEAD_BYTES].copy_from_slice(&seed.to_le_bytes());
    let mut start = HEAD_BYTES;
    while let Some(length) = record_bytes(&bytes, start) {
        let end = start + FRAME_BYTES + length;
        let head = crc32c::crc32c_append(seed, &bytes[start..start + 12]);
        bytes[start + 12..start + 16].copy_from_slice(&head.to_le_bytes());
        chain = crc32c::crc32c_append(chain, &bytes[start..start + 16]);
        chain = crc32c::crc32c_append(chain, &bytes[start + FRAME_BYTES..end]);
        bytes[start + 16..start + FRAME_BYTES].copy_from_slice(&chain.to_le_bytes());
        start = end;
    }
    bytes
}

/// A journal of the records in `data`, each after one byte for its length; the last may be cut.
fn framed(data: &[u8]) -> Vec<u8> {
    let (mut bytes, _) = encode(&[], VolumeId::new([7; 16]));
    let mut rest = data;
    while let [length, after @ ..] = rest {
        let (record, others) = after.split_at(after.len().min(usize::from(*length)));
        bytes.extend_from_slice(b"OCAF");
        bytes.extend_from_slice(&(record.len() as u32 + 2).to_le_bytes());
        bytes.extend_from_slice(&1_u32.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&u16::from(*length).to_le_bytes());
        bytes.extend_from_slice(record);
        rest = others;
    }
    bytes
}
