//! The work of a fill in a bare loop: what a fill on this machine is held against, where source, agent and disk share two cores.
//!
//! A few threads, a connection each. An object is received into aligned memory, digested (SHA-256) and checksummed (CRC32C of each
//! 64 KiB) as it comes, and written past the page cache; who brings the last object of a bundle has the disk hold the file, reads
//! it back past the page cache, compares the checksums, and has the disk hold it under another name. No plan, no descriptor, no
//! pace, no retries, no footer, no daemon.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use benches::client::Client;
use cache_store::{CHUNK_BYTES, ChunkChecksums};
use demo::failure::{Failure, Step};

use super::limits_alone::{PIECE_BYTES, aligned, in_parallel, make};

/// What is fetched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BareFill<'a> {
    /// The source.
    pub(crate) address: SocketAddr,
    /// The objects of each bundle, all of the same length, a multiple of 64 KiB.
    pub(crate) bundles: &'a [Vec<String>],
    /// That length.
    pub(crate) object_bytes: u64,
    /// How many threads.
    pub(crate) connections: usize,
}

/// A bundle on its way.
struct Bare {
    file: File,
    path: PathBuf,
    /// Of each chunk.
    checksums: Mutex<Vec<u32>>,
    missing: AtomicUsize,
}

impl BareFill<'_> {
    /// How long it takes. The files are removed afterwards.
    pub(crate) fn run(&self, folder: &Path) -> Result<Duration, Failure> {
        fs::create_dir(folder).step("making the folder of the bare loop")?;
        let began = Instant::now();
        let filled = self.fill(folder).step("the bare loop");
        let took = began.elapsed();
        fs::remove_dir_all(folder).step("removing the files of the bare loop")?;
        filled.map(|()| took)
    }

    fn fill(&self, folder: &Path) -> io::Result<()> {
        let bundles = self.bundles.iter().enumerate().map(|(number, objects)| {
            let path = folder.join(format!("{number}.bare"));
            let bytes = objects.len() as u64 * self.object_bytes;
            Ok(Bare {
                file: make(path.clone(), bytes)?,
                path,
                checksums: Mutex::new(vec![0; bytes.div_ceil(CHUNK_BYTES) as usize]),
                missing: AtomicUsize::new(objects.len()),
            })
        });
        let bundles: Vec<Bare> = bundles.collect::<io::Result<_>>()?;
        let objects: Vec<(usize, usize)> = (0..self.bundles.len())
            .flat_map(|bundle| (0..self.bundles[bundle].len()).map(move |object| (bundle, object)))
            .collect();
        let next = AtomicUsize::new(0);
        in_parallel(self.connections, || {
            let mut client = Client::connect(self.address)?;
            let (mut storage, start) = aligned();
            let memory = &mut storage[start..start + PIECE_BYTES as usize];
            while let Some(&(bundle, object)) = objects.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.fetch(&mut client, &bundles[bundle], &self.bundles[bundle][object], object, memory)?;
                if bundles[bundle].missing.fetch_sub(1, Ordering::AcqRel) == 1 {
                    bundles[bundle].publish(memory)?;
                }
            }
            Ok(())
        })
    }

    fn fetch(
        &self,
        client: &mut Client,
        bundle: &Bare,
        target: &str,
        object: usize,
        memory: &mut [u8],
    ) -> io::Result<()> {
        let start = object as u64 * self.object_bytes;
        let (mut digest, mut checksums) = (Context::new(&SHA256), ChunkChecksums::new());
        let length = client.get_into(target, memory, |bytes, place| {
            for chunk in bytes.chunks(CHUNK_BYTES as usize) {
                digest.update(chunk);
                checksums.update(chunk);
            }
            bundle.file.write_all_at(bytes, start + place)
        })?;
        std::hint::black_box(digest.finish());
        let checksums = checksums.finish();
        if length != self.object_bytes {
            return Err(io::Error::other("an object of another length"));
        }
        let first = (start / CHUNK_BYTES) as usize;
        bundle.known()[first..first + checksums.len()].copy_from_slice(&checksums);
        Ok(())
    }
}

impl Bare {
    fn known(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        self.checksums.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn publish(&self, memory: &mut [u8]) -> io::Result<()> {
        self.file.sync_data()?;
        let bytes = self.file.metadata()?.len();
        let (mut found, mut seen) = (ChunkChecksums::new(), 0);
        while seen < bytes {
            let piece = &mut memory[..(bytes - seen).min(PIECE_BYTES) as usize];
            self.file.read_exact_at(piece, seen)?;
            found.update(piece);
            seen += piece.len() as u64;
        }
        if found.finish() != *self.known() {
            return Err(io::Error::other("the disk gave back something else"));
        }
        self.file.sync_all()?;
        fs::rename(&self.path, self.path.with_extension("whole"))
    }
}
