//! Puts an object's bytes, as they come, into blocks and on their way to the disk, and digests them.

use aws_lc_rs::digest::{self, Context};
use cache_store::ALIGNMENT;
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
    received: u64,
    /// The block that is being filled, and how far.
    block: Option<(Block, usize)>,
    /// The block before it, on its way to the disk. One is enough to keep the disk busy beside the other objects.
    writing: Option<Pending>,
}

impl<'a> ObjectWriter<'a> {
    /// Nothing received yet.
    pub fn new(disk: &'a DiskThread, file: &'a DiskFile, range: ByteRange) -> Self {
        let digest = Context::new(&digest::SHA256);
        Self { disk, file, range, digest, received: 0, block: None, writing: None }
    }

    /// How many bytes of the object have come.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes the next bytes. The caller has seen to it that they are not more than the object has.
    pub async fn append(&mut self, mut bytes: &[u8]) -> Result<(), DiskError> {
        self.digest.update(bytes);
        while !bytes.is_empty() {
            let (mut block, filled) = match self.block.take() {
                Some(begun) => begun,
                None => (self.disk.blocks().take().await, 0),
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
        self.received = 0;
        self.block = None;
    }

    /// Waits until the disk has taken all of it, and gives the digest of what came.
    pub async fn finish(mut self) -> Result<Sha256, DiskError> {
        self.flush().await?;
        self.written().await?;
        let digest = self.digest.finish();
        Ok(Sha256::new(*digest.as_ref().first_chunk().expect("a SHA-256 has 32 bytes")))
    }

    /// Sends the block to the disk, filled up with zeroes to a multiple of 4 KiB.
    async fn flush(&mut self) -> Result<(), DiskError> {
        let Some((mut block, filled)) = self.block.take() else { return Ok(()) };
        self.written().await?;
        let length = filled.next_multiple_of(ALIGNMENT as usize);
        block.bytes_mut()[filled..length].fill(0);
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
        let disk = DiskThread::start(0, 2).unwrap();
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
        assert_eq!(writer.finish().await.unwrap(), control_client::digest::sha256(&content));
        let mut found = Vec::new();
        named.as_file_mut().read_to_end(&mut found).unwrap();
        assert_eq!(found.len(), (8192 + content.len()).next_multiple_of(4096));
        assert_eq!(found[8192..8192 + content.len()], content);
        assert!(disk.stop(Duration::from_secs(10)));
    }

    #[tokio::test]
    async fn an_empty_object_needs_no_disk() {
        let disk = DiskThread::start(0, 1).unwrap();
        let file = DiskFile::of(tempfile::tempfile().unwrap()).unwrap();
        let writer = ObjectWriter::new(&disk, &file, ByteRange { start: 0, end: 0 });
        assert_eq!(writer.finish().await.unwrap(), control_client::digest::sha256(b""));
        assert!(disk.stop(Duration::from_secs(10)));
    }
}
