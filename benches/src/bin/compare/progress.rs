//! How far a run is, and how long it will take yet: what is known beforehand of each scenario, as fast as this machine has been so far.

use std::time::Instant;

use super::scenario::Scenario;

/// A run on its way.
pub(crate) struct Progress {
    /// What each scenario takes elsewhere, in seconds, in the order in which they are run.
    expected: Vec<f64>,
    /// How many have ended, and how long they took.
    ended: usize,
    took_seconds: f64,
    began: Instant,
    /// Nothing is expected of a quick run.
    is_quick: bool,
}

impl Progress {
    /// Of these, of which none has begun.
    pub(crate) fn new(scenarios: &[Scenario], is_quick: bool) -> Self {
        let expected = scenarios.iter().map(|scenario| scenario.expected_seconds()).collect();
        Self { expected, ended: 0, took_seconds: 0.0, began: Instant::now(), is_quick }
    }

    /// The next one begins; in words, which it is, and how long it and all after it will take.
    pub(crate) fn next(&mut self) -> String {
        self.began = Instant::now();
        let place = format!(", {} of {}", self.ended + 1, self.expected.len());
        if self.is_quick {
            place
        } else {
            format!("{place}, about {:.0} min left", self.left_seconds() / 60.0)
        }
    }

    /// It has ended, after so many seconds.
    pub(crate) fn ended(&mut self) -> f64 {
        let seconds = self.began.elapsed().as_secs_f64();
        self.ended += 1;
        self.took_seconds += seconds;
        seconds
    }

    fn left_seconds(&self) -> f64 {
        let (ended, left) = self.expected.split_at(self.ended.min(self.expected.len()));
        let expected: f64 = ended.iter().sum();
        let slowness = if expected > 0.0 { self.took_seconds / expected } else { 1.0 };
        left.iter().sum::<f64>() * slowness
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_scaled_by_how_long_the_others_took() {
        let mut progress = Progress::new(&[Scenario::Hot16k, Scenario::Tls2m], false);
        let expected = [Scenario::Hot16k, Scenario::Tls2m].map(Scenario::expected_seconds);
        assert_eq!(progress.left_seconds(), expected.iter().sum::<f64>());
        assert!(progress.next().starts_with(", 1 of 2, about "));
        progress.ended();
        progress.took_seconds = expected[0] * 2.0;
        assert_eq!(progress.left_seconds(), expected[1] * 2.0);
        progress.ended();
        assert_eq!(progress.left_seconds(), 0.0);
    }
}
