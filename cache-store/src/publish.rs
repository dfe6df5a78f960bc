//! Publishing: the only way into a volume. The order of its steps is what makes a crash at any instruction
//! harmless:
//!
//! 1. the file is made under `incoming/`, its lock is taken, and all of its space is reserved: a full disk
//!    says so here;
//! 2. the data is written, checksums and digests computed on the way; the caller of an [`IncomingBundle`] reads all of it back
//!    and compares it before the next step;
//! 3. footer and trailer are written, `fdatasync`, and what the medium holds is read back and compared: all of
//!    it, or footer, trailer and a sample where the caller has read the data;
//! 4. `fsync` of the file;
//! 5. `rename` to its name under `bundles/`: the commit. A name that is taken already is not replaced;
//! 6. `fsync` of both directories. Only then may it be adopted.
//!
//! From step 3 on, whatever fails, the file is removed and the error returned; nothing is tried again, an `fsync`
//! least of all: after a failed one the kernel may have forgotten the pages that it could not write. Before,
//! a [`BundleWriter`]'s file is removed too, and an [`IncomingBundle`]'s stays for the next attempt.
//!
//! [`BundleWriter`]: crate::BundleWriter
//! [`IncomingBundle`]: crate::IncomingBundle

mod error;

use std::os::fd::{AsFd, OwnedFd};

use control_client::content::Sha256;

pub use error::PublishError;
pub(crate) use error::failed;

use crate::aligned::AlignedBuffer;
use crate::disk;
use crate::format::{CHUNK_BYTES, Footer, decode_tail};
use crate::identity::BundleId;
use crate::incoming::IncomingFile;
use crate::inventory::BundleRecord;
use crate::layout::Layout;
use crate::limits::{BLOCK_BYTES, SAMPLED_CHUNKS_MAX};
use crate::volume::Volume;

/// A bundle that was published, and can be adopted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedBundle {
    /// The name of its file.
    pub id: BundleId,
    /// Path and generation, lengths and counts.
    pub record: BundleRecord,
}

/// How much of the data region is read back before a bundle is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadBack {
    /// All of it.
    All,
    /// Some chunks from first to last: the checksums were computed from what was read back, and what is left to be
    /// found is a caller who computes them wrongly, or of another file.
    Sample,
}

/// Refuses a volume that is isolated.
pub(crate) fn check_isolation(volume: &Volume) -> Result<(), PublishError> {
    match volume.isolation().map_err(failed("read the isolation record"))? {
        Some(isolation) => Err(PublishError::Isolated { reason: isolation.reason }),
        None => Ok(()),
    }
}

/// Takes the steps from the third on, for a file whose data region is written.
pub(crate) fn publish(
    file: IncomingFile,
    layout: &Layout,
    digests: &[Sha256],
    chunk_checksums: Vec<u32>,
    read_back: ReadBack,
) -> Result<PublishedBundle, PublishError> {
    check(layout, digests, &chunk_checksums)?;
    check_isolation(file.volume())?;
    let tail = layout.tail(digests, chunk_checksums)?;
    file.remove_when_dropped();
    let mut block = AlignedBuffer::new(tail.len());
    block.bytes_mut().copy_from_slice(&tail);
    disk::write_all_at(file.as_fd(), block.bytes(), layout.data_bytes()).map_err(failed("write"))?;
    disk::sync_data(file.as_fd()).map_err(failed("fdatasync"))?;
    let (medium, footer) = read_back_tail(&file, layout, &tail, block)?;
    read_back_data(&medium, &footer, read_back)?;
    disk::sync(file.as_fd()).map_err(failed("fsync"))?;
    let id = file.rename(layout.key())?;
    Ok(PublishedBundle { id, record: layout.record() })
}

/// Whether what the caller says of the data can be true.
fn check(layout: &Layout, digests: &[Sha256], chunk_checksums: &[u32]) -> Result<(), PublishError> {
    if digests.len() != layout.objects().len() || chunk_checksums.len() != layout.chunk_count() {
        return Err(PublishError::Contents(format!(
            "{} digests and {} checksums were given for {} objects and {} chunks",
            digests.len(),
            chunk_checksums.len(),
            layout.objects().len(),
            layout.chunk_count()
        )));
    }
    for (object, &found) in layout.objects().iter().zip(digests) {
        if object.sha256.is_some_and(|planned| planned != found) {
            return Err(PublishError::Digest { name: object.name.clone(), found });
        }
    }
    Ok(())
}

/// Reads footer and trailer from the medium, past the page cache, and compares them. The file as it was opened for that,
/// and its footer, are returned.
fn read_back_tail(
    file: &IncomingFile,
    layout: &Layout,
    tail: &[u8],
    mut block: AlignedBuffer,
) -> Result<(OwnedFd, Footer), PublishError> {
    disk::drop_cached(file.as_fd());
    let medium = file.reopen().map_err(failed("open"))?;
    block.bytes_mut().fill(0);
    disk::read_exact_at(medium.as_fd(), block.bytes_mut(), layout.data_bytes())
        .map_err(failed("read back"))?;
    if block.bytes() != tail {
        return Err(PublishError::ReadBack("footer and trailer differ".to_owned()));
    }
    let (_, footer) = decode_tail(block.bytes(), layout.file_bytes())?;
    Ok((medium, footer))
}

fn read_back_data(medium: &OwnedFd, footer: &Footer, read_back: ReadBack) -> Result<(), PublishError> {
    let (starts, piece_bytes) = match read_back {
        ReadBack::All => ((0..footer.data_bytes()).step_by(BLOCK_BYTES).collect(), BLOCK_BYTES as u64),
        ReadBack::Sample => (sample(footer.chunk_count()), CHUNK_BYTES),
    };
    let mut block = AlignedBuffer::new(piece_bytes.min(footer.data_bytes()) as usize);
    for start in starts {
        let length = (footer.data_bytes() - start).min(piece_bytes) as usize;
        let bytes = &mut block.bytes_mut()[..length];
        disk::read_exact_at(medium.as_fd(), bytes, start).map_err(failed("read back"))?;
        footer
            .verify(start / CHUNK_BYTES, bytes)
            .map_err(|corrupt| PublishError::ReadBack(corrupt.to_string()))?;
    }
    Ok(())
}

/// Where chunks start that are spread over all of them, the first and the last among them.
fn sample(chunk_count: u32) -> Vec<u64> {
    let (chunks, samples) = (u64::from(chunk_count), SAMPLED_CHUNKS_MAX.min(u64::from(chunk_count)));
    let last = chunks.saturating_sub(1);
    (0..samples).map(|number| number * last / (samples - 1).max(1) * CHUNK_BYTES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_every_chunk_of_a_small_bundle_and_both_ends_of_a_large_one() {
        assert_eq!(sample(0), [] as [u64; 0]);
        assert_eq!(sample(1), [0]);
        assert_eq!(sample(2), [0, CHUNK_BYTES]);
        let all: Vec<u64> = (0..SAMPLED_CHUNKS_MAX).map(|chunk| chunk * CHUNK_BYTES).collect();
        assert_eq!(sample(SAMPLED_CHUNKS_MAX as u32), all);
        let large = sample(4_000_000);
        assert_eq!(large.len() as u64, SAMPLED_CHUNKS_MAX);
        assert_eq!((large.first(), large.last()), (Some(&0), Some(&(3_999_999 * CHUNK_BYTES))));
        assert!(large.is_sorted_by(|one, other| one < other));
    }
}
