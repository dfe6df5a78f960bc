//! The disk thread of a volume: it writes and reads past the page cache, through a ring of its own
//! (`tokio-uring`).
//!
//! What tokio-uring asks for is kept here, and nowhere else has to think of it: an operation that was begun is never
//! cancelled (its task owns block and descriptor until the kernel has answered, whoever still waits for it), and the runtime
//! is not dropped before all of them have ended. A thread whose disk hangs is left alone until that has answered; when the
//! agent ends, it is left behind, runtime and all.

mod block;
mod disk_error;
mod ring;
mod vigil;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

pub use block::{Block, BlockPool};
pub use disk_error::{DiskError, io_reason};

use ring::{Kind, Operation};
use vigil::Vigil;

/// Does the I/O of one volume.
#[derive(Debug)]
pub struct DiskThread {
    operations: mpsc::UnboundedSender<Operation>,
    blocks: BlockPool,
    vigil: Arc<Vigil>,
    thread: Option<JoinHandle<()>>,
}

/// An open file that disk threads work on.
#[derive(Clone, Debug)]
pub struct DiskFile(Arc<File>);

/// An operation that was begun. It goes on when this is dropped.
#[derive(Debug)]
pub struct Pending {
    answer: oneshot::Receiver<io::Result<Block>>,
    vigil: Arc<Vigil>,
}

impl DiskFile {
    /// A descriptor of its own for the same open file.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        let owned: OwnedFd = file.as_fd().try_clone_to_owned()?;
        Ok(Self(Arc::new(File::from(owned))))
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.0
    }
}

impl DiskThread {
    /// Starts the thread of the volume with that index. It has at most so many blocks; where it has not done within `timeout`
    /// what it was asked for, it hangs.
    pub fn start(volume: u8, blocks: usize, timeout: Duration) -> io::Result<Self> {
        let (operations, received) = mpsc::unbounded_channel();
        let vigil = Arc::new(Vigil::new(timeout));
        let thread = ring::start(format!("disk-{volume}"), received, Arc::clone(&vigil))?;
        Ok(Self { operations, blocks: BlockPool::new(blocks), vigil, thread: Some(thread) })
    }

    /// Whether its thread is there. It ends by itself only where the ring failed.
    pub fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Whether its disk has left somebody waiting for too long, and has not answered since.
    pub fn is_hung(&self) -> bool {
        self.vigil.is_hung()
    }

    /// Whether any write is under way.
    pub fn is_writing(&self) -> bool {
        self.vigil.is_writing()
    }

    /// The volume's blocks.
    pub fn blocks(&self) -> &BlockPool {
        &self.blocks
    }

    /// A block, as soon as there is one. It is waited for as long as the disk, which has the others, does anything.
    pub async fn block(&self) -> Result<Block, DiskError> {
        loop {
            let ended = self.vigil.ended();
            match tokio::time::timeout(self.vigil.timeout, self.blocks.take()).await {
                Ok(block) => return Ok(block),
                Err(_) if !self.is_alive() => return Err(DiskError::Gone),
                Err(_) if self.vigil.is_idle() || self.vigil.ended() > ended => {}
                Err(_) => return Err(self.vigil.give_up()),
            }
        }
    }

    /// Begins to write the first `length` bytes of a block, a multiple of 4 KiB.
    pub fn write(&self, file: &DiskFile, block: Block, length: usize, offset: u64) -> Pending {
        self.begin(file, Kind::Write { block, length, offset })
    }

    /// Begins to read `length` bytes, a multiple of 4 KiB.
    pub fn read(&self, file: &DiskFile, block: Block, length: usize, offset: u64) -> Pending {
        self.begin(file, Kind::Read { block, length, offset })
    }

    fn begin(&self, file: &DiskFile, kind: Kind) -> Pending {
        let (done, answer) = oneshot::channel();
        self.vigil.begin(kind.is_write());
        // Where the thread is gone, so is the sender of the answer, and whoever waits learns it.
        let _ = self.operations.send(Operation { file: file.clone(), kind, done });
        Pending { answer, vigil: Arc::clone(&self.vigil) }
    }

    /// Lets the thread end what it has begun, for as long as `within`; then it is left behind. Blocks.
    pub fn stop(mut self, within: Duration) -> bool {
        let Some(thread) = self.thread.take() else { return true };
        drop(self);
        let deadline = std::time::Instant::now() + within;
        while !thread.is_finished() {
            if std::time::Instant::now() >= deadline {
                return false;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        thread.join().is_ok()
    }
}

impl Pending {
    /// The block, when the disk is done with it.
    pub async fn block(self) -> Result<Block, DiskError> {
        match tokio::time::timeout(self.vigil.timeout, self.answer).await {
            Ok(Ok(answer)) => answer.map_err(DiskError::Io),
            Ok(Err(_)) => Err(DiskError::Gone),
            Err(_) => Err(self.vigil.give_up()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::limits::{BLOCK_BYTES, DISK_TIMEOUT};

    #[tokio::test]
    async fn what_is_written_is_read_back() {
        let file = tempfile::tempfile().unwrap();
        let disk = DiskThread::start(0, 2, DISK_TIMEOUT).unwrap();
        let target = DiskFile::of(&file).unwrap();
        let mut block = disk.block().await.unwrap();
        block.bytes_mut()[..8192].fill(0xa5);
        disk.write(&target, block, 8192, 4096).block().await.unwrap();
        let mut found = [0; 8192];
        file.read_exact_at(&mut found, 4096).unwrap();
        assert_eq!(found, [0xa5; 8192]);
        let block = disk.block().await.unwrap();
        let block = disk.read(&target, block, 8192, 4096).block().await.unwrap();
        assert_eq!(block.bytes()[..8192], [0xa5; 8192]);
        drop(block);
        assert!(disk.stop(Duration::from_secs(10)));
    }

    #[tokio::test]
    async fn the_end_of_the_file_and_a_closed_door_are_errors_and_the_thread_lives_on() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let disk = DiskThread::start(0, 1, DISK_TIMEOUT).unwrap();
        let readable = DiskFile::of(File::open(file.path()).unwrap()).unwrap();
        let block = disk.block().await.unwrap();
        let error = disk.read(&readable, block, 4096, 0).block().await.unwrap_err();
        assert!(matches!(error, DiskError::Io(_)), "{error}");
        let block = disk.block().await.unwrap();
        let error = disk.write(&readable, block, 4096, 0).block().await.unwrap_err();
        assert!(matches!(error, DiskError::Io(_)), "{error}");
        assert!(disk.stop(Duration::from_secs(10)));
    }

    #[tokio::test]
    async fn an_operation_that_nobody_waits_for_ends_and_gives_its_block_back() {
        let file = tempfile::tempfile().unwrap();
        let disk = DiskThread::start(0, 1, DISK_TIMEOUT).unwrap();
        let target = DiskFile::of(&file).unwrap();
        for turn in 0..20 {
            let mut block = disk.block().await.unwrap();
            block.bytes_mut().fill(turn);
            drop(disk.write(&target, block, BLOCK_BYTES, u64::from(turn) * BLOCK_BYTES as u64));
        }
        disk.block().await.unwrap();
        assert!(disk.stop(Duration::from_secs(10)));
        assert_eq!(file.metadata().unwrap().len(), 20 * BLOCK_BYTES as u64);
    }

    #[tokio::test]
    async fn a_disk_that_hangs_is_told_of_and_left_alone_until_it_answers() {
        // A pipe is read when somebody has written to it.
        let (reader, writer) = io::pipe().unwrap();
        let disk = DiskThread::start(0, 1, Duration::from_millis(50)).unwrap();
        let target = DiskFile::of(&reader).unwrap();
        let block = disk.block().await.unwrap();
        let read = disk.read(&target, block, 4096, 0);
        assert!(matches!(read.block().await, Err(DiskError::Hung)));
        assert!(disk.is_hung() && disk.is_alive());
        assert!(matches!(disk.block().await, Err(DiskError::Hung)), "it has the only block");
        io::Write::write_all(&mut &writer, &[7; 4096]).unwrap();
        let block = tokio::time::timeout(Duration::from_secs(10), disk.blocks().take()).await.unwrap();
        assert_eq!(block.bytes()[..4096], [7; 4096]);
        assert!(!disk.is_hung());
        drop(block);
        assert!(disk.stop(Duration::from_secs(10)));
    }

    #[tokio::test]
    async fn a_block_that_somebody_else_fills_slowly_is_no_disk_that_hangs() {
        let disk = DiskThread::start(0, 1, Duration::from_millis(20)).unwrap();
        let held = disk.block().await.unwrap();
        let waiting = tokio::time::timeout(Duration::from_millis(200), disk.block());
        assert!(waiting.await.is_err(), "it is waited for");
        drop(held);
        disk.block().await.unwrap();
        assert!(!disk.is_hung());
        assert!(disk.stop(Duration::from_secs(10)));
    }
}
