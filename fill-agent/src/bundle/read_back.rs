//! Reads a bundle's data region from its disk, from front to back: which objects are whole, and the checksums of what is
//! there. It is what a bundle that was begun is gone on with by, and what one that is complete is published by.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{self, Context};
use cache_store::{ChunkChecksums, Layout};
use control_client::content::Sha256;

use crate::disk::{DiskError, DiskFile, DiskThread};
use crate::limits::{BLOCK_BYTES, READ_BACK_BYTES_PER_SECOND_MIN, READ_BACK_FACTOR, VERIFY_READS};
use crate::shared_pace::SharedPace;

/// What the disk holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReadBack {
    /// The digest of each object, in the order of the layout.
    pub(super) digests: Vec<Sha256>,
    /// The CRC32C of each chunk.
    pub(super) chunk_checksums: Vec<u32>,
}

impl ReadBack {
    /// The objects that are not what the layout says, by their place in it.
    pub(super) fn wrong<'a>(&'a self, layout: &'a Layout) -> impl Iterator<Item = usize> + 'a {
        let expected = layout.objects().iter().map(|object| object.sha256);
        let differs = |(place, (expected, found)): (usize, (Option<Sha256>, &Sha256))| {
            (expected != Some(*found)).then_some(place)
        };
        expected.zip(&self.digests).enumerate().filter_map(differs)
    }
}

/// Reads all of it, no faster than a multiple of the rate that fill has now. Several reads are under way at once, and they
/// are looked at in their order.
pub(super) async fn read_back(
    disk: &DiskThread,
    file: &DiskFile,
    layout: &Layout,
    pace: &SharedPace,
) -> Result<ReadBack, DiskError> {
    let data_bytes = layout.data_bytes();
    let mut objects = ObjectDigests::new(layout);
    let mut checksums = ChunkChecksums::new();
    let mut reads = VecDeque::new();
    let (mut asked, mut seen, mut due) = (0, 0, Instant::now());
    while seen < data_bytes {
        while asked < data_bytes && reads.len() < VERIFY_READS {
            let length = (data_bytes - asked).min(BLOCK_BYTES as u64);
            let block = disk.blocks().take().await;
            reads.push_back((length as usize, disk.read(file, block, length as usize, asked)));
            asked += length;
        }
        let Some((length, read)) = reads.pop_front() else { break };
        let block = read.block().await?;
        let bytes = &block.bytes()[..length];
        checksums.update(bytes);
        objects.update(seen, bytes);
        seen += length as u64;
        due += time_for(length as u64, pace.rate().bytes_per_second());
        // Who is late by the scheduler's doing may catch up, and not by more than a moment.
        due = due.max(Instant::now().checked_sub(LATE_MAX).unwrap_or(due));
        tokio::time::sleep_until(due.into()).await;
    }
    Ok(ReadBack { digests: objects.finish(), chunk_checksums: checksums.finish() })
}

fn time_for(bytes: u64, bytes_per_second: u64) -> Duration {
    let per_second = bytes_per_second.saturating_mul(READ_BACK_FACTOR).max(READ_BACK_BYTES_PER_SECOND_MIN);
    Duration::from_micros(bytes.saturating_mul(1_000_000) / per_second)
}

const LATE_MAX: Duration = Duration::from_millis(100);

/// Digests the objects while their bytes go by.
struct ObjectDigests<'a> {
    layout: &'a Layout,
    digests: Vec<Sha256>,
    digest: Context,
}

impl<'a> ObjectDigests<'a> {
    fn new(layout: &'a Layout) -> Self {
        Self { layout, digests: Vec::new(), digest: Context::new(&digest::SHA256) }
    }

    /// Takes the bytes at `offset`, which follow those before.
    fn update(&mut self, offset: u64, bytes: &[u8]) {
        let end = offset + bytes.len() as u64;
        while self.digests.len() < self.layout.objects().len() {
            let range = self.layout.range(self.digests.len());
            let start = range.start.clamp(offset, end);
            let stop = range.end.clamp(offset, end);
            self.digest.update(&bytes[(start - offset) as usize..(stop - offset) as usize]);
            if range.end > end {
                return;
            }
            self.end_object();
        }
    }

    fn finish(mut self) -> Vec<Sha256> {
        // Empty objects at the end.
        while self.digests.len() < self.layout.objects().len() {
            self.end_object();
        }
        self.digests
    }

    fn end_object(&mut self) {
        let digest = std::mem::replace(&mut self.digest, Context::new(&digest::SHA256)).finish();
        self.digests.push(Sha256::new(*digest.as_ref().first_chunk().expect("a SHA-256 has 32 bytes")));
    }
}
