//! The control plane at work: what the API's routes and the loops in the background share, and what they do with it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use control_client::config::ControlPlaneConfig;
use control_client::content::{BundleKey, Sha256};
use control_client::fleet::ApplianceName;
use control_client::report::{Directive, Order, Report, ReportAnswer};
use control_client::sources::{BundleSources, SourcesRequest};
use control_client::wire::DocumentVersion;
use futures_util::StreamExt as _;
use roaring::RoaringBitmap;
use tokio::sync::Notify;

use crate::database::{Database, DatabaseError};
use crate::fill_sources::{FillSourcesInput, Neighbour, Origin, fill_sources};
use crate::fleet::{Fleet, MemberUpdate};
use crate::hysteresis::{Hysteresis, Observation};
use crate::keys::{KeyError, StateFolder};
use crate::limits;
use crate::metrics::Metrics;
use crate::mirror::Mirror;
use crate::planning::{self, Facts, Issued, RegionDemand};
use crate::poll::Poller;
use crate::registry::{self, InventoryOutcome, Novelty, RegistryError};
use crate::standings::{Standings, Turn};
use crate::steering::Member;

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
    pub async fn report(&self, name: &ApplianceName, report: &Report, now: u64) -> Result<ReportAnswer, RegistryError> {
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
                self.mirror.apply_inventory(&self.database, name, inventory, accepted.inventory_revision).await?;
            }
        }
        Ok(ReportAnswer {
            version: DocumentVersion,
            sequence: report.sequence,
            inventory_revision: accepted.inventory_revision,
            manifest_sequence: accepted.manifest_sequence,
            directives: accepted.directives,
            next_report_seconds: u32::try_from(self.config.report_interval.as_secs()).unwrap_or(u32::MAX).max(1),
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
    pub async fn order(&self, name: &ApplianceName, order: Order, now: u64) -> Result<Directive, RegistryError> {
        let directive = registry::order(&self.database, name, order, now).await?;
        self.refresh().await?;
        Ok(directive)
    }

    /// Where an appliance can fetch each bundle that it asks for; those that the catalogue has not are left out.
    pub fn sources(&self, asker: &ApplianceName, request: &SourcesRequest) -> Vec<BundleSources> {
        let fleet = self.fleet();
        let Some((site, _)) = fleet.appliance(asker) else { return Vec::new() };
        let own = fleet.appliances_of(&site);
        let tiers = fleet.tiers_of(&site);
        let upstream: Vec<Arc<Member>> = tiers.iter().skip(1).flat_map(|site| fleet.appliances_of(site)).collect();
        let origins: Vec<Origin<'_>> =
            self.config.origins.iter().map(|origin| Origin { name: &origin.name, url: &origin.url }).collect();
        let escalation_seconds = u32::try_from(self.config.escalation.as_secs()).unwrap_or(u32::MAX);
        let assigned = self.assigned.load();
        let mut answer = Vec::with_capacity(request.bundles.len());
        for bundle in &request.bundles {
            let Some(number) = fleet.number_of(bundle) else { continue };
            let site: Vec<_> = own.iter().map(|member| neighbour(member, number, &assigned)).collect();
            let above: Vec<_> = upstream.iter().map(|member| neighbour(member, number, &assigned)).collect();
            let sources = fill_sources(&FillSourcesInput {
                asker,
                bundle,
                site: &site,
                upstream: &above,
                origins: &origins,
                escalation_seconds,
            });
            answer.push(BundleSources { bundle: bundle.clone(), sources });
        }
        answer
    }

    /// Ranks every region, places its list in every site, and makes the manifests that differ. How many it made.
    pub async fn plan(&self, now: u64) -> Result<u64, PlanError> {
        planning::forget_old_days(&self.database, now).await?;
        let facts = Arc::new(Facts::read(&self.database).await?);
        let fleet = self.fleet();
        let mut assigned = Assigned::new();
        let mut made = 0;
        for region in facts.regions() {
            let demand = RegionDemand::read(&self.database, &facts, &region, now).await?;
            let shares = planning::shares(&demand.served);
            let (about, list_of) = (Arc::clone(&facts), region.clone());
            let ranked = compute(move || planning::rank_region(&about.catalogue, &list_of, &demand, now)).await?;
            let ranked = Arc::new(ranked);
            for site in facts.sites.iter().filter(|site| site.region == region) {
                let share = shares.get(&site.name).copied().unwrap_or_default();
                let (about, list, name) = (Arc::clone(&facts), Arc::clone(&ranked), site.name.clone());
                let plan = compute(move || {
                    planning::plan_site(&about.catalogue, &list, &name, &about.appliances_of(&name), share)
                })
                .await?;
                // For every site, so that a key that was retired signs nothing more.
                let signer = self.state.signer().map_err(PlanError::Key)?;
                for (place, appliance) in plan.appliances.iter().enumerate() {
                    let entries = plan.entries(&facts.catalogue, &ranked, place);
                    let held: RoaringBitmap = entries
                        .iter()
                        .filter_map(|entry| {
                            let key = BundleKey { path: entry.path.clone(), generation: entry.generation };
                            fleet.number_of(&key)
                        })
                        .collect();
                    assigned.insert(appliance.clone(), held);
                    let issued = planning::issue(&self.database, &signer, appliance, entries, now).await?;
                    if let Issued::New(sequence) = issued {
                        tracing::info!(%appliance, sequence, "a new fill manifest");
                        self.metrics.manifests.inc();
                        made += 1;
                    }
                }
            }
        }
        self.assigned.store(Arc::new(assigned));
        self.metrics.planned(now);
        Ok(made)
    }

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

    /// Tells steering how an appliance stands; where that is another standing than before, the log and the database too.
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

    fn turned(&self, name: &ApplianceName, turn: &Turn) {
        let update =
            MemberUpdate { standing: Some(turn.to.clone()), utilisation: Some(turn.utilisation) };
        self.fleet().update(name, update);
    }
}

fn neighbour<'a>(member: &'a Member, number: u32, assigned: &Assigned) -> Neighbour<'a> {
    Neighbour {
        name: &member.name,
        url: member.urls.first().map(String::as_str),
        is_available: member.standing.is_serving(),
        holds: member.held.contains(number),
        is_assigned: assigned.get(&member.name).is_some_and(|bundles| bundles.contains(number)),
    }
}

/// On a thread that may take its time.
async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, PlanError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| PlanError::Interrupted(error.to_string()))
}
