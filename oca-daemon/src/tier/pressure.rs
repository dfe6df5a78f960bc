//! When memory runs short, the tier gives some back: locked pages cannot be reclaimed, so that the kernel would have to end
//! processes beside tens of GiB that only make answers faster. Pure; the steward looks and acts.

use std::time::{Duration, Instant};

use crate::health::MEMORY_AVAILABLE_LOW_BYTES;

/// How long nothing more is locked after memory was short: what made it so is there for an evening, not for a second.
const PAUSE: Duration = Duration::from_secs(30);

/// Whether memory is short.
#[derive(Default)]
pub(super) struct Pressure {
    short_until: Option<Instant>,
}

impl Pressure {
    /// So many bytes are available; `None`: that cannot be read now, so that no more is taken, and nothing is known to be short.
    /// Returns how many are to be given back: as many as leave twice the mark, so that others find some before it is reached again.
    pub(super) fn look(&mut self, available_bytes: Option<u64>, now: Instant) -> u64 {
        if available_bytes.is_some_and(|bytes| bytes >= MEMORY_AVAILABLE_LOW_BYTES) {
            return 0;
        }
        self.short_until = Some(now + PAUSE);
        available_bytes.map_or(0, |bytes| 2 * MEMORY_AVAILABLE_LOW_BYTES - bytes)
    }

    /// Whether memory is short, or was until now.
    pub(super) fn is_on(&self, now: Instant) -> bool {
        self.short_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: u64 = MEMORY_AVAILABLE_LOW_BYTES;

    #[test]
    fn what_is_given_back_leaves_twice_the_mark_and_nothing_is_taken_for_a_while() {
        let (mut pressure, now) = (Pressure::default(), Instant::now());
        assert_eq!(pressure.look(Some(LOW), now), 0);
        assert!(!pressure.is_on(now));
        assert_eq!(pressure.look(Some(LOW - 1), now), LOW + 1);
        assert_eq!(pressure.look(Some(0), now), 2 * LOW);
        assert_eq!(pressure.look(Some(2 * LOW), now + Duration::from_secs(1)), 0);
        assert!(pressure.is_on(now + Duration::from_secs(29)));
        assert!(!pressure.is_on(now + PAUSE));
    }

    #[test]
    fn while_what_is_left_cannot_be_read_nothing_is_taken_and_nothing_given_back() {
        let (mut pressure, now) = (Pressure::default(), Instant::now());
        assert_eq!(pressure.look(None, now), 0);
        assert!(pressure.is_on(now) && !pressure.is_on(now + PAUSE));
    }
}
