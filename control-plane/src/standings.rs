//! How every appliance stands, from polls and reports: [`crate::hysteresis`] for each, and what was last heard.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use control_client::fleet::ApplianceName;
use control_client::health::HealthReport;
use control_client::load::Load;

use crate::hysteresis::{Hysteresis, Observation, Standing, StandingTrack};
use crate::registry::Appliance;
use crate::steering::Utilisation;

/// The standings of all appliances.
#[derive(Debug)]
pub struct Standings {
    policy: Hysteresis,
    tracked: Mutex<HashMap<ApplianceName, Tracked>>,
}

/// What is known of one appliance's present.
#[derive(Clone, Debug, Default)]
pub struct Tracked {
    /// From what was observed.
    pub track: StandingTrack,
    /// Whether an operator has ordered it to drain.
    pub withdrawn: bool,
    /// Where its health is polled; nothing where it told no address.
    pub admin_url: String,
    /// The newest word on its health.
    pub health: Option<HealthReport>,
    /// The newest word on its load.
    pub load: Option<Load>,
    /// When its last report came, in seconds since 1970.
    pub reported_at: Option<u64>,
}

/// How an appliance stands now, and how it stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Before.
    pub from: Standing,
    /// Now.
    pub to: Standing,
    /// How much of it is in use.
    pub utilisation: Utilisation,
}

impl Turn {
    /// Whether it stands otherwise than before.
    pub fn is_one(&self) -> bool {
        self.from.as_str() != self.to.as_str()
    }
}

impl Tracked {
    /// How it stands: an order to drain holds whatever it says of itself.
    pub fn standing(&self) -> Standing {
        if self.withdrawn { Standing::Draining } else { self.track.standing().clone() }
    }

    /// How much of it is in use.
    pub fn utilisation(&self) -> Utilisation {
        Utilisation::of(self.load.as_ref(), self.health.as_ref().map(|health| &health.headroom), None)
    }

    fn of(appliance: &Appliance, policy: Hysteresis, now: u64) -> Self {
        // What was true when a control plane looked last holds until enough speaks against it.
        let last = match appliance.standing.as_str() {
            "serving" => Some(Observation::Healthy),
            "draining" => Some(Observation::Draining),
            "unhealthy" => Some(Observation::Unhealthy("it was when it was last looked at".to_owned())),
            "unreachable" => {
                Some(Observation::Missed("it did not answer when it was last looked at".to_owned()))
            }
            _ => None,
        };
        let mut track = StandingTrack::default();
        if let Some(last) = last {
            track = track.observe(last, policy, now);
        }
        Self {
            track,
            withdrawn: appliance.withdrawn,
            admin_url: appliance.admin_url.clone(),
            health: appliance.health.clone(),
            load: appliance.load.clone(),
            reported_at: appliance.reported_at,
        }
    }
}

impl Standings {
    /// None yet.
    pub fn new(policy: Hysteresis) -> Self {
        Self { policy, tracked: Mutex::default() }
    }

    /// Takes what the registry says: who there is, where they are polled, who is ordered to drain. Gives how
    /// each stands now.
    pub fn follow(&self, appliances: &[Appliance], now: u64) -> Vec<(ApplianceName, Turn)> {
        let mut tracked = self.lock();
        let mut next = HashMap::with_capacity(appliances.len());
        let mut turns = Vec::with_capacity(appliances.len());
        for appliance in appliances {
            let mut one = match tracked.remove(&appliance.name) {
                Some(one) => one,
                None => Tracked::of(appliance, self.policy, now),
            };
            let from = one.standing();
            one.withdrawn = appliance.withdrawn;
            one.admin_url.clone_from(&appliance.admin_url);
            turns.push((
                appliance.name.clone(),
                Turn { from, to: one.standing(), utilisation: one.utilisation() },
            ));
            next.insert(appliance.name.clone(), one);
        }
        *tracked = next;
        turns
    }

    /// Notes a poll.
    pub fn note_poll(
        &self,
        name: &ApplianceName,
        observation: Observation,
        health: Option<HealthReport>,
        now: u64,
    ) -> Option<Turn> {
        self.change(name, |one, policy| {
            one.track = std::mem::take(&mut one.track).observe(observation, policy, now);
            if health.is_some() {
                one.health = health;
            }
        })
    }

    /// Notes what a report tells.
    pub fn note_report(
        &self,
        name: &ApplianceName,
        health: Option<&HealthReport>,
        load: Option<&Load>,
        now: u64,
    ) -> Option<Turn> {
        self.change(name, |one, policy| {
            one.reported_at = Some(now);
            one.load = load.cloned();
            let Some(health) = health else { return };
            one.health = Some(health.clone());
            let is_unknown = *one.track.standing() == Standing::Unknown;
            if let Some(observation) = observation_of_report(health, one.admin_url.is_empty() || is_unknown) {
                one.track = std::mem::take(&mut one.track).observe(observation, policy, now);
            }
        })
    }

    /// All that are to be polled, and where.
    pub fn polled(&self) -> Vec<(ApplianceName, String)> {
        let tracked = self.lock();
        let polled = tracked.iter().filter(|(_, one)| !one.admin_url.is_empty());
        polled.map(|(name, one)| (name.clone(), one.admin_url.clone())).collect()
    }

    /// Those that have no address to be polled at, and have not reported since `before`.
    pub fn silent(&self, before: u64) -> Vec<ApplianceName> {
        let tracked = self.lock();
        let silent = tracked.iter().filter(|(_, one)| {
            one.admin_url.is_empty() && one.reported_at.is_some_and(|reported_at| reported_at < before)
        });
        silent.map(|(name, _)| name.clone()).collect()
    }

    /// What is known of one.
    pub fn get(&self, name: &ApplianceName) -> Option<Tracked> {
        self.lock().get(name).cloned()
    }

    /// How many stand how.
    pub fn counts(&self) -> [(&'static str, u64); 5] {
        let tracked = self.lock();
        let mut counts =
            [("unknown", 0), ("serving", 0), ("unhealthy", 0), ("unreachable", 0), ("draining", 0)];
        for one in tracked.values() {
            let word = one.standing().as_str();
            if let Some(count) = counts.iter_mut().find(|(name, _)| *name == word) {
                count.1 += 1;
            }
        }
        counts
    }

    fn change(&self, name: &ApplianceName, change: impl FnOnce(&mut Tracked, Hysteresis)) -> Option<Turn> {
        let mut tracked = self.lock();
        let one = tracked.get_mut(name)?;
        let from = one.standing();
        change(one, self.policy);
        Some(Turn { from, to: one.standing(), utilisation: one.utilisation() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ApplianceName, Tracked>> {
        // Whole after every statement: a thread that panicked left at most its own change out.
        self.tracked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a report's word on health is worth. A drain holds at once, and what speaks against an appliance is
/// heard; that it is well is for its own polls to find out, unless there are none, or nothing was heard of it
/// before.
fn observation_of_report(health: &HealthReport, is_believed: bool) -> Option<Observation> {
    match Observation::of(health) {
        Observation::Healthy if !is_believed => None,
        observation => Some(observation),
    }
}

#[cfg(test)]
mod tests {
    use control_client::health::{Headroom, Readiness, Verdict};
    use control_client::wire::DocumentVersion;

    use super::*;

    fn health(readiness: Readiness, verdict: Verdict) -> HealthReport {
        HealthReport {
            version: DocumentVersion,
            appliance: None,
            readiness,
            verdict,
            reasons: vec![],
            headroom: Headroom::default(),
            volumes: vec![],
            uptime_seconds: 1,
        }
    }

    #[test]
    fn a_report_that_all_is_well_does_not_overrule_the_polls() {
        let well = health(Readiness::Serving, Verdict::Healthy);
        assert_eq!(observation_of_report(&well, false), None);
        assert_eq!(observation_of_report(&well, true), Some(Observation::Healthy));
        let drains = health(Readiness::Draining, Verdict::Unhealthy);
        assert_eq!(observation_of_report(&drains, false), Some(Observation::Draining));
    }
}
