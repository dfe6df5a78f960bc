//! A loader: one of a volume's threads that read, map, lock and verify blocks, and close files. All that may wait for a disk
//! happens here, so that a volume that hangs holds up no other's blocks, no worker, and not the tier.
//!
//! A volume has several: beside a disk's full load each read waits for all that the workers have asked for, and one after the other they
//! would bring 20 blocks a second into memory, of several hundred that are asked for again.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use cache_store::{OpenBundle, QuarantineReason, Store};
use control_client::units::ByteRange;
use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, pread};

use super::block::{Block, BlockKey};
use super::counters::LoadEnd;
use super::huge_folio;
use super::open_files::{OpenFailure, OpenFiles};
use super::resident_file::{Damage, ResidentFile};
use super::steward::Event;

/// What a loader is asked for.
pub(super) enum Job {
    /// Load this block.
    Load(BlockKey, Arc<OpenBundle>),
    /// Close this file, whose last block is gone.
    Close(Arc<ResidentFile>),
}

/// What a volume's loaders are asked for, each job by one of them.
pub(super) struct Jobs(Mutex<Receiver<Job>>);

/// One of a volume's loaders.
pub(super) struct Loader {
    store: Arc<Store>,
    events: Sender<Event>,
    files: Arc<OpenFiles>,
    buffer: Vec<u8>,
}

/// Why there is no block.
pub(super) enum Failure {
    Unneeded,
    Read(io::Error),
    Damaged(QuarantineReason),
    Open(io::Error),
    Lock(io::Error),
}

/// Blocks that a disk is asked for while another one is loaded.
const AHEAD_MAX: usize = 4;

/// Bytes of one read: they stay in the processor's cache, since only the page cache is wanted.
const READ_BYTES: usize = 256 << 10;

impl Jobs {
    pub(super) fn new(jobs: Receiver<Job>) -> Self {
        Self(Mutex::new(jobs))
    }

    /// Waits for the next; `None`: nobody can ask for anything any more.
    fn next(&self) -> Option<Job> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
    }

    /// The next, if there is one that nobody else is about to take.
    fn next_now(&self) -> Option<Job> {
        self.0.try_lock().ok()?.try_recv().ok()
    }
}

impl Loader {
    pub(super) fn new(store: Arc<Store>, events: Sender<Event>, files: Arc<OpenFiles>) -> Self {
        Self { store, events, files, buffer: vec![0; READ_BYTES] }
    }

    /// Works until nobody can ask for anything any more.
    pub(super) fn run(mut self, jobs: &Jobs) {
        let mut ahead = VecDeque::with_capacity(AHEAD_MAX);
        while let Some(job) = ahead.pop_front().or_else(|| jobs.next()) {
            // What comes next is under way while this is waited for, checked and locked.
            while ahead.len() < AHEAD_MAX
                && let Some(next) = jobs.next_now()
            {
                self.prefetch(&next);
                ahead.push_back(next);
            }
            match job {
                Job::Load(key, bundle) => {
                    let result = self.load(key, &bundle).map_err(|failure| self.report(&bundle, &failure));
                    // The tier may have ended.
                    let _ = self.events.send(Event::Loaded(key, result));
                }
                Job::Close(file) => {
                    drop(file);
                }
            }
        }
    }

    /// Has the disk begin with it, where that does not make small pages of it. What is wrong shows itself when it is loaded.
    fn prefetch(&self, job: &Job) {
        if let Job::Load(key, bundle) = job
            && let Ok(file) = self.files.of(bundle)
            && !file.has_huge_folios()
        {
            will_need(&file, key.range(bundle.data_bytes()));
        }
    }

    fn load(&mut self, key: BlockKey, bundle: &OpenBundle) -> Result<Arc<Block>, Failure> {
        if bundle.bundle().is_leaving() {
            return Err(Failure::Unneeded);
        }
        let range = key.range(bundle.data_bytes());
        let file = self.files.of(bundle)?;
        let mapping = huge_folio::map(&file, range).map_err(Failure::Open)?;
        self.read(&file, range)?;
        let locked = Block::lock(mapping, Arc::clone(&file), range);
        let verified = locked.as_ref().map(|block| block.verify(bundle)).unwrap_or_default();
        match (locked, verified, file.damage()) {
            (_, _, Some(Damage::CutShort)) => Err(Failure::Damaged(QuarantineReason::Truncated)),
            (Err(error), _, _) => Err(Failure::Lock(error)),
            (Ok(_), Some(false), _) => Err(Failure::Damaged(QuarantineReason::Data)),
            (Ok(block), Some(true), None) => Ok(Arc::new(block)),
            // Right when they were looked at; whether they are now has to be looked at again.
            (Ok(_), _, Some(Damage::Changed)) => Err(Failure::Unneeded),
            (Ok(_), _, Some(Damage::Failed)) | (Ok(_), None, None) => {
                Err(Failure::Lock(Errno::HWPOISON.into()))
            }
        }
    }

    /// Reads the range into the page cache. Locking would do that too; but a disk that fails then shows itself as a `SIGBUS` or
    /// not at all, and one that hangs may hang while the process's memory map is locked, which would hold up everybody.
    fn read(&mut self, file: &ResidentFile, range: ByteRange) -> Result<(), Failure> {
        if !file.has_huge_folios() {
            // All of it is under way while the first part is waited for.
            will_need(file, range);
        }
        let mut offset = range.start;
        while offset < range.end {
            let length = (range.end - offset).min(READ_BYTES as u64) as usize;
            match pread(file, &mut self.buffer[..length], offset) {
                Ok(0) => return Err(Failure::Damaged(QuarantineReason::Truncated)),
                Ok(read) => offset += read as u64,
                Err(Errno::INTR) => {}
                Err(error) => return Err(Failure::Read(error.into())),
            }
        }
        Ok(())
    }

    /// Tells the store what is wrong with a bundle, and the log what is wrong with the host.
    fn report(&self, bundle: &OpenBundle, failure: &Failure) -> LoadEnd {
        let bundle = bundle.bundle();
        let path = bundle.key().path.as_str();
        match failure {
            Failure::Unneeded => LoadEnd::Unneeded,
            Failure::Read(error) => {
                tracing::warn!(path, %error, "a block could not be read into memory");
                self.store.report_read_error(bundle, error);
                LoadEnd::ReadError
            }
            Failure::Damaged(reason) => {
                tracing::warn!(path, %reason, "a block that was read into memory is not what it should be");
                self.store.report_corrupt(bundle, *reason);
                if *reason == QuarantineReason::Truncated { LoadEnd::Truncated } else { LoadEnd::Corrupt }
            }
            Failure::Open(error) => {
                tracing::warn!(path, %error, "a bundle's file could not be opened for memory; it is served from disk");
                LoadEnd::OpenRefused
            }
            Failure::Lock(error) => {
                tracing::warn!(
                    path, %error,
                    "a block could not be locked in memory; it is served from disk. Compare oca_ram_tier_bytes with the limits \
                     of locked memory and mappings"
                );
                LoadEnd::LockRefused
            }
        }
    }
}

impl From<OpenFailure> for Failure {
    fn from(failure: OpenFailure) -> Self {
        match failure {
            OpenFailure::Broken => Self::Unneeded,
            OpenFailure::Refused(error) => Self::Open(error),
        }
    }
}

/// Refused, the reads themselves ask for it.
fn will_need(file: &ResidentFile, range: ByteRange) {
    let _ = fadvise(file, range.start, std::num::NonZeroU64::new(range.len()), Advice::WillNeed);
}
