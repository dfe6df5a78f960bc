//! A counter, or a gauge: a relaxed load, an addition and a relaxed store, because it has one writer.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// A number with one writer.
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) const fn new() -> Self {
        Counter(AtomicU64::new(0))
    }

    pub(crate) fn add(&self, amount: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(amount), Relaxed);
    }

    /// Stops at zero: an event counted twice by mistake must not turn a gauge into 2^64.
    pub(super) fn subtract(&self, amount: u64) {
        self.0.store(self.0.load(Relaxed).saturating_sub(amount), Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

pub(crate) const fn counters<const COUNT: usize>() -> [Counter; COUNT] {
    [const { Counter::new() }; COUNT]
}
