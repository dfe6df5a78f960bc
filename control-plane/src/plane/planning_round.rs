use std::sync::Arc;
use std::time::Duration;

use control_client::content::BundleKey;
use control_client::fill_manifest::FillEntry;
use control_client::fleet::{ApplianceName, RegionName};

use super::{ControlPlane, PlanError};
use crate::fleet::{Fleet, SiteFacts};
use crate::keys::Signer;
use crate::planning::{self, Facts, Issued, RankedRegion, RegionDemand, SitePlan};

impl ControlPlane {
    /// Ranks every region, places its list in every site, and makes the manifests that differ. How many it made.
    pub async fn plan(&self, now: u64) -> Result<u64, PlanError> {
        self.check_clock(now).await?;
        planning::forget_old_days(&self.database, now).await?;
        let facts = Arc::new(Facts::read(&self.database).await?);
        // After the facts, so that whatever a manifest of this round lists has its sources.
        self.refresh().await?;
        // Where it was this control plane that was away, nobody is absent until all have had the time to report.
        let is_settled = self.started.elapsed() >= SETTLED;
        let absent_before = if is_settled { now.saturating_sub(planning::ABSENT_SECONDS) } else { 0 };
        let mut round = Round { plane: self, fleet: self.fleet(), now, absent_before, facts, made: 0 };
        let mut failed = Ok(());
        for region in round.facts.regions() {
            // One region's trouble keeps no other from its manifests.
            if let Err(error) = round.region(region.clone()).await {
                tracing::error!(%region, %error, "the manifests of a region cannot be made");
                failed = Err(error);
            }
        }
        failed?;
        self.note_planned(now).await?;
        self.metrics.planned(now);
        self.planned.send_replace(true);
        Ok(round.made)
    }
}

/// How long after its start a control plane has heard of all appliances that are there: these report at least once an hour.
const SETTLED: Duration = Duration::from_secs(3600);

/// One round of planning.
struct Round<'a> {
    plane: &'a ControlPlane,
    fleet: Arc<Fleet>,
    facts: Arc<Facts>,
    now: u64,
    absent_before: u64,
    made: u64,
}

impl Round<'_> {
    async fn region(&mut self, region: RegionName) -> Result<(), PlanError> {
        let facts = Arc::clone(&self.facts);
        let demand = RegionDemand::read(&self.plane.database, &facts, &region, self.now).await?;
        let shares = planning::shares(&demand.served);
        let (about, name, now) = (Arc::clone(&facts), region.clone(), self.now);
        let ranked = compute(move || planning::rank_region(&about.catalogue, &name, &demand, now)).await?;
        let ranked = Arc::new(ranked);
        for site in facts.sites.iter().filter(|site| site.region == region) {
            let share = shares.get(&site.name).copied().unwrap_or_default();
            self.site(site, &ranked, share).await?;
        }
        Ok(())
    }

    async fn site(
        &mut self,
        site: &SiteFacts,
        ranked: &Arc<RankedRegion>,
        share: f64,
    ) -> Result<(), PlanError> {
        let (facts, list, name) = (Arc::clone(&self.facts), Arc::clone(ranked), site.name.clone());
        let absent_before = self.absent_before;
        let plan = compute(move || {
            planning::plan_site(
                &facts.catalogue,
                &list,
                &name,
                &facts.appliances_of(&name),
                share,
                absent_before,
            )
        })
        .await?;
        let plan = Arc::new(plan);
        // For every site, so that a key that was retired signs nothing more.
        let signer = Arc::new(self.plane.state.signer().map_err(PlanError::Key)?);
        for (place, appliance) in plan.appliances.iter().enumerate() {
            self.appliance(appliance, place, &plan, ranked, &signer).await?;
        }
        Ok(())
    }

    async fn appliance(
        &mut self,
        name: &ApplianceName,
        place: usize,
        plan: &Arc<SitePlan>,
        ranked: &Arc<RankedRegion>,
        signer: &Arc<Signer>,
    ) -> Result<(), PlanError> {
        let (facts, fleet) = (Arc::clone(&self.facts), Arc::clone(&self.fleet));
        let (plan, list) = (Arc::clone(plan), Arc::clone(ranked));
        let (entries, numbers) = compute(move || {
            let entries = plan.entries(&facts.catalogue, &list, place);
            let numbers = entries.iter().filter_map(|entry| number_of(&fleet, entry)).collect();
            (entries, numbers)
        })
        .await?;
        self.fleet.assign(name, numbers);
        let issued = planning::issue(&self.plane.database, signer, name, entries, self.now).await?;
        match issued {
            Issued::New(sequence) => {
                tracing::info!(appliance = %name, sequence, "a new fill manifest");
                self.plane.metrics.manifests.inc();
                self.made += 1;
            }
            Issued::TooLarge(bytes) => {
                tracing::error!(appliance = %name, bytes, "its fill manifest would be larger than it takes: publish under shorter paths");
            }
            Issued::Unchanged(_) | Issued::Superseded | Issued::Gone => {}
        }
        Ok(())
    }
}

fn number_of(fleet: &Fleet, entry: &FillEntry) -> Option<u32> {
    fleet.number_of(&BundleKey { path: entry.path.clone(), generation: entry.generation })
}

/// On a thread that may take its time.
async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, PlanError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| PlanError::Interrupted(error.to_string()))
}
