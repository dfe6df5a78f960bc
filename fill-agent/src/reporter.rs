//! Tells the control plane how the appliance is, and does what it answers. The appliance's only voice: it goes on whatever
//! the fill does.

mod directives;
mod enrolling;
mod held;
mod pause;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use control_client::control_plane_client::{ControlPlaneClient, ControlPlaneError};
use control_client::demand::Demand;
use control_client::fleet::ApplianceName;
use control_client::outbox::{Delivery, OutboxError};
use control_client::report::{Directive, DirectiveResult, InventoryReport, Report, ReportAnswer};
use control_client::wire::DocumentVersion;

use crate::agent::{Agent, locked};
use crate::clock;
use crate::limits::{DAEMON_RETRY, DIRECTIVES_REMEMBERED_MAX, REPORT_RETRY, TICK};
use crate::manifest::NoManifest;
use crate::random::jitter;

use enrolling::Enrolled;
use held::HeldReports;
use pause::{SOON, Told};

/// Reports for one appliance.
pub struct Reporter {
    agent: Arc<Agent>,
    control_plane: ControlPlaneClient,
    appliance: ApplianceName,
    held: HeldReports,
    enrolled: Enrolled,
    /// What became of the directives that were carried out since the agent started, the newest ones: none is carried out twice.
    results: BTreeMap<u64, DirectiveResult>,
    /// The sequence of a manifest that was refused: it is not asked for again with every report.
    refused_sequence: Option<u64>,
    /// Whether this report was made sooner because a manifest was refused: the next is not, whatever is refused then.
    is_hurried: bool,
    /// Whether the daemon answered.
    is_daemon_there: bool,
}

/// Why a report was not taken.
#[derive(Debug)]
enum NotReported {
    /// The control plane did not take it.
    ControlPlane(ControlPlaneError),
    /// What is to be told cannot be kept, so it cannot be told exactly once.
    Outbox(OutboxError),
}

impl Reporter {
    /// For an agent that has a control plane.
    pub fn new(agent: &Arc<Agent>) -> Option<Self> {
        Some(Self {
            agent: Arc::clone(agent),
            control_plane: agent.control_plane.clone()?,
            appliance: agent.config.control.appliance.clone()?,
            held: HeldReports::new(clock::now()),
            enrolled: Enrolled::default(),
            results: BTreeMap::new(),
            refused_sequence: None,
            is_hurried: false,
            is_daemon_there: false,
        })
    }

    /// Reports again and again. Never ends by itself.
    pub async fn keep(mut self) {
        let mut failures = 0;
        loop {
            self.agent.calls.turn();
            let pause = match self.report().await {
                Ok(pause) => {
                    if failures > 0 {
                        tracing::info!("the control plane takes reports again");
                    }
                    failures = 0;
                    pause
                }
                Err(error) => {
                    if failures == 0 {
                        tracing::warn!(%error, "a report was not taken; what it tells waits");
                    }
                    failures += 1;
                    error.retry_after().unwrap_or_default().max(REPORT_RETRY.delay(failures - 1, jitter()))
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // What has just happened need not wait; a control plane that is ill has to be left alone.
                () = self.news(), if failures == 0 => {}
                never = turn(&self.agent) => match never {},
            }
        }
    }

    /// Ends when there is something to report, and the last report is not of this very moment.
    async fn news(&self) {
        tokio::time::sleep(SOON).await;
        tokio::select! {
            () = self.agent.calls.report.notified() => {}
            () = daemon_comes(&self.agent), if !self.is_daemon_there => {}
        }
    }

    /// Reports once, and does what is answered; when to report next.
    async fn report(&mut self) -> Result<Duration, NotReported> {
        let client = self.agent.daemon.client();
        let asked = tokio::join!(client.health(), client.load(), client.inventory(), client.demand());
        let (health, load, inventory, demand) = (asked.0.ok(), asked.1.ok(), asked.2.ok(), asked.3.ok());
        self.is_daemon_there = health.is_some() && inventory.is_some();
        self.enrol(health.as_ref(), inventory.as_ref()).await.map_err(NotReported::ControlPlane)?;

        let now = clock::now();
        let held = inventory.as_ref().map(|inventory| self.held.take_in(inventory));
        let (delivery, instance) = self.take_out(now, demand).await.map_err(NotReported::Outbox)?;
        let (manifest_sequence, manifest_refused) = {
            let manifests = locked(&self.agent.manifests);
            (manifests.sequence(), manifests.refused().map(str::to_owned))
        };
        let report = Report {
            version: DocumentVersion,
            appliance: self.appliance.clone(),
            instance,
            sequence: delivery.sequence,
            at: now,
            health,
            load,
            inventory: held.flatten(),
            demand: delivery.demand,
            runs: delivery.runs,
            manifest_sequence,
            manifest_refused,
            directives: delivery.directives,
            dropped: delivery.dropped,
        };
        let answer = self.control_plane.report(&report).await.map_err(NotReported::ControlPlane)?;
        let knows_all =
            !self.is_daemon_there || matches!(report.inventory, Some(InventoryReport::Full { .. }));
        Ok(self.obey(answer, knows_all).await)
    }

    /// What is to be told, with what was asked for since the last time.
    async fn take_out(&self, now: u64, demand: Option<Demand>) -> Result<(Delivery, String), OutboxError> {
        let taking = self.agent.blocking(move |agent| {
            let mut outbox = locked(&agent.outbox);
            if let Some(demand) = &demand {
                outbox.add_totals(u32::try_from(now / 86_400).unwrap_or(u32::MAX), demand)?;
            }
            let instance = outbox.instance().to_owned();
            Ok((outbox.next()?.clone(), instance))
        });
        taking.await
    }

    /// Does what was answered to a report that `told_all` there is to tell of what is held; when to report next.
    async fn obey(&mut self, answer: ReportAnswer, told_all: bool) -> Duration {
        let interval = answer.next_report();
        let sequence = answer.sequence;
        let acknowledging = self.agent.blocking(move |agent| {
            let mut outbox = locked(&agent.outbox);
            outbox.acknowledged(sequence);
            outbox.has_more()
        });
        let has_more = acknowledging.await;
        self.held.acknowledged(answer.inventory_revision);
        let has_results = self.carry_out(answer.directives).await;
        let was_hurried = self.is_hurried;
        self.is_hurried = self.renew_manifest(answer.manifest_sequence).await && !was_hurried;
        let told = Told {
            has_more: has_more || has_results,
            lacks_inventory: self.held.is_asked_for_all() && !told_all,
            has_refused: self.is_hurried,
        };
        told.pause(interval, jitter())
    }

    /// Does what was not done yet, and has the results told; of what was done before, once more. Whether anything was done.
    async fn carry_out(&mut self, directives: Vec<Directive>) -> bool {
        let mut has_results = false;
        for directive in directives {
            self.agent.calls.turn();
            let result = match self.results.get(&directive.id) {
                Some(result) => result.clone(),
                None => {
                    has_results = true;
                    directives::carry_out(&self.agent, &directive).await
                }
            };
            self.results.insert(directive.id, result.clone());
            let kept = self.agent.blocking(move |agent| locked(&agent.outbox).add_result(result)).await;
            if let Err(error) = kept {
                tracing::warn!(%error, "the result of a directive could not be kept yet");
            }
        }
        while self.results.len() > DIRECTIVES_REMEMBERED_MAX {
            self.results.pop_first();
        }
        has_results
    }

    /// Asks for the manifest of which the control plane speaks, where it is another than the one in force. Whether it was refused.
    async fn renew_manifest(&mut self, newest: u64) -> bool {
        let in_force = locked(&self.agent.manifests).sequence();
        if newest == 0 || newest == in_force || self.refused_sequence == Some(newest) {
            return false;
        }
        match self.agent.renew_manifest().await {
            Ok(_) => self.refused_sequence = None,
            Err(NoManifest::Refused(_)) => {
                self.refused_sequence = Some(newest);
                return true;
            }
            Err(error) => {
                tracing::warn!(%error, "there is no newer manifest; the last good one stays in force")
            }
        }
        false
    }

    /// Reports until nothing waits: at the end of a process that does one run.
    pub async fn finish(mut self) {
        while let Ok(_pause) = self.report().await {
            if !locked(&self.agent.outbox).has_more() {
                return;
            }
        }
    }
}

/// While it waits, the reporter gets on.
async fn turn(agent: &Agent) -> Infallible {
    loop {
        tokio::time::sleep(TICK).await;
        agent.calls.turn();
    }
}

/// Ends when the daemon answers.
async fn daemon_comes(agent: &Agent) {
    while agent.daemon.client().inventory().await.is_err() {
        tokio::time::sleep(DAEMON_RETRY.longest).await;
    }
}

impl NotReported {
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::ControlPlane(error) => error.retry_after(),
            Self::Outbox(_) => None,
        }
    }
}

impl std::fmt::Display for NotReported {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ControlPlane(error) => error.fmt(formatter),
            Self::Outbox(error) => error.fmt(formatter),
        }
    }
}
