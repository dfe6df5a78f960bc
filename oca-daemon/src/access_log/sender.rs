//! The end of the log that a worker has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Record;
use super::line::{LINE_BYTES_MAX, LineFormat};

/// The worker's end.
pub struct LogSender {
    /// `None`: there is no access log.
    ring: Option<rtrb::Producer<u8>>,
    format: LineFormat,
    /// Where a line is made, before there is room for it or not.
    line: Vec<u8>,
    counts: Arc<SenderCounts>,
}

/// What one sender lost. A cache line of its own: it is written by its worker alone.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct SenderCounts {
    pub(super) dropped: AtomicU64,
}

impl LogSender {
    pub(super) fn new(ring: Option<rtrb::Producer<u8>>, counts: Arc<SenderCounts>) -> Self {
        Self { ring, format: LineFormat::new(), line: Vec::with_capacity(LINE_BYTES_MAX), counts }
    }

    /// Whether there is a log at all. Without one, a record need not be made.
    pub fn is_on(&self) -> bool {
        self.ring.is_some()
    }

    /// Queues the line of `record`, or drops and counts it when there is no room for all of it. Never blocks.
    pub fn push(&mut self, record: &Record) {
        let Some(ring) = &mut self.ring else { return };
        self.line.clear();
        self.format.append(&mut self.line, record);
        if ring.push_entire_slice(&self.line).is_err() {
            self.counts.dropped.store(self.counts.dropped.load(Relaxed) + 1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

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
        let mut sender = LogSender::new(Some(producer), Arc::default());
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
}
