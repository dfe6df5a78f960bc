use std::time::Instant;

use control_client::fleet::ApplianceName;
use futures_util::StreamExt as _;

use super::{ControlPlane, now};
use crate::hysteresis::Observation;
use crate::limits;
use crate::poll::Poller;

impl ControlPlane {
    /// Looks at the health of all appliances once.
    pub async fn poll_all(&self, poller: &Poller) {
        let started = Instant::now();
        futures_util::stream::iter(self.standings.polled())
            .for_each_concurrent(limits::POLLS_AT_ONCE, |(name, url)| async move {
                self.poll(poller, &name, &url).await;
            })
            .await;
        let patience = u64::from(limits::SILENT_INTERVALS) * self.config.report_interval.as_secs();
        for name in self.standings.silent(now().saturating_sub(patience)) {
            let observation = Observation::Missed("it has not reported for too long".to_owned());
            let turn = self.standings.note_poll(&name, observation, None, now());
            self.note(&name, turn).await;
        }
        self.metrics.polled(started.elapsed().as_millis());
    }

    /// Looks at the health of one appliance.
    pub async fn poll(&self, poller: &Poller, name: &ApplianceName, admin_url: &str) {
        let (observation, health) = poller.look(admin_url).await;
        let word = match &observation {
            Observation::Healthy => "healthy",
            Observation::Unhealthy(_) => "unhealthy",
            Observation::Draining => "draining",
            Observation::Missed(_) => "missed",
        };
        self.metrics.polls.with_label_values(&[word]).inc();
        let turn = self.standings.note_poll(name, observation, health, now());
        self.note(name, turn).await;
    }
}
