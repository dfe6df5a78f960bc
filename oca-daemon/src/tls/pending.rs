//! What is sealed and was not taken by a socket yet. It is the one thing of a connection that grows with how fast its client was
//! and is held for as long as that is slow, so a worker counts what all of its connections hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::limits::SEALED_BYTES_MAX;

/// Memory for sealed bytes that wait, of all connections of a worker, which alone changes it.
#[derive(Debug, Default)]
pub struct SealedBytes(AtomicU64);

impl SealedBytes {
    /// How much it is.
    pub fn bytes(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Whether it is so much that connections seal no more than they must.
    pub fn is_much(&self) -> bool {
        self.bytes() >= SEALED_BYTES_MAX
    }

    fn change(&self, from_bytes: usize, to_bytes: usize) {
        self.0.store((self.bytes() + to_bytes as u64).saturating_sub(from_bytes as u64), Relaxed);
    }
}

/// What of one connection is sealed and waits.
pub struct Pending {
    bytes: Vec<u8>,
    /// What was sent of them.
    sent_bytes: usize,
    /// Where their memory is counted, and as how much.
    total: Arc<SealedBytes>,
    counted_bytes: usize,
}

impl Pending {
    /// Nothing, to be counted in `total`.
    pub fn new(total: Arc<SealedBytes>) -> Self {
        Self { bytes: Vec::new(), sent_bytes: 0, total, counted_bytes: 0 }
    }

    /// What is to be sent next.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.sent_bytes..]
    }

    /// Of which worker it is.
    pub fn total(&self) -> &SealedBytes {
        &self.total
    }

    /// So much of it is sent.
    pub fn sent(&mut self, sent_bytes: usize) {
        self.sent_bytes += sent_bytes;
        if self.sent_bytes >= self.bytes.len() {
            (self.bytes, self.sent_bytes) = (Vec::new(), 0);
            self.count();
        }
    }

    /// Keeps bytes that a socket did not take.
    pub fn keep(&mut self, sealed: &[u8]) {
        if sealed.is_empty() {
            return;
        }
        // A socket that never takes all of it must not make it grow by all that it ever took.
        self.bytes.drain(..self.sent_bytes);
        self.sent_bytes = 0;
        self.bytes.reserve_exact(sealed.len());
        self.bytes.extend_from_slice(sealed);
        self.count();
    }

    /// Lets `add` put something at the end: an alert, or messages of a handshake.
    pub fn add<R>(&mut self, add: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let result = add(&mut self.bytes);
        self.count();
        result
    }

    fn count(&mut self) {
        let bytes = self.bytes.capacity();
        self.total.change(self.counted_bytes, bytes);
        self.counted_bytes = bytes;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.total.change(self.counted_bytes, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::RECORD_BYTES_MAX;

    #[test]
    fn what_a_slow_socket_has_taken_is_not_kept() {
        let mut pending = Pending::new(Arc::default());
        for _ in 0..1000 {
            pending.keep(&[0; RECORD_BYTES_MAX]);
            pending.sent(RECORD_BYTES_MAX - usize::from(pending.bytes().len() <= RECORD_BYTES_MAX));
        }
        assert!(pending.bytes.capacity() <= 4 * RECORD_BYTES_MAX, "{} bytes", pending.bytes.capacity());
    }

    #[test]
    fn what_all_connections_hold_is_counted_until_it_is_sent_or_they_end() {
        let total = Arc::<SealedBytes>::default();
        let mut all: Vec<Pending> = (0..3).map(|_| Pending::new(Arc::clone(&total))).collect();
        for pending in &mut all {
            pending.keep(&[1; 1000]);
            pending.keep(&[]);
        }
        assert_eq!(total.bytes(), 3000);
        all[0].sent(400);
        assert_eq!((total.bytes(), all[0].bytes().len()), (3000, 600), "its memory is still held");
        all[0].sent(600);
        assert_eq!(total.bytes(), 2000);
        all[1].add(|bytes| bytes.extend([2; 500]));
        assert!(total.bytes() >= 2500);
        drop(all);
        assert_eq!(total.bytes(), 0);
    }
}
