//! What runs on a disk thread: operations come through a channel, and each is a task of the ring's runtime.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_uring::buf::BoundedBuf;

use super::{Block, DiskFile, Vigil};
use crate::limits::{RING_ENTRIES, RING_TICK};

/// What is to be done, and who is told.
pub(super) struct Operation {
    pub(super) file: DiskFile,
    pub(super) kind: Kind,
    pub(super) done: oneshot::Sender<io::Result<Block>>,
}

/// The first `length` bytes of a block, a multiple of 4 KiB, and where they belong in the file.
pub(super) enum Kind {
    Write { block: Block, length: usize, offset: u64 },
    Read { block: Block, length: usize, offset: u64 },
}

impl Kind {
    pub(super) fn is_write(&self) -> bool {
        matches!(self, Self::Write { .. })
    }
}

/// Starts a disk thread, and waits until it has its ring.
pub(super) fn start(
    name: String,
    operations: mpsc::UnboundedReceiver<Operation>,
    vigil: Arc<Vigil>,
) -> io::Result<JoinHandle<()>> {
    let (started, is_started) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let mut ring = tokio_uring::uring_builder();
        ring.setup_single_issuer().setup_coop_taskrun();
        let mut builder = tokio_uring::builder();
        let runtime = tokio_uring::Runtime::new(builder.entries(RING_ENTRIES).uring_builder(&ring));
        match runtime {
            Ok(runtime) => {
                let _ = started.send(Ok(()));
                runtime.block_on(work(operations, &vigil));
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        }
    })?;
    is_started.recv().map_err(|_| io::Error::other("the disk thread ended at once"))??;
    Ok(thread)
}

/// Begins what comes, and ends when nobody can ask any more and everything that was begun has ended.
async fn work(mut operations: mpsc::UnboundedReceiver<Operation>, vigil: &Arc<Vigil>) {
    let mut begun = JoinSet::new();
    loop {
        // Only channel, tasks and timer are raced here, never an operation of the ring.
        let next = tokio::select! {
            next = operations.recv() => next,
            Some(_) = begun.join_next() => continue,
            () = tokio::time::sleep(RING_TICK), if !begun.is_empty() => continue,
        };
        let Some(operation) = next else { break };
        begun.spawn_local(carry_out(operation, Arc::clone(vigil)));
    }
    while !begun.is_empty() {
        let _ = tokio::time::timeout(RING_TICK, begun.join_next()).await;
    }
}

async fn carry_out(operation: Operation, vigil: Arc<Vigil>) {
    let is_write = operation.kind.is_write();
    let answer = match operation.file.0.try_clone() {
        Ok(file) => on_ring(tokio_uring::fs::File::from_std(file), operation.kind).await,
        Err(error) => Err(error),
    };
    vigil.end(is_write);
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
