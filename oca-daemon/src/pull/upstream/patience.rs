//! How long the next bytes of a body are waited for: pure.
//!
//! One that sends nothing is given up after `pull.stall_timeout`. One that sends a byte now and then would never be, and hold its place
//! among the fetches for hours; so, where that is asked for, one is given up too of which hardly anything comes in several times as long.
//! Only waiting counts: who takes slowly what has come has nobody to blame.

use std::time::Duration;

use crate::limits::{TRICKLE_BYTES_PER_SECOND, TRICKLE_STALLS};

/// With one body.
#[derive(Debug)]
pub(super) struct Patience {
    stall_timeout: Duration,
    /// In so much waiting enough has to come; `None`: however little comes is enough.
    window: Option<Duration>,
    /// Waited since enough had come.
    waited: Duration,
    /// What has come since.
    bytes: u64,
}

impl Patience {
    /// With what may come as seldom as it likes, if only not after more than that.
    pub(super) fn new(stall_timeout: Duration) -> Self {
        Self { stall_timeout, window: None, waited: Duration::ZERO, bytes: 0 }
    }

    /// What trickles is given up from now on.
    pub(super) fn bear_no_trickle(&mut self) {
        self.window = Some(self.stall_timeout * TRICKLE_STALLS);
    }

    /// How long the next bytes are waited for at most.
    pub(super) fn left(&self) -> Duration {
        let of_window = self.window.map_or(Duration::MAX, |window| window.saturating_sub(self.waited));
        self.stall_timeout.min(of_window)
    }

    /// They have come, after so long.
    pub(super) fn received(&mut self, bytes: usize, waited: Duration) {
        self.waited = self.waited.saturating_add(waited);
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.window.is_some_and(|window| self.bytes >= enough_in(window)) {
            (self.waited, self.bytes) = (Duration::ZERO, 0);
        }
    }
}

fn enough_in(window: Duration) -> u64 {
    let millis = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
    millis.saturating_mul(TRICKLE_BYTES_PER_SECOND) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_secs(10);

    /// After how long a body is given up of which so many bytes come every so often; `None`: not within an hour.
    fn given_up_after(bytes: usize, every: Duration) -> Option<Duration> {
        let (mut patience, mut waited) = (Patience::new(STALL), Duration::ZERO);
        patience.bear_no_trickle();
        while waited < Duration::from_secs(3600) {
            let left = patience.left();
            if left < every {
                return Some(waited + left);
            }
            patience.received(bytes, every);
            waited += every;
        }
        None
    }

    #[test]
    fn a_body_is_given_up_that_stalls_or_trickles_and_none_that_is_made_while_it_comes() {
        let seconds = Duration::from_secs;
        for (bytes, every, expected) in [
            (1, seconds(11), Some(seconds(10))),
            (1, seconds(9), Some(seconds(30))),
            (1, Duration::from_millis(1), Some(seconds(30))),
            (2, Duration::from_millis(1), None),
            (1000, seconds(1), Some(seconds(30))),
            // 16 kbit/s, in chunks of whatever length.
            (2000, seconds(1), None),
            (4000, seconds(2), None),
            (18_000, seconds(9), None),
            (100, Duration::from_millis(50), None),
        ] {
            assert_eq!(given_up_after(bytes, every), expected, "{bytes} every {every:?}");
        }
    }

    #[test]
    fn what_comes_at_once_is_taken_however_long_others_were_waited_for() {
        let mut patience = Patience::new(STALL);
        patience.bear_no_trickle();
        for _ in 0..3 {
            assert!(patience.left() > Duration::ZERO);
            patience.received(1, STALL);
        }
        assert_eq!(patience.left(), Duration::ZERO, "only what is there already");
        patience.received(1 << 20, Duration::ZERO);
        assert_eq!(patience.left(), STALL);
    }

    #[test]
    fn what_may_trickle_is_given_up_only_when_it_stalls() {
        let mut patience = Patience::new(STALL);
        for _ in 0..1000 {
            patience.received(1, Duration::from_secs(9));
            assert_eq!(patience.left(), STALL);
        }
    }
}
