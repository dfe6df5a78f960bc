//! The pace that all connections share: what was received, and whether more may be.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use control_client::units::BitRate;

use crate::limits::{RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS_SHARE};
use crate::pace::{Grant, Pace};

/// One for all connections of the agent.
#[derive(Debug)]
pub struct SharedPace {
    started: Instant,
    inner: Mutex<Inner>,
    received: AtomicU64,
}

#[derive(Debug)]
struct Inner {
    pace: Pace,
    /// Bytes granted so far and not given back; what [`SharedPace::received`] comes to when all that was granted is read.
    granted: u64,
    /// What `granted` may come to.
    ceiling: u64,
}

/// How soon a socket asks again that may receive nothing before more bytes are allowed.
const CEILING_RETRY: Duration = Duration::from_millis(20);

impl SharedPace {
    /// For `rate` over any one second, with so many connections at once, each with `receive_buffer_bytes` asked of the kernel.
    pub fn new(rate: BitRate, connections: u32, receive_buffer_bytes: u32) -> Self {
        // The kernel doubles what it is asked for (`socket(7)`).
        let unread_bytes = 2 * u64::from(receive_buffer_bytes) * u64::from(connections);
        Self {
            started: Instant::now(),
            inner: Mutex::new(Inner {
                pace: Pace::new(rate, unread_bytes, Duration::ZERO),
                granted: 0,
                ceiling: u64::MAX,
            }),
            received: AtomicU64::new(0),
        }
    }

    /// The time since the pace began, by a clock that never goes back: what all that waits in a fill is counted in.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The moment of that clock.
    pub fn instant(&self, at: Duration) -> Instant {
        self.started + at
    }

    /// Bytes received by all connections, since the agent started.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// From now on no byte is received beyond so many since the agent started.
    pub fn allow(&self, received_max: u64) {
        self.inner().ceiling = received_max;
    }

    /// The rate in force.
    pub fn rate(&self) -> BitRate {
        self.inner().pace.rate()
    }

    /// Another rate from now on.
    pub fn set_rate(&self, rate: BitRate) {
        self.inner().pace.set_rate(rate, self.now());
    }

    /// Asks for at most so many bytes of a socket that has some; to be followed by [`Self::took`].
    pub(crate) fn take(&self, wanted: u64) -> Result<u64, Instant> {
        let mut inner = self.inner();
        let allowed = inner.ceiling.saturating_sub(inner.granted);
        if allowed == 0 {
            return Err(Instant::now() + CEILING_RETRY);
        }
        match inner.pace.take(wanted.min(allowed), self.now()) {
            Grant::Bytes(bytes) => {
                inner.granted += bytes;
                Ok(bytes)
            }
            Grant::WaitUntil(at) => Err(self.instant(at)),
        }
    }

    /// So many of the bytes that were granted were there.
    pub(crate) fn took(&self, granted: u64, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
        if bytes < granted {
            let mut inner = self.inner();
            inner.granted -= granted - bytes;
            inner.pace.give_back(granted - bytes);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The receive buffer to ask of the kernel for each of so many connections: all of them, doubled, hold a part of what the rate
/// allows in a second, so that the kernel cannot take much ahead of what the agent agrees to.
pub fn receive_buffer_bytes(rate: BitRate, connections: u32) -> u32 {
    let share = rate.bytes_per_second() / RECEIVE_BUFFERS_SHARE / 2 / u64::from(connections.max(1));
    let (least, most) = RECEIVE_BUFFER_BYTES;
    u32::try_from(share).unwrap_or(most).clamp(least, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receive_buffers_hold_a_small_part_of_a_second_and_stay_within_reason() {
        let buffer = |bits| receive_buffer_bytes(BitRate::new(bits), 8);
        assert_eq!(buffer(1_200_000_000), 585_937);
        assert_eq!(buffer(1_000_000), RECEIVE_BUFFER_BYTES.0);
        assert_eq!(buffer(1_000_000_000_000), RECEIVE_BUFFER_BYTES.1);
    }

    #[test]
    fn what_is_not_there_is_given_back_and_what_is_there_is_counted() {
        let pace = SharedPace::new(BitRate::new(8_000_000), 1, RECEIVE_BUFFER_BYTES.0);
        let granted = pace.take(u64::MAX).unwrap();
        pace.took(granted, 0);
        assert_eq!(pace.take(granted), Ok(granted));
        pace.took(granted, granted);
        assert_eq!(pace.received(), granted);
        assert!(pace.take(granted).is_err_and(|at| at > Instant::now()));
    }

    #[test]
    fn no_byte_is_granted_beyond_what_is_allowed() {
        let pace = SharedPace::new(BitRate::new(8_000_000_000), 1, RECEIVE_BUFFER_BYTES.0);
        pace.allow(1000);
        assert_eq!(pace.take(600), Ok(600));
        assert_eq!(pace.take(600), Ok(400));
        assert!(pace.take(1).is_err_and(|at| at > Instant::now()));
        pace.took(400, 100);
        assert_eq!(pace.take(600), Ok(300));
        pace.allow(1500);
        assert_eq!(pace.take(600), Ok(500));
    }
}
