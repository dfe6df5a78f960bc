//! What one segment file holds: from its summary where it was sealed, else from its records, one by one.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::files::Files;
use super::record::{HEAD_RECORD_BYTES_MAX, Header, PAGE_BYTES, Part};
use super::segment_format::{Found, Identity, Trailer};
use crate::aligned::AlignedBuffer;
use crate::disk;
use crate::limits::DEMAND_SCAN_BYTES;

const ZEROES: [u8; PAGE_BYTES] = [0; PAGE_BYTES];
const _: () = assert!(DEMAND_SCAN_BYTES >= HEAD_RECORD_BYTES_MAX, "the longest head fits the window");

/// What a segment holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scanned {
    pub(super) identity: Identity,
    pub(super) records: Vec<Found>,
    /// Bytes of the file.
    pub(super) file_bytes: u64,
    /// Where the last record ends, if the segment is not sealed.
    pub(super) unsealed_end: Option<u64>,
    /// Places where something lies that is no intact record: unfinished, or damaged.
    pub(super) corrupt: u64,
}

/// Reads the segment with that sequence number; `None` where the file is none of this volume's and era's.
pub(super) fn read_segment(files: &Files, sequence: u64, era: u64) -> io::Result<Option<Scanned>> {
    let Some(file) = files.open_segment(sequence)? else { return Ok(None) };
    let file_bytes = disk::file_bytes(file.as_fd())?;
    let is_ours = |identity: &Identity| {
        (identity.volume, identity.era, identity.sequence) == (files.volume, era, sequence)
    };
    let mut reader = Reader { files, file, length: file_bytes / PAGE_BYTES as u64 * PAGE_BYTES as u64 };
    if let Some((identity, records)) = read_summary(&mut reader)? {
        let scanned = Scanned { identity, records, file_bytes, unsealed_end: None, corrupt: 0 };
        return Ok(is_ours(&identity).then_some(scanned));
    }
    let head = reader.read(0, PAGE_BYTES as u64)?;
    let Some(identity) = Identity::decode_head(head.bytes()).filter(is_ours) else { return Ok(None) };
    let mut walk = Walk { reader, nonce: identity.nonce, window: AlignedBuffer::new(0), window_at: 0 };
    let mut scanned =
        Scanned { identity, records: Vec::new(), file_bytes, unsealed_end: Some(0), corrupt: 0 };
    walk.collect(&mut scanned)?;
    Ok(Some(scanned))
}

/// The summary, where the file ends with an intact one.
fn read_summary(reader: &mut Reader<'_>) -> io::Result<Option<(Identity, Vec<Found>)>> {
    let page = PAGE_BYTES as u64;
    let Some(trailer_at) = reader.length.checked_sub(page).filter(|at| *at >= page) else { return Ok(None) };
    let Some((identity, trailer)) = Trailer::decode(reader.read(trailer_at, page)?.bytes()) else {
        return Ok(None);
    };
    let is_within = trailer.summary_at.is_multiple_of(page)
        && trailer.summary_at <= trailer_at
        && u64::from(trailer.summary_bytes) <= trailer_at - trailer.summary_at;
    if !is_within {
        return Ok(None);
    }
    let bytes = reader.read(trailer.summary_at, trailer_at - trailer.summary_at)?;
    let records = trailer.decode_summary(bytes.bytes(), identity.nonce);
    Ok(records.map(|records| (identity, records)))
}

/// Whole pages of a file.
struct Reader<'a> {
    files: &'a Files,
    file: OwnedFd,
    length: u64,
}

impl Reader<'_> {
    /// Reads so many bytes, or up to the end.
    fn read(&self, at: u64, bytes: u64) -> io::Result<AlignedBuffer> {
        let mut buffer = AlignedBuffer::new(bytes.min(self.length - at) as usize);
        self.files.read_at(self.file(), buffer.bytes_mut(), at)?;
        Ok(buffer)
    }

    fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Goes from record to record, and from page to page where there is none.
struct Walk<'a> {
    reader: Reader<'a>,
    nonce: u64,
    window: AlignedBuffer,
    window_at: u64,
}

impl Walk<'_> {
    fn collect(&mut self, scanned: &mut Scanned) -> io::Result<()> {
        let mut at = PAGE_BYTES as u64;
        let mut end = at;
        let mut was_damaged = false;
        while at < self.reader.length {
            let found = self.record(at)?;
            let is_damaged = matches!(found, Step::Damaged);
            scanned.corrupt += u64::from(is_damaged && !was_damaged);
            was_damaged = is_damaged;
            let bytes = match found {
                Step::Record(found) => {
                    let bytes = found.header.record_bytes();
                    scanned.records.push(found);
                    end = at + bytes;
                    bytes
                }
                Step::Damaged => {
                    end = at + PAGE_BYTES as u64;
                    PAGE_BYTES as u64
                }
                Step::Zeroes => PAGE_BYTES as u64,
            };
            at += bytes;
        }
        scanned.unsealed_end = Some(end);
        Ok(())
    }

    /// What lies at that offset.
    fn record(&mut self, at: u64) -> io::Result<Step> {
        let (nonce, left) = (self.nonce, self.reader.length - at);
        let page = self.bytes(at, PAGE_BYTES)?;
        let header = Header::decode(page, nonce)
            .filter(|header| u64::from(header.page) * PAGE_BYTES as u64 == at)
            .filter(|header| header.record_bytes() <= left);
        let Some(header) = header else {
            return Ok(if page == ZEROES { Step::Zeroes } else { Step::Damaged });
        };
        let (key, secondary) = match header.part {
            // Its payload is checked when it is read.
            Part::Block { .. } => (Box::default(), Box::default()),
            Part::Head(head) => {
                let bytes = self.bytes(at, header.record_bytes() as usize)?;
                match header.payload(bytes).and_then(|payload| head.split(payload)) {
                    Some((key, secondary, _)) => (key.into(), secondary.into()),
                    None => return Ok(Step::Damaged),
                }
            }
        };
        Ok(Step::Record(Found { header, key, secondary }))
    }

    /// Bytes of the file, no more than the window holds and the file has.
    fn bytes(&mut self, at: u64, length: usize) -> io::Result<&[u8]> {
        let is_within =
            self.window_at <= at && at + length as u64 <= self.window_at + self.window.len() as u64;
        if !is_within {
            self.window = self.reader.read(at, DEMAND_SCAN_BYTES as u64)?;
            self.window_at = at;
        }
        let start = (at - self.window_at) as usize;
        Ok(&self.window.bytes()[start..start + length])
    }
}

enum Step {
    Record(Found),
    /// Neither a record nor zeroes.
    Damaged,
    Zeroes,
}
