//! Reads a bundle's data region from its disk, from front to back: which objects are right, and the checksums of what is
//! there. It is what a bundle that was begun is gone on with by, and what one that is complete is published by.
//!
//! An object that this process has digested, as it came or at an earlier reading, is compared with what it was then by the
//! CRC32C of each 64 KiB, which the bundle's footer needs anyway and every later reader trusts. One that it has not is digested.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{self, Context};
use cache_store::{ALIGNMENT, ChunkChecksums, Layout};
use control_client::units::ByteRange;

use crate::disk::{DiskError, DiskFile, DiskThread};
use crate::limits::{
    BLOCK_BYTES, READ_BACK_BYTES_PER_SECOND_MIN, READ_BACK_FACTOR, VERIFY_READS, VERIFY_READS_BESIDE_WRITES,
};
use crate::pieces::pieces;
use crate::shared_pace::SharedPace;

/// What the disk holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReadBack {
    /// The checksums of each object that is right, in the order of the layout: [`ChunkChecksums::of_part`] of its range up to
    /// the next multiple of 4 KiB. `None` where it is not.
    pub(super) objects: Vec<Option<Vec<u32>>>,
}

impl ReadBack {
    /// The objects that are not what they have to be, by their place in the layout.
    pub(super) fn wrong(&self) -> impl Iterator<Item = usize> + '_ {
        self.objects.iter().enumerate().filter_map(|(place, object)| object.is_none().then_some(place))
    }

    /// The CRC32C of each chunk of the data region; `None` where an object is wrong.
    pub(super) fn chunk_checksums(&self, layout: &Layout) -> Option<Vec<u32>> {
        let mut checksums = ChunkChecksums::new();
        for (place, object) in self.objects.iter().enumerate() {
            let range = padded(layout, place);
            checksums.join(object.as_ref()?, range.end - range.start);
        }
        Some(checksums.finish())
    }
}

/// Reads all of it, no faster than a multiple of the rate that fill has now. Several reads are under way at once, and they
/// are looked at in their order. `known` are the checksums of the objects that this process has digested.
pub(super) async fn read_back(
    disk: &DiskThread,
    file: &DiskFile,
    layout: &Layout,
    pace: &SharedPace,
    known: &[Option<Vec<u32>>],
) -> Result<ReadBack, DiskError> {
    let data_bytes = layout.data_bytes();
    let mut objects = Comparison::new(layout, known);
    let mut reads = VecDeque::new();
    let (mut asked, mut seen, mut due) = (0, 0, Instant::now());
    while seen < data_bytes {
        while asked < data_bytes && reads.len() < reads_at_once(disk) {
            let length = (data_bytes - asked).min(BLOCK_BYTES as u64);
            let block = match disk.blocks().try_take() {
                Some(block) => block,
                // Who waits for a block while it has others may wait for somebody who does the same.
                None if reads.is_empty() => disk.block().await?,
                None => break,
            };
            reads.push_back((length as usize, disk.read(file, block, length as usize, asked)));
            asked += length;
        }
        let Some((length, read)) = reads.pop_front() else { break };
        let block = read.block().await?;
        for piece in pieces(&block.bytes()[..length]) {
            objects.update(seen, piece);
            seen += piece.len() as u64;
        }
        drop(block);
        due += time_for(length as u64, pace.rate().bytes_per_second());
        // Who is late by the scheduler's doing may catch up, and not by more than a moment.
        due = due.max(Instant::now().checked_sub(LATE_MAX).unwrap_or(due));
        tokio::time::sleep_until(due.into()).await;
    }
    Ok(ReadBack { objects: objects.finish() })
}

fn reads_at_once(disk: &DiskThread) -> usize {
    if disk.is_writing() { VERIFY_READS_BESIDE_WRITES } else { VERIFY_READS }
}

fn time_for(bytes: u64, bytes_per_second: u64) -> Duration {
    let per_second = bytes_per_second.saturating_mul(READ_BACK_FACTOR).max(READ_BACK_BYTES_PER_SECOND_MIN);
    Duration::from_micros(bytes.saturating_mul(1_000_000) / per_second)
}

const LATE_MAX: Duration = Duration::from_millis(100);

/// An object's range with the zeroes after it: the next one begins where it ends.
fn padded(layout: &Layout, place: usize) -> ByteRange {
    let range = layout.range(place);
    ByteRange { start: range.start, end: range.end.next_multiple_of(ALIGNMENT) }
}

/// Compares the objects while their bytes go by.
struct Comparison<'a> {
    layout: &'a Layout,
    known: &'a [Option<Vec<u32>>],
    compared: Vec<Option<Vec<u32>>>,
    /// Of the object that is going by.
    checksums: ChunkChecksums,
    digest: Context,
}

impl<'a> Comparison<'a> {
    fn new(layout: &'a Layout, known: &'a [Option<Vec<u32>>]) -> Self {
        let (checksums, digest) = (ChunkChecksums::new(), Context::new(&digest::SHA256));
        Self { layout, known, compared: Vec::new(), checksums, digest }
    }

    /// Takes the bytes at `offset`, which follow those before.
    fn update(&mut self, offset: u64, bytes: &[u8]) {
        let end = offset + bytes.len() as u64;
        while self.compared.len() < self.layout.objects().len() {
            let place = self.compared.len();
            let range = padded(self.layout, place);
            self.checksums.update(part(offset, bytes, range));
            if self.known(place).is_none() {
                self.digest.update(part(offset, bytes, self.layout.range(place)));
            }
            if range.end > end {
                return;
            }
            self.end_object(place);
        }
    }

    fn finish(mut self) -> Vec<Option<Vec<u32>>> {
        // Empty objects at the end.
        while self.compared.len() < self.layout.objects().len() {
            self.end_object(self.compared.len());
        }
        self.compared
    }

    fn end_object(&mut self, place: usize) {
        let next = ChunkChecksums::of_part(padded(self.layout, place).end);
        let found = std::mem::replace(&mut self.checksums, next).finish();
        let is_right = match self.known(place) {
            Some(known) => *known == found,
            None => {
                let digest = std::mem::replace(&mut self.digest, Context::new(&digest::SHA256)).finish();
                let planned = self.layout.objects()[place].sha256;
                planned.is_some_and(|planned| planned.bytes() == digest.as_ref())
            }
        };
        self.compared.push(is_right.then_some(found));
    }

    fn known(&self, place: usize) -> Option<&Vec<u32>> {
        self.known.get(place)?.as_ref()
    }
}

/// Those of the bytes at `offset` that are of that range.
fn part(offset: u64, bytes: &[u8], range: ByteRange) -> &[u8] {
    let within = |at: u64| (at.clamp(offset, offset + bytes.len() as u64) - offset) as usize;
    &bytes[within(range.start)..within(range.end)]
}

#[cfg(test)]
mod tests {
    use cache_store::{CHUNK_BYTES, PlannedObject};
    use control_client::content::{BundleKey, BundlePath, Generation, ObjectName, Sha256};
    use control_client::digest::sha256;
    use control_client::units::BitRate;

    use super::*;

    /// A data region with objects of these lengths, and where they are.
    fn region(lengths: &[usize]) -> (Layout, Vec<u8>) {
        let bytes = |place: usize| -> Vec<u8> {
            (0..lengths[place]).map(|at| (at * (place + 3) % 251) as u8).collect()
        };
        let objects = (0..lengths.len()).map(|place| PlannedObject {
            name: ObjectName::parse(&format!("{place:03}")).unwrap(),
            length: lengths[place] as u64,
            media_type: "video/mp4".into(),
            last_modified: 0,
            sha256: Some(sha256(&bytes(place))),
        });
        let key = BundleKey { path: BundlePath::parse("/a").unwrap(), generation: Generation::new(1) };
        let layout = Layout::new(key, Sha256::new([1; 32]), objects.collect()).unwrap();
        let mut region = vec![0; layout.data_bytes() as usize];
        for place in 0..lengths.len() {
            let range = layout.range(place);
            region[range.start as usize..range.end as usize].copy_from_slice(&bytes(place));
        }
        (layout, region)
    }

    fn compare(layout: &Layout, region: &[u8], known: &[Option<Vec<u32>>], piece: usize) -> ReadBack {
        let mut comparison = Comparison::new(layout, known);
        for (place, bytes) in region.chunks(piece).enumerate() {
            comparison.update((place * piece) as u64, bytes);
        }
        ReadBack { objects: comparison.finish() }
    }

    const LENGTHS: [usize; 7] = [70_000, 0, 5, 200_000, 4096, 65_536, 0];

    #[test]
    fn what_is_digested_once_is_compared_by_its_checksums_afterwards() {
        let (layout, region) = region(&LENGTHS);
        let digested = compare(&layout, &region, &vec![None; LENGTHS.len()], 8192);
        assert_eq!(digested.wrong().count(), 0);
        let compared = compare(&layout, &region, &digested.objects, 1 << 20);
        assert_eq!(compared, digested);
        let expected: Vec<u32> = region
            .chunks(CHUNK_BYTES as usize)
            .map(|chunk| {
                let mut checksums = ChunkChecksums::new();
                checksums.update(chunk);
                checksums.finish()[0]
            })
            .collect();
        assert_eq!(digested.chunk_checksums(&layout), Some(expected));
    }

    #[test]
    fn a_flipped_bit_is_found_in_its_object_whether_that_was_digested_before_or_not() {
        let (layout, sound) = region(&LENGTHS);
        let known = compare(&layout, &sound, &[], 1 << 20).objects;
        for (place, length) in LENGTHS.iter().enumerate().filter(|(_, length)| **length > 0) {
            let mut region = sound.clone();
            region[layout.range(place).start as usize + length - 1] ^= 0x10;
            for known in [&known[..], &[]] {
                let found = compare(&layout, &region, known, 1 << 20);
                assert_eq!(found.wrong().collect::<Vec<_>>(), [place]);
                assert_eq!(found.chunk_checksums(&layout), None);
            }
        }
    }

    #[tokio::test]
    async fn a_bundle_is_read_back_with_few_reads_at_once_while_the_volume_is_written() {
        let patience = Duration::from_secs(20);
        let disk = DiskThread::start(0, 2 * VERIFY_READS, patience).unwrap();
        // Nobody writes to the one pipe and nobody reads from the other, so what is asked of them stays under way.
        let ((reader, _writer), (_reader, writer)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
        let (silent, full) = (DiskFile::of(&reader).unwrap(), DiskFile::of(&writer).unwrap());
        let (layout, _) = region(&[2 * VERIFY_READS * BLOCK_BYTES]);
        let pace = SharedPace::new(BitRate::new(8_000_000_000), 1, 1 << 20);
        let free = || disk.blocks().free();
        let mut reading = Box::pin(read_back(&disk, &silent, &layout, &pace, &[]));
        assert!(futures_util::FutureExt::now_or_never(&mut reading).is_none());
        assert_eq!(free(), VERIFY_READS, "so many are under way where nothing is written");
        let block = disk.block().await.unwrap();
        let _write = disk.write(&full, block, BLOCK_BYTES, 0);
        let mut beside = Box::pin(read_back(&disk, &silent, &layout, &pace, &[]));
        let before = free();
        assert!(futures_util::FutureExt::now_or_never(&mut beside).is_none());
        assert_eq!(before - free(), VERIFY_READS_BESIDE_WRITES);
    }

    #[tokio::test]
    async fn bundles_that_are_read_back_at_once_do_not_wait_for_each_others_blocks() {
        let (layout, region) = region(&[3 << 20, 2_500_000, 1]);
        let named = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(named.path(), region).unwrap();
        let file = DiskFile::of(named.as_file()).unwrap();
        let patience = Duration::from_secs(20);
        let disk = DiskThread::start(0, 2, patience).unwrap();
        let pace = SharedPace::new(BitRate::new(8_000_000_000), 1, 1 << 20);
        let one = || read_back(&disk, &file, &layout, &pace, &[]);
        let all = tokio::time::timeout(patience, async { tokio::join!(one(), one(), one()) });
        let (first, second, third) = all.await.unwrap();
        for found in [first, second, third] {
            assert_eq!(found.unwrap().wrong().count(), 0);
        }
        assert!(disk.stop(patience));
    }
}
