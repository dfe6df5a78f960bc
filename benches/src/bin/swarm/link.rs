//! A viewer's link: a token bucket that says how much may be read, and when. Together with a small receive buffer it is what makes a sender
//! on the same machine as slow as the link.

use std::time::Duration;

/// What a link that was idle may bring at once: what the queue before a household holds.
const BURST: Duration = Duration::from_millis(100);

/// Reads wait until so much may be read, so that a thousand links are no storm of tiny reads.
const QUANTUM: Duration = Duration::from_millis(25);

/// A token bucket. Moments are counted from any fixed one.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    bytes_per_second: f64,
    /// Bytes that may be read; less than none after a read of more than there was.
    tokens: f64,
    at: Duration,
}

impl Link {
    /// Of so many bits per second, from a moment on.
    pub(crate) fn new(bits_per_second: u64, now: Duration) -> Self {
        Self { bytes_per_second: bits_per_second as f64 / 8.0, tokens: 0.0, at: now }
    }

    /// As fast as it goes.
    pub(crate) fn unlimited() -> Self {
        Self { bytes_per_second: f64::INFINITY, tokens: 0.0, at: Duration::ZERO }
    }

    /// The bytes that may be read at this moment, or how long to wait.
    pub(crate) fn allowance(&mut self, now: Duration) -> Result<usize, Duration> {
        if self.bytes_per_second.is_infinite() {
            return Ok(usize::MAX);
        }
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.tokens =
            (self.tokens + passed * self.bytes_per_second).min(BURST.as_secs_f64() * self.bytes_per_second);
        let quantum = QUANTUM.as_secs_f64() * self.bytes_per_second;
        if self.tokens >= quantum {
            return Ok(self.tokens as usize);
        }
        Err(Duration::from_secs_f64((quantum - self.tokens) / self.bytes_per_second))
    }

    /// So many bytes were read.
    pub(crate) fn take(&mut self, bytes: usize) {
        if self.bytes_per_second.is_finite() {
            self.tokens -= bytes as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_brings_its_rate_and_no_more() {
        let (mut now, mut read) = (Duration::ZERO, 0);
        let mut link = Link::new(8_000_000, now);
        while now < Duration::from_secs(10) {
            match link.allowance(now) {
                Err(wait) => now += wait + Duration::from_millis(1),
                Ok(bytes) => {
                    let bytes = bytes.min(16_384);
                    link.take(bytes);
                    read += bytes;
                }
            }
        }
        let rate = read as f64 / now.as_secs_f64();
        assert!((970_000.0..=1_000_000.0).contains(&rate), "{rate}");
    }

    #[test]
    fn what_an_idle_link_saves_is_bounded() {
        let mut link = Link::new(8_000_000, Duration::ZERO);
        assert_eq!(link.allowance(Duration::from_secs(60)), Ok(100_000));
        link.take(100_000);
        assert!(link.allowance(Duration::from_secs(60)).is_err());
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let mut link = Link::unlimited();
        link.take(usize::MAX);
        assert_eq!(link.allowance(Duration::ZERO), Ok(usize::MAX));
    }
}
