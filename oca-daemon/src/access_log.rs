//! The access log: a JSON line for every request, written off the workers.
//!
//! Each worker owns a [`LogSender`], the sending end of a bounded ring of bytes that nobody else sends to.
//! [`LogSender::push`] makes a line of a [`Record`] (`line.rs`) and copies it into the ring: no allocation, no system call, no lock,
//! no waiting. When there is no room for it the line is dropped and counted. One thread (`writer.rs`) writes what is in all
//! rings a few times a second, straight from them, and when a worker calls it because half of a ring may be full: thousands of lines
//! share that system call. A disk that is full or hangs costs lines, which are counted, and nothing else.
//!
//! The lines are made on the workers because the writer has no core of its own, so that what it does is taken from one of them; and what a
//! line is made of is freed where it was made.
//!
//! What is not logged, on purpose: field values (cookies, referrers, user agents). They are the viewers', not
//! ours. CMCD is, since it is said for those who deliver: its identifiers name a viewing, and no viewer.

mod line;
mod log_file;
mod player;
mod record;
mod sender;
mod writer;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use control_client::units::ByteCount;

use self::line::LINE_BYTES_MAX;
pub use self::record::{LoggedTarget, Record, TARGET_BYTES_MAX};
pub use self::sender::LogSender;
use self::sender::SenderCounts;
use self::writer::{Signals, Writer};
use crate::scheduling::give_way;

/// How long [`AccessLog::stop`] waits for the last lines. A disk that hangs must not hold up the daemon's
/// exit.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The log as the rest of the daemon sees it.
pub struct AccessLog {
    counts: Box<[Arc<SenderCounts>]>,
    signals: Arc<Signals>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What became of the records so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogTotals {
    /// Lines that the file system took.
    pub written: u64,
    /// Lines dropped because a ring was full.
    pub dropped: u64,
    /// Lines lost because they could not be written.
    pub lost: u64,
    /// Writes and openings of the file that failed.
    pub errors: u64,
}

impl AccessLog {
    /// Opens `path` for appending, starts the writer, and returns one sender for each worker, each with room
    /// for `queue` of lines. Without a path the senders drop everything uncounted, and no thread is started.
    pub fn start(
        path: Option<&Path>,
        workers: usize,
        queue: ByteCount,
    ) -> Result<(AccessLog, Vec<LogSender>), AccessLogError> {
        let counts: Box<[_]> = (0..workers).map(|_| Arc::new(SenderCounts::default())).collect();
        let signals = Arc::new(Signals::default());
        let Some(path) = path else {
            let senders = counts.iter().map(|counts| LogSender::off(Arc::clone(counts))).collect();
            return Ok((AccessLog { counts, signals, thread: Mutex::new(None) }, senders));
        };

        let queue_bytes = usize::try_from(queue.bytes()).unwrap_or(usize::MAX).max(LINE_BYTES_MAX);
        let (producers, consumers): (Vec<_>, Vec<_>) =
            (0..workers).map(|_| rtrb::RingBuffer::new(queue_bytes)).unzip();
        let writer = Writer::open(path, consumers, Arc::clone(&signals))
            .map_err(|error| AccessLogError::Open { path: path.to_owned(), error })?;
        let thread = thread::Builder::new()
            .name("oca-access-log".into())
            .spawn(move || {
                give_way();
                writer.run();
            })
            .map_err(AccessLogError::Thread)?;
        let senders = producers
            .into_iter()
            .zip(&counts)
            .map(|(ring, counts)| LogSender::new(ring, thread.thread().clone(), Arc::clone(counts)))
            .collect();
        Ok((AccessLog { counts, signals, thread: Mutex::new(Some(thread)) }, senders))
    }

    /// Has the file opened again by its name, after it was moved away. Returns at once; what was queued
    /// before still goes to the old file. When the name cannot be opened, the old file is kept, and the
    /// failure counted.
    pub fn reopen(&self) {
        self.signals.ask_to_reopen();
        self.wake();
    }

    /// What became of the records so far.
    pub fn totals(&self) -> LogTotals {
        let dropped = self.counts.iter().map(|counts| counts.dropped.load(Relaxed)).sum();
        LogTotals { dropped, ..self.signals.totals() }
    }

    /// Writes what is queued, and ends the writer. Call it after the workers have ended. Returns `false` if
    /// the writer was still busy after two seconds (its disk hangs): it is then left to the end of the
    /// process.
    pub fn stop(&self) -> bool {
        self.signals.ask_to_stop();
        self.wake();
        let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return true;
        };
        let deadline = Instant::now() + STOP_TIMEOUT;
        while !thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        thread.is_finished() && thread.join().is_ok()
    }

    fn wake(&self) {
        if let Some(thread) = &*self.thread.lock().unwrap_or_else(PoisonError::into_inner) {
            thread.thread().unpark();
        }
    }
}

/// Why there is no access log.
#[derive(Debug)]
pub enum AccessLogError {
    /// For the operator: the file cannot be opened.
    Open {
        /// `log.access`
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// The system gave us no thread.
    Thread(io::Error),
}

impl fmt::Display for AccessLogError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AccessLogError::Open { path, error } => write!(
                formatter,
                "the access log {} cannot be opened: {error}; create its directory and let the daemon's user \
                 write there, or set log.access = \"\"",
                path.display()
            ),
            AccessLogError::Thread(error) => {
                write!(formatter, "no thread for the access log: {error}; raise TasksMax of the unit")
            }
        }
    }
}

impl std::error::Error for AccessLogError {}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::SocketAddr;

    use super::*;

    const QUEUE: ByteCount = ByteCount::mib(2);

    fn record(target: &str) -> Record {
        Record {
            method: "GET",
            version: "HTTP/1.1",
            target: target.as_bytes().into(),
            status: 200,
            ..Record::begin(0, SocketAddr::from(([127, 0, 0, 1], 1)), 0, None)
        }
    }

    fn targets(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        let line = |line| serde_json::from_str::<serde_json::Value>(line).expect("every line is JSON");
        text.lines().map(|text| line(text)["target"].as_str().unwrap().to_owned()).collect()
    }

    fn wait_for(condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < deadline, "nothing happened in ten seconds");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn what_every_worker_pushed_is_in_the_file_after_stop() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let (log, mut senders) = AccessLog::start(Some(&path), 2, QUEUE).unwrap();
        for number in 0..5000 {
            senders[number % 2].push(&record(&format!("/{number}")));
        }
        assert!(log.stop());
        let mut logged = targets(&path);
        logged.sort_by_key(|target| target[1..].parse::<u32>().unwrap());
        assert_eq!(logged, (0..5000).map(|number| format!("/{number}")).collect::<Vec<_>>());
        assert_eq!(log.totals(), LogTotals { written: 5000, ..LogTotals::default() });
    }

    #[test]
    fn after_the_file_was_moved_away_reopening_goes_on_in_a_new_one_and_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (path, rotated) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let (log, mut senders) = AccessLog::start(Some(&path), 1, QUEUE).unwrap();
        senders[0].push(&record("/before"));
        wait_for(|| log.totals().written == 1);
        fs::rename(&path, &rotated).unwrap();
        senders[0].push(&record("/between"));
        log.reopen();
        wait_for(|| path.exists());
        senders[0].push(&record("/after"));
        assert!(log.stop());
        assert_eq!(targets(&rotated), ["/before", "/between"]);
        assert_eq!(targets(&path), ["/after"]);
    }

    #[test]
    fn a_name_that_cannot_be_opened_again_keeps_the_old_file_and_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let (log, mut senders) = AccessLog::start(Some(&path), 1, QUEUE).unwrap();
        let moved = folder.path().join("moved.log");
        fs::rename(&path, &moved).unwrap();
        fs::create_dir(&path).unwrap();
        log.reopen();
        wait_for(|| log.totals().errors == 1);
        senders[0].push(&record("/kept"));
        assert!(log.stop());
        assert_eq!(targets(&moved), ["/kept"]);
    }

    #[test]
    fn a_full_disk_loses_lines_and_counts_them_while_the_writer_goes_on() {
        let (log, mut senders) = AccessLog::start(Some(Path::new("/dev/full")), 1, QUEUE).unwrap();
        for round in 1..=3 {
            senders[0].push(&record("/lost"));
            wait_for(|| log.totals().lost == round);
        }
        assert!(log.stop());
        assert_eq!(log.totals(), LogTotals { written: 0, dropped: 0, lost: 3, errors: 3 });
    }

    #[test]
    fn without_a_path_records_cost_nothing_and_count_nothing() {
        let (log, mut senders) = AccessLog::start(None, 1, QUEUE).unwrap();
        assert!(!senders[0].is_on());
        senders[0].push(&record("/"));
        log.reopen();
        assert!(log.stop());
        assert_eq!(log.totals(), LogTotals::default());
    }

    #[test]
    fn a_path_that_cannot_be_opened_names_the_path_and_the_next_step() {
        let error = AccessLog::start(Some(Path::new("/nowhere/at/all/access.log")), 1, QUEUE).err().unwrap();
        let text = error.to_string();
        assert!(
            text.contains("/nowhere/at/all/access.log") && text.contains("create its directory"),
            "{text}"
        );
    }
}
