//! What disk and source can do by themselves, with nothing between: what a fill is held against.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use benches::client::Client;
use cache_store::ALIGNMENT;
use demo::failure::{Failure, Step};
use demo::random::Random;
use rustix::fs::{FallocateFlags, OFlags, fallocate};

/// Bytes that go to and from the disk at once.
pub(crate) const PIECE_BYTES: u64 = 1 << 20;

/// Fetches all of these objects over so many connections, and throws them away. How long that takes.
pub(crate) fn source(
    address: SocketAddr,
    targets: &[String],
    bytes: u64,
    connections: usize,
) -> Result<Duration, Failure> {
    let next = AtomicUsize::new(0);
    let received = AtomicU64::new(0);
    let began = Instant::now();
    in_parallel(connections, || {
        let mut client = Client::connect(address)?;
        while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
            received.fetch_add(client.get(target)?, Ordering::Relaxed);
        }
        Ok(())
    })
    .step("fetching from the source alone")?;
    let took = began.elapsed();
    match received.into_inner() {
        all if all == bytes => Ok(took),
        other => Err(Failure::new(format!("{other} bytes came from the source, not {bytes}"))),
    }
}

/// How long a disk takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskTook {
    /// To make room for the files, to take all of their bytes, and to hold them.
    pub(crate) write: Duration,
    /// To give them back.
    pub(crate) read: Duration,
}

/// Writes so many files of so many bytes each, past the page cache, with so many pieces under way at once; then reads them back. They
/// are removed afterwards.
pub(crate) fn disk(
    folder: &Path,
    files: usize,
    file_bytes: u64,
    at_once: usize,
) -> Result<DiskTook, Failure> {
    std::fs::create_dir(folder).step("making the folder of the disk alone")?;
    let took = write_and_read(folder, files, file_bytes, at_once).step("the disk alone");
    std::fs::remove_dir_all(folder).step("removing the files of the disk alone")?;
    took
}

fn write_and_read(folder: &Path, files: usize, file_bytes: u64, at_once: usize) -> io::Result<DiskTook> {
    let began = Instant::now();
    let opened: Vec<File> = (0..files)
        .map(|number| make(folder.join(format!("{number}.alone")), file_bytes))
        .collect::<io::Result<_>>()?;
    for_each_piece(&opened, file_bytes, at_once, |file, piece, offset| file.write_all_at(piece, offset))?;
    opened.iter().try_for_each(File::sync_all)?;
    let write = began.elapsed();
    let began = Instant::now();
    for_each_piece(&opened, file_bytes, at_once, |file, piece, offset| file.read_exact_at(piece, offset))?;
    Ok(DiskTook { write, read: began.elapsed() })
}

/// Makes a file with room for so many bytes, for writing and reading past the page cache.
pub(crate) fn make(path: PathBuf, bytes: u64) -> io::Result<File> {
    let direct = i32::try_from(OFlags::DIRECT.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).write(true).create_new(true).custom_flags(direct).open(path)?;
    fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
    Ok(file)
}

/// Whoever is free takes the next piece.
fn for_each_piece(
    files: &[File],
    file_bytes: u64,
    at_once: usize,
    work: impl Fn(&File, &mut [u8], u64) -> io::Result<()> + Sync,
) -> io::Result<()> {
    let pieces = file_bytes.div_ceil(PIECE_BYTES);
    let next = AtomicU64::new(0);
    in_parallel(at_once, || {
        let (mut storage, start) = aligned();
        let piece = &mut storage[start..start + PIECE_BYTES as usize];
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get((number / pieces) as usize) else { return Ok(()) };
            let offset = number % pieces * PIECE_BYTES;
            let length = (file_bytes - offset).min(PIECE_BYTES) as usize;
            // No two pieces are the same, in case somebody below looks for that.
            piece[..8].copy_from_slice(&number.to_le_bytes());
            work(file, &mut piece[..length], offset)?;
        }
    })
}

/// Memory for a piece, and where in it the piece begins: no two pieces are alike, and none is zeroes.
pub(crate) fn aligned() -> (Vec<u8>, usize) {
    let storage =
        Random::new(NUMBER.fetch_add(1, Ordering::Relaxed)).bytes((PIECE_BYTES + ALIGNMENT) as usize);
    let start = storage.as_ptr().align_offset(ALIGNMENT as usize);
    (storage, start)
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// On so many threads; the first error.
pub(crate) fn in_parallel(threads: usize, work: impl Fn() -> io::Result<()> + Sync) -> io::Result<()> {
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(&work)).collect();
        running
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| io::Error::other("a thread panicked"))?)
    })
}
