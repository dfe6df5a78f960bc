//! How often an answer goes on after upstream has failed: pure.

use std::time::Duration;

use crate::limits::{RESUMPTION_PAUSE, RESUMPTIONS_MAX};
use crate::pull::blocks::BLOCK_BYTES;

/// Failures that an answer has borne in a row.
#[derive(Debug, Default)]
pub(super) struct Tries {
    failures: u32,
    /// Where the last of them was.
    place: u64,
}

impl Tries {
    /// Upstream has failed at that place. How long to wait before it is asked for the rest; `None`: not again.
    pub(super) fn failed_at(&mut self, place: u64) -> Option<Duration> {
        let has_come_on = place.saturating_sub(self.place) >= BLOCK_BYTES;
        self.failures = if has_come_on { 1 } else { self.failures + 1 };
        self.place = place;
        (self.failures <= RESUMPTIONS_MAX).then(|| RESUMPTION_PAUSE * (self.failures - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = BLOCK_BYTES;

    #[test]
    fn after_a_failure_the_rest_is_asked_for_at_once_and_then_more_and_more_seldom_and_not_for_ever() {
        let mut tries = Tries::default();
        let pauses = [500, 500, 600, 700].map(|place| tries.failed_at(place));
        let pause = |times| Some(RESUMPTION_PAUSE * times);
        assert_eq!(pauses, [pause(0), pause(1), pause(2), None]);
    }

    #[test]
    fn who_has_got_a_block_since_begins_anew() {
        let mut tries = Tries::default();
        let pauses = [0, 0, 0, MIB, 2 * MIB - 1, 9 * MIB].map(|place| tries.failed_at(place).is_some());
        assert_eq!(pauses, [true; 6]);
        let pauses = [9 * MIB, 9 * MIB, 9 * MIB].map(|place| tries.failed_at(place).is_some());
        assert_eq!(pauses, [true, true, false]);
    }
}
