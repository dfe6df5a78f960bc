//! How an appliance stands: whether clients are sent to it. One lost answer is no verdict: several misses in
//! a row turn an appliance away, and several good answers in a row bring it back. A drain is an order, not a
//! symptom: it holds at once.

use std::fmt;

use control_client::health::{HealthReport, Readiness, Verdict};

/// How many observations in a row turn a standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hysteresis {
    /// Misses in a row that turn an appliance away; 0 is taken as 1.
    pub misses: u32,
    /// Good answers in a row that bring it back; 0 is taken as 1.
    pub recoveries: u32,
}

/// What one poll, or the health in one report, shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// It wants clients.
    Healthy,
    /// It answered, and wants none; a sentence that says why.
    Unhealthy(String),
    /// It drains, or has drained.
    Draining,
    /// It did not answer, or answered nonsense; a sentence that says which.
    Missed(String),
}

impl Observation {
    /// What a health report shows.
    pub fn of(health: &HealthReport) -> Self {
        match health.readiness {
            Readiness::Draining | Readiness::Drained => Self::Draining,
            Readiness::Starting | Readiness::Recovering => {
                Self::Unhealthy("it is starting: its inventory is being read".to_owned())
            }
            Readiness::Serving => {
                match health.verdict {
                    Verdict::Healthy => Self::Healthy,
                    Verdict::Unhealthy => Self::Unhealthy(health.reasons.first().map_or_else(
                        || "it says so, without a reason".to_owned(),
                        |reason| reason.text.clone(),
                    )),
                }
            }
        }
    }
}

/// How an appliance stands. Only [`Standing::Serving`] is steered to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Nothing was heard of it since this control plane started, or since it enrolled.
    #[default]
    Unknown,
    /// Clients are sent to it.
    Serving,
    /// It answers, and wants no clients; why.
    Unhealthy(String),
    /// It does not answer; why.
    Unreachable(String),
    /// It drains, or has drained.
    Draining,
}

impl Standing {
    /// Whether clients are sent to it.
    pub const fn is_serving(&self) -> bool {
        matches!(self, Self::Serving)
    }

    /// A word for programs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Serving => "serving",
            Self::Unhealthy(_) => "unhealthy",
            Self::Unreachable(_) => "unreachable",
            Self::Draining => "draining",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => write!(formatter, "nothing was heard of it yet"),
            Self::Serving => write!(formatter, "serving"),
            Self::Unhealthy(why) => write!(formatter, "unhealthy: {why}"),
            Self::Unreachable(why) => write!(formatter, "unreachable: {why}"),
            Self::Draining => write!(formatter, "draining"),
        }
    }
}

/// The standing of one appliance, and what was seen since it last turned. A value: [`StandingTrack::observe`]
/// gives the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandingTrack {
    standing: Standing,
    since: u64,
    against: u32,
}

impl StandingTrack {
    /// How it stands.
    pub const fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Since when, in seconds since 1970; 0 where nothing was heard of it.
    pub const fn since(&self) -> u64 {
        self.since
    }

    /// Observations in a row that speak against the standing. They are fewer than would turn it.
    pub const fn against(&self) -> u32 {
        self.against
    }

    /// The track after one more observation.
    #[must_use]
    pub fn observe(self, observation: Observation, policy: Hysteresis, now: u64) -> Self {
        let seen = match observation {
            Observation::Healthy => Standing::Serving,
            Observation::Unhealthy(why) => Standing::Unhealthy(why),
            Observation::Missed(why) => Standing::Unreachable(why),
            Observation::Draining => Standing::Draining,
        };
        let needed = match (&self.standing, &seen) {
            // The first word of an appliance contradicts nothing, and a drain is an order.
            (Standing::Unknown, _) | (_, Standing::Draining) => 1,
            (Standing::Serving, Standing::Serving) => return Self { against: 0, ..self },
            // It says so itself, and nobody knows better: once more is enough.
            (Standing::Serving, Standing::Unhealthy(_)) => policy.misses.clamp(1, 2),
            (Standing::Serving, _) => policy.misses.max(1),
            (_, Standing::Serving) => policy.recoveries.max(1),
            // A drained appliance that is unplugged is still drained, until it is gone for as long as any other.
            (Standing::Draining, _) => policy.misses.max(1),
            // Away for one reason or another: the newest is told.
            (_, _) => 1,
        };
        let against = self.against.saturating_add(1);
        if against < needed {
            return Self { against, ..self };
        }
        let since = if self.standing.as_str() == seen.as_str() { self.since } else { now };
        Self { standing: seen, since, against: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Hysteresis = Hysteresis { misses: 3, recoveries: 2 };

    fn missed() -> Observation {
        Observation::Missed("no answer within 2 s".to_owned())
    }

    fn after(observations: &[Observation]) -> StandingTrack {
        observations.iter().zip(100_u64..).fold(StandingTrack::default(), |track, (observation, now)| {
            track.observe(observation.clone(), POLICY, now)
        })
    }

    #[test]
    fn the_first_word_of_an_appliance_is_believed() {
        assert_eq!(*after(&[Observation::Healthy]).standing(), Standing::Serving);
        assert_eq!(after(&[missed()]).standing().as_str(), "unreachable");
    }

    #[test]
    fn it_takes_three_misses_in_a_row_to_turn_an_appliance_away() {
        let two = after(&[Observation::Healthy, missed(), missed()]);
        assert!(two.standing().is_serving());
        assert_eq!(two.against(), 2);
        assert_eq!(
            after(&[Observation::Healthy, missed(), missed(), missed()]).standing().as_str(),
            "unreachable"
        );
        let forgiven = [Observation::Healthy, missed(), missed(), Observation::Healthy, missed(), missed()];
        assert!(after(&forgiven).standing().is_serving());
    }

    #[test]
    fn an_unhealthy_answer_counts_as_a_miss() {
        let ill = || Observation::Unhealthy("volume 1 is isolated".to_owned());
        let away = after(&[Observation::Healthy, missed(), ill(), ill()]);
        assert_eq!(*away.standing(), Standing::Unhealthy("volume 1 is isolated".to_owned()));
    }

    #[test]
    fn an_appliance_that_says_itself_that_it_wants_none_is_believed_the_second_time() {
        let ill = || Observation::Unhealthy("volume 1 is isolated".to_owned());
        assert!(after(&[Observation::Healthy, ill()]).standing().is_serving());
        assert_eq!(after(&[Observation::Healthy, ill(), ill()]).standing().as_str(), "unhealthy");
    }

    #[test]
    fn it_takes_two_good_answers_in_a_row_to_come_back() {
        let gone = [Observation::Healthy, missed(), missed(), missed()];
        let once = [&gone[..], &[Observation::Healthy]].concat();
        assert!(!after(&once).standing().is_serving());
        assert!(!after(&[&once[..], &[missed(), Observation::Healthy]].concat()).standing().is_serving());
        let back = after(&[&once[..], &[Observation::Healthy]].concat());
        assert!(back.standing().is_serving());
        assert_eq!(back.since(), 105);
    }

    #[test]
    fn a_drain_holds_at_once_and_ends_after_two_good_answers() {
        assert_eq!(*after(&[Observation::Healthy, Observation::Draining]).standing(), Standing::Draining);
        let drained = [Observation::Healthy, Observation::Draining, Observation::Healthy];
        assert_eq!(*after(&drained).standing(), Standing::Draining);
        assert!(after(&[&drained[..], &[Observation::Healthy]].concat()).standing().is_serving());
    }

    #[test]
    fn a_drained_appliance_that_is_unplugged_becomes_unreachable_in_time() {
        let unplugged = [Observation::Draining, missed(), missed()];
        assert_eq!(*after(&unplugged).standing(), Standing::Draining);
        assert_eq!(after(&[&unplugged[..], &[missed()]].concat()).standing().as_str(), "unreachable");
    }
}
