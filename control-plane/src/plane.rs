//! The control plane at work: what the API's routes and the loops in the background share, and what they do with it.

mod planning_round;
mod polling;
mod sources;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use control_client::config::ControlPlaneConfig;
use control_client::content::Sha256;
use control_client::fleet::ApplianceName;
use control_client::report::{Directive, Dropped, Order, Report, ReportAnswer};
use control_client::wire::DocumentVersion;
use roaring::RoaringBitmap;
use tokio::sync::Notify;

use crate::database::{Database, DatabaseError};
use crate::fleet::{Fleet, MemberUpdate};
use crate::hysteresis::Hysteresis;
use crate::keys::{KeyError, StateFolder};
use crate::limits;
use crate::metrics::Metrics;
use crate::mirror::Mirror;
use crate::registry::{self, InventoryOutcome, Novelty, RegistryError};
use crate::standings::{Standings, Turn};

/// What everything in the process shares.
pub struct ControlPlane {
    /// The database.
    pub database: Database,
    /// What the operator has configured.
    pub config: ControlPlaneConfig,
    /// Counts.
    pub metrics: Metrics,
    /// How appliances stand.
    pub standings: Standings,
    /// The digest of the operator's token.
    pub operator: Sha256,
    state: StateFolder,
    mirror: Mirror,
    plan_now: Notify,
    assigned: ArcSwap<Assigned>,
}

/// The numbers of the bundles that each appliance's newest manifest has.
type Assigned = HashMap<ApplianceName, RoaringBitmap>;

/// Why a round of planning ended early.
#[derive(Debug)]
pub enum PlanError {
    /// The database failed.
    Database(DatabaseError),
    /// No key signs.
    Key(KeyError),
    /// The work was broken off.
    Interrupted(String),
}

impl From<DatabaseError> for PlanError {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl std::fmt::Display for PlanError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Database(error) => error.fmt(formatter),
            Self::Key(error) => error.fmt(formatter),
            Self::Interrupted(why) => formatter.write_str(why),
        }
    }
}

impl std::error::Error for PlanError {}

/// The present, in seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl ControlPlane {
    /// Puts it together, and reads the fleet.
    pub async fn new(
        config: ControlPlaneConfig,
        database: Database,
        state: StateFolder,
    ) -> Result<Arc<Self>, PlanError> {
        let operator = state.operator_token().map_err(PlanError::Key)?;
        let policy = Hysteresis { misses: config.misses, recoveries: config.recoveries };
        let plane = Self {
            mirror: Mirror::new(config.origins.iter().map(|origin| origin.url.clone()).collect()),
            database,
            metrics: Metrics::new(),
            standings: Standings::new(policy),
            operator,
            state,
            plan_now: Notify::new(),
            assigned: ArcSwap::default(),
            config,
        };
        plane.refresh().await?;
        Ok(Arc::new(plane))
    }

    /// The fleet as steering sees it.
    pub fn fleet(&self) -> Arc<Fleet> {
        self.mirror.fleet()
    }

    /// Reads what other processes have changed.
    pub async fn refresh(&self) -> Result<(), DatabaseError> {
        let refreshed = self.mirror.refresh(&self.database).await?;
        if let Some(appliances) = &refreshed.appliances {
            for (name, turn) in self.standings.follow(appliances, now()) {
                self.turned(&name, &turn);
            }
        }
        if refreshed.catalogue || refreshed.appliances.is_some() {
            self.plan_now.notify_one();
        }
        Ok(())
    }

    /// Reads inventories that were told to other control planes.
    pub async fn follow_inventories(&self) -> Result<(), DatabaseError> {
        self.mirror.follow_inventories(&self.database).await
    }

    /// Waits until something has changed that new manifests may come of.
    pub async fn plan_is_due(&self) {
        self.plan_now.notified().await;
    }

    /// Takes a report, and answers it.
    pub async fn report(
        &self,
        name: &ApplianceName,
        report: &Report,
        now: u64,
    ) -> Result<ReportAnswer, RegistryError> {
        let accepted = registry::accept(&self.database, name, report, now).await?;
        let word = match accepted.novelty {
            Novelty::New => "new",
            Novelty::NewInstance => "new_instance",
            Novelty::Repeated => "repeated",
            Novelty::Late => "late",
        };
        self.metrics.reports.with_label_values(&[word]).inc();
        if accepted.inventory == InventoryOutcome::WrongBase {
            self.metrics.wrong_bases.inc();
        }
        if matches!(accepted.novelty, Novelty::New | Novelty::NewInstance) && !report.dropped.is_empty() {
            self.note_dropped(name, &report.dropped);
        }
        let fleet = self.fleet();
        if fleet.appliance(name).is_none() {
            // It was added a moment ago.
            self.refresh().await?;
        }
        if accepted.novelty == Novelty::NewInstance {
            fleet.forget_revision(name);
        }
        if accepted.novelty != Novelty::Late {
            let turn = self.standings.note_report(name, report.health.as_ref(), report.load.as_ref(), now);
            self.note(name, turn).await;
            if let (Some(inventory), InventoryOutcome::Taken(_)) = (&report.inventory, accepted.inventory) {
                self.mirror
                    .apply_inventory(&self.database, name, inventory, accepted.inventory_revision)
                    .await?;
            }
        }
        Ok(ReportAnswer {
            version: DocumentVersion,
            sequence: report.sequence,
            inventory_revision: accepted.inventory_revision,
            manifest_sequence: accepted.manifest_sequence,
            directives: accepted.directives,
            next_report_seconds: u32::try_from(self.config.report_interval.as_secs())
                .unwrap_or(u32::MAX)
                .max(1),
        })
    }

    /// Takes an enrolment.
    pub async fn enrol(
        &self,
        name: &ApplianceName,
        enrolment: &control_client::report::Enrolment,
        now: u64,
    ) -> Result<(), RegistryError> {
        registry::enrol(&self.database, name, enrolment, now).await?;
        Ok(self.refresh().await?)
    }

    /// Orders something of an appliance. A drain holds for steering at once.
    pub async fn order(
        &self,
        name: &ApplianceName,
        order: Order,
        now: u64,
    ) -> Result<Directive, RegistryError> {
        let directive = registry::order(&self.database, name, order, now).await?;
        self.refresh().await?;
        Ok(directive)
    }

    /// Tells steering how an appliance stands; where that is another standing than before, the log and the
    /// database too.
    async fn note(&self, name: &ApplianceName, turn: Option<Turn>) {
        let Some(turn) = turn else { return };
        self.turned(name, &turn);
        if turn.is_one() {
            self.metrics.turns.with_label_values(&[turn.to.as_str()]).inc();
            tracing::info!(appliance = %name, from = %turn.from, to = %turn.to, "an appliance stands otherwise");
            if let Err(error) = registry::set_standing(&self.database, name, turn.to.as_str()).await {
                tracing::warn!(appliance = %name, %error, "a standing is not remembered");
            }
        }
    }

    fn note_dropped(&self, name: &ApplianceName, dropped: &Dropped) {
        tracing::warn!(appliance = %name, ?dropped, "an appliance could not keep all that it had to tell");
        for (what, count) in [
            ("runs", dropped.runs),
            ("results", dropped.results),
            ("requests", dropped.requests),
            ("bytes", dropped.bytes),
            ("absent", dropped.absent),
        ] {
            self.metrics.dropped.with_label_values(&[what]).inc_by(count.min(limits::DEMAND_MAX));
        }
    }

    fn turned(&self, name: &ApplianceName, turn: &Turn) {
        let update = MemberUpdate { standing: Some(turn.to.clone()), utilisation: Some(turn.utilisation) };
        self.fleet().update(name, update);
    }
}
