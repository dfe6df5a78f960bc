//! The disk alone: what our daemon reads of it, in the same files and places, read past the page cache by threads on all cores that do nothing
//! else. How many threads, and how much at a time, is what was found to be the fastest here.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use cache_store::{ALIGNMENT, read_footer_of};
use demo::failure::{Failure, Step};
use demo::random::Random;
use rustix::fs::OFlags;

use super::OBJECT_BYTES;
use crate::placement::{Side, stand};
use crate::zipf::shuffled;

/// What is tried: so many threads, with reads of so much.
const THREADS: [usize; 4] = [8, 16, 32, 64];
const PIECES_BYTES: [usize; 3] = [512 << 10, 1 << 20, 2 << 20];

/// How often, and over how many objects at most.
const TRIALS: usize = 2;
const TRIAL_OBJECTS: usize = 256;

/// The disk, and how it is read.
pub(super) struct Disk {
    bundles: Vec<File>,
    /// Where each object is: in which bundle, and where in it.
    objects: Vec<(usize, u64)>,
    way: Way,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    threads: usize,
    piece_bytes: usize,
}

impl Disk {
    /// Over the bundles of a directory of the store; tries what is fastest.
    pub(super) fn new(volume: &Path, directory: &str) -> Result<Self, Failure> {
        let direct = i32::try_from(OFlags::DIRECT.bits()).step("opening directly")?;
        let (mut bundles, mut objects) = (Vec::new(), Vec::new());
        for path in bundle_files(&volume.join("bundles")).step("looking for the bundles")? {
            let footer = read_footer_of(&path)
                .map_err(|error| Failure::new(format!("{}: {error:?}", path.display())))?;
            if !footer.path().starts_with(directory) {
                continue;
            }
            objects.extend(footer.objects().map(|object| (bundles.len(), object.range.start)));
            bundles
                .push(File::options().read(true).custom_flags(direct).open(path).step("opening directly")?);
        }
        let mut disk =
            Self { bundles, objects, way: Way { threads: THREADS[0], piece_bytes: PIECES_BYTES[0] } };
        disk.way = disk.fastest_way()?;
        Ok(disk)
    }

    /// Reads so many of the objects, in an order that follows from `seed`. Bytes per second.
    pub(super) fn read(&self, count: usize, seed: u64) -> Result<f64, Failure> {
        self.read_in(self.way, count, seed)
    }

    fn fastest_way(&self) -> Result<Way, Failure> {
        let mut fastest = (self.way, 0.0);
        // Other objects each time: what lies below the page cache may remember what it has read.
        let mut seeds = 0..;
        for threads in THREADS {
            for piece_bytes in PIECES_BYTES {
                let way = Way { threads, piece_bytes };
                let mut sum = 0.0;
                for seed in seeds.by_ref().take(TRIALS) {
                    sum += self.read_in(way, TRIAL_OBJECTS, seed)?;
                }
                if sum > fastest.1 {
                    fastest = (way, sum);
                }
            }
        }
        let (way, rate) = (fastest.0, fastest.1 / TRIALS as f64 / 1e6);
        println!(
            "  the disk alone: fastest with {} threads and {} KiB at a time, {rate:.0} MB/s",
            way.threads,
            way.piece_bytes >> 10
        );
        Ok(way)
    }

    fn read_in(&self, way: Way, count: usize, seed: u64) -> Result<f64, Failure> {
        let mut order = shuffled(self.objects.len(), &mut Random::of(seed, "disk"));
        order.truncate(count);
        let next = AtomicUsize::new(0);
        // Nobody begins before everybody has memory.
        let ready = Barrier::new(way.threads + 1);
        let read = || -> Result<(), Failure> {
            let stood = stand(Side::Everywhere);
            let mut storage = vec![1; way.piece_bytes + ALIGNMENT as usize];
            ready.wait();
            stood?;
            let start = storage.as_ptr().align_offset(ALIGNMENT as usize);
            let piece = &mut storage[start..start + way.piece_bytes];
            let pieces = OBJECT_BYTES as usize / way.piece_bytes;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(object) = order.get(number / pieces) else { return Ok(()) };
                let (bundle, offset) = self.objects[*object as usize];
                let offset = offset + (number % pieces * way.piece_bytes) as u64;
                self.bundles[bundle].read_exact_at(piece, offset).step("reading the disk alone")?;
            }
        };
        let mut began = Instant::now();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..way.threads).map(|_| scope.spawn(read)).collect();
            ready.wait();
            began = Instant::now();
            let ended = threads.into_iter().map(|thread| thread.join());
            ended.into_iter().try_for_each(|ended| ended.map_err(|_| Failure::new("a thread panicked"))?)
        })?;
        Ok(order.len() as f64 * OBJECT_BYTES as f64 / began.elapsed().as_secs_f64())
    }
}

fn bundle_files(bundles: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in std::fs::read_dir(bundles)? {
        for file in std::fs::read_dir(folder?.path())? {
            files.push(file?.path());
        }
    }
    files.sort();
    Ok(files)
}
