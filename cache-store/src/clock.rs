//! How long a thread has been at one thing: that is how a hung disk is seen without asking it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Says since when its thread has been working, if it is.
#[derive(Debug)]
pub(crate) struct WorkClock {
    made: Instant,
    /// Milliseconds after `made`, plus one; 0 while idle.
    since: AtomicU64,
}

/// Ends the work when dropped.
#[derive(Debug)]
pub(crate) struct Working<'a>(&'a WorkClock);

impl WorkClock {
    pub(crate) fn new() -> Self {
        Self { made: Instant::now(), since: AtomicU64::new(0) }
    }

    pub(crate) fn start(&self) -> Working<'_> {
        self.go_on();
        Working(self)
    }

    /// The next piece of what was started: one has ended, so the disk answers.
    pub(crate) fn go_on(&self) {
        self.since.store(self.now(), Ordering::Relaxed);
    }

    /// How long the present piece of work has taken; zero while idle.
    pub(crate) fn elapsed(&self) -> Duration {
        match self.since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis(self.now().saturating_sub(since)),
        }
    }

    fn now(&self) -> u64 {
        self.made.elapsed().as_millis() as u64 + 1
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.since.store(0, Ordering::Relaxed);
    }
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
