//! The keeper of a volume: the one thread that changes its inventory and its directory. It opens the volume,
//! lets its bundles serve, and then does as it is told: adopt, remove, reconcile. It may hang on its disk;
//! nobody but who asked for a change of this volume waits for it.

mod adoption;
mod reconciling;
mod removal;
mod unadopted;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError};
use std::thread;
use std::time::Instant;

use crate::aligned::AlignedBuffer;
use crate::change::{Adoption, ChangeError};
use crate::clock::unix_seconds;
use crate::identity::BundleId;
use crate::inventory::{Inventory, Recovery};
use crate::limits::{
    FREE_SPACE_INTERVAL, INCOMING_INTERVAL, KEEPER_BATCH_COMMANDS, LOCK_RETRY_INTERVAL, OPENER_BUFFER_BYTES,
    VOLUME_OPEN_TIMEOUT,
};
use crate::quarantine::QuarantinedBundle;
use crate::reconcile::Reconciliation;
use crate::shared::{Shared, VolumeView};
use crate::status::VolumeState;
use crate::volume::{Isolation, Volume, VolumeError, VolumeLock};
use reconciling::UnreadDirectories;
pub(crate) use unadopted::{Meant, Removed};

use crate::departure::{Cause, Departure};
use crate::quarantine::QuarantineReason;

/// What a keeper is told. Bounded by who tells: a bundle is removed once, and callers of the others wait for
/// the answer.
pub(crate) enum Command {
    /// Adopt the bundle of that name, unless it is too late for that.
    Adopt(BundleId, Instant, SyncSender<Result<Adoption, ChangeError>>),
    /// Remove the file of a bundle that has left the index, for that cause.
    Remove(Arc<Departure>, Cause),
    /// Remove what a purge means and was never adopted.
    PurgeUnadopted(Arc<Meant>, SyncSender<Removed>),
    /// Compare directory and inventory.
    Reconcile,
    /// Remember that the volume is isolated.
    Isolate(Isolation),
    /// The store is being closed.
    Stop,
}

struct Keeper<'a> {
    shared: &'a Shared,
    view: &'a VolumeView,
    volume: Arc<Volume>,
    inventory: Inventory,
    reconciliation: Option<Reconciliation>,
    /// What the inventory lacks while it is being made anew: directories that could not be read.
    unread: Option<UnreadDirectories>,
    buffer: AlignedBuffer,
    space_asked: Instant,
    incoming_cleared: Instant,
    _lock: VolumeLock,
}

/// The life of a keeper's thread. Says `opened` once the volume serves or has failed.
pub(crate) fn run(shared: &Shared, view: &VolumeView, commands: &Receiver<Command>, opened: &Sender<()>) {
    let keeper = {
        let _working = view.keeper_clock.start();
        Keeper::open(shared, view)
    };
    let keeper = match keeper {
        Ok(keeper) => Some(keeper),
        Err(reason) => {
            tracing::warn!(volume = %view.path.display(), %reason, "volume not used");
            view.fail(reason);
            None
        }
    };
    // Nobody listens where opening took longer than the store waited.
    let _ = opened.send(());
    match keeper {
        Some(mut keeper) => {
            keeper.finish_departures();
            keeper.work(commands);
        }
        None => refuse_all(view, commands),
    }
}

/// What is left to do for a volume that could not be opened.
fn refuse_all(view: &VolumeView, commands: &Receiver<Command>) {
    while let Ok(command) = commands.recv() {
        match command {
            Command::Adopt(_, _, reply) => {
                let _ = reply.send(Err(ChangeError::VolumeFailed(view.state().to_string())));
            }
            Command::Remove(departure, _) => departure.on_failed("the volume has failed"),
            Command::PurgeUnadopted(_, reply) => {
                let _ = reply.send(Removed::default());
            }
            Command::Reconcile | Command::Isolate(_) => {}
            Command::Stop => return,
        }
    }
}

/// Takes a volume's lock. Who has it may be an import that has nearly done: that is waited for.
fn lock(shared: &Shared, volume: &Volume) -> Result<VolumeLock, VolumeError> {
    let deadline = Instant::now() + VOLUME_OPEN_TIMEOUT;
    loop {
        match volume.lock() {
            Err(VolumeError::Locked(_))
                if Instant::now() < deadline && !shared.is_closing.load(Ordering::SeqCst) =>
            {
                thread::sleep(LOCK_RETRY_INTERVAL);
            }
            other => return other,
        }
    }
}

impl<'a> Keeper<'a> {
    /// Opens the volume, reads its journal, and lets its bundles serve. No bundle is opened.
    fn open(shared: &'a Shared, view: &'a VolumeView) -> Result<Self, String> {
        let explain = |error: VolumeError| error.to_string();
        let volume = Volume::open(&view.path, view.mount_required).map_err(explain)?;
        let lock = lock(shared, &volume).map_err(explain)?;
        let io_reason = |error: io::Error| format!("{}: {error}", view.path.display());
        if let Some(isolation) = volume.isolation().map_err(io_reason)? {
            return Err(format!(
                "{}: isolated: {}; check or replace its disk, then `oca init --readmit {0}` and restart",
                view.path.display(),
                isolation.reason
            ));
        }
        let (inventory, recovery) = Inventory::open(&volume, view.index).map_err(io_reason)?;
        let volume = Arc::new(volume);
        view.set_volume(Arc::clone(&volume));
        let mut keeper = Self {
            shared,
            view,
            volume,
            inventory,
            reconciliation: None,
            unread: None,
            buffer: AlignedBuffer::new(OPENER_BUFFER_BYTES),
            space_asked: Instant::now(),
            incoming_cleared: Instant::now(),
            _lock: lock,
        };
        keeper.begin(recovery);
        Ok(keeper)
    }

    fn begin(&mut self, recovery: Recovery) {
        let state = match recovery {
            Recovery::Clean => VolumeState::Serving,
            Recovery::Cut { at_bytes } => {
                self.shared.counters.journals_cut.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(volume = %self.view.path.display(), at_bytes, "torn end of the inventory journal cut off");
                VolumeState::Serving
            }
            Recovery::Rebuild { reason } => {
                self.shared.counters.journals_rebuilt.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    volume = %self.view.path.display(), %reason, "inventory is made anew from the bundles' footers"
                );
                self.reconciliation = Some(Reconciliation::new());
                VolumeState::Recovering { reason }
            }
        };
        self.view.set_state(state);
        let bundles: Vec<_> = self.inventory.held().values().cloned().collect();
        self.offer(bundles);
        self.ask_for_space();
        self.report();
    }

    fn work(&mut self, commands: &Receiver<Command>) {
        loop {
            let mut batch = match self.next(commands) {
                Some(batch) => batch,
                None => return,
            };
            let view = self.view;
            let _working = view.keeper_clock.start();
            let mut removals = Vec::new();
            let mut is_stopped = false;
            while let Some(command) = batch.pop_front() {
                match command {
                    Command::Adopt(id, deadline, reply) if Instant::now() < deadline => {
                        let _ = reply.send(self.adopt_one(id));
                    }
                    Command::Adopt(..) => {}
                    Command::Remove(departure, cause) => removals.push((departure, cause)),
                    Command::PurgeUnadopted(meant, reply) => self.purge_unadopted(&meant, &reply),
                    Command::Reconcile if self.reconciliation.is_none() && !self.view.is_failed() => {
                        self.unread = None;
                        self.reconciliation = Some(Reconciliation::new());
                    }
                    Command::Reconcile => {}
                    Command::Isolate(isolation) => self.isolate(&isolation),
                    Command::Stop => is_stopped = true,
                }
            }
            self.remove(&removals);
            if is_stopped {
                return;
            }
            self.retry_unread();
            self.reconcile_next();
            if self.incoming_cleared.elapsed() >= INCOMING_INTERVAL {
                self.clear_incoming();
            }
            if self.space_asked.elapsed() >= FREE_SPACE_INTERVAL || !removals.is_empty() {
                self.ask_for_space();
            }
            self.report();
        }
    }

    /// The commands that wait; none at the end of a pause, or while there is something to reconcile. `None`
    /// once nobody can send one.
    fn next(&self, commands: &Receiver<Command>) -> Option<VecDeque<Command>> {
        let mut batch = VecDeque::new();
        if self.reconciliation.is_none() {
            match commands.recv_timeout(FREE_SPACE_INTERVAL) {
                Ok(command) => batch.push_back(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        while batch.len() < KEEPER_BATCH_COMMANDS {
            match commands.try_recv() {
                Ok(command) => batch.push_back(command),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return None,
            }
        }
        Some(batch)
    }

    fn isolate(&mut self, isolation: &Isolation) {
        self.reconciliation = None;
        self.unread = None;
        if let Err(error) = self.volume.isolate(isolation) {
            tracing::warn!(
                volume = %self.view.path.display(), %error,
                "the isolation could not be written to the volume; after a restart it is tried again"
            );
        }
    }

    /// An error of the disk that was met while doing something for the inventory.
    fn on_disk_error(&self, error: &io::Error) {
        self.shared.note_read_error(self.view, error);
    }

    fn on_journal_error(&self, error: &io::Error) {
        self.shared.counters.journal_failures.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            volume = %self.view.path.display(), %error,
            "the inventory journal cannot be written; what is published stays served, changes are not remembered"
        );
        self.on_disk_error(error);
    }

    fn remember_quarantine(&self, id: BundleId, reason: QuarantineReason) {
        self.shared.counters.count_departure(Cause::Quarantined(reason));
        let (path, generation, at) = (None, id.generation, unix_seconds());
        self.view.remember_quarantine(QuarantinedBundle { path, generation, reason, at });
    }

    fn ask_for_space(&mut self) {
        self.space_asked = Instant::now();
        if let Ok(space) = self.volume.space() {
            self.view.free_bytes.store(space.free_bytes, Ordering::Relaxed);
            self.view.total_bytes.store(space.total_bytes, Ordering::Relaxed);
        }
    }

    fn report(&self) {
        let (view, inventory) = (self.view, &self.inventory);
        view.bundles.store(inventory.held().len() as u64, Ordering::Relaxed);
        view.bundle_bytes.store(inventory.held_file_bytes(), Ordering::Relaxed);
        view.journal_bytes.store(inventory.journal_bytes(), Ordering::Relaxed);
        let compactions = inventory.compactions();
        let counted = view.compactions.swap(compactions, Ordering::Relaxed);
        self.shared.counters.journal_compactions.fetch_add(compactions - counted, Ordering::Relaxed);
    }
}
