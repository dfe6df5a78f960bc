//! The store: volumes, the index over all of them, and the threads that look after them.

mod purging;

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use control_client::content::{BundleKey, BundlePath, Generation};
use control_client::units::ByteCount;

use crate::bundle::{Bundle, VolumeIndex};
use crate::change::{Adoption, ChangeError, Retirement};
use crate::counters::StoreCounters;
use crate::departure::{Cause, Departure, DepartureState};
use crate::disk_error::{Blame, blame};
use crate::footers::Footers;
use crate::identity::BundleId;
use crate::keeper::{self, Command};
use crate::limits::{
    CHANGE_TIMEOUT, CHANGE_WAIT_SLICE, CLOSE_TIMEOUT, OPENERS_PER_VOLUME, VOLUME_OPEN_TIMEOUT, VOLUMES_MAX,
};
use crate::openers::{self, OnOpened, OpenQueueFull, Openers};
use crate::quarantine::QuarantineReason;
use crate::shared::{Shared, VolumeView};
use crate::status::{BundleState, InventoryEntry, VolumeStatus};
use crate::volume::Volume;
use crate::warden::{self, Trouble};

/// A store that is open: all of its volumes, those that failed included.
///
/// Lookups and the calls that report or ask for an opening are for the daemon's workers: they wait for no
/// disk. `adopt` and `retire` wait, each for its own volume only, and `purge` for all of them.
pub struct Store {
    shared: Arc<Shared>,
    /// A thread that ends says so, so that closing can wait with a bound.
    ended: Mutex<Receiver<()>>,
    thread_count: usize,
}

/// What a store is opened with.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The volumes; their order gives them their index.
    pub volumes: Vec<VolumeOptions>,
    /// Verified footers kept on the heap.
    pub footer_cache: ByteCount,
    /// Bundle files kept open at once.
    pub open_bundles: usize,
    /// Openings that may wait, per volume.
    pub open_queue: usize,
    /// Read errors within a minute that a volume may have; one more isolates it.
    pub volume_errors: u32,
}

/// One volume of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeOptions {
    /// Its directory.
    pub path: PathBuf,
    /// Whether it has to be a mounted disk of its own.
    pub mount_required: bool,
}

/// What a thread does until the store is closed.
type Life = Box<dyn FnOnce(&Arc<Shared>) + Send>;

/// Why a store cannot be opened at all. A volume that cannot be used is no such reason.
#[derive(Debug)]
pub enum StoreError {
    /// More volumes than a store may have, or none.
    VolumeCount(usize),
    /// A thread could not be started.
    Thread(io::Error),
}

impl Store {
    /// Opens the volumes, each on a thread of its own, reads their journals, and lets their bundles serve.
    /// Bundles are not opened. A volume that cannot be opened is `Failed`; one that has not answered after
    /// ten seconds is left `Opening`, and serves when it does.
    pub fn open(options: StoreOptions) -> Result<Arc<Self>, StoreError> {
        if options.volumes.is_empty() || options.volumes.len() > VOLUMES_MAX {
            return Err(StoreError::VolumeCount(options.volumes.len()));
        }
        let (warden, troubles) = mpsc::channel();
        let mut views = Vec::new();
        let mut receivers = Vec::new();
        for (index, volume) in options.volumes.iter().enumerate() {
            let (commands, receiver) = mpsc::channel();
            views.push(Arc::new(VolumeView::new(
                VolumeIndex(index as u8),
                volume,
                Openers::new(options.open_queue),
                options.volume_errors,
                commands,
            )));
            receivers.push(receiver);
        }
        let footers = Footers::new(options.footer_cache.bytes(), options.open_bundles);
        let shared = Arc::new(Shared::new(footers, views.into(), warden));
        let (opened, all_opened) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let started = start_threads(&shared, troubles, receivers, &opened, &end);
        drop(opened);
        let thread_count = match started {
            Ok(thread_count) => thread_count,
            Err(error) => {
                stop_threads(&shared);
                return Err(StoreError::Thread(error));
            }
        };
        let deadline = Instant::now() + VOLUME_OPEN_TIMEOUT;
        for _ in 0..shared.volumes.len() {
            let left = deadline.saturating_duration_since(Instant::now());
            if all_opened.recv_timeout(left).is_err() {
                tracing::warn!("a volume has not answered yet; it joins when it does");
                break;
            }
        }
        Ok(Arc::new(Self { shared, ended: Mutex::new(ended), thread_count }))
    }

    /// Compares every volume's directory with its inventory, in the background: see
    /// [`VolumeStatus::reconciled`].
    pub fn start_reconciling(&self) {
        for view in &self.shared.volumes {
            let _ = view.commands.send(Command::Reconcile);
        }
    }

    /// The bundle that serves a directory (a normalised path). Lock-free.
    pub fn lookup(&self, directory: &str) -> Option<Arc<Bundle>> {
        self.shared.index.get(directory).filter(|bundle| !bundle.is_leaving())
    }

    /// Whether bundles of a volume may be served: it has not been isolated. Lock-free.
    pub fn is_in_use(&self, volume: VolumeIndex) -> bool {
        !self.shared.view(volume).is_failed()
    }

    /// A volume itself, once it is open and as long as it is in use, for what is kept there beside the bundles.
    pub fn volume(&self, volume: VolumeIndex) -> Option<Arc<Volume>> {
        let view = self.shared.volumes.get(usize::from(volume.0)).filter(|view| !view.is_failed())?;
        view.volume().cloned()
    }

    /// Reports that something beside the bundles could not be read. It counts against the volume, which is isolated past the
    /// limit, where it is the disk's fault.
    pub fn report_volume_error(&self, volume: VolumeIndex, error: &io::Error) {
        if let Some(view) = self.shared.volumes.get(usize::from(volume.0)) {
            self.shared.note_read_error(view, error);
        }
    }

    /// How often a bundle or a volume has left service: while the number stays the same, none has. Lock-free.
    pub fn left_service_count(&self) -> u64 {
        self.shared.left_service.load(Ordering::SeqCst)
    }

    /// Asks for a bundle to be opened. Never waits; `on_opened` is called on an opener thread, once, unless
    /// the queue is full.
    pub fn open_bundle(&self, bundle: &Arc<Bundle>, on_opened: OnOpened) -> Result<(), OpenQueueFull> {
        let result = self.shared.view(bundle.volume()).openers.submit(bundle, on_opened);
        if result.is_err() {
            self.shared.counters.open_queue_full.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// Reports a bundle whose bytes are wrong. Never waits; lookups do not find it any more when this
    /// returns.
    pub fn report_corrupt(&self, bundle: &Arc<Bundle>, reason: QuarantineReason) {
        self.shared.begin_departure(bundle, Cause::Quarantined(reason));
    }

    /// Reports that a bundle's file could not be read. Never waits. What the disk could not read leaves service, and
    /// counts against its volume, which is isolated past the limit; a read that timed out only counts; what is
    /// not the disk's fault does neither.
    pub fn report_read_error(&self, bundle: &Arc<Bundle>, error: &io::Error) {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return self.report_corrupt(bundle, QuarantineReason::Truncated);
        }
        let is_isolated = self.shared.note_read_error(self.shared.view(bundle.volume()), error);
        // A volume that is isolated loses none of its bundles.
        if blame(error) == Blame::Disk && !is_isolated {
            self.report_corrupt(bundle, QuarantineReason::Unreadable);
        }
    }

    /// Adopts a file that was published under a volume's `bundles/`, and waits until it serves. `volume` is
    /// the volume's path or identity, `file` the name of the file, with or without its directory (`ab/…`).
    pub fn adopt(&self, volume: &str, file: &str) -> Result<Adoption, ChangeError> {
        let id = BundleId::parse_file_name(file).ok_or(ChangeError::NotAFileName)?;
        let view = self.find_volume(volume).ok_or(ChangeError::NoSuchVolume)?;
        let (reply, answer) = mpsc::sync_channel(1);
        // A keeper that hangs must not do later what its caller has given up.
        let deadline = Instant::now() + CHANGE_TIMEOUT;
        view.commands.send(Command::Adopt(id, deadline, reply)).map_err(|_| ChangeError::Closing)?;
        match answer.recv_timeout(CHANGE_TIMEOUT) {
            Ok(answer) => answer,
            Err(mpsc::RecvTimeoutError::Timeout) => Err(ChangeError::TimedOut),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(ChangeError::Closing),
        }
    }

    /// Takes a bundle out of service, removes its file, and waits until its space has returned, however long
    /// its last reader takes. Without a generation the one that serves is meant.
    pub fn retire(
        &self,
        path: &BundlePath,
        generation: Option<Generation>,
    ) -> Result<Retirement, ChangeError> {
        self.retire_until(path, generation, None)
    }

    /// The same, with an end to the waiting: `Retirement::has_returned` says whether it was reached.
    pub fn retire_within(
        &self,
        path: &BundlePath,
        generation: Option<Generation>,
        wait: Duration,
    ) -> Result<Retirement, ChangeError> {
        self.retire_until(path, generation, Some(Instant::now() + wait))
    }

    /// Adds the departures that began before and are not finished: an older generation, an earlier request. Whoever
    /// asks for a path to be gone means them too; those that have failed are tried again.
    fn with_earlier(
        &self,
        mut departures: Vec<Arc<Departure>>,
        cause: Cause,
        is_meant: impl Fn(&Departure) -> bool,
    ) -> Vec<Arc<Departure>> {
        self.add_unfinished(&mut departures, is_meant);
        for departure in &departures {
            self.shared.remove_again(departure, cause);
        }
        departures
    }

    /// Adds the departures that are meant, are not finished, and are not there yet.
    fn add_unfinished(&self, departures: &mut Vec<Arc<Departure>>, is_meant: impl Fn(&Departure) -> bool) {
        let known: HashSet<_> = departures.iter().map(Arc::as_ptr).collect();
        let mut unfinished = self.shared.unreturned();
        unfinished.retain(|departure| is_meant(departure) && !known.contains(&Arc::as_ptr(departure)));
        departures.append(&mut unfinished);
    }

    /// All bundles in service, and those on their way out whose space has not returned.
    pub fn inventory(&self) -> Vec<InventoryEntry> {
        let entry = |state| move |bundle| InventoryEntry { bundle, state };
        let serving = self.shared.index.bundles().into_iter().filter(|bundle| !bundle.is_leaving());
        let departures = self.shared.departures();
        let leaving = departures.iter().filter_map(|departure| departure.bundle());
        serving.map(entry(BundleState::Serving)).chain(leaving.map(entry(BundleState::Leaving))).collect()
    }

    /// Departures whose space has not returned.
    pub fn departures(&self) -> Vec<Arc<Departure>> {
        self.shared.departures()
    }

    /// The state of every volume. Asks no disk.
    pub fn volumes(&self) -> Vec<VolumeStatus> {
        let departures = self.shared.departures();
        self.shared.volumes.iter().map(|view| view.status(&departures)).collect()
    }

    /// What was counted. Asks no disk.
    pub fn counters(&self) -> StoreCounters {
        let returning = self.shared.departures().iter().map(|departure| departure.file_bytes()).sum();
        self.shared.counters.read(self.shared.footers.usage(), returning)
    }

    /// Ends the store's threads, and waits for them for some seconds; one that hangs on its disk is left
    /// behind. Changes that were acknowledged are durable already. Nothing may be asked of the store
    /// afterwards; bundles still held can be read.
    pub fn close(&self) {
        stop_threads(&self.shared);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        for _ in 0..self.thread_count {
            let left = deadline.saturating_duration_since(Instant::now());
            if ended.recv_timeout(left).is_err() {
                tracing::warn!("a thread of the store hangs on its disk; it is left behind");
                break;
            }
        }
    }

    fn find_volume(&self, volume: &str) -> Option<&VolumeView> {
        let is_meant = |view: &VolumeView| {
            view.path.as_os_str() == volume
                || view.volume().is_some_and(|open| open.id().to_string() == volume)
        };
        self.shared.volumes.iter().map(|view| &**view).find(|view| is_meant(view))
    }

    fn retire_until(
        &self,
        path: &BundlePath,
        generation: Option<Generation>,
        deadline: Option<Instant>,
    ) -> Result<Retirement, ChangeError> {
        let is_meant = |key: &BundleKey| {
            key.path == *path && generation.is_none_or(|generation| generation == key.generation)
        };
        let serving = self.shared.index.get(path.as_str()).filter(|bundle| is_meant(bundle.key()));
        let dismissed = serving.iter().map(|bundle| self.shared.dismiss(bundle, Cause::Retired)).collect();
        let departures = self.with_earlier(dismissed, Cause::Retired, |departure| is_meant(departure.key()));
        let newest = departures.iter().max_by_key(|departure| departure.key().generation.number());
        let key = newest.ok_or(ChangeError::NoSuchBundle)?.key().clone();
        let mut retirement = Retirement { key, file_bytes: 0, has_returned: true };
        for departure in departures {
            let state = self.wait(deadline, |slice_end| departure.wait_until_returned(slice_end))?;
            retirement.has_returned &= state == DepartureState::Returned;
            retirement.file_bytes += departure.file_bytes();
        }
        Ok(retirement)
    }

    /// How far a departure has come when `wait` ends before the time that it is given, or else at `deadline`.
    fn wait(
        &self,
        deadline: Option<Instant>,
        wait: impl Fn(Option<Instant>) -> DepartureState,
    ) -> Result<DepartureState, ChangeError> {
        loop {
            let slice = Instant::now() + CHANGE_WAIT_SLICE;
            let slice_end = deadline.map_or(slice, |deadline| deadline.min(slice));
            let state = wait(Some(slice_end));
            let now = Instant::now();
            match state {
                DepartureState::Failed(what) => return Err(ChangeError::NotRemoved(what.to_string())),
                state if now < slice_end || deadline.is_some_and(|deadline| deadline <= now) => {
                    return Ok(state);
                }
                _ if self.shared.is_closing.load(Ordering::SeqCst) => return Err(ChangeError::Closing),
                _ => {}
            }
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        stop_threads(&self.shared);
    }
}

fn start_threads(
    shared: &Arc<Shared>,
    troubles: Receiver<Trouble>,
    commands: Vec<Receiver<Command>>,
    opened: &Sender<()>,
    end: &Sender<()>,
) -> io::Result<usize> {
    let mut count = 0;
    let mut start = |name: String, life: Life| {
        let (shared, end) = (Arc::clone(shared), end.clone());
        count += 1;
        let body = move || {
            life(&shared);
            let _ = end.send(());
        };
        thread::Builder::new().name(name).spawn(body).map(|_| ())
    };
    start("warden".to_owned(), Box::new(move |shared| warden::run(shared, &troubles)))?;
    for (view, commands) in shared.volumes.iter().zip(commands) {
        for opener in 0..OPENERS_PER_VOLUME {
            let view = Arc::clone(view);
            let name = format!("opener-{}-{opener}", view.index);
            start(name, Box::new(move |shared| openers::run(shared, &view, opener)))?;
        }
        let (view, opened) = (Arc::clone(view), opened.clone());
        let name = format!("keeper-{}", view.index);
        start(name, Box::new(move |shared| keeper::run(shared, &view, &commands, &opened)))?;
    }
    Ok(count)
}

fn stop_threads(shared: &Shared) {
    shared.is_closing.store(true, Ordering::SeqCst);
    shared.footers.clear();
    let _ = shared.warden.send(Trouble::Stop);
    for view in &shared.volumes {
        view.openers.stop();
        let _ = view.commands.send(Command::Stop);
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Store({} volumes)", self.shared.volumes.len())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VolumeCount(count) => {
                write!(
                    formatter,
                    "a store has between 1 and {VOLUMES_MAX} volumes, not {count}; see store.volumes"
                )
            }
            Self::Thread(error) => write!(formatter, "a thread cannot be started: {error}"),
        }
    }
}

impl std::error::Error for StoreError {}
