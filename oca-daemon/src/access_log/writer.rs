//! The thread that empties the rings into the file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;
use std::time::{Duration, Instant};

use super::line::LineFormat;
use super::{LogTotals, Record};

/// Bytes that are gathered before they are written: large enough that the write's own cost is spread over a
/// thousand lines, small enough for the second-level cache. The buffer is this large and one line more, and
/// never grows.
const BUFFER_BYTES: usize = 256 * 1024;

/// More than any line: a target whose every byte is escaped to six, and the fields beside it.
const LINE_BYTES_MAX: usize = 2048;

/// The longest that a record waits for the writer.
const DRAIN_INTERVAL_MAX: Duration = Duration::from_millis(100);

/// The shortest pause between two drains: a thousand wake-ups a second are the most that a small ring may
/// cost.
const DRAIN_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// More requests than a worker can answer in a second (the smallest take it 2 µs and more). The writer comes
/// round before a ring that is filled at this rate is full, so drops mean that the disk or the processor is
/// overloaded, never that the writer slept.
const RECORDS_PER_SECOND_MAX: u64 = 400_000;

/// A log that cannot be written says so once in this time.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Readable by the operator's group, not by all, because it holds addresses of viewers.
const FILE_MODE: u32 = 0o640;

/// What the daemon asks of the writer, and what the writer reports.
#[derive(Default)]
pub(super) struct Signals {
    stop: AtomicBool,
    reopen: AtomicBool,
    written: AtomicU64,
    lost: AtomicU64,
    errors: AtomicU64,
}

impl Signals {
    pub(super) fn ask_to_stop(&self) {
        self.stop.store(true, Release);
    }

    pub(super) fn ask_to_reopen(&self) {
        self.reopen.store(true, Release);
    }

    pub(super) fn totals(&self) -> LogTotals {
        LogTotals {
            written: self.written.load(Relaxed),
            lost: self.lost.load(Relaxed),
            errors: self.errors.load(Relaxed),
            dropped: 0,
        }
    }
}

/// The writer's state.
pub(super) struct Writer {
    path: PathBuf,
    file: File,
    rings: Vec<rtrb::Consumer<Record>>,
    interval: Duration,
    signals: Arc<Signals>,
    format: LineFormat,
    lines: Vec<u8>,
    lines_count: u64,
    /// The last write ended inside a line, so the next one begins with a newline: a torn line must not spoil
    /// its neighbour.
    is_torn: bool,
    last_warning: Option<Instant>,
}

impl Writer {
    pub(super) fn open(
        path: &Path,
        rings: Vec<rtrb::Consumer<Record>>,
        queue_records: usize,
        signals: Arc<Signals>,
    ) -> io::Result<Self> {
        Ok(Writer {
            file: open_for_append(path)?,
            path: path.to_owned(),
            rings,
            interval: drain_interval(queue_records),
            signals,
            format: LineFormat::new(),
            lines: Vec::with_capacity(BUFFER_BYTES + LINE_BYTES_MAX),
            lines_count: 0,
            is_torn: false,
            last_warning: None,
        })
    }

    /// Runs until told to stop, and writes what was queued before that.
    pub(super) fn run(mut self) {
        loop {
            // Read before the drain: what was pushed before the request to stop or reopen is then written by
            // this drain.
            let is_stopping = self.signals.stop.load(Acquire);
            let is_reopening = self.signals.reopen.swap(false, AcqRel);
            self.drain();
            if is_reopening {
                self.reopen();
            }
            if is_stopping {
                return;
            }
            thread::park_timeout(self.interval);
        }
    }

    /// Takes what every ring holds now, and writes it.
    fn drain(&mut self) {
        for index in 0..self.rings.len() {
            self.drain_ring(index);
        }
        self.flush();
    }

    fn drain_ring(&mut self, index: usize) {
        let ready = self.rings[index].slots();
        for _ in 0..ready {
            let Ok(record) = self.rings[index].peek() else { return };
            self.format.append(&mut self.lines, record);
            self.lines_count += 1;
            // The slot is free from here on, so that a slow disk finds the ring as empty as it can be.
            if self.rings[index].pop().is_err() {
                return;
            }
            if self.lines.len() >= BUFFER_BYTES {
                self.flush();
            }
        }
    }

    /// Writes the gathered lines. What cannot be written is lost and counted: it is never kept, so memory
    /// does not grow.
    fn flush(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let count = std::mem::take(&mut self.lines_count);
        let written = self.write_lines();
        self.lines.clear();
        match written {
            Ok(()) => {
                self.is_torn = false;
                self.signals.written.fetch_add(count, Relaxed);
            }
            Err(error) => {
                self.signals.lost.fetch_add(count, Relaxed);
                self.failed("written", &error);
            }
        }
    }

    fn write_lines(&mut self) -> io::Result<()> {
        if self.is_torn {
            self.file.write_all(b"\n")?;
            self.is_torn = false;
        }
        let mut rest = self.lines.as_slice();
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.is_torn = rest[count - 1] != b'\n';
                    rest = &rest[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn reopen(&mut self) {
        match open_for_append(&self.path) {
            Ok(file) => {
                self.file = file;
                self.is_torn = false;
            }
            Err(error) => self.failed("opened again", &error),
        }
    }

    fn failed(&mut self, what: &str, error: &io::Error) {
        self.signals.errors.fetch_add(1, Relaxed);
        if self.last_warning.is_some_and(|warning| warning.elapsed() < WARN_INTERVAL) {
            return;
        }
        self.last_warning = Some(Instant::now());
        tracing::warn!(
            path = %self.path.display(), %error, lost = self.signals.lost.load(Relaxed),
            "the access log could not be {what}; make room on its file system or correct its permissions; \
             service goes on, lines are lost and counted in oca_access_log_records_total"
        );
    }
}

/// How long to pause between drains, so that a ring of `queue_records` cannot fill up meanwhile.
fn drain_interval(queue_records: usize) -> Duration {
    let records = u64::try_from(queue_records).unwrap_or(u64::MAX);
    let micros = records.saturating_mul(1_000_000) / RECORDS_PER_SECOND_MAX;
    Duration::from_micros(micros).clamp(DRAIN_INTERVAL_MIN, DRAIN_INTERVAL_MAX)
}

fn open_for_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_writer_comes_round_before_a_ring_can_fill() {
        assert_eq!(drain_interval(8192), Duration::from_micros(20_480));
        assert_eq!(drain_interval(1), DRAIN_INTERVAL_MIN);
        assert_eq!(drain_interval(usize::MAX), DRAIN_INTERVAL_MAX);
    }
}
