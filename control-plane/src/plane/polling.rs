use std::sync::Mutex;
use std::time::Instant;

use control_client::fleet::ApplianceName;
use control_client::health::HealthReport;
use futures_util::StreamExt as _;

use super::{ControlPlane, now};
use crate::hysteresis::{Observation, Standing};
use crate::limits;
use crate::poll::Poller;

impl ControlPlane {
    /// Looks at the health of all appliances once.
    ///
    /// What is missed is noted when the round has ended: where most of those that serve are missed at once, the fault is more likely
    /// this machine's, and only those whose reports have ended too are taken for dead.
    pub async fn poll_all(&self, poller: &Poller) {
        let started = Instant::now();
        let polled = self.standings.polled();
        let serving = polled.iter().filter(|(name, _)| self.standings.standing(name).is_serving()).count();
        let missed: Mutex<Vec<(ApplianceName, Observation)>> = Mutex::default();
        futures_util::stream::iter(polled)
            .for_each_concurrent(limits::POLLS_AT_ONCE, |(name, url)| {
                let missed = &missed;
                async move {
                    let (observation, health) = self.look(poller, &name, &url).await;
                    if matches!(observation, Observation::Missed(_)) {
                        missed
                            .lock()
                            .unwrap_or_else(std::sync::PoisonError::into_inner)
                            .push((name, observation));
                    } else {
                        self.observe(&name, observation, health).await;
                    }
                }
            })
            .await;
        let missed = missed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.note_missed(missed, serving).await;
        for name in self.standings.silent(now().saturating_sub(self.patience_seconds())) {
            let observation = Observation::Missed("it has not reported for too long".to_owned());
            self.observe(&name, observation, None).await;
        }
        self.metrics.polled(started.elapsed().as_millis());
    }

    /// Looks at the health of an appliance of which nothing was heard yet.
    pub async fn poll_first(&self, poller: &Poller, name: &ApplianceName, admin_url: &str) {
        // Where many come at once, the next round of polls does it.
        let Ok(_place) = self.first_polls.try_acquire() else { return };
        let (observation, health) = self.look(poller, name, admin_url).await;
        // A round of polls may have been faster; a second look so soon is no second witness.
        if self.is_unknown(name) {
            self.observe(name, observation, health).await;
        }
    }

    /// How long an appliance may be silent before it counts as one whose agent does not report.
    pub(super) fn patience_seconds(&self) -> u64 {
        u64::from(limits::SILENT_INTERVALS) * self.config.report_interval.as_secs()
    }

    async fn look(
        &self,
        poller: &Poller,
        name: &ApplianceName,
        admin_url: &str,
    ) -> (Observation, Option<HealthReport>) {
        let (observation, health) = poller.look(name, admin_url).await;
        let word = match &observation {
            Observation::Healthy => "healthy",
            Observation::Unhealthy(_) => "unhealthy",
            Observation::Draining => "draining",
            Observation::Missed(_) => "missed",
        };
        self.metrics.polls.with_label_values(&[word]).inc();
        (observation, health)
    }

    /// `serving` is how many of those that were polled served before.
    async fn note_missed(&self, missed: Vec<(ApplianceName, Observation)>, serving: usize) {
        let is_serving = |name: &ApplianceName| self.standings.standing(name) == Standing::Serving;
        let lost = missed.iter().filter(|(name, _)| is_serving(name)).count();
        let is_doubted = serving >= limits::DOUBTED_FROM && lost * 2 > serving;
        if is_doubted {
            self.metrics.polls_doubted.inc();
            tracing::error!(
                lost,
                serving,
                "most appliances do not answer at once: is this machine's own network at fault? Those that report stay as they are"
            );
        }
        let since = now().saturating_sub(self.patience_seconds());
        for (name, observation) in missed {
            let stays = is_doubted && is_serving(&name) && self.standings.has_reported_since(&name, since);
            if !stays {
                self.observe(&name, observation, None).await;
            }
        }
    }

    async fn observe(&self, name: &ApplianceName, observation: Observation, health: Option<HealthReport>) {
        let turn = self.standings.note_poll(name, observation, health, now());
        self.note(name, turn).await;
    }
}
