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

/// Bytes that are written at once: so many that a write's own cost is spread over a thousand lines, and so few that a disk that is slow soon
/// makes room.
const WRITE_BYTES_MAX: usize = 256 * 1024;

/// The longest that a line waits for the writer. Each waking costs an idle machine some 30 µs, so that it is called where there is much.
const DRAIN_INTERVAL: Duration = Duration::from_millis(100);

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
    signals: Arc<Signals>,
}

impl Writer {
    pub(super) fn open(
        path: &Path,
        rings: Vec<rtrb::Consumer<u8>>,
        signals: Arc<Signals>,
    ) -> io::Result<Self> {
        Ok(Writer { file: LogFile::open(path)?, rings, signals })
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
            thread::park_timeout(DRAIN_INTERVAL);
        }
    }

    /// Writes what every ring holds now.
    fn drain(&mut self) {
        for ring in &mut self.rings {
            // As much as there is now: a worker that is faster than the disk must not hold us here.
            let mut ready_bytes = ring.slots();
            while ready_bytes > 0 {
                let Ok(lines) = ring.read_chunk(ready_bytes.min(WRITE_BYTES_MAX)) else { break };
                let pieces = whole_lines(lines.as_slices().into());
                let taken_bytes = pieces.iter().map(|piece| piece.len()).sum();
                self.file.append(pieces, &self.signals);
                // The room is free from here on, so that a slow disk finds the ring as empty as it can be.
                lines.commit(taken_bytes);
                ready_bytes -= taken_bytes;
            }
        }
    }
}

/// Up to the end of the last line in two pieces. There is one: lines are put into a ring whole, and are shorter than what is written at once.
fn whole_lines([first, second]: [&[u8]; 2]) -> [&[u8]; 2] {
    let end_of_last = |bytes| memchr::memrchr(b'\n', bytes).map_or(0, |place| place + 1);
    match end_of_last(second) {
        0 => [&first[..end_of_last(first)], &[]],
        end => [first, &second[..end]],
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lines_that_lie_across_the_end_of_a_ring_are_written_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let (mut ring, consumer) = rtrb::RingBuffer::new(10);
        let mut writer = Writer::open(&path, vec![consumer], Arc::default()).unwrap();
        for lines in [&b"one\ntwo\n"[..], b"three\n4\n", b"five\n", b"6\n"] {
            ring.push_entire_slice(lines).unwrap();
            writer.drain();
        }
        assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\nthree\n4\nfive\n6\n");
        assert_eq!(writer.signals.totals().written, 6);
    }

    #[test]
    fn what_is_written_at_once_ends_with_a_line() {
        let pieces = |first: &'static str, second: &'static str| {
            whole_lines([first.as_bytes(), second.as_bytes()]).map(|piece| str::from_utf8(piece).unwrap())
        };
        assert_eq!(pieces("a\nb\n", ""), ["a\nb\n", ""]);
        assert_eq!(pieces("a\nb", ""), ["a\n", ""]);
        assert_eq!(pieces("a\nb", "b\nc"), ["a\nb", "b\n"]);
        assert_eq!(pieces("a\nb", "b"), ["a\n", ""]);
    }

    #[test]
    fn more_than_is_written_at_once_is_written_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let (mut ring, consumer) = rtrb::RingBuffer::new(3 * WRITE_BYTES_MAX);
        let mut writer = Writer::open(&path, vec![consumer], Arc::default()).unwrap();
        let line = [&[b'x'; 999][..], b"\n"].concat();
        let lines = line.repeat(2 * WRITE_BYTES_MAX / line.len() + 7);
        ring.push_entire_slice(&lines).unwrap();
        writer.drain();
        assert!(fs::read(&path).unwrap() == lines);
    }
}
