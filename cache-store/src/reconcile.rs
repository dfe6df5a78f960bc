//! Compares a volume's directory with its inventory, one of the 256 directories at a time, so that adoptions
//! and departures need not wait for the whole. No bundle of the inventory is opened: its length is asked for.
//! Files that the inventory does not know are read and adopted.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use control_client::content::Generation;

use crate::disk;
use crate::identity::{BundleId, directory_name};
use crate::incoming::Cleared;
use crate::volume::Volume;

/// What a reconciliation found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReconcileReport {
    /// Bundles found in the directory and adopted.
    pub adopted: u64,
    /// Bundles found in the directory, and removed because a higher generation serves.
    pub outdated: u64,
    /// Bundles of the inventory whose file is not there.
    pub missing: u64,
    /// Bundles of the inventory whose file is shorter than it was.
    pub truncated: u64,
    /// Bundles of the inventory whose file is longer than it was.
    pub overlong: u64,
    /// Files found that are named as a bundle, and are none; quarantined.
    pub refused: u64,
    /// Files whose names are no bundle's; left alone.
    pub foreign: u64,
    /// Files under `incoming/` that nobody writes any more; removed.
    pub abandoned: u64,
    /// Directories and files that could not be examined.
    pub errors: u64,
    /// The last of these errors.
    pub last_error: Option<String>,
    /// How long it took.
    pub duration: Duration,
    /// When it ended, in seconds since 1970; 0 while it goes on.
    pub ended: u64,
}

/// A reconciliation under way.
#[derive(Debug)]
pub(crate) struct Reconciliation {
    pub(crate) started: Instant,
    /// The directories that are still to be compared, by the bytes that their names say.
    pub(crate) waiting: VecDeque<u8>,
    /// Those that could not be read, or not all of whose files could.
    pub(crate) unread: Vec<u8>,
    pub(crate) report: ReconcileReport,
}

/// How a directory and the inventory differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// In the inventory, not in the directory.
    Missing(BundleId),
    /// Shorter than the inventory says.
    Truncated(BundleId),
    /// Longer than the inventory says.
    Overlong(BundleId),
    /// In the directory, not in the inventory.
    Unknown(BundleId),
}

/// One of the 256 directories, as it is.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) directory: OwnedFd,
    /// Bundles by name, and the bytes of their files; sorted.
    pub(crate) bundles: Vec<(BundleId, u64)>,
    /// Files whose names are no bundle's.
    pub(crate) foreign: Vec<String>,
}

impl Reconciliation {
    /// Of all 256 directories.
    pub(crate) fn new() -> Self {
        Self::of((0..=u8::MAX).collect())
    }

    /// Of some of them.
    pub(crate) fn of(directories: Vec<u8>) -> Self {
        let (waiting, report) = (directories.into(), ReconcileReport::default());
        Self { started: Instant::now(), waiting, unread: Vec::new(), report }
    }

    pub(crate) fn note_cleared(&mut self, cleared: Cleared) {
        self.report.abandoned += cleared.removed;
        for (name, error) in &cleared.left {
            self.note_error(&format!("incoming/{}", name.escape_debug()), error);
        }
    }

    pub(crate) fn note_error(&mut self, what: &str, error: &io::Error) {
        self.report.errors += 1;
        self.report.last_error = Some(format!("{what}: {error}"));
    }
}

/// Compares what the inventory holds with what the directory holds, both sorted by name.
pub(crate) fn compare(held: &[(BundleId, u64)], found: &[(BundleId, u64)]) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut found = found.iter().copied().peekable();
    for &(id, file_bytes) in held {
        while let Some((unknown, _)) = found.next_if(|(name, _)| *name < id) {
            differences.push(Difference::Unknown(unknown));
        }
        match found.next_if(|(name, _)| *name == id) {
            None => differences.push(Difference::Missing(id)),
            Some((_, found_bytes)) if found_bytes < file_bytes => differences.push(Difference::Truncated(id)),
            Some((_, found_bytes)) if found_bytes > file_bytes => differences.push(Difference::Overlong(id)),
            Some(_) => {}
        }
    }
    differences.extend(found.map(|(unknown, _)| Difference::Unknown(unknown)));
    differences
}

/// Opens one of the 256 directories, and makes it where it is not there.
pub(crate) fn open_or_make_directory(volume: &Volume, first_byte: u8) -> io::Result<OwnedFd> {
    match volume.bundle_directory(first_byte) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let bundles = volume.directory("bundles")?;
            disk::create_directory(bundles.as_fd(), &directory_name(first_byte))?;
            disk::sync(bundles.as_fd())?;
            volume.bundle_directory(first_byte)
        }
        other => other,
    }
}

/// Lists one of the 256 directories.
pub(crate) fn list(directory: OwnedFd, first_byte: u8) -> io::Result<Listing> {
    let mut listing = Listing { bundles: Vec::new(), foreign: Vec::new(), directory };
    for name in disk::list(listing.directory.as_fd())? {
        let id = BundleId::parse_file_name(&name)
            .filter(|id| id.path_hash[0] == first_byte && !name.contains('/'));
        let file_bytes = disk::named_file_bytes(listing.directory.as_fd(), &name)?;
        match (id, file_bytes) {
            (Some(id), Some(file_bytes)) => listing.bundles.push((id, file_bytes)),
            _ => listing.foreign.push(name),
        }
    }
    listing.bundles.sort_unstable();
    Ok(listing)
}

/// The lowest and the highest name that can be in one of the 256 directories.
pub(crate) fn names_in(first_byte: u8) -> std::ops::RangeInclusive<BundleId> {
    let mut lowest = [0; 16];
    let mut highest = [u8::MAX; 16];
    lowest[0] = first_byte;
    highest[0] = first_byte;
    BundleId { path_hash: lowest, generation: Generation::new(0) }..=BundleId {
        path_hash: highest,
        generation: Generation::new(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> BundleId {
        BundleId { path_hash: [number; 16], generation: Generation::new(1) }
    }

    #[test]
    fn a_directory_is_compared_with_the_inventory_name_by_name() {
        let held = [(id(1), 4096), (id(2), 4096), (id(4), 8192), (id(5), 4096)];
        let found = [(id(0), 4096), (id(2), 4096), (id(3), 4096), (id(4), 4096), (id(5), 8192), (id(9), 1)];
        assert_eq!(
            compare(&held, &found),
            [
                Difference::Unknown(id(0)),
                Difference::Missing(id(1)),
                Difference::Unknown(id(3)),
                Difference::Truncated(id(4)),
                Difference::Overlong(id(5)),
                Difference::Unknown(id(9)),
            ]
        );
        assert_eq!(compare(&held, &held), []);
    }

    #[test]
    fn every_name_lies_between_the_bounds_of_its_directory() {
        for first_byte in [0, 7, 255] {
            let mut name = id(3);
            name.path_hash[0] = first_byte;
            assert!(names_in(first_byte).contains(&name));
            assert!(!names_in(first_byte ^ 1).contains(&name));
        }
    }
}
