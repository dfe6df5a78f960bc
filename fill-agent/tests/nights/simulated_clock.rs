//! The clock of a simulated machine: true time, and what the machine believes.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

pub(crate) struct SimulatedClock {
    began: Timestamp,
    elapsed: Duration,
    ahead: SignedDuration,
    pub(crate) is_synchronised: bool,
}

impl SimulatedClock {
    pub(crate) fn new(began: Timestamp) -> Self {
        Self { began, elapsed: Duration::ZERO, ahead: SignedDuration::ZERO, is_synchronised: true }
    }

    pub(crate) fn true_time(&self) -> Timestamp {
        self.began + self.elapsed
    }

    /// What the machine takes the time for.
    pub(crate) fn wall(&self) -> Timestamp {
        self.true_time() + self.ahead
    }

    /// The machine's clock that never goes back.
    pub(crate) fn monotonic(&self) -> Duration {
        self.elapsed
    }

    pub(crate) fn set(&mut self, by: SignedDuration, synchronised: bool) {
        self.ahead += by;
        self.is_synchronised = synchronised;
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.elapsed += by;
    }
}
