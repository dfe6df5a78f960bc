//! Whether a disk still answers: what was asked of it, what it has done, and whether somebody has waited for too long.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::DiskError;

/// Of one disk thread.
#[derive(Debug)]
pub(super) struct Vigil {
    /// How long an operation may take.
    pub(super) timeout: Duration,
    begun: AtomicU64,
    ended: AtomicU64,
    writes: AtomicUsize,
    is_given_up: AtomicBool,
}

impl Vigil {
    /// Nothing was asked for yet.
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            writes: AtomicUsize::new(0),
            is_given_up: AtomicBool::new(false),
        }
    }

    /// Something is asked for.
    pub(super) fn begin(&self, is_write: bool) {
        if self.is_idle() {
            self.is_given_up.store(false, Ordering::Release);
        }
        self.begun.fetch_add(1, Ordering::AcqRel);
        self.writes.fetch_add(usize::from(is_write), Ordering::AcqRel);
    }

    /// Something was done, well or not.
    pub(super) fn end(&self, is_write: bool) {
        self.writes.fetch_sub(usize::from(is_write), Ordering::AcqRel);
        self.ended.fetch_add(1, Ordering::AcqRel);
    }

    /// How much was done.
    pub(super) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether any write was asked for and has not been done.
    pub(super) fn is_writing(&self) -> bool {
        self.writes.load(Ordering::Acquire) > 0
    }

    /// Whether everything that was asked for was done.
    pub(super) fn is_idle(&self) -> bool {
        self.ended() >= self.begun.load(Ordering::Acquire)
    }

    /// Somebody has waited for too long.
    pub(super) fn give_up(&self) -> DiskError {
        self.is_given_up.store(true, Ordering::Release);
        DiskError::Hung
    }

    /// Whether somebody has, and something of then has not been done.
    pub(super) fn is_hung(&self) -> bool {
        self.is_given_up.load(Ordering::Acquire) && !self.is_idle()
    }
}
