//! Pulled content on disk, as seen by tasks that must not wait for one: each volume has threads of its own that do, with a bounded
//! queue before them, so that a disk that hangs holds up only what lies on it, and that only for a while.
//!
//! Which volume has a key is decided by the key and the volumes' identities (rendezvous hashing): when a volume fails, its keys move
//! to others, and no other key does.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_store::Store;
use cache_store::demand::{
    AppendError, DemandLimits, DemandLog, DemandStats, EntryId, EntryView, NewEntry, PurgeMark, Selector,
};
use cache_store::{Volume, VolumeIndex};
use control_client::config::PullConfig;
use tokio::sync::oneshot;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::limits::{
    DEMAND_LOOKUP_TIMEOUT, DEMAND_QUEUE, DEMAND_STALL_PAUSE, DEMAND_THREADS, VOLUME_AWAITED_EVERY,
};

/// The demand logs of all volumes.
pub(super) struct DemandStore {
    store: Arc<Store>,
    volumes: Box<[Arc<DemandVolume>]>,
    started: Instant,
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

/// A moment before an upstream was asked: what was purged since is not stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// The volume that is meant.
    pub volume: usize,
    mark: PurgeMark,
}

/// Why a volume did not do something.
#[derive(Debug)]
pub(super) enum DiskFault {
    /// No volume can be used, or the one that is meant cannot.
    Unavailable,
    /// Its queue is full, or it did not answer in time.
    Stalled,
    /// It said no.
    Refused(AppendError),
}

struct DemandVolume {
    index: VolumeIndex,
    jobs: Mutex<Option<SyncSender<Job>>>,
    log: OnceLock<Arc<DemandLog>>,
    /// Opening the log was tried.
    is_settled: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Lookups pass it by until then; milliseconds since the start.
    stalled_until: AtomicU64,
}

type Job = Box<dyn FnOnce(&DemandLog) + Send>;

impl DemandStore {
    /// Opens the log of every volume in the background; until then there is nothing on it.
    pub(super) fn start(store: Arc<Store>, config: &PullConfig, disk_timeout: Duration) -> io::Result<Self> {
        let count = store.volumes().len();
        let volumes = (0..count).map(|index| DemandVolume::start(&store, VolumeIndex(index as u8), config));
        let volumes = volumes.collect::<io::Result<_>>()?;
        Ok(Self { store, volumes, started: Instant::now(), disk_timeout })
    }

    /// Whether it is known what every volume holds: its log is open, or cannot be.
    pub(super) fn is_settled(&self) -> bool {
        self.volumes.iter().all(|volume| volume.is_settled.load(Relaxed))
    }

    /// Before upstream is asked for `key`. `None` where nothing can be stored.
    pub(super) fn asked(&self, key: &str) -> Option<Asked> {
        let volume = self.place_of(key)?;
        Some(Asked { volume, mark: self.volumes[volume].log.get()?.mark() })
    }

    /// What is held of a key; nothing where its volume does not answer in time.
    pub(super) async fn entries(&self, key: &str) -> Vec<(DiskEntry, EntryView)> {
        let Some(volume) = self.place_of(key) else { return Vec::new() };
        let key: Box<[u8]> = key.as_bytes().into();
        match self.call(volume, DEMAND_LOOKUP_TIMEOUT, move |log| log.entries(&key)).await {
            Ok(Ok(views)) => {
                views.into_iter().map(|view| (DiskEntry { volume, id: view.id }, view)).collect()
            }
            Ok(Err(error)) => {
                self.blame(volume, &error);
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
        let key: Box<[u8]> = key.as_bytes().into();
        let append = move |log: &DemandLog| {
            let entry = NewEntry { key: &key, secondary: &secondary, metadata: &metadata, total_bytes };
            log.append_head(&entry, mark)
        };
        let id = self.call(volume, self.disk_timeout, append).await?.map_err(DiskFault::Refused)?;
        Ok(DiskEntry { volume, id })
    }

    /// Stores a block.
    pub(super) async fn append_block(
        &self,
        entry: DiskEntry,
        number: u32,
        bytes: Bytes,
    ) -> Result<(), DiskFault> {
        let append = move |log: &DemandLog| log.append_block(entry.id, number, &bytes);
        self.call(entry.volume, self.disk_timeout, append).await?.map_err(DiskFault::Refused)
    }

    /// Gives an entry other metadata, or a total that has become known.
    pub(super) async fn update_head(
        &self,
        entry: DiskEntry,
        metadata: Vec<u8>,
        total_bytes: Option<u64>,
    ) -> Result<(), DiskFault> {
        let update = move |log: &DemandLog| log.update_head(entry.id, &metadata, total_bytes);
        self.call(entry.volume, self.disk_timeout, update).await?.map_err(DiskFault::Refused)
    }

    /// Reads a block; `None` where it is not held, or not any more.
    pub(super) async fn read_block(&self, entry: DiskEntry, number: u32) -> Result<Option<Bytes>, DiskFault> {
        let read = move |log: &DemandLog| log.read_block(entry.id, number);
        match self.call(entry.volume, self.disk_timeout, read).await? {
            Ok(block) => Ok(block.map(Bytes::from_owner)),
            Err(error) => {
                self.blame(entry.volume, &error);
                Err(DiskFault::Refused(AppendError::Io(error)))
            }
        }
    }

    /// Lets go of an entry that must not be used any more.
    pub(super) async fn forget(&self, entry: DiskEntry) {
        // A volume that cannot is one whose entries are not found.
        let _ = self.call(entry.volume, self.disk_timeout, move |log| log.forget(entry.id)).await;
    }

    /// Purges on every volume; durable when it returns how many entries there were.
    pub(super) async fn purge(&self, what: Purge) -> io::Result<u64> {
        let mut count = 0;
        for (volume, demand) in self.volumes.iter().enumerate() {
            if demand.log.get().is_none() && self.store.volume(demand.index).is_none() {
                // It has failed: what is on it is served again only after its operator has brought it back.
                tracing::warn!(
                    volume,
                    "demand content of a volume that is not in use is not purged; purge again"
                );
                continue;
            }
            let what = what.clone();
            let purge = move |log: &DemandLog| match &what {
                Purge::Exact(key) => log.purge(Selector::Exact(key.as_bytes())),
                Purge::Prefix(prefix) => log.purge(Selector::Prefix(prefix.as_bytes())),
            };
            let purged = self.call(volume, self.disk_timeout, purge).await;
            let purged = purged.map_err(|fault| io::Error::other(format!("volume {volume}: {fault}")))?;
            count += purged? as u64;
        }
        Ok(count)
    }

    /// What the log of each volume holds, by its place in the configuration; `None` where it is not open.
    pub(super) fn stats(&self) -> Vec<Option<DemandStats>> {
        self.volumes.iter().map(|volume| volume.log.get().map(|log| log.stats())).collect()
    }

    /// Ends the threads, those that hang excepted, and makes the next start quick.
    pub(super) fn stop(&self, deadline: Instant) {
        for volume in &self.volumes {
            volume.lock_jobs().take();
        }
        for volume in &self.volumes {
            volume.join(deadline);
        }
    }

    /// The volume that a key belongs to, of those that can be used.
    fn place_of(&self, key: &str) -> Option<usize> {
        let now = self.now_ms();
        let usable = self.volumes.iter().enumerate().filter_map(|(place, volume)| {
            let is_usable = volume.log.get().is_some() && self.store.is_in_use(volume.index);
            let id = self.store.volume(volume.index).filter(|_| is_usable)?.id();
            let seed = u64::from_le_bytes(id.bytes()[..8].try_into().expect("eight of sixteen bytes"));
            Some((xxh3_64_with_seed(key.as_bytes(), seed), place))
        });
        let (_, place) = usable.max()?;
        // What lies on a disk that hangs is not stored elsewhere meanwhile: it would be there twice.
        (self.volumes[place].stalled_until.load(Relaxed) <= now).then_some(place)
    }

    async fn call<R: Send + 'static>(
        &self,
        volume: usize,
        timeout: Duration,
        work: impl FnOnce(&DemandLog) -> R + Send + 'static,
    ) -> Result<R, DiskFault> {
        let (sender, answer) = oneshot::channel();
        let job: Job = Box::new(move |log| {
            // Whoever waited may have given up.
            let _ = sender.send(work(log));
        });
        let demand = &self.volumes[volume];
        let jobs = demand.lock_jobs().clone().ok_or(DiskFault::Unavailable)?;
        jobs.try_send(job).map_err(|_| DiskFault::Stalled)?;
        match tokio::time::timeout(timeout, answer).await {
            Ok(answer) => answer.map_err(|_| DiskFault::Unavailable),
            Err(_) => {
                let until = self.now_ms() + DEMAND_STALL_PAUSE.as_millis() as u64;
                demand.stalled_until.store(until, Relaxed);
                Err(DiskFault::Stalled)
            }
        }
    }

    fn blame(&self, volume: usize, error: &io::Error) {
        self.store.report_volume_error(self.volumes[volume].index, error);
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

/// What is purged.
#[derive(Clone, Debug)]
pub(super) enum Purge {
    /// One key.
    Exact(String),
    /// All keys that start so.
    Prefix(String),
}

impl DemandVolume {
    fn start(store: &Arc<Store>, index: VolumeIndex, config: &PullConfig) -> io::Result<Arc<Self>> {
        let (sender, receiver) = sync_channel(DEMAND_QUEUE);
        let volume = Arc::new(Self {
            index,
            jobs: Mutex::new(Some(sender)),
            log: OnceLock::new(),
            is_settled: AtomicBool::new(false),
            threads: Mutex::default(),
            stalled_until: AtomicU64::new(0),
        });
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..DEMAND_THREADS {
            let (own, store, receiver) = (Arc::clone(&volume), Arc::clone(store), Arc::clone(&receiver));
            let share = Share { percent: config.volume_percent, index_bytes: config.index_memory.bytes() };
            let life = move || {
                if number == 0 {
                    own.open(&store, share);
                    own.is_settled.store(true, Relaxed);
                }
                own.work(&receiver);
            };
            let name = format!("demand-{}-{number}", index.0);
            let thread = thread::Builder::new().name(name).spawn(life)?;
            volume_threads(&volume).push(thread);
        }
        Ok(volume)
    }

    /// Waits for the volume to be open, and opens its log.
    fn open(&self, store: &Store, share: Share) {
        let opened = loop {
            match store.volume(self.index) {
                Some(volume) => break open_log(&volume, share),
                None if self.is_stopping() || !store.is_in_use(self.index) => return,
                None => thread::sleep(VOLUME_AWAITED_EVERY),
            }
        };
        match opened {
            Ok(log) => {
                let _ = self.log.set(Arc::new(log));
            }
            Err(error) => {
                tracing::error!(
                    volume = self.index.0, %error,
                    "its demand content cannot be opened: what is pulled for it is sent and not stored"
                );
                store.report_volume_error(self.index, &error);
            }
        }
    }

    fn work(&self, jobs: &Mutex<Receiver<Job>>) {
        loop {
            let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            match (next, self.log.get()) {
                (Ok(job), Some(log)) => job(log),
                // Dropped: whoever waits for it learns that there is no log.
                (Ok(_), None) => {}
                (Err(_), _) => return,
            }
        }
    }

    fn join(&self, deadline: Instant) {
        let threads = std::mem::take(&mut *volume_threads(self));
        let mut all_ended = true;
        for thread in threads {
            while !thread.is_finished() && Instant::now() < deadline {
                thread::park_timeout(Duration::from_millis(5));
            }
            all_ended &= thread.is_finished() && thread.join().is_ok();
        }
        if let Some(log) = self.log.get().filter(|_| all_ended) {
            log.close();
        }
    }

    fn is_stopping(&self) -> bool {
        self.lock_jobs().is_none()
    }

    fn lock_jobs(&self) -> std::sync::MutexGuard<'_, Option<SyncSender<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy)]
struct Share {
    percent: u32,
    index_bytes: u64,
}

fn open_log(volume: &Volume, share: Share) -> io::Result<DemandLog> {
    let capacity_bytes = volume.space()?.total_bytes / 100 * u64::from(share.percent);
    let limits = DemandLimits { capacity_bytes, index_bytes_max: share.index_bytes };
    let began = Instant::now();
    let (log, recovery) = DemandLog::open(volume, limits)?;
    tracing::info!(
        volume = %volume.path().display(), capacity_bytes, entries = recovery.entries, blocks = recovery.blocks,
        corrupt_records = recovery.corrupt_records, took_ms = began.elapsed().as_millis() as u64,
        "demand content opened"
    );
    Ok(log)
}

fn volume_threads(volume: &DemandVolume) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
    volume.threads.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DiskFault {
    /// Whether the disk has no part in it: the entry was purged, replaced or evicted meanwhile.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Refused(AppendError::Gone))
    }
}

impl std::fmt::Display for DiskFault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unavailable => formatter.write_str("it is not open"),
            Self::Stalled => formatter.write_str("it does not answer in time"),
            Self::Refused(error) => error.fmt(formatter),
        }
    }
}
