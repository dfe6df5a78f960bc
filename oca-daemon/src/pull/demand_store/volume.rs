//! One volume's demand content: its log, the threads that wait for its disk, and the queue before them.

pub(super) mod opening;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cache_store::demand::{DemandLog, DemandStats};
use cache_store::{Store, VolumeId, VolumeIndex};
use tokio::sync::oneshot;

use super::fault::DiskFault;
use super::missed_purges::MissedPurges;
use super::placement::{Seed, Standing};
use crate::limits::{DEMAND_ENTRY_LOCKS, DEMAND_QUEUE, DEMAND_STALL_PAUSE, DEMAND_THREADS};
use opening::Opener;

type Job = Box<dyn FnOnce(&DemandLog) + Send>;

/// The demand content of one volume.
pub(super) struct DemandVolume {
    path: PathBuf,
    pub(super) seed: Seed,
    index: VolumeIndex,
    store: Arc<Store>,
    jobs: Mutex<Option<SyncSender<Job>>>,
    /// Known before the log is.
    id: OnceLock<VolumeId>,
    log: OnceLock<DemandLog>,
    /// Opening the log was tried.
    is_settled: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stall: Mutex<Option<Stall>>,
    /// Whoever makes an entry for a key holds the key's. The volume's own: one that stalls holds up nobody's but its own.
    entry_locks: [tokio::sync::Mutex<()>; DEMAND_ENTRY_LOCKS],
}

/// It did not answer.
#[derive(Clone, Copy)]
struct Stall {
    /// So long.
    waited: Duration,
    /// It is left alone until then.
    until: Instant,
}

impl DemandVolume {
    /// Opens its log in the background; until then nothing is on it.
    pub(super) fn start(
        store: &Arc<Store>,
        index: VolumeIndex,
        path: &Path,
        opener: &Opener,
        missed: &Arc<MissedPurges>,
    ) -> io::Result<Arc<Self>> {
        let (sender, receiver) = sync_channel(DEMAND_QUEUE);
        let volume = Arc::new(Self {
            path: path.to_owned(),
            seed: Seed::of(path),
            index,
            store: Arc::clone(store),
            jobs: Mutex::new(Some(sender)),
            id: OnceLock::new(),
            log: OnceLock::new(),
            is_settled: AtomicBool::new(false),
            threads: Mutex::default(),
            stall: Mutex::default(),
            entry_locks: std::array::from_fn(|_| tokio::sync::Mutex::new(())),
        });
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..DEMAND_THREADS {
            let (own, receiver) = (Arc::clone(&volume), Arc::clone(&receiver));
            let opening = (number == 0).then(|| (Arc::clone(opener), Arc::clone(missed)));
            let life = move || {
                if let Some((opener, missed)) = opening {
                    own.open(&opener, &missed);
                    own.is_settled.store(true, Ordering::Release);
                }
                own.work(&receiver);
            };
            let thread = thread::Builder::new().name(format!("demand-{}-{number}", index.0)).spawn(life)?;
            lock(&volume.threads).push(thread);
        }
        Ok(volume)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it can be used.
    pub(super) fn standing(&self) -> Standing {
        // Read before the log is looked at: that comes first.
        let is_settled = self.is_settled();
        if !self.store.is_in_use(self.index) {
            Standing::Away
        } else if self.log.get().is_some() {
            Standing::Open
        } else if is_settled {
            Standing::Away
        } else {
            Standing::Opening
        }
    }

    /// Whether it is known what it holds: its log is open, or cannot be.
    pub(super) fn is_settled(&self) -> bool {
        self.is_settled.load(Ordering::Acquire)
    }

    /// Whether somebody has waited for it in vain a moment ago, for so long or longer.
    pub(super) fn is_stalled_for(&self, patience: Duration) -> bool {
        lock(&self.stall).is_some_and(|stall| patience <= stall.waited && Instant::now() < stall.until)
    }

    /// Its log, for what waits for no disk.
    pub(super) fn log(&self) -> Option<&DemandLog> {
        self.log.get()
    }

    /// Which volume it is; `None` where its log is not served.
    pub(super) fn served(&self) -> Option<VolumeId> {
        self.log.get().and_then(|_| self.id.get().copied())
    }

    /// What its log holds; `None` where it is not open.
    pub(super) fn stats(&self) -> Option<DemandStats> {
        self.log.get().map(DemandLog::stats)
    }

    /// Holds the lock of a key's entries.
    pub(super) async fn lock_entries(&self, key: &str) -> tokio::sync::MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        self.entry_locks[hasher.finish() as usize % DEMAND_ENTRY_LOCKS].lock().await
    }

    /// Has a thread do something with the log. It is not begun when nobody waits for it any more, and not asked for where others have
    /// just waited as long in vain: a read is more patient than a lookup, which can be answered from upstream.
    pub(super) async fn call<R: Send + 'static>(
        &self,
        timeout: Duration,
        work: impl FnOnce(&DemandLog) -> R + Send + 'static,
    ) -> Result<R, DiskFault> {
        if self.is_stalled_for(timeout) {
            return Err(DiskFault::Stalled);
        }
        let (sender, answer) = oneshot::channel();
        let job = move |log: &DemandLog| {
            if !sender.is_closed() {
                let _ = sender.send(work(log));
            }
        };
        self.submit(Box::new(job))?;
        self.wait(timeout, &mut { answer }).await
    }

    /// The same, for what has to be done whether or not anybody waits for it.
    pub(super) fn order<R: Send + 'static>(
        &self,
        work: impl FnOnce(&DemandLog) -> R + Send + 'static,
    ) -> Result<oneshot::Receiver<R>, DiskFault> {
        let (sender, answer) = oneshot::channel();
        let job = move |log: &DemandLog| {
            // Whoever waited may have given up.
            let _ = sender.send(work(log));
        };
        self.submit(Box::new(job))?;
        Ok(answer)
    }

    /// Waits for what was ordered.
    pub(super) async fn wait<R>(
        &self,
        timeout: Duration,
        answer: &mut oneshot::Receiver<R>,
    ) -> Result<R, DiskFault> {
        match tokio::time::timeout(timeout, answer).await {
            Ok(answer) => answer.map_err(|_| DiskFault::Unavailable),
            Err(_) => {
                self.note_stall(timeout);
                Err(DiskFault::Stalled)
            }
        }
    }

    fn submit(&self, job: Job) -> Result<(), DiskFault> {
        let queued = lock(&self.jobs).as_ref().map(|jobs| jobs.try_send(job));
        queued.ok_or(DiskFault::Unavailable)?.map_err(|_| DiskFault::Stalled)
    }

    fn note_stall(&self, waited: Duration) {
        let mut stall = lock(&self.stall);
        // The longest of those that count now.
        let longest = stall
            .filter(|stall| Instant::now() < stall.until)
            .map_or(waited, |stall| stall.waited.max(waited));
        *stall = Some(Stall { waited: longest, until: Instant::now() + DEMAND_STALL_PAUSE });
    }

    /// Counts an error against the volume.
    pub(super) fn blame(&self, error: &io::Error) {
        self.store.report_volume_error(self.index, error);
    }

    /// No more is asked of it.
    pub(super) fn close(&self) {
        lock(&self.jobs).take();
    }

    /// Waits for its threads, those that hang excepted, and makes the next start quick.
    pub(super) fn join(&self, deadline: Instant) {
        let threads = std::mem::take(&mut *lock(&self.threads));
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

    fn work(&self, jobs: &Mutex<Receiver<Job>>) {
        loop {
            let next = lock(jobs).recv();
            match (next, self.log.get()) {
                (Ok(job), Some(log)) => job(log),
                // Dropped: whoever waits for it learns that there is no log.
                (Ok(_), None) => {}
                (Err(_), _) => return,
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
