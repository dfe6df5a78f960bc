//! The end of the log that a worker has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::Thread;

use super::Record;
use super::line::{LINE_BYTES_MAX, LineFormat};

/// The worker's end.
pub struct LogSender {
    /// `None`: there is no access log.
    end: Option<End>,
    format: LineFormat,
    /// Where a line is made, before there is room for it or not.
    line: Vec<u8>,
    counts: Arc<SenderCounts>,
}

/// The ring, and whoever empties it.
struct End {
    ring: rtrb::Producer<u8>,
    writer: Thread,
    /// What was queued since the writer was last called.
    uncalled_bytes: usize,
}

/// What one sender lost. A cache line of its own: it is written by its worker alone.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct SenderCounts {
    pub(super) dropped: AtomicU64,
}

impl LogSender {
    /// A sender of lines into `ring`, which the thread `writer` empties.
    pub(super) fn new(ring: rtrb::Producer<u8>, writer: Thread, counts: Arc<SenderCounts>) -> Self {
        Self::of(Some(End { ring, writer, uncalled_bytes: 0 }), counts)
    }

    /// A sender to nobody.
    pub(super) fn off(counts: Arc<SenderCounts>) -> Self {
        Self::of(None, counts)
    }

    fn of(end: Option<End>, counts: Arc<SenderCounts>) -> Self {
        Self { end, format: LineFormat::new(), line: Vec::with_capacity(LINE_BYTES_MAX), counts }
    }

    /// Whether there is a log at all. Without one, a record need not be made.
    pub fn is_on(&self) -> bool {
        self.end.is_some()
    }

    /// Queues the line of `record`, or drops and counts it when there is no room for all of it. Calls the writer for each half of
    /// a ring. Never blocks.
    pub fn push(&mut self, record: &Record) {
        let Some(end) = &mut self.end else { return };
        self.line.clear();
        self.format.append(&mut self.line, record);
        if end.ring.push_entire_slice(&self.line).is_err() {
            self.counts.dropped.store(self.counts.dropped.load(Relaxed) + 1, Relaxed);
        }
        // Dropped or not: whoever has no room has called in vain so far.
        end.uncalled_bytes += self.line.len();
        if end.uncalled_bytes >= end.ring.buffer().capacity() / 2 {
            end.uncalled_bytes = 0;
            end.writer.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    fn record(target: &str) -> Record {
        let client = SocketAddr::from(([192, 0, 2, 1], 1));
        Record { target: target.as_bytes().into(), ..Record::begin(0, client, 0, None) }
    }

    fn taken(ring: &mut rtrb::Consumer<u8>, bytes: usize) -> String {
        let mut line = vec![0; bytes];
        ring.pop_entire_slice(&mut line).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&line).expect("a whole line");
        value["target"].as_str().unwrap().to_owned()
    }

    #[test]
    fn what_has_no_room_is_dropped_whole_and_counted() {
        let mut line = Vec::new();
        LineFormat::new().append(&mut line, &record("/1"));
        // Two lines and most of a third.
        let (producer, mut consumer) = rtrb::RingBuffer::new(3 * line.len() - 1);
        let mut sender = LogSender::new(producer, thread::current(), Arc::default());
        for target in ["/1", "/2", "/3", "/4"] {
            sender.push(&record(target));
        }
        assert_eq!(sender.counts.dropped.load(Relaxed), 2);
        assert_eq!(taken(&mut consumer, line.len()), "/1");
        // It lies at the ring's end and at its beginning.
        sender.push(&record("/5"));
        assert_eq!(taken(&mut consumer, line.len()), "/2");
        assert_eq!(taken(&mut consumer, line.len()), "/5");
        assert!(consumer.is_empty());
    }

    #[test]
    fn the_writer_is_called_for_each_half_of_a_ring_and_not_before() {
        let is_called = |within| {
            let asked = Instant::now();
            thread::park_timeout(within);
            asked.elapsed() < within
        };
        let mut line = Vec::new();
        LineFormat::new().append(&mut line, &record("/1"));
        let (producer, mut consumer) = rtrb::RingBuffer::new(8 * line.len());
        let mut sender = LogSender::new(producer, thread::current(), Arc::default());
        for _ in 0..3 {
            (0..3).for_each(|_| sender.push(&record("/1")));
            assert!(!is_called(Duration::from_millis(5)));
            sender.push(&record("/1"));
            assert!(is_called(Duration::from_secs(10)));
            (0..4).for_each(|_| assert_eq!(taken(&mut consumer, line.len()), "/1"));
        }
    }
}
