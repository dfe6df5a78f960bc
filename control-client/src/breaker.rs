//! A source that fails again and again is left alone for a while, then tried with one object.

use std::time::Duration;

use crate::backoff::Backoff;

/// The circuit breaker of one source. `now` is the time since any fixed moment by a clock that never goes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    state: State,
    /// How often it opened since it was last closed.
    openings: u32,
}

/// Whether a source may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Admitted,
    /// Not before that moment.
    NotBefore(Duration),
    /// One request is under way that will tell: ask again when it has ended.
    Probing,
    /// As [`Admission::NotBefore`], and it has been so for five minutes: not worth waiting for.
    Down,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Duration },
    HalfOpen,
}

/// Failures in a row that open it: as many as one lost packet burst takes down of the requests that are under
/// way at once.
pub const FAILURES_TO_OPEN: u32 = 5;

/// How long it stays open: for a restart of the source at first, then longer.
pub const OPEN_FOR: Backoff = Backoff { first: Duration::from_secs(10), longest: Duration::from_secs(300) };

/// Openings in a row after which nobody waits for it: it was away for 10 + 20 + 40 + 80 + 160 seconds.
pub const OPENINGS_TO_GIVE_UP: u32 = 6;

impl Default for Breaker {
    fn default() -> Self {
        Self { state: State::Closed { failures: 0 }, openings: 0 }
    }
}

impl Breaker {
    /// Whether the source may be asked at `now`; changes nothing.
    pub fn admission(&self, now: Duration) -> Admission {
        match self.state {
            State::Closed { .. } => Admission::Admitted,
            State::Open { until } if now >= until => Admission::Admitted,
            State::Open { .. } if self.openings >= OPENINGS_TO_GIVE_UP => Admission::Down,
            State::Open { until } => Admission::NotBefore(until),
            State::HalfOpen => Admission::Probing,
        }
    }

    /// A request is sent. After an open period it is the probe. Each one ends in [`Breaker::succeeded`],
    /// [`Breaker::failed`] or [`Breaker::ended`].
    pub fn begin(&mut self, now: Duration) {
        if let State::Open { until } = self.state
            && now >= until
        {
            self.state = State::HalfOpen;
        }
    }

    /// The source answered, with what was asked for or with a reasoned no (404): it lives.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// The source could not be reached, stalled, or answered 5xx. `retry_after` is what it asked for;
    /// `jitter` is evenly spread over 0 to 1.
    pub fn failed(&mut self, now: Duration, retry_after: Option<Duration>, jitter: f64) {
        let failures = match self.state {
            // It was opened already: this one was under way.
            State::Open { .. } => return,
            State::Closed { failures } => failures + 1,
            State::HalfOpen => FAILURES_TO_OPEN,
        };
        if failures < FAILURES_TO_OPEN && retry_after.is_none() {
            self.state = State::Closed { failures };
            return;
        }
        let pause = OPEN_FOR.delay(self.openings, jitter);
        let pause = retry_after.map_or(pause, |asked| asked.min(OPEN_FOR.longest).max(pause));
        self.openings = self.openings.saturating_add(1);
        self.state = State::Open { until: now.saturating_add(pause) };
    }

    /// The request ended without telling anything of the source: whoever asked has stopped, or a disk failed.
    pub fn ended(&mut self, now: Duration) {
        if self.state == State::HalfOpen {
            self.state = State::Open { until: now };
        }
    }
}

#[cfg(test)]
mod tests;
