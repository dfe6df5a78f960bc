//! The inventory of a volume that no daemon uses.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::journal::{self, Cut, Decoded, JournalFile};
use super::{BundleRecord, Inventory};
use crate::bundle::VolumeIndex;
use crate::disk;
use crate::limits::JOURNAL_BYTES_MAX;
use crate::volume::{Volume, VolumeId, VolumeLock};

/// What became of bundles that were to be adopted without a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfflineAdoption {
    /// They are in the inventory.
    Adopted,
    /// The journal is damaged: it was left as it is, and the next daemon makes the inventory anew from the
    /// directory.
    JournalDamaged,
}

/// Adopts bundles on a volume that no daemon uses.
pub fn adopt_offline(
    volume: &Volume,
    _lock: &VolumeLock,
    records: Vec<BundleRecord>,
) -> io::Result<OfflineAdoption> {
    match read(volume)?.cut {
        None | Some(Cut::Torn) => {}
        Some(_) => return Ok(OfflineAdoption::JournalDamaged),
    }
    let (mut inventory, _) = Inventory::open(volume, VolumeIndex(0))?;
    inventory.adopt(records)?;
    Ok(OfflineAdoption::Adopted)
}

/// Reads a volume's journal, and changes nothing.
pub fn read(volume: &Volume) -> io::Result<Decoded> {
    let directory = volume.directory("inventory")?;
    let bytes = disk::read_file(directory.as_fd(), journal::NAME, JOURNAL_BYTES_MAX)?;
    Ok(journal::decode(&bytes.map(|(_, bytes)| bytes).unwrap_or_default(), volume.id()))
}

/// Writes the empty journal of a new volume.
pub(crate) fn init(root: BorrowedFd<'_>, id: VolumeId) -> io::Result<()> {
    let directory = disk::open_directory(root, "inventory")?;
    JournalFile::write_new(directory.as_fd(), id, &[])?.install(directory.as_fd()).map(|_| ())
}
