//! Puts an object's bytes, as they come, into blocks and on their way to the disk, and digests them: once, for what the disk
//! gives back later is compared by checksum with what was digested here.

use aws_lc_rs::digest::{self, Context};
use cache_store::{ALIGNMENT, ChunkChecksums};
use control_client::content::Sha256;
use control_client::units::ByteRange;

use crate::disk::{Block, DiskError, DiskFile, DiskThread, Pending};
use crate::limits::BLOCK_BYTES;

/// Takes one object. Its range in the file starts at a multiple of 4 KiB, and so does the next object's.
pub struct ObjectWriter<'a> {
    disk: &'a DiskThread,
    file: &'a DiskFile,
    range: ByteRange,
    digest: Context,
    checksums: ChunkChecksums,
    received: u64,
    /// The block that is being filled, and how far.
    block: Option<(Block, usize)>,
    /// The block before it, on its way to the disk. One is enough to keep the disk busy beside the other objects.
    writing: Option<Pending>,
}

/// What an object was when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its digest.
    pub sha256: Sha256,
    /// Of its place in the data region, up to the next multiple of 4 KiB: [`ChunkChecksums::of_part`].
    pub checksums: Vec<u32>,
}

impl<'a> ObjectWriter<'a> {
    /// Nothing received yet.
    pub fn new(disk: &'a DiskThread, file: &'a DiskFile, range: ByteRange) -> Self {
        let (digest, checksums) = (Context::new(&digest::SHA256), ChunkChecksums::of_part(range.start));
        Self { disk, file, range, digest, checksums, received: 0, block: None, writing: None }
    }

    /// How many bytes of the object have come.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes the next bytes. The caller has seen to it that they are not more than the object has.
    pub async fn append(&mut self, mut bytes: &[u8]) -> Result<(), DiskError> {
        self.digest.update(bytes);
        self.checksums.update(bytes);
        while !bytes.is_empty() {
            let (mut block, filled) = match self.block.take() {
                Some(begun) => begun,
                None => (self.next_block().await?, 0),
            };
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - filled));
            block.bytes_mut()[filled..filled + now.len()].copy_from_slice(now);
            self.received += now.len() as u64;
            self.block = Some((block, filled + now.len()));
            bytes = later;
            if filled + now.len() == BLOCK_BYTES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Forgets what has come: the object begins anew.
    pub fn restart(&mut self) {
        self.digest = Context::new(&digest::SHA256);
        self.checksums = ChunkChecksums::of_part(self.range.start);
        self.received = 0;
        self.block = None;
    }

    /// Waits until the disk has taken all of it, and gives what came.
    pub async fn finish(mut self) -> Result<Received, DiskError> {
        self.flush().await?;
        self.written().await?;
        let digest = self.digest.finish();
        Ok(Received {
            sha256: Sha256::new(*digest.as_ref().first_chunk().expect("a SHA-256 has 32 bytes")),
            checksums: self.checksums.finish(),
        })
    }

    /// Gives it up, and waits for what is on its way to the disk: whoever writes the object next must not be overtaken by it.
    pub async fn abandon(mut self) -> Result<(), DiskError> {
        self.written().await
    }

    async fn next_block(&mut self) -> Result<Block, DiskError> {
        if let Some(block) = self.disk.blocks().try_take() {
            return Ok(block);
        }
        // Who waits for a block while it has another may wait for somebody who does the same.
        self.written().await?;
        self.disk.block().await
    }

    /// Sends the block to the disk, filled up with zeroes to a multiple of 4 KiB.
    async fn flush(&mut self) -> Result<(), DiskError> {
        let Some((mut block, filled)) = self.block.take() else { return Ok(()) };
        self.written().await?;
        let length = filled.next_multiple_of(ALIGNMENT as usize);
        let padding = &mut block.bytes_mut()[filled..length];
        padding.fill(0);
        self.checksums.update(padding);
        let offset = self.range.start + self.received - filled as u64;
        self.writing = Some(self.disk.write(self.file, block, length, offset));
        Ok(())
    }

    async fn written(&mut self) -> Result<(), DiskError> {
        match self.writing.take() {
            Some(pending) => pending.block().await.map(drop),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn an_object_is_written_where_it_belongs_whatever_pieces_it_comes_in() {
        let mut named = tempfile::NamedTempFile::new().unwrap();
        // One block has to do.
        let disk = DiskThread::start(0, 1, crate::limits::DISK_TIMEOUT).unwrap();
        let file = DiskFile::of(named.as_file()).unwrap();
        let content: Vec<u8> = (0..2 * BLOCK_BYTES + 5000).map(|index| (index * 7 % 251) as u8).collect();
        let range = ByteRange { start: 8192, end: 8192 + content.len() as u64 };
        let mut writer = ObjectWriter::new(&disk, &file, range);
        writer.append(b"of another try").await.unwrap();
        writer.restart();
        for piece in content.chunks(300_001) {
            writer.append(piece).await.unwrap();
        }
        assert_eq!(writer.received(), content.len() as u64);
        let received = writer.finish().await.unwrap();
        assert_eq!(received.sha256, control_client::digest::sha256(&content));
        let mut found = Vec::new();
        named.as_file_mut().read_to_end(&mut found).unwrap();
        assert_eq!(found.len(), (8192 + content.len()).next_multiple_of(4096));
        assert_eq!(found[8192..8192 + content.len()], content);
        let mut checksums = ChunkChecksums::of_part(8192);
        checksums.update(&found[8192..]);
        assert_eq!(received.checksums, checksums.finish(), "with the zeroes after it");
        assert!(disk.stop(Duration::from_secs(10)));
    }

    #[tokio::test]
    async fn an_empty_object_needs_no_disk() {
        let disk = DiskThread::start(0, 1, crate::limits::DISK_TIMEOUT).unwrap();
        let file = DiskFile::of(tempfile::tempfile().unwrap()).unwrap();
        let writer = ObjectWriter::new(&disk, &file, ByteRange { start: 0, end: 0 });
        let nothing = Received { sha256: control_client::digest::sha256(b""), checksums: Vec::new() };
        assert_eq!(writer.finish().await.unwrap(), nothing);
        assert!(disk.stop(Duration::from_secs(10)));
    }
}
