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
//! Recovery: a torn end is cut off. Anything else that is wrong makes the journal worthless from there on,
//! and what comes before may have been undone behind it: the journal is set aside as `journal.damaged`, and
//! the inventory is made anew from the files in the directory. Only departures not finished before the cut
//! are kept, so that nothing retired comes back.

mod journal;
mod record;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

pub use journal::{Cut, Decoded, decode, encode};
pub use record::{BundleRecord, Record};

use crate::bundle::{Bundle, VolumeIndex};
use crate::departure::Cause;
use crate::disk;
use crate::identity::BundleId;
use crate::limits::{JOURNAL_BYTES_MAX, JOURNAL_GARBAGE_BYTES_MIN};
use crate::volume::{Volume, VolumeId, VolumeLock};
use journal::JournalFile;

const DAMAGED_NAME: &str = "journal.damaged";

/// The inventory of one volume, owned by its keeper.
#[derive(Debug)]
pub(crate) struct Inventory {
    directory: OwnedFd,
    volume_id: VolumeId,
    volume_index: VolumeIndex,
    held: BTreeMap<BundleId, Arc<Bundle>>,
    leaving: BTreeMap<BundleId, Cause>,
    /// `None` after an error: then the next change writes the journal anew.
    journal: Option<JournalFile>,
    live_bytes: u64,
    held_file_bytes: u64,
    /// Compaction waits until the journal has this length; raised when it fails.
    compact_at_bytes: u64,
    compactions: u64,
}

/// How a journal was found at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Whole.
    Clean,
    /// Its end was torn, and was cut off.
    Cut {
        /// Where.
        at_bytes: u64,
    },
    /// It was damaged, and the inventory has to be made anew from the directory.
    Rebuild {
        /// What was wrong, and where.
        reason: String,
    },
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
    pub(crate) fn leaving(&self) -> &BTreeMap<BundleId, Cause> {
        &self.leaving
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
    pub(crate) fn begin_departures(&mut self, departures: &[(BundleId, Cause)]) -> io::Result<()> {
        for (id, cause) in departures {
            self.release(*id);
            self.leaving.insert(*id, *cause);
        }
        let records = departures.iter().map(|(id, cause)| Record::Leaving(*id, *cause));
        self.commit(&records.collect::<Vec<_>>())
    }

    /// Journals that the files of bundles that left are gone.
    pub(crate) fn end_departures(&mut self, ids: &[BundleId]) -> io::Result<()> {
        for id in ids {
            self.leaving.remove(id);
        }
        self.commit(&ids.iter().map(|id| Record::Gone(*id)).collect::<Vec<_>>())?;
        self.compact_if_due();
        Ok(())
    }

    fn load(&mut self) -> io::Result<Recovery> {
        let bytes = match disk::read_file(self.directory.as_fd(), journal::NAME, JOURNAL_BYTES_MAX) {
            Ok(Some((_, bytes))) => bytes,
            Ok(None) => return self.start_anew("there is no journal".to_owned()),
            Err(error) => return self.start_anew(format!("the journal cannot be read: {error}")),
        };
        let decoded = journal::decode(&bytes, self.volume_id);
        self.apply(&decoded.records);
        match decoded.cut {
            None | Some(Cut::Torn) => {
                self.journal = Some(JournalFile::resume(self.directory.as_fd(), &decoded)?);
                self.compact_if_due();
                Ok(match decoded.cut {
                    None => Recovery::Clean,
                    Some(_) => Recovery::Cut { at_bytes: decoded.valid_bytes as u64 },
                })
            }
            Some(cut) => {
                self.held.clear();
                self.live_bytes = 0;
                self.held_file_bytes = 0;
                self.start_anew(format!("the journal is damaged at byte {}: {cut}", decoded.valid_bytes))
            }
        }
    }

    /// Sets a damaged journal aside, and starts one that holds the departures only.
    fn start_anew(&mut self, reason: String) -> io::Result<Recovery> {
        // That it can be looked at later is worth a try, not a failure.
        let directory = self.directory.as_fd();
        let _ = disk::rename_over(directory, journal::NAME, directory, DAMAGED_NAME);
        self.replace(&[])?;
        Ok(Recovery::Rebuild { reason })
    }

    fn apply(&mut self, records: &[Record]) {
        for record in held(records).into_values() {
            self.hold(Arc::new(Bundle::new(record.clone(), self.volume_index)));
        }
        for record in records {
            match record {
                Record::Adopted(record) => self.leaving.remove(&BundleId::of(&record.key)),
                Record::Leaving(id, cause) => self.leaving.insert(*id, *cause),
                Record::Gone(id) => self.leaving.remove(id),
            };
        }
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
        let leaving_bytes = self.leaving.len() * (journal::FRAME_BYTES + Record::LEAVING_BYTES);
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

    /// Writes the journal anew: what is held, what is leaving, and `more`. A failure before the new one has
    /// the name leaves the old one in use.
    fn replace(&mut self, more: &[Record]) -> io::Result<()> {
        let held = self.held.values().map(|bundle| Record::Adopted(bundle.record().clone()));
        let leaving = self.leaving.iter().map(|(id, cause)| Record::Leaving(*id, *cause));
        let records: Vec<Record> = held.chain(leaving).chain(more.iter().cloned()).collect();
        let journal = JournalFile::write_new(self.directory.as_fd(), self.volume_id, &records)?;
        self.journal = None;
        self.journal = Some(journal.install(self.directory.as_fd())?);
        Ok(())
    }
}

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

/// The bundles that records leave in the inventory.
pub fn held(records: &[Record]) -> BTreeMap<BundleId, &BundleRecord> {
    let mut held = BTreeMap::new();
    for record in records {
        match record {
            Record::Adopted(record) => {
                held.insert(BundleId::of(&record.key), record);
            }
            Record::Leaving(id, _) | Record::Gone(id) => {
                held.remove(id);
            }
        }
    }
    held
}

/// Writes the empty journal of a new volume.
pub(crate) fn init(root: BorrowedFd<'_>, id: VolumeId) -> io::Result<()> {
    let directory = disk::open_directory(root, "inventory")?;
    JournalFile::write_new(directory.as_fd(), id, &[])?.install(directory.as_fd()).map(|_| ())
}

fn adopted_bytes(bundle: &Bundle) -> u64 {
    (journal::FRAME_BYTES + Record::adopted_bytes(bundle.record())) as u64
}
