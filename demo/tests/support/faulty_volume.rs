#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]
#![expect(unsafe_code, reason = "a mount namespace of the thread's own has no safe call")]
//! A disk that fails on command: a FUSE file system of the test's own, which passes a directory through and
//! has faults that are switched while it is mounted. A request that hangs is answered later, from a thread of
//! its own; others go on.
//!
//! The mount is in a namespace of the test's thread and of what it starts, so that nothing stays mounted whatever
//! happens to the test.

mod pass_through;

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fuser::{BackgroundSession, Config, MountOption};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use pass_through::PassThrough;

/// Threads that take requests from the kernel; those that hang have threads of their own.
const SERVING_THREADS: usize = 2;

/// How long the file system may take to end once it is unmounted.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Reads of files wait so long, or until the disk is healed; then they are answered.
    HungReads(Duration),
    /// Reads of files fail with `EIO`.
    FailedReads,
    /// A bit in the middle of each read is wrong.
    FlippedBits,
    /// Opening a file waits so long, or until the disk is healed.
    HungOpens(Duration),
    /// Removing a file waits so long, or until the disk is healed.
    HungUnlinks(Duration),
    /// `fsync` of files and directories fails with `EIO`.
    FailedSyncs,
    /// Whatever takes space fails with `ENOSPC`.
    FullDisk,
}

/// How the kernel treats an asynchronous direct read of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submission {
    /// Queued, as for a block device: whoever submits goes on at once.
    Queued,
    /// Whoever submits waits for the answer, whatever flags forbid it: so do file systems that must first
    /// read where a file's blocks are.
    Blocking,
}

/// A mounted disk. Unmounted when dropped.
pub struct FaultyVolume {
    mount_point: PathBuf,
    faults: Arc<Faults>,
    session: Option<BackgroundSession>,
}

impl FaultyVolume {
    /// Shows `backing` at `mount_point`. `None`, with a line that says so, where FUSE cannot be used here;
    /// but where the environment variable `CI` is set, that fails the test.
    pub fn mount_or_skip(backing: &Path, mount_point: &Path, submission: Submission) -> Option<Self> {
        match Self::mount(backing, mount_point, submission) {
            Ok(volume) => Some(volume),
            Err(error) if std::env::var_os("CI").is_some() => {
                panic!("FUSE is needed in CI: {error}; give the job /dev/fuse and the right to mount")
            }
            Err(error) => {
                eprintln!("SKIPPED: FUSE cannot be used here ({error}); run as root with /dev/fuse");
                None
            }
        }
    }

    fn mount(backing: &Path, mount_point: &Path, submission: Submission) -> io::Result<Self> {
        own_mount_namespace()?;
        let faults = Arc::new(Faults::default());
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("oca-faulty-volume".to_owned())];
        config.n_threads = Some(SERVING_THREADS);
        let file_system = PassThrough::new(backing, faults.clone(), submission)?;
        let session = fuser::spawn_mount(file_system, mount_point, &config)?;
        Ok(Self { mount_point: mount_point.to_owned(), faults, session: Some(session) })
    }

    /// From now on this goes wrong too, with files whose names contain `names`.
    pub fn fail(&self, fault: Fault, names: &'static str) {
        self.faults.lock().active.push((fault, names));
    }

    /// From now on the kernel keeps pages of files that are opened for buffered reading, so that they can be mapped: until then
    /// every read is told to the disk.
    pub fn cache_pages(&self) {
        self.faults.lock().caches_pages = true;
    }

    /// Nothing goes wrong any more, and what hangs is answered.
    pub fn heal(&self) {
        let mut state = self.faults.lock();
        state.active.clear();
        state.healed += 1;
        self.faults.changed.notify_all();
    }

    /// Nothing more goes wrong, and what hangs goes on hanging.
    pub fn relent(&self) {
        self.faults.lock().active.clear();
    }

    /// Requests that hang now.
    pub fn hung_count(&self) -> usize {
        self.faults.lock().hung
    }

    /// Waits until so many requests hang; false when they do not within the time.
    pub fn wait_for_hung(&self, count: usize, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let state = self.faults.lock();
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.faults.changed.wait_timeout_while(state, left, |state| state.hung < count);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Drop for FaultyVolume {
    fn drop(&mut self) {
        self.heal();
        // By force: whoever still waits for an answer gets an error.
        let _ = unmount(&self.mount_point, UnmountFlags::FORCE | UnmountFlags::DETACH);
        let Some(session) = self.session.take() else { return };
        let deadline = Instant::now() + END_TIMEOUT;
        while !session.guard.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// What is wrong now, and who waits for it.
#[derive(Default)]
struct Faults {
    state: Mutex<FaultState>,
    changed: Condvar,
}

#[derive(Default)]
struct FaultState {
    active: Vec<(Fault, &'static str)>,
    healed: u64,
    hung: usize,
    caches_pages: bool,
}

impl FaultState {
    /// What the first active fault of a file that `matches` means for it.
    fn find<T>(&self, name: &str, matches: impl Fn(Fault) -> Option<T>) -> Option<T> {
        self.active.iter().filter(|(_, names)| name.contains(names)).find_map(|(fault, _)| matches(*fault))
    }
}

impl Faults {
    fn has(&self, name: &str, wanted: Fault) -> bool {
        self.lock().find(name, |fault| (fault == wanted).then_some(())).is_some()
    }

    fn caches_pages(&self) -> bool {
        self.lock().caches_pages
    }

    /// Runs `answer` at once, or, where an active fault of the file has such requests hang, on a thread of
    /// its own after that time.
    fn answer(
        self: &Arc<Self>,
        name: &str,
        hangs: impl Fn(Fault) -> Option<Duration>,
        answer: impl FnOnce() + Send + 'static,
    ) {
        let (hang, healed) = {
            let mut state = self.lock();
            let Some(hang) = state.find(name, hangs) else {
                drop(state);
                return answer();
            };
            state.hung += 1;
            self.changed.notify_all();
            (hang, state.healed)
        };
        let faults = self.clone();
        std::thread::spawn(move || {
            let state = faults.lock();
            let waited = faults.changed.wait_timeout_while(state, hang, |state| state.healed == healed);
            waited.unwrap_or_else(PoisonError::into_inner).0.hung -= 1;
            answer();
        });
    }

    fn lock(&self) -> MutexGuard<'_, FaultState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// From now on, what this thread mounts is seen by it and by what it starts, and goes when they are gone.
fn own_mount_namespace() -> io::Result<()> {
    thread_local! { static IS_OWN: Cell<bool> = const { Cell::new(false) } }
    if IS_OWN.get() {
        return Ok(());
    }
    // SAFETY: the descriptor table stays shared; only this thread's view of mounts and its current directory part.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    IS_OWN.set(true);
    Ok(())
}
