//! Puts an object's bytes, as they come, into blocks and on their way to the disk, and digests them: once, for what the disk
//! gives back later is compared by checksum with what was digested here.

use std::collections::VecDeque;

use aws_lc_rs::digest::{self, Context};
use cache_store::{ALIGNMENT, ChunkChecksums};
use control_client::content::Sha256;
use control_client::units::ByteRange;

use crate::disk::{Block, DiskError, DiskFile, DiskThread, Pending};
use crate::limits::{BLOCK_BYTES, WRITES_PER_FETCH};
use crate::pieces::pieces;

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
    /// The blocks before it, on their way to the disk, the oldest first.
    writing: VecDeque<Pending>,
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
        Self { disk, file, range, digest, checksums, received: 0, block: None, writing: VecDeque::new() }
    }

    /// How many bytes of the object have come.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes the next bytes. The caller has seen to it that they are not more than the object has.
    pub async fn append(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        for piece in pieces(bytes) {
            self.append_piece(piece).await?;
        }
        Ok(())
    }

    async fn append_piece(&mut self, mut bytes: &[u8]) -> Result<(), DiskError> {
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

    /// Forgets what has come: the object begins anew. What is on its way to the disk is waited for, so that it does not overtake
    /// what is written there next.
    pub async fn restart(&mut self) -> Result<(), DiskError> {
        self.all_written().await?;
        self.digest = Context::new(&digest::SHA256);
        self.checksums = ChunkChecksums::of_part(self.range.start);
        self.received = 0;
        self.block = None;
        Ok(())
    }

    /// Waits until the disk has taken all of it, and gives what came.
    pub async fn finish(mut self) -> Result<Received, DiskError> {
        if let Err(error) = self.flush().await {
            return Err(self.abandon_after(error).await);
        }
        self.all_written().await?;
        let digest = self.digest.finish();
        Ok(Received {
            sha256: Sha256::new(*digest.as_ref().first_chunk().expect("a SHA-256 has 32 bytes")),
            checksums: self.checksums.finish(),
        })
    }

    /// Gives it up, and waits for what is on its way to the disk: whoever writes the object next must not be overtaken by it.
    pub async fn abandon(mut self) -> Result<(), DiskError> {
        self.all_written().await
    }

    /// The same after the disk has failed; gives that error back. A disk that hangs is not waited for again.
    pub async fn abandon_after(mut self, error: DiskError) -> DiskError {
        if !matches!(error, DiskError::Hung) {
            // The first error is the one to tell.
            let _ = self.all_written().await;
        }
        error
    }

    async fn next_block(&mut self) -> Result<Block, DiskError> {
        loop {
            if let Some(block) = self.disk.blocks().try_take() {
                return Ok(block);
            }
            // Who waits for a block while it has another may wait for somebody who does the same.
            match self.writing.pop_front() {
                Some(oldest) => drop(oldest.block().await?),
                None => return self.disk.block().await,
            }
        }
    }

    /// Sends the block to the disk, filled up with zeroes to a multiple of 4 KiB.
    async fn flush(&mut self) -> Result<(), DiskError> {
        let Some((mut block, filled)) = self.block.take() else { return Ok(()) };
        while self.writing.len() >= WRITES_PER_FETCH
            && let Some(oldest) = self.writing.pop_front()
        {
            drop(oldest.block().await?);
        }
        let length = filled.next_multiple_of(ALIGNMENT as usize);
        let padding = &mut block.bytes_mut()[filled..length];
        padding.fill(0);
        self.checksums.update(padding);
        let offset = self.range.start + self.received - filled as u64;
        self.writing.push_back(self.disk.write(self.file, block, length, offset));
        Ok(())
    }

    /// Waits for all of them, whatever becomes of the first; the first error. Each is waited for as long as a disk may take, so
    /// that behind one that hangs none is: they go on by themselves, their blocks and the file are the disk thread's.
    async fn all_written(&mut self) -> Result<(), DiskError> {
        let mut written = Ok(());
        while let Some(oldest) = self.writing.pop_front() {
            let answer = oldest.block().await.map(drop);
            let is_hung = matches!(answer, Err(DiskError::Hung));
            written = written.and(answer);
            if is_hung {
                break;
            }
        }
        written
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
        writer.restart().await.unwrap();
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
    async fn an_object_that_begins_anew_waits_for_what_is_on_its_way_to_the_disk() {
        // A pipe takes a block's first bytes, and the rest when somebody reads.
        let (mut reader, pipe) = std::io::pipe().unwrap();
        let disk = DiskThread::start(0, 1 + WRITES_PER_FETCH, crate::limits::DISK_TIMEOUT).unwrap();
        let file = DiskFile::of(pipe).unwrap();
        let bytes = (WRITES_PER_FETCH * BLOCK_BYTES) as u64;
        let mut writer = ObjectWriter::new(&disk, &file, ByteRange { start: 0, end: bytes });
        for _ in 0..WRITES_PER_FETCH {
            writer.append(&[7; BLOCK_BYTES]).await.unwrap();
        }
        assert_eq!(writer.writing.len(), WRITES_PER_FETCH, "it did not wait for them so far");
        assert!(disk.is_writing());
        let reading = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            let mut taken = vec![0; bytes as usize];
            reader.read_exact(&mut taken).unwrap();
        });
        writer.restart().await.unwrap();
        assert!(!disk.is_writing() && writer.received() == 0);
        reading.join().unwrap();
        drop(writer);
        assert!(disk.stop(Duration::from_secs(10)));
    }

    #[tokio::test]
    async fn a_disk_that_hangs_is_waited_for_once_and_not_for_each_block() {
        // Nobody reads from the pipe, so that no write ends.
        let (mut reader, pipe) = std::io::pipe().unwrap();
        let disk = DiskThread::start(0, 1 + WRITES_PER_FETCH, Duration::from_millis(50)).unwrap();
        let file = DiskFile::of(pipe).unwrap();
        let bytes = (WRITES_PER_FETCH * BLOCK_BYTES) as u64;
        let mut writer = ObjectWriter::new(&disk, &file, ByteRange { start: 0, end: bytes });
        for _ in 0..WRITES_PER_FETCH {
            writer.append(&[7; BLOCK_BYTES]).await.unwrap();
        }
        assert!(matches!(writer.restart().await, Err(DiskError::Hung)));
        assert_eq!(writer.writing.len(), WRITES_PER_FETCH - 1, "nobody waited for those behind the first");
        assert_eq!(writer.received(), bytes, "nothing began anew");
        let error = writer.abandon_after(DiskError::Hung).await;
        assert!(matches!(error, DiskError::Hung) && disk.is_hung());
        let mut taken = vec![0; bytes as usize];
        tokio::task::spawn_blocking(move || reader.read_exact(&mut taken).unwrap()).await.unwrap();
        let mut given_back = Vec::new();
        for _ in 0..=WRITES_PER_FETCH {
            let block = tokio::time::timeout(Duration::from_secs(10), disk.blocks().take()).await;
            given_back.push(block.expect("the disk thread gives it back, though nobody waited"));
        }
        drop(given_back);
        assert!(disk.stop(Duration::from_secs(10)));
    }

    #[tokio::test]
    async fn an_object_that_the_disk_refuses_is_left_when_nothing_of_it_is_on_its_way() {
        let (mut reader, pipe) = std::io::pipe().unwrap();
        let disk = DiskThread::start(0, 1 + WRITES_PER_FETCH, crate::limits::DISK_TIMEOUT).unwrap();
        let file = DiskFile::of(pipe).unwrap();
        let mut writer = ObjectWriter::new(&disk, &file, ByteRange { start: 0, end: BLOCK_BYTES as u64 });
        writer.append(&[7; BLOCK_BYTES]).await.unwrap();
        assert!(disk.is_writing());
        let reading = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            reader.read_exact(&mut vec![0; BLOCK_BYTES]).unwrap();
        });
        let refused = DiskError::Io(std::io::ErrorKind::StorageFull.into());
        assert!(matches!(writer.abandon_after(refused).await, DiskError::Io(_)));
        assert!(!disk.is_writing());
        reading.join().unwrap();
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
