//! The openers of a volume: threads that open bundles, read and verify their footers, and close files.
//! What can block on the disk happens here, so that neither a worker nor another volume waits for it.
//!
//! Openings are coalesced: however many callers wait for a bundle, it is opened once. Waiting openings and
//! callers are bounded; files that wait to be closed are bounded by the descriptors of the process.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use crate::aligned::AlignedBuffer;
use crate::bundle::{Bundle, OpenBundle, OpenFile};
use crate::departure::Cause;
use crate::disk;
use crate::disk_error::{Blame, blame};
use crate::limits::{OPEN_WAITERS_MAX, OPENER_BUFFER_BYTES};
use crate::quarantine::QuarantineReason;
use crate::reader::{ReadError, read_footer};
use crate::shared::{Shared, VolumeView};

/// Called on an opener thread when an opening has ended.
pub type OnOpened = Box<dyn FnOnce(Result<Arc<OpenBundle>, OpenError>) + Send>;

/// Why a bundle could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// It was retired, purged or replaced meanwhile: look its path up again.
    Leaving,
    /// It is damaged, and has been quarantined.
    Damaged(QuarantineReason),
    /// Its volume is not used any more.
    VolumeFailed,
    /// The process has no descriptor or memory left; nothing is wrong with the bundle. The value is the
    /// `errno`.
    Exhausted(i32),
    /// The operating system does not let this process open it, and no disk is to blame: permissions, say. The value
    /// is the `errno`.
    Denied(i32),
    /// The store is being closed.
    Closing,
}

/// Too many openings of this volume wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenQueueFull;

pub(crate) struct Openers {
    queue: Mutex<Queue>,
    ready: Condvar,
    openings_max: usize,
}

#[derive(Default)]
struct Queue {
    openings: VecDeque<Arc<Bundle>>,
    /// Who waits for which bundle, by its address, which cannot be another's while its opening is queued or
    /// under way.
    waiting: HashMap<usize, Vec<OnOpened>>,
    waiters: usize,
    closings: VecDeque<(Arc<Bundle>, OpenFile)>,
    /// Openings and closings take turns.
    is_closings_turn: bool,
    is_stopping: bool,
}

enum Job {
    Open(Arc<Bundle>),
    Close(Arc<Bundle>, OpenFile),
}

impl Openers {
    pub(crate) fn new(openings_max: usize) -> Self {
        Self { queue: Mutex::default(), ready: Condvar::new(), openings_max }
    }

    /// Asks for a bundle to be opened. Never waits for a disk.
    pub(crate) fn submit(&self, bundle: &Arc<Bundle>, on_opened: OnOpened) -> Result<(), OpenQueueFull> {
        let mut queue = self.lock();
        if queue.is_stopping || queue.waiters >= OPEN_WAITERS_MAX {
            return Err(OpenQueueFull);
        }
        if let Some(waiting) = queue.waiting.get_mut(&address(bundle)) {
            waiting.push(on_opened);
        } else if queue.openings.len() < self.openings_max {
            queue.waiting.insert(address(bundle), vec![on_opened]);
            queue.openings.push_back(Arc::clone(bundle));
            self.ready.notify_one();
        } else {
            return Err(OpenQueueFull);
        }
        queue.waiters += 1;
        Ok(())
    }

    /// Takes a file to close. Never waits for a disk, except while the store closes, when nobody else is left
    /// to do it.
    pub(crate) fn close(&self, bundle: Arc<Bundle>, contents: OpenFile) {
        let mut queue = self.lock();
        if queue.is_stopping {
            drop(queue);
            drop(contents);
            bundle.count_out();
        } else {
            queue.closings.push_back((bundle, contents));
            self.ready.notify_one();
        }
    }

    /// Ends the threads once the queue is empty.
    pub(crate) fn stop(&self) {
        self.lock().is_stopping = true;
        self.ready.notify_all();
    }

    /// Openings that wait, and callers that wait for them.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let queue = self.lock();
        (queue.openings.len(), queue.waiters)
    }

    /// The next thing to do; `None` once stopped.
    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            queue.is_closings_turn = !queue.is_closings_turn;
            if (queue.is_closings_turn || queue.openings.is_empty())
                && let Some((bundle, contents)) = queue.closings.pop_front()
            {
                return Some(Job::Close(bundle, contents));
            }
            if let Some(bundle) = queue.openings.pop_front() {
                return Some(Job::Open(bundle));
            }
            if queue.is_stopping {
                return None;
            }
            queue = self.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends an opening: later callers start another.
    fn take_waiters(&self, bundle: &Arc<Bundle>) -> Vec<OnOpened> {
        let mut queue = self.lock();
        let waiters = queue.waiting.remove(&address(bundle)).unwrap_or_default();
        queue.waiters -= waiters.len();
        waiters
    }

    fn is_stopping(&self) -> bool {
        self.lock().is_stopping
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The life of an opener thread.
pub(crate) fn run(shared: &Shared, view: &VolumeView, opener: usize) {
    let mut buffer = AlignedBuffer::new(OPENER_BUFFER_BYTES);
    while let Some(job) = view.openers.next() {
        let _working = view.opener_clocks[opener].start();
        match job {
            Job::Close(bundle, contents) => {
                drop(contents);
                bundle.count_out();
            }
            Job::Open(bundle) => {
                let result = open(shared, view, &bundle, &mut buffer);
                let waiters = view.openers.take_waiters(&bundle);
                shared
                    .counters
                    .opens_coalesced
                    .fetch_add(waiters.len().saturating_sub(1) as u64, Ordering::Relaxed);
                for on_opened in waiters {
                    on_opened(result.clone());
                }
            }
        }
    }
}

fn open(
    shared: &Shared,
    view: &VolumeView,
    bundle: &Arc<Bundle>,
    buffer: &mut AlignedBuffer,
) -> Result<Arc<OpenBundle>, OpenError> {
    if view.openers.is_stopping() {
        return Err(OpenError::Closing);
    }
    if let Some(open) = bundle.opened() {
        return Ok(open);
    }
    // Counted before the question, so that a departure that the question misses sees the count.
    bundle.count_in();
    let result = match (bundle.is_leaving(), view.is_failed()) {
        (true, _) => Err(OpenError::Leaving),
        (false, true) => Err(OpenError::VolumeFailed),
        (false, false) => {
            read(view, bundle, buffer).map_err(|error| on_read_error(shared, view, bundle, &error))
        }
    };
    match result {
        Ok(contents) => {
            let open = OpenBundle::new(Arc::clone(bundle), contents, Arc::clone(&view.openers));
            let open = Arc::new(open);
            let evicted =
                shared.footers.keep(&open, || !view.is_failed() && !shared.is_closing.load(Ordering::SeqCst));
            shared.counters.footers_evicted.fetch_add(evicted as u64, Ordering::Relaxed);
            shared.counters.opens.fetch_add(1, Ordering::Relaxed);
            Ok(open)
        }
        Err(error) => {
            bundle.count_out();
            shared.counters.open_failures.fetch_add(1, Ordering::Relaxed);
            Err(error)
        }
    }
}

fn read(view: &VolumeView, bundle: &Bundle, buffer: &mut AlignedBuffer) -> Result<OpenFile, ReadError> {
    let volume = view.volume().ok_or_else(|| ReadError::Io(Errno::NODEV.into()))?;
    let file = volume.open_bundle_file(bundle.id()).map_err(ReadError::Io)?;
    let record = bundle.record();
    let file_bytes = disk::file_bytes(file.as_fd()).map_err(ReadError::Io)?;
    if file_bytes < record.file_bytes {
        return Err(ReadError::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    if file_bytes > record.file_bytes {
        return Err(ReadError::Overlong);
    }
    let footer = read_footer(file.as_fd(), file_bytes, bundle.id(), Some(record.data_bytes), buffer)?;
    if footer.path() != record.key.path.as_str() || footer.data_bytes() != record.data_bytes {
        return Err(ReadError::Identity);
    }
    Ok(OpenFile { file, footer, reads_may_block: volume.reads_may_block() })
}

/// What follows from an error: the process's or the operator's is told, the disk's is counted and the bundle
/// leaves service, unless its volume is isolated for it; a damaged bundle is quarantined.
fn on_read_error(shared: &Shared, view: &VolumeView, bundle: &Arc<Bundle>, error: &ReadError) -> OpenError {
    let reason = error.reason();
    if let (ReadError::Io(error), QuarantineReason::Unreadable) = (error, reason) {
        let errno = error.raw_os_error().unwrap_or_default();
        match blame(error) {
            Blame::Process => return OpenError::Exhausted(errno),
            Blame::Operator => return OpenError::Denied(errno),
            Blame::Disk | Blame::Hang => {}
        }
        if shared.note_read_error(view, error) {
            return OpenError::VolumeFailed;
        }
    }
    if shared.begin_departure(bundle, Cause::Quarantined(reason)).is_none() {
        return OpenError::Leaving;
    }
    OpenError::Damaged(reason)
}

fn address(bundle: &Arc<Bundle>) -> usize {
    Arc::as_ptr(bundle).addr()
}

impl fmt::Debug for Openers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (openings, waiters) = self.waiting();
        write!(formatter, "Openers({openings} openings for {waiters} callers wait)")
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaving => write!(formatter, "the bundle was retired or replaced meanwhile"),
            Self::Damaged(reason) => write!(formatter, "the bundle was quarantined: {reason}"),
            Self::VolumeFailed => write!(formatter, "the bundle's volume has failed"),
            Self::Exhausted(errno) => {
                write!(formatter, "no descriptor or memory left: {}", io::Error::from_raw_os_error(*errno))
            }
            Self::Denied(errno) => write!(
                formatter,
                "the bundle's file cannot be opened: {}; look at its owner and mode",
                io::Error::from_raw_os_error(*errno)
            ),
            Self::Closing => write!(formatter, "the store is being closed"),
        }
    }
}

impl std::error::Error for OpenError {}

impl fmt::Display for OpenQueueFull {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "too many openings of this volume wait already")
    }
}

impl std::error::Error for OpenQueueFull {}
