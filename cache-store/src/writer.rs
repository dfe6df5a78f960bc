//! Bundles that are written in one go, from the first byte to the last: imports, synthetic stores, tests.

use std::fmt;
use std::os::fd::AsFd;
use std::sync::Arc;

use aws_lc_rs::digest::{self, Context};
use control_client::content::{BundleKey, Sha256};

use crate::aligned::AlignedBuffer;
use crate::checksums::ChunkChecksums;
use crate::disk;
use crate::format::{ALIGNMENT, align_up};
use crate::incoming::IncomingFile;
use crate::layout::{Layout, PlannedObject};
use crate::limits::BLOCK_BYTES;
use crate::publish::{PublishError, PublishedBundle, ReadBack, check_isolation, failed, publish};
use crate::volume::Volume;

/// A bundle being written. Dropped before [`BundleWriter::finish`], it leaves nothing behind.
pub struct BundleWriter {
    layout: Layout,
    file: IncomingFile,
    block: AlignedBuffer,
    block_filled: usize,
    /// Where in the file the block starts.
    block_offset: u64,
    checksums: ChunkChecksums,
    /// Digests of the objects that are complete.
    digests: Vec<Sha256>,
    digest: Context,
    object_written: u64,
}

impl BundleWriter {
    /// Begins a bundle with these objects, in any order: their bytes are then given in the order of their
    /// names, see [`BundleWriter::objects`]. The descriptor's digest is zeroes where there is none.
    pub fn create(
        volume: &Arc<Volume>,
        key: BundleKey,
        descriptor_digest: Sha256,
        objects: Vec<PlannedObject>,
    ) -> Result<Self, PublishError> {
        let layout = Layout::new(key, descriptor_digest, objects)?;
        check_isolation(volume)?;
        let file = IncomingFile::create(volume, &layout)?;
        Ok(Self {
            layout,
            file,
            block: AlignedBuffer::new(BLOCK_BYTES),
            block_filled: 0,
            block_offset: 0,
            checksums: ChunkChecksums::new(),
            digests: Vec::new(),
            digest: Context::new(&digest::SHA256),
            object_written: 0,
        })
    }

    /// The objects in the order in which their bytes are to be given.
    pub fn objects(&self) -> &[PlannedObject] {
        self.layout.objects()
    }

    /// Writes the next bytes of the present object.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), PublishError> {
        let object = self.present()?;
        if bytes.len() as u64 > object.length - self.object_written {
            return Err(PublishError::Length { name: object.name.clone(), planned_bytes: object.length });
        }
        self.digest.update(bytes);
        self.object_written += bytes.len() as u64;
        self.fill(bytes)
    }

    /// Ends the present object, which has to be complete; the next one follows.
    pub fn end_object(&mut self) -> Result<Sha256, PublishError> {
        let object = self.present()?;
        let (name, length, expected) = (object.name.clone(), object.length, object.sha256);
        if self.object_written != length {
            return Err(PublishError::Length { name, planned_bytes: length });
        }
        let digest = std::mem::replace(&mut self.digest, Context::new(&digest::SHA256)).finish();
        let found = Sha256::new(*digest.as_ref().first_chunk().expect("a SHA-256 has 32 bytes"));
        if expected.is_some_and(|expected| expected != found) {
            return Err(PublishError::Digest { name, found });
        }
        self.digests.push(found);
        self.object_written = 0;
        let written = self.block_offset + self.block_filled as u64;
        self.fill(&[0; ALIGNMENT as usize][..(align_up(written) - written) as usize])?;
        Ok(found)
    }

    /// Writes footer and trailer, verifies what the medium holds, and publishes.
    pub fn finish(mut self) -> Result<PublishedBundle, PublishError> {
        if let Some(missing) = self.objects().get(self.digests.len()) {
            return Err(PublishError::Length { name: missing.name.clone(), planned_bytes: missing.length });
        }
        self.flush()?;
        publish(self.file, &self.layout, &self.digests, self.checksums.finish(), ReadBack::All)
    }

    fn present(&self) -> Result<&PlannedObject, PublishError> {
        let all_given = || PublishError::Contents("more objects were given than planned".to_owned());
        self.objects().get(self.digests.len()).ok_or_else(all_given)
    }

    fn fill(&mut self, mut bytes: &[u8]) -> Result<(), PublishError> {
        while !bytes.is_empty() {
            let room = &mut self.block.bytes_mut()[self.block_filled..];
            let (now, later) = bytes.split_at(bytes.len().min(room.len()));
            room[..now.len()].copy_from_slice(now);
            self.block_filled += now.len();
            bytes = later;
            if self.block_filled == BLOCK_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes the block. It is full, or the last one, so that its length is a multiple of 4 KiB.
    fn flush(&mut self) -> Result<(), PublishError> {
        let bytes = &self.block.bytes()[..self.block_filled];
        self.checksums.update(bytes);
        disk::write_all_at(self.file.as_fd(), bytes, self.block_offset).map_err(failed("write"))?;
        self.block_offset += self.block_filled as u64;
        self.block_filled = 0;
        Ok(())
    }
}

impl fmt::Debug for BundleWriter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "BundleWriter({}, {})", self.layout.key(), self.file.name())
    }
}
