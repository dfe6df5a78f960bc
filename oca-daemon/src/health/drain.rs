//! When draining has ended.
//!
//! Drained is when nothing was asked for during [`QUIET`], and nothing is in flight. Connections may still be
//! open, as long as nothing happens on them: a player that paused keeps its connection, and would find
//! another appliance by itself if it broke.

use std::time::{Duration, Instant};

/// Longer than the pause of a player between two segments would be on a link that carries the stream at all:
/// with segments of 4 to 6 s, one that plays asks within this time.
pub(super) const QUIET: Duration = Duration::from_secs(10);

/// What has been seen since draining began.
#[derive(Default)]
pub(super) struct DrainWatch {
    quiet: Option<Quiet>,
}

struct Quiet {
    since: Instant,
    requests: u64,
    egress_bytes: u64,
}

impl DrainWatch {
    /// Takes the workers' figures of `now` (requests ended since the start, bytes sent since the start), and
    /// says whether nobody is left.
    pub(super) fn is_drained(
        &mut self,
        in_flight: u64,
        requests: u64,
        egress_bytes: u64,
        now: Instant,
    ) -> bool {
        if in_flight > 0 {
            self.quiet = None;
            return false;
        }
        match &self.quiet {
            Some(quiet) if quiet.requests == requests && quiet.egress_bytes == egress_bytes => {
                now.saturating_duration_since(quiet.since) >= QUIET
            }
            _ => {
                self.quiet = Some(Quiet { since: now, requests, egress_bytes });
                false
            }
        }
    }

    /// Draining is not asked for (any more).
    pub(super) fn reset(&mut self) {
        self.quiet = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drained_comes_after_a_quiet_time_without_anything_in_flight() {
        let mut watch = DrainWatch::default();
        let start = Instant::now();
        assert!(!watch.is_drained(0, 5, 100, start));
        assert!(!watch.is_drained(0, 5, 100, start + QUIET - Duration::from_millis(1)));
        assert!(watch.is_drained(0, 5, 100, start + QUIET));
    }

    #[test]
    fn a_request_begins_the_quiet_time_anew() {
        let mut watch = DrainWatch::default();
        let start = Instant::now();
        assert!(!watch.is_drained(0, 5, 100, start));
        assert!(!watch.is_drained(1, 5, 100, start + QUIET / 2));
        assert!(!watch.is_drained(0, 6, 200, start + QUIET));
        assert!(!watch.is_drained(0, 6, 200, start + QUIET * 2 - Duration::from_millis(1)));
        assert!(watch.is_drained(0, 6, 200, start + QUIET * 2));
    }

    #[test]
    fn a_request_that_came_and_went_between_two_looks_counts_too() {
        let mut watch = DrainWatch::default();
        let start = Instant::now();
        assert!(!watch.is_drained(0, 5, 100, start));
        assert!(!watch.is_drained(0, 6, 200, start + QUIET));
    }

    #[test]
    fn after_a_reset_the_quiet_time_begins_anew() {
        let mut watch = DrainWatch::default();
        let start = Instant::now();
        watch.is_drained(0, 0, 0, start);
        watch.reset();
        assert!(!watch.is_drained(0, 0, 0, start + QUIET));
    }
}
