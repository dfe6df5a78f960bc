//! The rate cap: how many bytes may be taken from the sockets now, so that over any one second they are at
//! most the rate.
//!
//! A token bucket lets through its depth and a second's refill in the worst second. So the bucket is shallow,
//! and the refill is less than the rate by that depth, and by what the kernel's receive buffers take in
//! before anybody reads.

use std::time::Duration;

use control_client::units::BitRate;

/// A token bucket. `now` is the time since any fixed moment by a clock that never goes back.
#[derive(Clone, Debug)]
pub struct Pace {
    rate: BitRate,
    unread_bytes: u64,
    refill: u64,
    depth: u64,
    /// In bytes × nanoseconds per second, so that no fraction is lost.
    tokens: u128,
    refilled_at: Duration,
}

/// What may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// So many bytes, at once; give back what was not there.
    Bytes(u64),
    /// Nothing before that moment.
    WaitUntil(Duration),
}

const SECOND_NANOS: u128 = 1_000_000_000;

/// The bucket holds a fiftieth of a second: deep enough for a reader that a busy core makes late, and it
/// costs 2 % of the rate.
const DEPTH_PART: u64 = 50;

/// Less than this part of the bucket is not worth a wake-up.
const GRANT_PART: u64 = 4;

impl Pace {
    /// For `rate` over any one second. `unread_bytes` are what the receive buffers of all sockets together hold.
    pub fn new(rate: BitRate, unread_bytes: u64, now: Duration) -> Self {
        let mut pace = Self { rate, unread_bytes, refill: 0, depth: 0, tokens: 0, refilled_at: now };
        pace.divide();
        pace.tokens = u128::from(pace.depth) * SECOND_NANOS;
        pace
    }

    /// The rate in force.
    pub fn rate(&self) -> BitRate {
        self.rate
    }

    /// Another rate from now on. What was granted under the earlier one stays granted: over the second around
    /// the change the higher of both holds.
    pub fn set_rate(&mut self, rate: BitRate, now: Duration) {
        self.refill_until(now);
        self.rate = rate;
        self.divide();
        self.tokens = self.tokens.min(u128::from(self.depth) * SECOND_NANOS);
    }

    /// Asks for `wanted` bytes of a socket that has some to read. Fewer may be granted. Read them at once: a
    /// grant kept for later falls into another second.
    pub fn take(&mut self, wanted: u64, now: Duration) -> Grant {
        self.refill_until(now);
        let least = wanted.min((self.depth / GRANT_PART).max(1));
        let there = u64::try_from(self.tokens / SECOND_NANOS).unwrap_or(u64::MAX);
        if there >= least {
            let bytes = wanted.min(there);
            self.tokens -= u128::from(bytes) * SECOND_NANOS;
            return Grant::Bytes(bytes);
        }
        let lacking = u128::from(least) * SECOND_NANOS - self.tokens;
        let nanos = lacking.div_ceil(u128::from(self.refill));
        Grant::WaitUntil(self.refilled_at + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// Bytes of the last grant that were not there to be read.
    pub fn give_back(&mut self, bytes: u64) {
        let returned = self.tokens + u128::from(bytes) * SECOND_NANOS;
        self.tokens = returned.min(u128::from(self.depth) * SECOND_NANOS);
    }

    /// Refill, depth and unread bytes together are the rate, as far as whole bytes allow; the refill is never
    /// nothing.
    fn divide(&mut self) {
        let bytes = self.rate.bytes_per_second();
        let unread = self.unread_bytes.min(bytes / 2);
        self.depth = ((bytes - unread) / DEPTH_PART).max(1);
        self.refill = (bytes - unread).saturating_sub(self.depth).max(1);
    }

    fn refill_until(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.refilled_at);
        self.refilled_at = self.refilled_at.max(now);
        let refilled = elapsed.as_nanos().saturating_mul(u128::from(self.refill));
        self.tokens = self.tokens.saturating_add(refilled).min(u128::from(self.depth) * SECOND_NANOS);
    }
}

#[cfg(test)]
mod tests;
