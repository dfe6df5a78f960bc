//! The control plane at work: what the API's routes and the loops in the background share, and what they do with it.

mod changes;
mod clock;
mod elsewhere;
mod planning_round;
mod polling;
mod signer;
mod sources;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use control_client::config::ControlPlaneConfig;
use control_client::content::Sha256;
use control_client::fleet::{ApplianceName, SiteName};
use control_client::report::{Dropped, Report, ReportAnswer};
use control_client::wire::DocumentVersion;
use tokio::sync::{Mutex, Notify, Semaphore, watch};

use crate::database::{Database, DatabaseError};
use crate::fleet::{Fleet, MemberUpdate};
use crate::hysteresis::{Hysteresis, StandingTrack};
use crate::keys::{KeyError, StateFolder};
use crate::limits;
use crate::metrics::Metrics;
use crate::mirror::Mirror;
use crate::registry::{self, Appliance, InventoryOutcome, Novelty, RegistryError};
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
    planned_from: Mutex<Vec<PlannedFrom>>,
    planned: watch::Sender<bool>,
    started: Instant,
    first_polls: Semaphore,
}

/// What planning reads of an appliance: where something else of it has changed, nothing has to be planned.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PlannedFrom {
    name: ApplianceName,
    site: SiteName,
    is_enrolled: bool,
    capacity_bytes: u64,
}

impl PlannedFrom {
    fn of(appliance: &Appliance) -> Self {
        Self {
            name: appliance.name.clone(),
            site: appliance.site.clone(),
            is_enrolled: appliance.enrolled_at.is_some(),
            capacity_bytes: appliance.capacity_bytes,
        }
    }
}

/// Why a round of planning ended early.
#[derive(Debug)]
pub enum PlanError {
    /// The database failed.
    Database(DatabaseError),
    /// No key signs.
    Key(KeyError),
    /// The work was broken off.
    Interrupted(String),
    /// The clock has jumped since planning last ended, and those who report have not.
    Clock {
        /// What it says, in seconds since 1970.
        now: u64,
        /// When planning last ended.
        planned_at: u64,
        /// How many appliances have reported in the meantime.
        reporting: usize,
    },
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
            Self::Clock { now, planned_at, reporting } => write!(
                formatter,
                "the clock says {now}, planning last ended at {planned_at}, and the clocks of the {reporting} appliances that report do \
                 not agree: is it right (timedatectl)? Nothing is planned until they do"
            ),
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
        // Whoever finds it listening finds its key too.
        signer::find(&state, &database).await?;
        let operator = state.operator_token().map_err(PlanError::Key)?;
        let policy = Hysteresis { misses: config.misses, recoveries: config.recoveries };
        let plane = Self {
            mirror: Mirror::of(&config),
            database,
            metrics: Metrics::new(),
            standings: Standings::new(policy),
            operator,
            state,
            plan_now: Notify::new(),
            planned_from: Mutex::default(),
            planned: watch::Sender::new(false),
            started: Instant::now(),
            first_polls: Semaphore::new(limits::POLLS_AT_ONCE),
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
        // Held to the end, so that what was read first is not followed last.
        let mut planned_from = self.planned_from.lock().await;
        let refreshed = self.mirror.refresh(&self.database).await?;
        let mut is_news = refreshed.catalogue || refreshed.sites;
        if let Some(appliances) = &refreshed.appliances {
            for (name, turn) in self.standings.follow(appliances, now()) {
                self.turned(&name, &turn);
            }
            let from: Vec<PlannedFrom> = appliances.iter().map(PlannedFrom::of).collect();
            is_news |= *planned_from != from;
            *planned_from = from;
        }
        if is_news {
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
            Novelty::RolledBack => "rolled_back",
            Novelty::Repeated => "repeated",
            Novelty::Late => "late",
        };
        self.metrics.reports.with_label_values(&[word]).inc();
        if accepted.inventory == InventoryOutcome::WrongBase {
            self.metrics.wrong_bases.inc();
        }
        if accepted.novelty.counts() && !report.dropped.is_empty() {
            self.note_dropped(name, &report.dropped);
        }
        let fleet = self.fleet();
        if fleet.appliance(name).is_none() {
            // It was added a moment ago.
            self.refresh().await?;
        }
        if accepted.novelty.begins_anew() {
            fleet.forget_revision(name);
        }
        if accepted.novelty != Novelty::Late {
            let turn = self.standings.note_report(name, report, now);
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

    /// Waits until planning has ended once, but not longer than so: before it nobody is expected to fetch anything, and everybody
    /// would go far.
    pub async fn first_plan(&self, patience: Duration) {
        let mut planned = self.planned.subscribe();
        let _ = tokio::time::timeout(patience, planned.wait_for(|planned| *planned)).await;
    }

    /// Whether nothing was heard of an appliance yet.
    pub fn is_unknown(&self, name: &ApplianceName) -> bool {
        self.standings.get(name).is_none_or(|one| one.track == StandingTrack::default())
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
