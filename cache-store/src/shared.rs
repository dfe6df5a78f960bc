//! What the store's threads share, and what each of them may see of a volume. Nothing here waits for a disk:
//! locks are held for a few instructions, and never across a system call.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use crate::bundle::{Bundle, VolumeIndex};
use crate::clock::{WorkClock, unix_seconds};
use crate::counters::Counters;
use crate::departure::{Cause, Departure, DepartureState};
use crate::disk_error::{Blame, blame};
use crate::footers::Footers;
use crate::index::Index;
use crate::keeper::Command;
use crate::limits::{ERROR_WINDOW, OPENERS_PER_VOLUME, QUARANTINE_REPORTS_MAX, TIMEOUT_SPACING};
use crate::openers::Openers;
use crate::quarantine::QuarantinedBundle;
use crate::reconcile::ReconcileReport;
use crate::status::{VolumeState, VolumeStatus};
use crate::store::VolumeOptions;
use crate::volume::Volume;
use crate::warden::Trouble;

pub(crate) struct Shared {
    pub(crate) index: Index,
    pub(crate) footers: Footers,
    pub(crate) volumes: Box<[Arc<VolumeView>]>,
    pub(crate) counters: Counters,
    pub(crate) warden: Sender<Trouble>,
    pub(crate) is_closing: AtomicBool,
    /// How often a bundle or a volume has left service.
    pub(crate) left_service: AtomicU64,
    /// Departures under way, and those that failed: what they left behind would serve again after a restart. The
    /// finished ones are cleared out whenever the list is read.
    departures: Mutex<Vec<Arc<Departure>>>,
}

/// A volume as seen by threads that must not wait for it.
pub(crate) struct VolumeView {
    pub(crate) index: VolumeIndex,
    pub(crate) path: PathBuf,
    pub(crate) mount_required: bool,
    pub(crate) openers: Arc<Openers>,
    pub(crate) commands: Sender<Command>,
    pub(crate) keeper_clock: WorkClock,
    pub(crate) opener_clocks: [WorkClock; OPENERS_PER_VOLUME],
    pub(crate) free_bytes: AtomicU64,
    pub(crate) total_bytes: AtomicU64,
    pub(crate) read_errors: AtomicU64,
    pub(crate) journal_bytes: AtomicU64,
    pub(crate) bundles: AtomicU64,
    pub(crate) bundle_bytes: AtomicU64,
    pub(crate) compactions: AtomicU64,
    volume: OnceLock<Arc<Volume>>,
    state: Mutex<VolumeState>,
    is_failed: AtomicBool,
    /// When errors happened, the oldest first: no more than isolate a volume.
    recent_errors: Mutex<VecDeque<Instant>>,
    errors_max: usize,
    quarantined: Mutex<VecDeque<QuarantinedBundle>>,
    reconciled: Mutex<Option<ReconcileReport>>,
}

impl Shared {
    pub(crate) fn new(footers: Footers, volumes: Box<[Arc<VolumeView>]>, warden: Sender<Trouble>) -> Self {
        Self {
            index: Index::new(),
            footers,
            volumes,
            counters: Counters::default(),
            warden,
            is_closing: AtomicBool::new(false),
            left_service: AtomicU64::new(0),
            departures: Mutex::default(),
        }
    }

    /// Begins to take a bundle out of service: from here on lookups do not find it. For workers too: the
    /// warden does what takes a lock. `None` where it is leaving already.
    pub(crate) fn begin_departure(&self, bundle: &Arc<Bundle>, cause: Cause) -> Option<Arc<Departure>> {
        let departure = Departure::new(bundle, cause);
        if !bundle.depart(&departure) {
            return None;
        }
        self.left_service.fetch_add(1, Ordering::SeqCst);
        // A warden that has ended is one whose store is being closed.
        let _ = self.warden.send(Trouble::Departure(Arc::clone(bundle)));
        Some(departure)
    }

    /// The same, done at once; for threads that may take a lock. Returns the departure that is under way,
    /// which may have begun before.
    pub(crate) fn dismiss(&self, bundle: &Arc<Bundle>, cause: Cause) -> Arc<Departure> {
        if bundle.depart(&Departure::new(bundle, cause)) {
            self.left_service.fetch_add(1, Ordering::SeqCst);
            self.complete_departure(bundle);
        }
        Arc::clone(bundle.departure().expect("it departs now if it had not departed before"))
    }

    /// Takes a leaving bundle out of index and footer cache, and has its volume's keeper remove its file.
    pub(crate) fn complete_departure(&self, bundle: &Arc<Bundle>) {
        let Some(departure) = bundle.departure() else { return };
        self.counters.count_departure(departure.cause());
        lock(&self.departures).push(Arc::clone(departure));
        self.index.remove(bundle);
        self.footers.evict(bundle);
        let view = self.view(bundle.volume());
        if let Cause::Quarantined(reason) = departure.cause() {
            let key = bundle.key();
            view.remember_quarantine(QuarantinedBundle {
                path: Some(key.path.clone()),
                generation: key.generation,
                reason,
                at: unix_seconds(),
            });
            tracing::warn!(
                bundle = %key.path, generation = %key.generation, volume = %view.path.display(), %reason,
                keeps_file = reason.keeps_file(),
                "bundle quarantined; it is not served until it is filled again, or, where its file is kept, until a restart"
            );
        }
        self.remove_file(departure, departure.cause());
    }

    /// Tries a removal that has failed once more, because somebody asks for it: no reason keeps the file then.
    pub(crate) fn remove_again(&self, departure: &Arc<Departure>, cause: Cause) {
        if departure.begin_again() {
            self.remove_file(departure, cause);
        }
    }

    fn remove_file(&self, departure: &Arc<Departure>, cause: Cause) {
        let commands = &self.view(departure.volume()).commands;
        if commands.send(Command::Remove(Arc::clone(departure), cause)).is_err() {
            departure.on_failed("the store is being closed");
        }
    }

    /// Departures that are not finished.
    pub(crate) fn departures(&self) -> Vec<Arc<Departure>> {
        let mut departures = self.unreturned();
        departures.retain(|departure| !matches!(departure.state(), DepartureState::Failed(_)));
        departures
    }

    /// Departures whose file may still be there: those not finished, and those that failed.
    pub(crate) fn unreturned(&self) -> Vec<Arc<Departure>> {
        let mut departures = lock(&self.departures);
        departures.retain(|departure| {
            let has_returned = departure.state() == DepartureState::Returned;
            if has_returned && !matches!(departure.cause(), Cause::Quarantined(_)) {
                self.counters.returned_bytes.fetch_add(departure.file_bytes(), Ordering::Relaxed);
            }
            !has_returned
        });
        departures.clone()
    }

    /// Counts an error where the volume's disk is to blame; past the limit the volume is isolated, which is
    /// answered with `true`. For workers too.
    pub(crate) fn note_read_error(&self, view: &VolumeView, error: &io::Error) -> bool {
        let blame = blame(error);
        if !matches!(blame, Blame::Disk | Blame::Hang) {
            return false;
        }
        view.read_errors.fetch_add(1, Ordering::Relaxed);
        let count = view.count_recent_error(blame == Blame::Hang);
        let is_too_many = count > view.errors_max;
        if is_too_many && !view.is_failed() {
            let reason = format!("{count} read errors within a minute, the last: {error}");
            let _ = self.warden.send(Trouble::Isolation(view.index, reason));
        }
        is_too_many
    }

    pub(crate) fn view(&self, volume: VolumeIndex) -> &VolumeView {
        &self.volumes[volume.as_usize()]
    }
}

impl VolumeView {
    pub(crate) fn new(
        index: VolumeIndex,
        options: &VolumeOptions,
        openers: Openers,
        errors_max: u32,
        commands: Sender<Command>,
    ) -> Self {
        Self {
            index,
            path: options.path.clone(),
            mount_required: options.mount_required,
            openers: Arc::new(openers),
            commands,
            keeper_clock: WorkClock::new(),
            opener_clocks: std::array::from_fn(|_| WorkClock::new()),
            free_bytes: AtomicU64::new(0),
            total_bytes: AtomicU64::new(0),
            read_errors: AtomicU64::new(0),
            journal_bytes: AtomicU64::new(0),
            bundles: AtomicU64::new(0),
            bundle_bytes: AtomicU64::new(0),
            compactions: AtomicU64::new(0),
            volume: OnceLock::new(),
            state: Mutex::new(VolumeState::Opening),
            is_failed: AtomicBool::new(false),
            recent_errors: Mutex::default(),
            errors_max: errors_max as usize,
            quarantined: Mutex::default(),
            reconciled: Mutex::default(),
        }
    }

    /// Notes an error, and says how many there were within the window. A disk that hangs makes everybody who
    /// waits for it time out at once: that is one error for a while, so that a controller that resets itself does
    /// not cost a volume.
    fn count_recent_error(&self, is_hang: bool) -> usize {
        let now = Instant::now();
        let mut recent = lock(&self.recent_errors);
        let is_same_hang =
            is_hang && recent.back().is_some_and(|&at| now.duration_since(at) < TIMEOUT_SPACING);
        if !is_same_hang {
            recent.push_back(now);
        }
        while recent.len() > self.errors_max + 1
            || recent.front().is_some_and(|&at| now.duration_since(at) > ERROR_WINDOW)
        {
            recent.pop_front();
        }
        recent.len()
    }

    /// The open volume, once its keeper has opened it.
    pub(crate) fn volume(&self) -> Option<&Arc<Volume>> {
        self.volume.get()
    }

    pub(crate) fn set_volume(&self, volume: Arc<Volume>) {
        let _ = self.volume.set(volume);
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.is_failed.load(Ordering::SeqCst)
    }

    pub(crate) fn state(&self) -> VolumeState {
        lock(&self.state).clone()
    }

    /// Changes the state of a volume that has not failed: failing is final.
    pub(crate) fn set_state(&self, state: VolumeState) {
        let mut current = lock(&self.state);
        if !matches!(*current, VolumeState::Failed { .. }) {
            *current = state;
        }
    }

    /// `false` where it had failed before.
    pub(crate) fn fail(&self, reason: String) -> bool {
        self.set_state(VolumeState::Failed { reason });
        !self.is_failed.swap(true, Ordering::SeqCst)
    }

    pub(crate) fn remember_quarantine(&self, bundle: QuarantinedBundle) {
        let mut quarantined = lock(&self.quarantined);
        quarantined.push_back(bundle);
        if quarantined.len() > QUARANTINE_REPORTS_MAX {
            quarantined.pop_front();
        }
    }

    pub(crate) fn set_reconciled(&self, report: ReconcileReport) {
        *lock(&self.reconciled) = Some(report);
    }

    pub(crate) fn status(&self, departures: &[Arc<Departure>]) -> VolumeStatus {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let (openings_waiting, callers_waiting) = self.openers.waiting();
        let clocks = self.opener_clocks.iter().chain([&self.keeper_clock]);
        let is_failed = self.is_failed();
        let returning = departures.iter().filter(|departure| departure.volume() == self.index);
        VolumeStatus {
            index: self.index,
            path: self.path.clone(),
            id: self.volume().map(|volume| volume.id()),
            state: self.state(),
            read_errors: read(&self.read_errors),
            bundles: if is_failed { 0 } else { read(&self.bundles) },
            bundle_bytes: if is_failed { 0 } else { read(&self.bundle_bytes) },
            free_bytes: read(&self.free_bytes),
            total_bytes: read(&self.total_bytes),
            returning_bytes: returning.map(|departure| departure.file_bytes()).sum(),
            journal_bytes: read(&self.journal_bytes),
            is_direct: self.volume().is_some_and(|volume| volume.is_direct()),
            openings_waiting,
            callers_waiting,
            busy: clocks.map(WorkClock::elapsed).max().unwrap_or_default(),
            quarantined: lock(&self.quarantined).iter().cloned().collect(),
            reconciled: lock(&self.reconciled).clone(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
