//! Gathers what the plan is made from, and has it made.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cache_store::BundleId;
use control_client::content::BundleKey;
use control_client::fill::{FillPlanReport, PlannedBundle};
use control_client::fill_manifest::FillManifest;
use control_client::health::VolumeState;
use control_client::inventory::Inventory;
use control_client::limits::PLAN_SKIPPED_MAX;
use control_client::wire::DocumentVersion;
use jiff::Timestamp;

use crate::agent::{Agent, locked};
use crate::clock;
use crate::daemon::serves;
use crate::history;
use crate::night_budget::for_objects;
use crate::plan::{Held, Partial, Plan, PlanInput, PlannedRetire, VolumeRoom, plan};
use crate::volumes::OpenVolume;

/// A plan, and what it was made from.
#[derive(Debug)]
pub struct Planned {
    /// What to do.
    pub plan: Plan,
    /// The volumes that can be written.
    pub volumes: Vec<OpenVolume>,
    /// What was begun in an earlier run and is wanted.
    pub begun: Vec<Partial>,
    /// What was begun and belongs to nothing that the manifest lists.
    pub unwanted: Vec<(OpenVolume, BundleId)>,
}

/// Makes the plan for a night, from a manifest and what the daemon holds. Changes nothing.
pub async fn make(
    agent: &Arc<Agent>,
    manifest: &Arc<FillManifest>,
    inventory: &Inventory,
    night: Timestamp,
) -> Planned {
    let serving = serving_volumes(agent).await;
    let is_wanted = |index| serving.get(&index).copied().unwrap_or(true);
    let (seen, listed) = (Arc::clone(agent), Arc::clone(manifest));
    let done = tokio::task::spawn_blocking(move || history::begun(&seen.state)).await.unwrap_or_default();
    let done: Arc<HashMap<BundleKey, u64>> = Arc::new(done.into_iter().collect());
    let reserve = agent.volumes.reserve().clone();
    let look = move |volume: &OpenVolume| {
        let begun = volume.begun(&listed.entries, |key| done.get(key).copied().unwrap_or(0));
        (volume.room(&reserve), begun)
    };
    let (mut volumes, mut rooms, mut begun, mut unwanted) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (volume, (room, found)) in agent.volumes.look(is_wanted, look).await {
        begun.extend(found.wanted);
        unwanted.extend(found.unwanted.into_iter().map(|id| (volume.clone(), id)));
        rooms.push(room);
        volumes.push(volume);
    }
    let mut held = held(inventory);
    let (planning, listed) = (Arc::clone(agent), Arc::clone(manifest));
    let made = tokio::task::spawn_blocking(move || {
        add_licences(&planning, &mut held);
        let plan = make_from(&planning, &listed, &held, &begun, &rooms, night);
        (plan, begun)
    });
    let (plan, begun) = made.await.unwrap_or_default();
    Planned { plan, volumes, begun, unwanted }
}

/// A plan of a large manifest takes a processor a while.
fn make_from(
    agent: &Agent,
    manifest: &FillManifest,
    held: &[Held],
    begun: &[Partial],
    rooms: &[VolumeRoom],
    night: Timestamp,
) -> Plan {
    let night_bytes = agent.config.fill.night_bytes.bytes();
    let night_bytes_left = for_objects(locked(&agent.budget).left(night, night_bytes));
    plan(&PlanInput {
        entries: &manifest.entries,
        held,
        partial: begun,
        volumes: rooms,
        keep_free_bytes: agent.config.fill.keep_free.bytes(),
        night_bytes: for_objects(night_bytes),
        night_bytes_left,
        churn_days: agent.config.fill.churn_days,
        now: clock::now(),
        clock_is_synchronised: agent.clock.is_synchronised(),
    })
}

/// What the daemon serves, each bundle once. The same inventory gives the same list.
pub fn held(inventory: &Inventory) -> Vec<Held> {
    let served: BTreeMap<BundleKey, (u8, u64)> = inventory
        .bundles
        .iter()
        .filter(|bundle| serves(bundle.state))
        .map(|bundle| {
            let key = BundleKey { path: bundle.path.clone(), generation: bundle.generation };
            (key, (bundle.volume, bundle.bytes))
        })
        .collect();
    let held = |(key, (volume, file_bytes))| Held { key, volume, file_bytes, expires_at: None };
    served.into_iter().map(held).collect()
}

/// Adds what is known of their licences.
pub fn add_licences(agent: &Agent, held: &mut [Held]) {
    let licences = locked(&agent.licences);
    for bundle in held {
        bundle.expires_at = licences.expires_at(&bundle.key);
    }
}

/// What the daemon says of its volumes; nothing where it does not answer.
async fn serving_volumes(agent: &Agent) -> HashMap<u8, bool> {
    match agent.daemon.client().health().await {
        Ok(health) => {
            health.volumes.iter().map(|volume| (volume.index, volume.state == VolumeState::Serving)).collect()
        }
        Err(_) => HashMap::new(),
    }
}

/// The plan for people and programs.
pub fn report(planned: &Planned, manifest: &FillManifest) -> FillPlanReport {
    let plan = &planned.plan;
    let fetches = plan.fetches.iter().map(|fetch| {
        let entry = &manifest.entries[fetch.entry];
        PlannedBundle {
            path: fetch.key.path.clone(),
            generation: fetch.key.generation,
            bytes: entry.bytes,
            volume: Some(fetch.volume),
            why: why(fetch.entry, entry, fetch.missing_bytes),
        }
    });
    let retire = |retire: &PlannedRetire| PlannedBundle {
        path: retire.key.path.clone(),
        generation: retire.key.generation,
        bytes: retire.file_bytes,
        volume: Some(retire.volume),
        why: retire.why.as_str().to_owned(),
    };
    let skipped = plan.skipped.iter().take(PLAN_SKIPPED_MAX).map(|(place, why)| {
        let entry = &manifest.entries[*place];
        PlannedBundle {
            path: entry.path.clone(),
            generation: entry.generation,
            bytes: entry.bytes,
            volume: None,
            why: why.as_str().to_owned(),
        }
    });
    FillPlanReport {
        version: DocumentVersion,
        manifest_sequence: manifest.sequence,
        fetches: fetches.collect(),
        retires: plan.all_retires().map(retire).collect(),
        held: plan.held,
        skipped: skipped.collect(),
        more_skipped: plan.skipped.len().saturating_sub(PLAN_SKIPPED_MAX) as u64,
    }
}

fn why(place: usize, entry: &control_client::fill_manifest::FillEntry, missing_bytes: u64) -> String {
    use control_client::fill_manifest::FillClass;
    let class = match entry.class {
        FillClass::Pinned => "pinned",
        FillClass::Prewarm => "to be released soon",
        FillClass::Ranked => "ranked",
    };
    let begun = if missing_bytes < entry.bytes { ", begun already" } else { "" };
    format!("{class}, place {} of the manifest{begun}", place + 1)
}
