//! Pulled content on disk, as seen by tasks that must not wait for one: each volume has threads of its own that do, with a bounded
//! queue before them, so that a disk that hangs holds up only what lies on it, and that only for a while.
//!
//! Reading order: `placement` says which volume has a key, `log_key` how the key is written there; a `volume` has a log, threads and a
//! queue; `purging` is for all volumes, and `missed_purges` for those that it did not reach; `dormant` while nothing is pulled.

mod dormant;
mod fault;
mod log_key;
mod missed_purges;
mod placement;
mod purging;
#[cfg(test)]
mod tests;
mod volume;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_store::demand::{
    AppendError, DemandLimits, DemandLog, DemandStats, EntryId, EntryView, NewEntry, PurgeMark,
};
use cache_store::{Store, Volume};
use control_client::config::PullConfig;
use tokio::sync::MutexGuard;

pub use dormant::DormantPurges;
pub(super) use fault::DiskFault;
use log_key::log_key;
use missed_purges::MissedPurges;
use placement::Standing;
use volume::DemandVolume;
use volume::opening::Opener;

use crate::limits::DEMAND_LOOKUP_TIMEOUT;

/// The demand logs of all volumes.
pub(super) struct DemandStore {
    volumes: Box<[Arc<DemandVolume>]>,
    missed: Arc<MissedPurges>,
    disk_timeout: Duration,
}

/// An entry of one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct DiskEntry {
    /// The volume, by its place in the configuration.
    pub volume: usize,
    /// The entry of its log.
    pub id: EntryId,
}

/// An entry that does not leave for what is new, for as long as this is there; not for ever.
pub(super) struct KeptEntry {
    volume: Arc<DemandVolume>,
    id: EntryId,
}

/// A moment before an upstream was asked: what was purged since is not stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// The volume that is meant.
    pub volume: usize,
    mark: PurgeMark,
}

impl DemandStore {
    /// Opens the log of every volume in the background; until then there is nothing on it.
    pub(super) fn start(store: Arc<Store>, config: &PullConfig, disk_timeout: Duration) -> io::Result<Self> {
        let (percent, index_bytes_max) = (config.volume_percent, config.index_memory.bytes());
        let opener = move |volume: &Volume| open_log(volume, percent, index_bytes_max);
        Self::start_with(&store, config, disk_timeout, &(Arc::new(opener) as Opener))
    }

    fn start_with(
        store: &Arc<Store>,
        config: &PullConfig,
        disk_timeout: Duration,
        opener: &Opener,
    ) -> io::Result<Self> {
        let statuses = store.volumes();
        let missed = Arc::new(MissedPurges::load(config.missed_purges.clone()));
        let start = |status: &cache_store::VolumeStatus| {
            DemandVolume::start(store, status.index, &status.path, opener, &missed)
        };
        let volumes = statuses.iter().map(start).collect::<io::Result<_>>()?;
        Ok(Self { volumes, missed, disk_timeout })
    }

    /// Whether it is known what every volume holds: its log is open, or cannot be.
    pub(super) fn is_settled(&self) -> bool {
        self.volumes.iter().all(|volume| volume.is_settled())
    }

    /// Before upstream is asked for `key`. `None` where nothing can be stored.
    pub(super) fn asked(&self, key: &str) -> Option<Asked> {
        let volume = self.open_home(key)?;
        Some(Asked { volume, mark: self.volumes[volume].log()?.mark() })
    }

    /// What is held of a key; nothing where its volume does not answer in time.
    pub(super) async fn entries(&self, key: &str) -> Vec<(DiskEntry, EntryView)> {
        let Some(place) = self.open_home(key) else { return Vec::new() };
        let (volume, key) = (&self.volumes[place], log_key(key));
        match volume.call(DEMAND_LOOKUP_TIMEOUT, move |log| log.entries(&key)).await {
            Ok(Ok(views)) => {
                views.into_iter().map(|view| (DiskEntry { volume: place, id: view.id }, view)).collect()
            }
            Ok(Err(error)) => {
                volume.blame(&error);
                Vec::new()
            }
            Err(_) => Vec::new(),
        }
    }

    /// Stores a head, in place of the one with the same keys.
    pub(super) async fn append_head(
        &self,
        asked: Asked,
        key: &str,
        secondary: Vec<u8>,
        metadata: Vec<u8>,
        total_bytes: Option<u64>,
    ) -> Result<DiskEntry, DiskFault> {
        let Asked { volume, mark } = asked;
        let key = log_key(key);
        let append = move |log: &DemandLog| {
            let entry = NewEntry { key: &key, secondary: &secondary, metadata: &metadata, total_bytes };
            log.append_head(&entry, mark)
        };
        let id = self.call(volume, append).await?.map_err(DiskFault::Refused)?;
        Ok(DiskEntry { volume, id })
    }

    /// Stores a block of an answer.
    pub(super) async fn append_block(
        &self,
        asked: Asked,
        entry: DiskEntry,
        number: u32,
        bytes: Bytes,
    ) -> Result<(), DiskFault> {
        let mark = asked.on(entry)?;
        let append = move |log: &DemandLog| log.append_block(entry.id, number, &bytes, mark);
        self.call(entry.volume, append).await?.map_err(DiskFault::Refused)
    }

    /// Gives an entry the metadata of an answer, or a total that has become known.
    pub(super) async fn update_head(
        &self,
        asked: Asked,
        entry: DiskEntry,
        metadata: Vec<u8>,
        total_bytes: Option<u64>,
    ) -> Result<(), DiskFault> {
        let mark = asked.on(entry)?;
        let update = move |log: &DemandLog| log.update_head(entry.id, &metadata, total_bytes, mark);
        self.call(entry.volume, update).await?.map_err(DiskFault::Refused)
    }

    /// Reads a block; `None` where it is not held, or not any more.
    pub(super) async fn read_block(&self, entry: DiskEntry, number: u32) -> Result<Option<Bytes>, DiskFault> {
        match self.call(entry.volume, move |log| log.read_block(entry.id, number)).await? {
            Ok(block) => Ok(block.map(Bytes::from_owner)),
            Err(error) => {
                self.volumes[entry.volume].blame(&error);
                Err(DiskFault::Refused(AppendError::Io(error)))
            }
        }
    }

    /// An entry was given to somebody from its copy in memory, which has no more than a block. It counts for how long the disk holds it as
    /// if it had been read there.
    pub(super) fn note_use(&self, entry: DiskEntry) {
        if let Some(log) = self.volumes[entry.volume].log() {
            log.note_use(entry.id, 0);
        }
    }

    /// Keeps an entry for those who read it while it comes, and cannot have it again.
    pub(super) fn keep(&self, entry: DiskEntry) -> Option<KeptEntry> {
        let volume = &self.volumes[entry.volume];
        volume.log()?.keep(entry.id);
        Some(KeptEntry { volume: Arc::clone(volume), id: entry.id })
    }

    /// Lets go of an entry that must not be used any more.
    pub(super) fn forget(&self, entry: DiskEntry) {
        // Waits for no disk, so that an entry of one that stalls is forgotten, too.
        if let Some(log) = self.volumes[entry.volume].log() {
            log.forget(entry.id);
        }
    }

    /// Holds the lock of a key's entries. Those who hold it may wait for the disk of the key's volume, and for no other.
    pub(super) async fn lock_entries(&self, key: &str) -> Option<MutexGuard<'_, ()>> {
        let home = self.home(key)?;
        Some(self.volumes[home].lock_entries(key).await)
    }

    /// What the log of each volume holds, by its place in the configuration; `None` where it is not open.
    pub(super) fn stats(&self) -> Vec<Option<DemandStats>> {
        self.volumes.iter().map(|volume| volume.stats()).collect()
    }

    /// Ends the threads, those that hang excepted, and makes the next start quick.
    pub(super) fn stop(&self, deadline: Instant) {
        for volume in &self.volumes {
            volume.close();
        }
        for volume in &self.volumes {
            volume.join(deadline);
        }
    }

    /// The volume that a key belongs to.
    fn home(&self, key: &str) -> Option<usize> {
        placement::home(key, self.volumes.iter().map(|volume| (volume.seed, volume.standing())))
    }

    /// The same, where it can be used now. Where not, the key is not looked for elsewhere, and not stored there: it would be there
    /// twice.
    fn open_home(&self, key: &str) -> Option<usize> {
        self.home(key).filter(|place| {
            let volume = &self.volumes[*place];
            volume.standing() == Standing::Open && !volume.is_stalled_for(Duration::ZERO)
        })
    }

    async fn call<R: Send + 'static>(
        &self,
        volume: usize,
        work: impl FnOnce(&DemandLog) -> R + Send + 'static,
    ) -> Result<R, DiskFault> {
        self.volumes[volume].call(self.disk_timeout, work).await
    }
}

impl Drop for KeptEntry {
    fn drop(&mut self) {
        if let Some(log) = self.volume.log() {
            log.release(self.id);
        }
    }
}

impl Asked {
    /// The moment, as the entry's volume counts them; nothing is known of it where the key has moved to another since.
    fn on(self, entry: DiskEntry) -> Result<PurgeMark, DiskFault> {
        if self.volume == entry.volume { Ok(self.mark) } else { Err(DiskFault::Unavailable) }
    }
}

fn open_log(volume: &Volume, percent: u32, index_bytes_max: u64) -> io::Result<DemandLog> {
    let capacity_bytes = volume.space()?.total_bytes / 100 * u64::from(percent);
    let began = Instant::now();
    let (log, recovery) = DemandLog::open(volume, DemandLimits { capacity_bytes, index_bytes_max })?;
    tracing::info!(
        volume = %volume.path().display(), capacity_bytes, entries = recovery.entries, blocks = recovery.blocks,
        corrupt_records = recovery.corrupt_records, took_ms = began.elapsed().as_millis() as u64,
        "demand content opened"
    );
    Ok(log)
}
