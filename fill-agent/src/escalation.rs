//! Which source to ask next for a bundle: the nearest that is due, lives, and has not shown that it cannot give it.

use std::time::Duration;

use control_client::backoff::Backoff;
use control_client::breaker::Admission;
use control_client::fill::FailureReason;
use control_client::sources::{FillSource, SourceKind};

/// The sources of one bundle, and what became of asking them. Moments are times since any fixed moment by a
/// clock that never goes back.
#[derive(Clone, Debug)]
pub struct Escalation {
    began: Duration,
    /// Since when a source that lives has said that it does not have it yet.
    not_yet_since: Option<Duration>,
    patience: Patience,
    /// In the order of the sources.
    trials: Vec<Trial>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask the source at that place of the list.
    Fetch(usize),
    /// Nothing can be asked before that moment; do other bundles meanwhile.
    WaitUntil(Duration),
    /// No source will give it in this run.
    GiveUp(FailureReason),
}

/// What came of asking a source for an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It came, verified.
    Whole,
    /// 404. A peer may have it later.
    Missing,
    /// The source could not be reached, stalled, or broke off.
    Unreachable,
    /// Another 4xx or 5xx, a redirect, or no HTTP.
    Refused,
    /// 429 or 503, with what `Retry-After` says.
    Busy(Option<Duration>),
    /// Another length than the descriptor's.
    WrongLength,
    /// Other bytes.
    WrongBytes,
    /// The object changed in the middle.
    Changed,
}

/// How often and how long a source is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Volleys of failures in a row after which a source is given up for this bundle.
    pub tries: u32,
    /// Between them.
    pub pause: Backoff,
    /// Between questions to a peer that does not have it yet.
    pub not_yet: Backoff,
    /// How long such a peer is asked, from when the last source was due.
    pub wait: Duration,
}

#[derive(Clone, Debug)]
struct Trial {
    kind: SourceKind,
    /// How long the sources before it are tried.
    after: Duration,
    not_before: Duration,
    failures: u32,
    /// Times in a row that a peer did not have it.
    missing: u32,
    worst: Option<FailureReason>,
    given_up: bool,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            tries: 5,
            pause: Backoff { first: seconds(1), longest: seconds(60) },
            not_yet: Backoff { first: seconds(5), longest: seconds(60) },
            // A bundle of 30 GB on its way to the peer takes seven minutes at 600 Mbit/s, and may not be the first.
            wait: seconds(3600),
        }
    }
}

impl Escalation {
    /// For a bundle of a run that began at that moment: what is farther away is due so long after it, or after a nearer source
    /// has said for the first time that it does not have the bundle yet. So a bundle whose turn comes late waits for a peer that
    /// is about to have it, and not once more for one that is dead.
    pub fn new(sources: &[FillSource], patience: Patience, began: Duration) -> Self {
        let trial = |source: &FillSource| Trial {
            kind: source.kind,
            after: Duration::from_secs(source.after_seconds.into()),
            not_before: Duration::ZERO,
            failures: 0,
            missing: 0,
            worst: None,
            given_up: false,
        };
        Self { began, not_yet_since: None, patience, trials: sources.iter().map(trial).collect() }
    }

    /// What to do at `now`. `admissions` are what the breakers of the sources say, in the order of the list.
    pub fn next(&self, admissions: &[Admission], now: Duration) -> Next {
        let mut wake: Option<Duration> = None;
        for (index, trial) in self.trials.iter().enumerate() {
            if trial.given_up || self.waited_enough(trial, now) {
                continue;
            }
            let admission = admissions.get(index).copied().unwrap_or(Admission::Admitted);
            let mut moment = self.due(trial).max(trial.not_before);
            match admission {
                Admission::Admitted => {}
                Admission::NotBefore(until) => moment = moment.max(until),
                Admission::Probing => moment = moment.max(now.saturating_add(PROBE_WAIT)),
                // Not worth waiting for; asked again where another source keeps the bundle waiting.
                Admission::Down => continue,
            }
            if moment <= now {
                return Next::Fetch(index);
            }
            wake = Some(wake.map_or(moment, |earliest| earliest.min(moment)));
        }
        wake.map_or_else(|| Next::GiveUp(self.reason()), Next::WaitUntil)
    }

    /// Takes in what came of asking the source at place `index`. `jitter` is evenly spread over 0 to 1.
    pub fn note(&mut self, index: usize, answer: Answer, now: Duration, jitter: f64) {
        let patience = self.patience;
        let Some(trial) = self.trials.get_mut(index) else { return };
        let reason = match answer {
            Answer::Whole => {
                (trial.failures, trial.missing, trial.not_before) = (0, 0, Duration::ZERO);
                return;
            }
            Answer::Missing if trial.kind != SourceKind::Origin => {
                self.not_yet_since.get_or_insert(now);
                if now >= trial.not_before {
                    trial.not_before = now.saturating_add(patience.not_yet.delay(trial.missing, jitter));
                    trial.missing = trial.missing.saturating_add(1);
                }
                return;
            }
            Answer::Missing | Answer::Refused | Answer::Busy(_) => FailureReason::Refused,
            Answer::Unreachable => FailureReason::Unreachable,
            Answer::Changed => FailureReason::Changed,
            Answer::WrongLength | Answer::WrongBytes => {
                trial.given_up = true;
                let length = answer == Answer::WrongLength;
                if length { FailureReason::WrongLength } else { FailureReason::WrongBytes }
            }
        };
        trial.worst = trial.worst.max(Some(reason));
        // Requests that were under way together fail together: that is one failure.
        if now < trial.not_before {
            return;
        }
        let pause = patience.pause.delay(trial.failures, jitter);
        let asked = if let Answer::Busy(Some(asked)) = answer { asked.min(RETRY_AFTER_MAX) } else { pause };
        trial.not_before = now.saturating_add(pause.max(asked));
        trial.failures += 1;
        trial.given_up |= trial.failures >= patience.tries;
    }

    fn due(&self, trial: &Trial) -> Duration {
        self.not_yet_since.unwrap_or(self.began).saturating_add(trial.after)
    }

    /// A peer that still does not have it.
    fn waited_enough(&self, trial: &Trial, now: Duration) -> bool {
        let last_due = self.trials.iter().map(|trial| self.due(trial)).max().unwrap_or(self.began);
        trial.missing > 0 && now >= last_due.saturating_add(self.patience.wait)
    }

    /// The most telling one.
    fn reason(&self) -> FailureReason {
        let worst = self.trials.iter().filter_map(|trial| trial.worst).max();
        let missing = self.trials.iter().any(|trial| trial.missing > 0);
        match worst {
            Some(reason) => reason,
            None if missing => FailureReason::Refused,
            None if self.trials.is_empty() => FailureReason::NoSource,
            None => FailureReason::Unreachable,
        }
    }
}

/// How long to wait for the answer to somebody else's probe before asking again.
const PROBE_WAIT: Duration = Duration::from_secs(1);

/// No source makes a bundle wait longer.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;
