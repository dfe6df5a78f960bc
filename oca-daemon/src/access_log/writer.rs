//! The thread that empties the rings into the file.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;
use std::time::Duration;

use super::LogTotals;
use super::log_file::LogFile;

/// The longest that a line waits for the writer.
const DRAIN_INTERVAL_MAX: Duration = Duration::from_millis(100);

/// The shortest pause between two drains: a thousand wake-ups a second are the most that a small ring may
/// cost.
const DRAIN_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// More than a worker can log in a second: 400,000 requests, of which the smallest take it 2 µs and more, with 300 bytes each. The writer
/// comes round before a ring that is filled at this rate is full, so drops mean that the disk or the processor is
/// overloaded, never that the writer slept.
const BYTES_PER_SECOND_MAX: u64 = 120_000_000;

/// What the daemon asks of the writer, and what the writer reports.
#[derive(Default)]
pub(super) struct Signals {
    stop: AtomicBool,
    reopen: AtomicBool,
    pub(super) written: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) errors: AtomicU64,
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
    file: LogFile,
    rings: Vec<rtrb::Consumer<u8>>,
    interval: Duration,
    signals: Arc<Signals>,
}

impl Writer {
    pub(super) fn open(
        path: &Path,
        rings: Vec<rtrb::Consumer<u8>>,
        queue_bytes: usize,
        signals: Arc<Signals>,
    ) -> io::Result<Self> {
        Ok(Writer { file: LogFile::open(path)?, rings, interval: drain_interval(queue_bytes), signals })
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
                self.file.reopen(&self.signals);
            }
            if is_stopping {
                return;
            }
            thread::park_timeout(self.interval);
        }
    }

    /// Writes what every ring holds now: whole lines, because each was put there at once.
    fn drain(&mut self) {
        for ring in &mut self.rings {
            let Ok(lines) = ring.read_chunk(ring.slots()) else { continue };
            if !lines.is_empty() {
                let (first, second) = lines.as_slices();
                self.file.append([first, second], &self.signals);
            }
            lines.commit_all();
        }
    }
}

/// How long to pause between drains, so that a ring of `queue_bytes` cannot fill up meanwhile.
fn drain_interval(queue_bytes: usize) -> Duration {
    let micros = (queue_bytes as u64).saturating_mul(1_000_000) / BYTES_PER_SECOND_MAX;
    Duration::from_micros(micros).clamp(DRAIN_INTERVAL_MIN, DRAIN_INTERVAL_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_writer_comes_round_before_a_ring_can_fill() {
        assert_eq!(drain_interval(2 << 20), Duration::from_micros(17_476));
        assert_eq!(drain_interval(1), DRAIN_INTERVAL_MIN);
        assert_eq!(drain_interval(usize::MAX), DRAIN_INTERVAL_MAX);
    }
}
