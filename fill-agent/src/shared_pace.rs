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
    pace: Mutex<Pace>,
    received: AtomicU64,
    accounted: AtomicU64,
}

impl SharedPace {
    /// For `rate` over any one second, with so many connections at once, each with `receive_buffer_bytes` asked of the kernel.
    pub fn new(rate: BitRate, connections: u32, receive_buffer_bytes: u32) -> Self {
        // The kernel doubles what it is asked for (`socket(7)`).
        let unread_bytes = 2 * u64::from(receive_buffer_bytes) * u64::from(connections);
        Self {
            started: Instant::now(),
            pace: Mutex::new(Pace::new(rate, unread_bytes, Duration::ZERO)),
            received: AtomicU64::new(0),
            accounted: AtomicU64::new(0),
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

    /// Bytes received since the last call.
    pub fn received_since_last_accounted(&self) -> u64 {
        let received = self.received();
        received.saturating_sub(self.accounted.swap(received, Ordering::Relaxed))
    }

    /// The rate in force.
    pub fn rate(&self) -> BitRate {
        self.pace().rate()
    }

    /// Another rate from now on.
    pub fn set_rate(&self, rate: BitRate) {
        self.pace().set_rate(rate, self.now());
    }

    /// Asks for at most so many bytes of a socket that has some; to be followed by [`Self::took`].
    pub(crate) fn take(&self, wanted: u64) -> Result<u64, Instant> {
        match self.pace().take(wanted, self.now()) {
            Grant::Bytes(bytes) => Ok(bytes),
            Grant::WaitUntil(at) => Err(self.instant(at)),
        }
    }

    /// So many of the bytes that were granted were there.
    pub(crate) fn took(&self, granted: u64, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
        if bytes < granted {
            self.pace().give_back(granted - bytes);
        }
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
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
}
