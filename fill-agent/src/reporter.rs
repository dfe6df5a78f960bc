//! Tells the control plane how the appliance is, and does what it answers. The appliance's only voice: it goes on whatever
//! the fill does.

mod directives;
mod held;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use control_client::control_plane_client::{ControlPlaneClient, ControlPlaneError};
use control_client::fleet::ApplianceName;
use control_client::inventory::Inventory;
use control_client::outbox::OutboxError;
use control_client::report::{Directive, DirectiveResult, Enrolment, Report, ReportAnswer};
use control_client::wire::DocumentVersion;

use crate::agent::{Agent, locked};
use crate::clock;
use crate::limits::{CAPACITY_CHANGE_PART, DIRECTIVES_REMEMBERED_MAX, REPORT_RETRY};
use crate::manifest::NoManifest;
use crate::random::jitter;

use held::HeldReports;

/// Reports for one appliance.
pub struct Reporter {
    agent: Arc<Agent>,
    control_plane: ControlPlaneClient,
    appliance: ApplianceName,
    held: HeldReports,
    /// The capacity that was enrolled.
    enrolled_bytes: Option<u64>,
    /// What became of the directives that were carried out since the agent started, the newest ones: none is carried out twice.
    results: BTreeMap<u64, DirectiveResult>,
    /// The sequence of a manifest that was refused: it is not asked for again with every report.
    refused_sequence: Option<u64>,
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
            enrolled_bytes: None,
            results: BTreeMap::new(),
            refused_sequence: None,
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
                () = self.agent.calls.report.notified(), if failures == 0 => {}
            }
        }
    }

    /// Reports once, and does what is answered; when to report next.
    async fn report(&mut self) -> Result<Duration, NotReported> {
        let client = self.agent.daemon.client();
        let asked = tokio::join!(client.health(), client.load(), client.inventory(), client.demand());
        let (health, load, inventory, demand) = (asked.0.ok(), asked.1.ok(), asked.2.ok(), asked.3.ok());
        self.enrol(inventory.as_ref()).await.map_err(NotReported::ControlPlane)?;

        let now = clock::now();
        let held = inventory.as_ref().map(|inventory| self.held.take_in(inventory));
        let (delivery, instance) = {
            let mut outbox = locked(&self.agent.outbox);
            if let Some(demand) = &demand {
                let day = u32::try_from(now / 86_400).unwrap_or(u32::MAX);
                outbox.add_totals(day, demand).map_err(NotReported::Outbox)?;
            }
            let instance = outbox.instance().to_owned();
            (outbox.next().map_err(NotReported::Outbox)?.clone(), instance)
        };
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
        Ok(self.obey(answer).await)
    }

    /// Does what was answered; when to report next.
    async fn obey(&mut self, answer: ReportAnswer) -> Duration {
        let has_more = {
            let mut outbox = locked(&self.agent.outbox);
            outbox.acknowledged(answer.sequence);
            outbox.has_more()
        };
        self.held.acknowledged(answer.inventory_revision);
        let has_results = self.carry_out(&answer.directives).await;
        self.renew_manifest(answer.manifest_sequence).await;
        let interval = answer.next_report();
        if has_more || has_results || self.held.is_asked_for_all() {
            return interval.min(SOON);
        }
        // A little less each time another part, so that a thousand appliances spread out.
        interval - interval.mul_f64(jitter() / 10.0)
    }

    /// Does what was not done yet, and has the results told; of what was done before, once more. Whether anything was done.
    async fn carry_out(&mut self, directives: &[Directive]) -> bool {
        let mut has_results = false;
        for directive in directives {
            let result = match self.results.get(&directive.id) {
                Some(result) => result.clone(),
                None => {
                    has_results = true;
                    directives::carry_out(&self.agent, directive).await
                }
            };
            self.results.insert(directive.id, result.clone());
            if let Err(error) = locked(&self.agent.outbox).add_result(result) {
                tracing::warn!(%error, "the result of a directive could not be kept yet");
            }
        }
        while self.results.len() > DIRECTIVES_REMEMBERED_MAX {
            self.results.pop_first();
        }
        has_results
    }

    /// Asks for the manifest of which the control plane speaks, where it is another than the one in force.
    async fn renew_manifest(&mut self, newest: u64) {
        let in_force = locked(&self.agent.manifests).sequence();
        if newest == 0 || newest == in_force || self.refused_sequence == Some(newest) {
            return;
        }
        match self.agent.renew_manifest().await {
            Ok(_) => self.refused_sequence = None,
            Err(NoManifest::Refused(_)) => {
                self.refused_sequence = Some(newest);
                self.agent.calls.report.notify_one();
            }
            Err(error) => {
                tracing::warn!(%error, "there is no newer manifest; the last good one stays in force")
            }
        }
    }

    /// Says who this appliance is, where that has changed since the last time.
    async fn enrol(&mut self, inventory: Option<&Inventory>) -> Result<(), ControlPlaneError> {
        let agent = Arc::clone(&self.agent);
        let free = tokio::task::spawn_blocking(move || agent.volumes.free_bytes()).await.unwrap_or(0);
        let held: u64 = inventory.map_or(0, |inventory| inventory.bundles.iter().map(|one| one.bytes).sum());
        let capacity = match (self.enrolled_bytes, inventory) {
            // Nothing better is known.
            (Some(enrolled), None) => enrolled,
            _ => free.saturating_add(held),
        };
        if let Some(enrolled) = self.enrolled_bytes
            && enrolled.abs_diff(capacity) <= enrolled / CAPACITY_CHANGE_PART
        {
            return Ok(());
        }
        let control = &self.agent.config.control;
        let enrolment = Enrolment {
            version: DocumentVersion,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            serve_urls: control.serve_urls.clone(),
            admin_url: control.admin_url.clone().unwrap_or_default(),
            capacity_bytes: capacity,
        };
        self.control_plane.enrol(&enrolment).await?;
        tracing::info!(capacity_bytes = capacity, "the control plane knows this appliance");
        self.enrolled_bytes = Some(capacity);
        Ok(())
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

/// When there is more to tell.
const SOON: Duration = Duration::from_secs(1);

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
