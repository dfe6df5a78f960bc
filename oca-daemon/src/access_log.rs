//! The access log: a JSON line for every request, written off the workers.
//!
//! Each worker owns a [`LogSender`], the sending end of a bounded ring that nobody else sends to.
//! [`LogSender::push`] moves a fixed-size [`Record`] into the ring: no allocation, no system call, no lock,
//! no waiting. When the ring is full the record is dropped and counted. One thread (`writer.rs`) empties all
//! rings several times a second, makes lines of the records (`line.rs`), and writes them in large pieces. It
//! wakes up by its own clock, so that a worker never has to wake it. A disk that is full or hangs costs
//! lines, which are counted, and nothing else.
//!
//! What is not logged, on purpose: field values (cookies, referrers, user agents). They are the viewers', not
//! ours. CMCD is, since it is said for those who deliver: its identifiers name a viewing, and no viewer.

mod line;
mod player;
mod writer;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use control_client::units::ByteRange;

use self::writer::{Signals, Writer};
use crate::media::Cmcd;
use crate::outcome::Outcome;
use crate::scheduling::give_way;
use crate::stats::TlsVersion;

/// Bytes of a request target that a record keeps. Our own paths are shorter; what is longer is marked as cut.
pub const TARGET_BYTES_MAX: usize = 192;

/// How long [`AccessLog::stop`] waits for the last lines. A disk that hangs must not hold up the daemon's
/// exit.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// One request, as it is logged. Moved whole into the ring, so it has a fixed size; beside it there is only what a player
/// says, where one does.
#[derive(Clone, Debug)]
pub struct Record {
    /// When the request began, in nanoseconds since the Unix epoch.
    pub began_unix_nanos: u64,
    /// The client's address and port, as the socket has them.
    pub client: SocketAddr,
    /// The worker that served it.
    pub worker: u16,
    /// The TLS version; `None` is cleartext.
    pub tls: Option<TlsVersion>,
    /// The method's name, or "" when the head could not be read.
    pub method: &'static str,
    /// "HTTP/1.1", "HTTP/1.0", or "" when the head could not be read.
    pub version: &'static str,
    /// The request target, as the client wrote it.
    pub target: LoggedTarget,
    /// The first range of the object that was asked for, half-open.
    pub range: Option<ByteRange>,
    /// What the player says of itself.
    pub cmcd: Option<Box<Cmcd>>,
    /// The status code sent, or 0 when none was.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Bytes of the body that the kernel took.
    pub body_bytes: u64,
    /// From the request's beginning until the first byte of the response was sent; `None`: none was.
    pub first_byte: Option<Duration>,
    /// From the request's beginning until its end: until the last bytes of the response were sent, or nothing more could be.
    pub duration: Duration,
}

impl Record {
    /// What is known of a request when its first byte arrives: that it is there.
    pub fn begin(began_unix_nanos: u64, client: SocketAddr, worker: u16, tls: Option<TlsVersion>) -> Self {
        Record {
            began_unix_nanos,
            client,
            worker,
            tls,
            method: "",
            version: "",
            target: LoggedTarget::new(b""),
            range: None,
            cmcd: None,
            status: 0,
            outcome: Outcome::AbortedClientGone,
            body_bytes: 0,
            first_byte: None,
            duration: Duration::ZERO,
        }
    }
}

/// The beginning of a request target. The bytes are the client's, and may be anything.
#[derive(Clone, Copy)]
pub struct LoggedTarget {
    bytes: [u8; TARGET_BYTES_MAX],
    kept_bytes: u8,
    is_cut: bool,
}

impl LoggedTarget {
    /// Keeps the first [`TARGET_BYTES_MAX`] bytes of `target`.
    pub fn new(target: &[u8]) -> Self {
        let mut bytes = [0; TARGET_BYTES_MAX];
        let kept = &target[..target.len().min(TARGET_BYTES_MAX)];
        bytes[..kept.len()].copy_from_slice(kept);
        let kept_bytes = u8::try_from(kept.len()).expect("no more bytes are kept than the array has");
        LoggedTarget { bytes, kept_bytes, is_cut: kept.len() < target.len() }
    }

    /// The bytes that were kept.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.kept_bytes)]
    }

    /// Whether the target was longer.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }
}

impl fmt::Debug for LoggedTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

/// The worker's end.
pub struct LogSender {
    /// `None`: there is no access log.
    ring: Option<rtrb::Producer<Record>>,
    counts: Arc<SenderCounts>,
}

impl LogSender {
    /// Whether there is a log at all. Without one, a record need not be made.
    pub fn is_on(&self) -> bool {
        self.ring.is_some()
    }

    /// Queues `record`, or drops and counts it when the ring is full. Never blocks. What the player says goes with it.
    #[inline]
    pub fn push(&mut self, record: &mut Record) {
        let Some(ring) = &mut self.ring else { return };
        let cmcd = record.cmcd.take();
        if ring.push(Record { cmcd, ..*record }).is_err() {
            self.counts.dropped.store(self.counts.dropped.load(Relaxed) + 1, Relaxed);
        }
    }
}

/// What one sender lost. A cache line of its own: it is written by its worker alone.
#[derive(Default)]
#[repr(align(128))]
struct SenderCounts {
    dropped: AtomicU64,
}

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
    /// Records dropped because a ring was full.
    pub dropped: u64,
    /// Lines lost because they could not be written.
    pub lost: u64,
    /// Writes and openings of the file that failed.
    pub errors: u64,
}

impl AccessLog {
    /// Opens `path` for appending, starts the writer, and returns one sender for each worker, each with room
    /// for `queue_records`. Without a path the senders drop everything uncounted, and no thread is started.
    pub fn start(
        path: Option<&Path>,
        workers: usize,
        queue_records: usize,
    ) -> Result<(AccessLog, Vec<LogSender>), AccessLogError> {
        let counts: Box<[_]> = (0..workers).map(|_| Arc::new(SenderCounts::default())).collect();
        let signals = Arc::new(Signals::default());
        let Some(path) = path else {
            let senders =
                counts.iter().map(|counts| LogSender { ring: None, counts: Arc::clone(counts) }).collect();
            return Ok((AccessLog { counts, signals, thread: Mutex::new(None) }, senders));
        };

        let (producers, consumers): (Vec<_>, Vec<_>) =
            (0..workers).map(|_| rtrb::RingBuffer::new(queue_records.max(1))).unzip();
        let writer = Writer::open(path, consumers, queue_records, Arc::clone(&signals))
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
            .map(|(ring, counts)| LogSender { ring: Some(ring), counts: Arc::clone(counts) })
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
    use super::*;
    use std::fs;

    fn record(target: &str) -> Record {
        Record {
            method: "GET",
            version: "HTTP/1.1",
            target: LoggedTarget::new(target.as_bytes()),
            status: 200,
            outcome: Outcome::HitDisk,
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
        let (log, mut senders) = AccessLog::start(Some(&path), 2, 8192).unwrap();
        for number in 0..5000 {
            senders[number % 2].push(&mut record(&format!("/{number}")));
        }
        assert!(log.stop());
        let mut logged = targets(&path);
        logged.sort_by_key(|target| target[1..].parse::<u32>().unwrap());
        assert_eq!(logged, (0..5000).map(|number| format!("/{number}")).collect::<Vec<_>>());
        assert_eq!(log.totals(), LogTotals { written: 5000, ..LogTotals::default() });
    }

    #[test]
    fn a_full_ring_drops_the_newest_records_and_counts_them() {
        let (producer, mut consumer) = rtrb::RingBuffer::new(2);
        let mut sender = LogSender { ring: Some(producer), counts: Arc::default() };
        for target in ["/1", "/2", "/3", "/4"] {
            sender.push(&mut record(target));
        }
        assert_eq!(sender.counts.dropped.load(Relaxed), 2);
        assert_eq!(consumer.pop().unwrap().target.as_bytes(), b"/1");
        sender.push(&mut record("/5"));
        assert_eq!(consumer.pop().unwrap().target.as_bytes(), b"/2");
        assert_eq!(consumer.pop().unwrap().target.as_bytes(), b"/5");
    }

    #[test]
    fn after_the_file_was_moved_away_reopening_goes_on_in_a_new_one_and_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (path, rotated) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let (log, mut senders) = AccessLog::start(Some(&path), 1, 64).unwrap();
        senders[0].push(&mut record("/before"));
        wait_for(|| log.totals().written == 1);
        fs::rename(&path, &rotated).unwrap();
        senders[0].push(&mut record("/between"));
        log.reopen();
        wait_for(|| path.exists());
        senders[0].push(&mut record("/after"));
        assert!(log.stop());
        assert_eq!(targets(&rotated), ["/before", "/between"]);
        assert_eq!(targets(&path), ["/after"]);
    }

    #[test]
    fn a_name_that_cannot_be_opened_again_keeps_the_old_file_and_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let (log, mut senders) = AccessLog::start(Some(&path), 1, 64).unwrap();
        let moved = folder.path().join("moved.log");
        fs::rename(&path, &moved).unwrap();
        fs::create_dir(&path).unwrap();
        log.reopen();
        wait_for(|| log.totals().errors == 1);
        senders[0].push(&mut record("/kept"));
        assert!(log.stop());
        assert_eq!(targets(&moved), ["/kept"]);
    }

    #[test]
    fn a_full_disk_loses_lines_and_counts_them_while_the_writer_goes_on() {
        let (log, mut senders) = AccessLog::start(Some(Path::new("/dev/full")), 1, 64).unwrap();
        for round in 1..=3 {
            senders[0].push(&mut record("/lost"));
            wait_for(|| log.totals().lost == round);
        }
        assert!(log.stop());
        assert_eq!(log.totals(), LogTotals { written: 0, dropped: 0, lost: 3, errors: 3 });
    }

    #[test]
    fn without_a_path_records_cost_nothing_and_count_nothing() {
        let (log, mut senders) = AccessLog::start(None, 1, 8192).unwrap();
        assert!(!senders[0].is_on());
        senders[0].push(&mut record("/"));
        log.reopen();
        assert!(log.stop());
        assert_eq!(log.totals(), LogTotals::default());
    }

    #[test]
    fn a_path_that_cannot_be_opened_names_the_path_and_the_next_step() {
        let error = AccessLog::start(Some(Path::new("/nowhere/at/all/access.log")), 1, 1).err().unwrap();
        let text = error.to_string();
        assert!(
            text.contains("/nowhere/at/all/access.log") && text.contains("create its directory"),
            "{text}"
        );
    }
}
