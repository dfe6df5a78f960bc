//! The log on a real disk.

mod crowd;
mod failing;
mod keeping;
mod model;
mod opening;
mod purging;
mod shortage;
mod storing;

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::state::Shape;
use super::{AppendError, DemandLog, EntryId, EntryView, NewEntry, Recovery};
use crate::volume::Volume;

const SEGMENT: u64 = 64 << 10;
/// Room for eight small segments, and memory for all that fits.
const SMALL: Shape = Shape { capacity_bytes: 8 * SEGMENT, segment_bytes: SEGMENT, index_bytes_max: 1 << 20 };

/// A volume in a temporary directory.
struct Site {
    directory: TempDir,
    volume: Volume,
    shape: Shape,
}

impl Site {
    fn new(shape: Shape) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Volume::init(directory.path()).unwrap();
        let volume = Volume::open(directory.path(), false).unwrap();
        Self { directory, volume, shape }
    }

    fn open(&self) -> (DemandLog, Recovery) {
        DemandLog::open_shaped(&self.volume, self.shape).unwrap()
    }

    fn log(&self) -> DemandLog {
        self.open().0
    }

    fn purges(&self) -> PathBuf {
        self.directory.path().join("demand/purges")
    }

    /// The segment files, the oldest first.
    fn segments(&self) -> Vec<PathBuf> {
        let listed = fs::read_dir(self.directory.path().join("demand")).unwrap();
        let mut paths: Vec<PathBuf> = listed.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "segment"));
        paths.sort();
        paths
    }

    fn segment_bytes(&self) -> u64 {
        self.segments().iter().map(|path| fs::metadata(path).unwrap().len()).sum()
    }
}

/// Stores a head as if it had been asked for now.
fn add_head(log: &DemandLog, key: &str, metadata: &str) -> EntryId {
    let entry =
        NewEntry { key: key.as_bytes(), secondary: b"", metadata: metadata.as_bytes(), total_bytes: Some(1) };
    log.append_head(&entry, log.mark()).unwrap()
}

/// Stores a block as if it had been asked for now.
fn append_block(log: &DemandLog, entry: EntryId, number: u32, bytes: &[u8]) -> Result<(), AppendError> {
    log.append_block(entry, number, bytes, log.mark())
}

/// Updates a head as if upstream had been asked now.
fn update_head(
    log: &DemandLog,
    entry: EntryId,
    metadata: &[u8],
    total: Option<u64>,
) -> Result<(), AppendError> {
    log.update_head(entry, metadata, total, log.mark())
}

/// Stores an entry with one block.
fn add(log: &DemandLog, key: &str, block: &[u8]) -> EntryId {
    let id = add_head(log, key, key);
    append_block(log, id, 0, block).unwrap();
    id
}

fn view(log: &DemandLog, key: &str) -> Option<EntryView> {
    log.entries(key.as_bytes()).unwrap().into_iter().next()
}

/// The numbers of the blocks that are held.
fn held(log: &DemandLog, key: &str) -> Vec<u32> {
    view(log, key).map_or_else(Vec::new, |view| view.held.into_iter().flatten().collect())
}

/// The first block of an entry, as a request for it would read it.
fn fetch(log: &DemandLog, key: &str) -> Option<Vec<u8>> {
    let id = view(log, key)?.id;
    log.read_block(id, 0).unwrap().map(|block| block.as_ref().to_vec())
}

fn bytes(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + seed * 17 + at / 256) as u8).collect()
}

/// Flips a bit of a file.
fn flip(path: &PathBuf, at: usize) {
    let mut found = fs::read(path).unwrap();
    found[at] ^= 4;
    fs::write(path, found).unwrap();
}
