//! The disk thread of a volume: it writes and reads past the page cache, through a ring of its own
//! (`tokio-uring`).
//!
//! What tokio-uring asks for is kept here, and nowhere else has to think of it: an operation that was begun is never
//! cancelled (its task owns block and descriptor until the kernel has answered, whoever still waits for it), and the runtime
//! is not dropped before all of them have ended. A thread whose disk hangs is left behind, runtime and all.

mod block;

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use control_client::fill::FailureReason;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_uring::buf::BoundedBuf;

pub use block::{Block, BlockPool};

use crate::limits::{DISK_TIMEOUT, RING_ENTRIES, RING_TICK};

/// Does the I/O of one volume.
#[derive(Debug)]
pub struct DiskThread {
    operations: mpsc::UnboundedSender<Operation>,
    blocks: BlockPool,
    thread: Option<JoinHandle<()>>,
}

/// An open file that disk threads work on.
#[derive(Clone, Debug)]
pub struct DiskFile(Arc<File>);

/// Why the disk did not do what it was asked for.
#[derive(Debug)]
pub enum DiskError {
    /// The operating system said so.
    Io(io::Error),
    /// It has not answered within [`DISK_TIMEOUT`].
    Hung,
    /// Its thread is gone.
    Gone,
}

/// An operation that was begun. It goes on when this is dropped.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<io::Result<Block>>);

struct Operation {
    file: DiskFile,
    kind: Kind,
    done: oneshot::Sender<io::Result<Block>>,
}

enum Kind {
    Write { block: Block, length: usize, offset: u64 },
    Read { block: Block, length: usize, offset: u64 },
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
    /// Starts the thread of the volume with that index. It has at most so many blocks.
    pub fn start(volume: u8, blocks: usize) -> io::Result<Self> {
        let (operations, received) = mpsc::unbounded_channel();
        let (started, is_started) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name(format!("disk-{volume}")).spawn(move || {
            let mut ring = tokio_uring::uring_builder();
            ring.setup_single_issuer().setup_coop_taskrun();
            let mut builder = tokio_uring::builder();
            let runtime = tokio_uring::Runtime::new(builder.entries(RING_ENTRIES).uring_builder(&ring));
            match runtime {
                Ok(runtime) => {
                    let _ = started.send(Ok(()));
                    runtime.block_on(work(received));
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            }
        })?;
        is_started.recv().map_err(|_| io::Error::other("the disk thread ended at once"))??;
        Ok(Self { operations, blocks: BlockPool::new(blocks), thread: Some(thread) })
    }

    /// Whether its thread is there. It ends by itself only where the ring failed.
    pub fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// The volume's blocks.
    pub fn blocks(&self) -> &BlockPool {
        &self.blocks
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
        let (done, pending) = oneshot::channel();
        // Where the thread is gone, so is the sender of the answer, and whoever waits learns it.
        let _ = self.operations.send(Operation { file: file.clone(), kind, done });
        Pending(pending)
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
        match tokio::time::timeout(DISK_TIMEOUT, self.0).await {
            Ok(Ok(answer)) => answer.map_err(DiskError::Io),
            Ok(Err(_)) => Err(DiskError::Gone),
            Err(_) => Err(DiskError::Hung),
        }
    }
}

impl DiskError {
    /// The word for it in a run's report.
    pub fn reason(&self) -> FailureReason {
        match self {
            Self::Io(error) => io_reason(error),
            Self::Hung => FailureReason::VolumeLost,
            Self::Gone => FailureReason::DiskFailed,
        }
    }
}

/// The word for what the operating system says of a volume.
pub fn io_reason(error: &io::Error) -> FailureReason {
    if is_full(error) {
        FailureReason::DiskFull
    } else if is_gone(error) {
        FailureReason::VolumeLost
    } else {
        FailureReason::DiskFailed
    }
}

/// Whether the file system has no room.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether the disk is not there any more.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENODEV | libc::ENXIO | libc::ENOTCONN | libc::ESTALE | libc::ESHUTDOWN | libc::EROFS)
    )
}

/// Begins what comes, and ends when nobody can ask any more and everything that was begun has ended.
async fn work(mut operations: mpsc::UnboundedReceiver<Operation>) {
    let mut begun = JoinSet::new();
    loop {
        // Only channel, tasks and timer are raced here, never an operation of the ring.
        let next = tokio::select! {
            next = operations.recv() => next,
            Some(_) = begun.join_next() => continue,
            () = tokio::time::sleep(RING_TICK), if !begun.is_empty() => continue,
        };
        let Some(operation) = next else { break };
        begun.spawn_local(carry_out(operation));
    }
    while !begun.is_empty() {
        let _ = tokio::time::timeout(RING_TICK, begun.join_next()).await;
    }
}

async fn carry_out(operation: Operation) {
    let answer = match operation.file.0.try_clone() {
        Ok(file) => on_ring(tokio_uring::fs::File::from_std(file), operation.kind).await,
        Err(error) => Err(error),
    };
    let _ = operation.done.send(answer);
}

async fn on_ring(file: tokio_uring::fs::File, kind: Kind) -> io::Result<Block> {
    match kind {
        Kind::Write { block, length, offset } => {
            let (result, slice) = file.write_all_at(block.slice(..length), offset).await;
            result.map(|()| slice.into_inner())
        }
        Kind::Read { block, length, offset } => {
            let (result, slice) = file.read_exact_at(block.slice(..length), offset).await;
            result.map(|()| slice.into_inner())
        }
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(formatter, "the disk failed: {error}"),
            Self::Hung => {
                write!(formatter, "the disk has not answered for {} s", DISK_TIMEOUT.as_secs())
            }
            Self::Gone => write!(formatter, "the disk's thread has ended; restart the agent"),
        }
    }
}

impl std::error::Error for DiskError {}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::limits::BLOCK_BYTES;

    #[test]
    fn disks_that_are_full_that_vanish_and_that_fail_are_told_apart() {
        let reason = |code| DiskError::Io(io::Error::from_raw_os_error(code)).reason();
        assert_eq!(reason(libc::ENOSPC), FailureReason::DiskFull);
        assert_eq!(reason(libc::EDQUOT), FailureReason::DiskFull);
        assert_eq!(reason(libc::ENODEV), FailureReason::VolumeLost);
        assert_eq!(reason(libc::EIO), FailureReason::DiskFailed);
        assert_eq!(DiskError::Hung.reason(), FailureReason::VolumeLost);
    }

    #[tokio::test]
    async fn what_is_written_is_read_back() {
        let file = tempfile::tempfile().unwrap();
        let disk = DiskThread::start(0, 2).unwrap();
        let target = DiskFile::of(&file).unwrap();
        let mut block = disk.blocks().take().await;
        block.bytes_mut()[..8192].fill(0xa5);
        disk.write(&target, block, 8192, 4096).block().await.unwrap();
        let mut found = [0; 8192];
        file.read_exact_at(&mut found, 4096).unwrap();
        assert_eq!(found, [0xa5; 8192]);
        let block = disk.blocks().take().await;
        let block = disk.read(&target, block, 8192, 4096).block().await.unwrap();
        assert_eq!(block.bytes()[..8192], [0xa5; 8192]);
        drop(block);
        assert!(disk.stop(Duration::from_secs(10)));
    }

    #[tokio::test]
    async fn the_end_of_the_file_and_a_closed_door_are_errors_and_the_thread_lives_on() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let disk = DiskThread::start(0, 1).unwrap();
        let readable = DiskFile::of(File::open(file.path()).unwrap()).unwrap();
        let block = disk.blocks().take().await;
        let error = disk.read(&readable, block, 4096, 0).block().await.unwrap_err();
        assert!(matches!(error, DiskError::Io(_)), "{error}");
        let block = disk.blocks().take().await;
        let error = disk.write(&readable, block, 4096, 0).block().await.unwrap_err();
        assert!(matches!(error, DiskError::Io(_)), "{error}");
        assert!(disk.stop(Duration::from_secs(10)));
    }

    #[tokio::test]
    async fn an_operation_that_nobody_waits_for_ends_and_gives_its_block_back() {
        let file = tempfile::tempfile().unwrap();
        let disk = DiskThread::start(0, 1).unwrap();
        let target = DiskFile::of(&file).unwrap();
        for turn in 0..20 {
            let mut block = disk.blocks().take().await;
            block.bytes_mut().fill(turn);
            drop(disk.write(&target, block, BLOCK_BYTES, u64::from(turn) * BLOCK_BYTES as u64));
        }
        disk.blocks().take().await;
        assert!(disk.stop(Duration::from_secs(10)));
        assert_eq!(file.metadata().unwrap().len(), 20 * BLOCK_BYTES as u64);
    }
}
