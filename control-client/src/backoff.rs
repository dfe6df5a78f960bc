//! How long to wait before something that failed is tried again.

use std::time::Duration;

/// Doubling delays with a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The delay after the first failure.
    pub first: Duration,
    /// No delay is longer.
    pub longest: Duration,
}

impl Backoff {
    /// The delay after so many failures in a row before this one (0 for the first): `first`, doubled for each of them, at most
    /// `longest`. `jitter`, evenly spread over 0 to 1, takes up to half of it away, so that a thousand appliances which lost
    /// the same peer do not come back to it at once. What is outside 0 to 1 counts as the nearer end, and what is no number as 0.
    pub fn delay(&self, attempt: u32, jitter: f64) -> Duration {
        let doubled = 2_u32.checked_pow(attempt).and_then(|times| self.first.checked_mul(times));
        let delay = doubled.map_or(self.longest, |doubled| doubled.min(self.longest));
        let jitter = if jitter.is_nan() { 0.0 } else { jitter.clamp(0.0, 1.0) };
        delay - delay.mul_f64(jitter / 2.0).min(delay)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

    #[test]
    fn delays_double_up_to_the_longest() {
        let delays: Vec<u64> = (0..9).map(|attempt| BACKOFF.delay(attempt, 0.0).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(BACKOFF.delay(u32::MAX, 0.0), BACKOFF.longest);
    }

    #[test]
    fn jitter_takes_up_to_half_away() {
        assert_eq!(BACKOFF.delay(3, 0.5), Duration::from_secs(6));
        assert_eq!(BACKOFF.delay(3, 1.0), Duration::from_secs(4));
        assert_eq!(BACKOFF.delay(3, f64::NAN), Duration::from_secs(8));
    }

    proptest! {
        #[test]
        fn no_input_makes_a_delay_panic_or_pass_the_longest(
            first: Duration, longest: Duration, attempt: u32, jitter: f64,
        ) {
            let backoff = Backoff { first, longest };
            prop_assert!(backoff.delay(attempt, jitter) <= longest);
        }
    }
}
