//! What a volume holds, on the disk and in memory.
//!
//! On the disk it is an append-only journal, `inventory/journal`. Why a journal of our own and not SQLite:
//! what has to be kept is one small map with three kinds of change; start-up reads it once, from front to
//! back, and 40,000 bundles take some 4 MB and a few tens of milliseconds; nothing ever queries it on disk. A
//! journal fails in one way only, by a cut, and every record before the cut is known to be good; all that it
//! says can be made again from the bundles' own footers. SQLite would add a C library, a second page cache
//! and a second set of locks and syncs to explain, on every disk, to save the lines of this module; and no
//! other workspace crate could use a different version of it.
//!
//! A change is journalled and synced before it is acted upon. A bundle that leaves is journalled twice:
//! `Leaving` before its file is unlinked, `Gone` after that is durable, so that a crash between the two is
//! finished at the next start, and a file that is published again under the same name later is not taken for
//! the one that left.
//!
//! Reading order: this file is what a keeper has in memory, and how it changes it; `record` and `journal` are
//! what is on the disk, `recovery` is what a start makes of that, `offline` is for programs without a keeper.

mod journal;
mod offline;
mod record;
mod recovery;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

pub use journal::{Cut, Decoded, append, decode, encode};
pub(crate) use offline::init;
pub use offline::{OfflineAdoption, adopt_offline, read};
pub use record::{BundleRecord, Leaving, Record};
pub use recovery::Recovery;

use crate::bundle::{Bundle, VolumeIndex};
use crate::identity::BundleId;
use crate::limits::JOURNAL_GARBAGE_BYTES_MIN;
use crate::volume::{Volume, VolumeId};
use journal::JournalFile;

/// The inventory of one volume, owned by its keeper.
#[derive(Debug)]
pub(crate) struct Inventory {
    directory: OwnedFd,
    volume_id: VolumeId,
    volume_index: VolumeIndex,
    held: BTreeMap<BundleId, Arc<Bundle>>,
    leaving: BTreeMap<BundleId, Leaving>,
    /// Whether bundles in the directory may be missing here: see [`Record::Rebuilding`].
    is_rebuilding: bool,
    /// `None` after an error: then the next change writes the journal anew.
    journal: Option<JournalFile>,
    live_bytes: u64,
    held_file_bytes: u64,
    /// Compaction waits until the journal has this length; raised when it fails.
    compact_at_bytes: u64,
    compactions: u64,
}

impl Inventory {
    /// Reads the journal.
    pub(crate) fn open(volume: &Volume, volume_index: VolumeIndex) -> io::Result<(Self, Recovery)> {
        let mut inventory = Self {
            directory: volume.directory("inventory")?,
            volume_id: volume.id(),
            volume_index,
            held: BTreeMap::new(),
            leaving: BTreeMap::new(),
            is_rebuilding: false,
            journal: None,
            live_bytes: 0,
            held_file_bytes: 0,
            compact_at_bytes: 0,
            compactions: 0,
        };
        let recovery = inventory.load()?;
        Ok((inventory, recovery))
    }

    /// All bundles that the volume holds.
    pub(crate) fn held(&self) -> &BTreeMap<BundleId, Arc<Bundle>> {
        &self.held
    }

    /// Bytes of the files of all bundles that the volume holds.
    pub(crate) fn held_file_bytes(&self) -> u64 {
        self.held_file_bytes
    }

    /// Departures that are not finished.
    pub(crate) fn leaving(&self) -> &BTreeMap<BundleId, Leaving> {
        &self.leaving
    }

    /// Whether it is being made anew from the directory.
    pub(crate) fn is_rebuilding(&self) -> bool {
        self.is_rebuilding
    }

    /// Journals that it has been made anew. After an error the next start does it again.
    pub(crate) fn end_rebuild(&mut self) -> io::Result<()> {
        self.is_rebuilding = false;
        self.replace(&[])
    }

    /// Bytes of the journal.
    pub(crate) fn journal_bytes(&self) -> u64 {
        self.journal.as_ref().map_or(0, JournalFile::bytes)
    }

    /// How often the journal was compacted.
    pub(crate) fn compactions(&self) -> u64 {
        self.compactions
    }

    /// Journals bundles as held, durably; after an error none of them is.
    pub(crate) fn adopt(&mut self, records: Vec<BundleRecord>) -> io::Result<Vec<Arc<Bundle>>> {
        let bundles: Vec<_> =
            records.into_iter().map(|record| Arc::new(Bundle::new(record, self.volume_index))).collect();
        let records = bundles.iter().map(|bundle| Record::Adopted(bundle.record().clone()));
        self.commit(&records.collect::<Vec<_>>())?;
        for bundle in &bundles {
            self.hold(Arc::clone(bundle));
        }
        self.compact_if_due();
        Ok(bundles)
    }

    /// Journals that bundles leave. They are out of the inventory in any case; an error says that after a
    /// restart they may be in it again.
    pub(crate) fn begin_departures(&mut self, departures: &[(BundleId, Leaving)]) -> io::Result<()> {
        for (id, leaving) in departures {
            self.release(*id);
            self.leaving.insert(*id, *leaving);
        }
        let records = departures.iter().map(|(id, leaving)| Record::Leaving(*id, *leaving));
        self.commit(&records.collect::<Vec<_>>())
    }

    /// Journals that the files of bundles that left are gone.
    pub(crate) fn end_departures(&mut self, ids: &[BundleId]) -> io::Result<()> {
        for id in ids {
            self.release(*id);
            self.leaving.remove(id);
        }
        self.commit(&ids.iter().map(|id| Record::Gone(*id)).collect::<Vec<_>>())?;
        self.compact_if_due();
        Ok(())
    }

    fn hold(&mut self, bundle: Arc<Bundle>) {
        self.release(bundle.id());
        self.leaving.remove(&bundle.id());
        self.live_bytes += adopted_bytes(&bundle);
        self.held_file_bytes += bundle.record().file_bytes;
        self.held.insert(bundle.id(), bundle);
    }

    fn release(&mut self, id: BundleId) {
        if let Some(bundle) = self.held.remove(&id) {
            self.live_bytes -= adopted_bytes(&bundle);
            self.held_file_bytes -= bundle.record().file_bytes;
        }
    }

    /// Appends records durably; where the journal is broken, writes it anew with them.
    fn commit(&mut self, records: &[Record]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        if let Some(journal) = &mut self.journal {
            match journal.append(records) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::warn!(%error, "the inventory journal could not be appended to; it is written anew");
                    self.journal = None;
                }
            }
        }
        self.replace(records)
    }

    fn compact_if_due(&mut self) {
        let journal_bytes = self.journal_bytes();
        let leaving_bytes = self.leaving.len() * (journal::LENGTH_BYTES + Record::LEAVING_BYTES);
        let live_bytes = self.live_bytes + (journal::HEAD_BYTES + leaving_bytes) as u64;
        let garbage_bytes = journal_bytes.saturating_sub(live_bytes);
        if garbage_bytes <= live_bytes.max(JOURNAL_GARBAGE_BYTES_MIN) || journal_bytes < self.compact_at_bytes
        {
            return;
        }
        match self.replace(&[]) {
            Ok(()) => {
                self.compactions += 1;
                self.compact_at_bytes = 0;
            }
            Err(error) => {
                tracing::warn!(%error, "the inventory journal could not be compacted; it is tried again later");
                self.compact_at_bytes = journal_bytes * 2;
            }
        }
    }

    /// Writes the journal anew: what is leaving, what is held, and `more`. A failure before the new one has
    /// the name leaves the old one in use.
    fn replace(&mut self, more: &[Record]) -> io::Result<()> {
        let mark = self.is_rebuilding.then_some(Record::Rebuilding);
        let leaving = self.leaving.iter().map(|(id, leaving)| Record::Leaving(*id, *leaving));
        let held = self.held.values().map(|bundle| Record::Adopted(bundle.record().clone()));
        let records: Vec<Record> =
            mark.into_iter().chain(leaving).chain(held).chain(more.iter().cloned()).collect();
        let journal = JournalFile::write_new(self.directory.as_fd(), self.volume_id, &records)?;
        self.journal = None;
        self.journal = Some(journal.install(self.directory.as_fd())?);
        Ok(())
    }
}

/// The bundles that records leave in the inventory.
pub fn bundles(records: &[Record]) -> BTreeMap<BundleId, &BundleRecord> {
    let mut bundles = BTreeMap::new();
    for record in records {
        match record {
            Record::Adopted(record) => {
                bundles.insert(BundleId::of(&record.key), record);
            }
            Record::Leaving(id, _) | Record::Gone(id) => {
                bundles.remove(id);
            }
            Record::Rebuilding => {}
        }
    }
    bundles
}

fn adopted_bytes(bundle: &Bundle) -> u64 {
    (journal::LENGTH_BYTES + Record::adopted_bytes(bundle.record())) as u64
}
