//! How every appliance stands, from polls and reports: [`crate::hysteresis`] for each, and what was last heard.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use control_client::fleet::ApplianceName;
use control_client::health::HealthReport;
use control_client::load::Load;
use control_client::report::Report;
use control_client::units::BitRate;

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
    /// What its links carry towards clients, where its operator said.
    pub link: Option<BitRate>,
    /// Where its health is polled; nothing where it told no address.
    pub admin_url: String,
    /// The newest word on its health.
    pub health: Option<HealthReport>,
    /// The newest word on its load.
    pub load: Option<Load>,
    /// When its last report came, in seconds since 1970.
    pub reported_at: Option<u64>,
    /// How far its clock was ahead then, in seconds; nothing where that was before this control plane started.
    pub clock_offset: Option<i64>,
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
        Utilisation::of(self.load.as_ref(), self.health.as_ref().map(|health| &health.headroom), self.link)
    }

    fn note_told(
        &mut self,
        health: Option<&HealthReport>,
        load: Option<&Load>,
        policy: Hysteresis,
        now: u64,
    ) {
        self.reported_at = Some(now);
        self.load = load.cloned();
        if let Some(health) = health {
            self.health = Some(health.clone());
        }
        let is_polled = !self.admin_url.is_empty();
        let is_unknown = *self.track.standing() == Standing::Unknown;
        if let Some(observation) = observation_of_report(health, is_polled, is_unknown) {
            self.track = std::mem::take(&mut self.track).observe(observation, policy, now);
        }
    }

    fn of(appliance: &Appliance, policy: Hysteresis, now: u64) -> Self {
        // What was true when a control plane looked last holds until enough speaks against it.
        let last = match appliance.standing.as_str() {
            "serving" => Some(Observation::Healthy),
            "draining" => Some(Observation::Draining),
            "unhealthy" => match appliance.health.as_ref().map(Observation::of) {
                Some(unhealthy @ Observation::Unhealthy(_)) => Some(unhealthy),
                _ => Some(Observation::Unhealthy("it was when it was last looked at".to_owned())),
            },
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
            link: appliance.link,
            admin_url: appliance.admin_url.clone(),
            health: appliance.health.clone(),
            load: appliance.load.clone(),
            reported_at: appliance.reported_at,
            clock_offset: None,
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
            one.link = appliance.link;
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
    pub fn note_report(&self, name: &ApplianceName, report: &Report, now: u64) -> Option<Turn> {
        self.change(name, |one, policy| {
            one.clock_offset = Some(report.at.cast_signed().saturating_sub(now.cast_signed()));
            one.note_told(report.health.as_ref(), report.load.as_ref(), policy, now);
        })
    }

    /// Notes what a report told another control plane at `told_at`.
    pub fn note_report_elsewhere(
        &self,
        name: &ApplianceName,
        health: Option<&HealthReport>,
        load: Option<&Load>,
        told_at: u64,
    ) -> Option<Turn> {
        self.change(name, |one, policy| one.note_told(health, load, policy, told_at))
    }

    /// How far the clocks of appliances that have reported within `patience_seconds` are ahead, and whether any has ever reported.
    pub fn clock_offsets(&self, now: u64, patience_seconds: u64) -> (Vec<i64>, bool) {
        let tracked = self.lock();
        let recent = tracked.values().filter(|one| {
            one.reported_at.is_some_and(|reported_at| now.abs_diff(reported_at) <= patience_seconds)
        });
        let offsets = recent.filter_map(|one| one.clock_offset).collect();
        (offsets, tracked.values().any(|one| one.reported_at.is_some()))
    }

    /// How an appliance stands.
    pub fn standing(&self, name: &ApplianceName) -> Standing {
        self.lock().get(name).map(Tracked::standing).unwrap_or_default()
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

    /// Whether an appliance has reported since that moment.
    pub fn has_reported_since(&self, name: &ApplianceName, since: u64) -> bool {
        self.lock().get(name).is_some_and(|one| one.reported_at.is_some_and(|at| at >= since))
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
/// heard; that it is well, or that its daemon says nothing, is for its own polls to find out, unless there
/// are none; and the first word on it counts, whatever it is.
fn observation_of_report(
    health: Option<&HealthReport>,
    is_polled: bool,
    is_unknown: bool,
) -> Option<Observation> {
    match health.map(Observation::of) {
        // An agent may be there before its daemon.
        None if is_polled || is_unknown => None,
        None => Some(Observation::Missed("its daemon does not answer its agent".to_owned())),
        Some(Observation::Healthy) if is_polled && !is_unknown => None,
        told => told,
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
        assert_eq!(observation_of_report(Some(&well), true, false), None);
        assert_eq!(observation_of_report(Some(&well), true, true), Some(Observation::Healthy));
        assert_eq!(observation_of_report(Some(&well), false, false), Some(Observation::Healthy));
        let drains = health(Readiness::Draining, Verdict::Unhealthy);
        assert_eq!(observation_of_report(Some(&drains), true, false), Some(Observation::Draining));
        assert_eq!(observation_of_report(None, true, false), None);
        assert_eq!(observation_of_report(None, false, true), None);
        assert!(observation_of_report(None, false, false).is_some());
    }
}
