//! A night: every appliance gets its ranked manifest, fills, verifies, publishes and retires; then an evening, whose demand makes the
//! next night's ranking.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use control_client::content::BundleKey;
use control_client::fill::{FillRun, RunOutcome};
use control_client::inventory::InventoryEntry;
use control_client::sources::SourceKind;

use crate::catalogue::CatalogueOptions;
use crate::failure::Failure;
use crate::popularity::Popularity;
use crate::process::eventually;
use crate::progress::FillBars;
use crate::system::{System, SystemOptions, mebibytes};
use crate::table;
use crate::viewer::{Evening, Played};

/// How long a night may take.
const NIGHT_PATIENCE: Duration = Duration::from_secs(600);

/// How long the control plane may take to rank, and an appliance to ask for its manifest.
const MANIFEST_PATIENCE: Duration = Duration::from_secs(30);

/// How long reports may take to arrive.
const REPORT_PATIENCE: Duration = Duration::from_secs(30);

/// What the catalogue is like, and how long the demo watches it.
#[derive(Args, Clone, Copy, Debug)]
pub struct NightOptions {
    /// Synthetic titles beside the sample title.
    #[arg(long, default_value_t = 16)]
    pub titles: usize,
    /// Bytes of a synthetic title, on average.
    #[arg(long, default_value_t = 6 << 20, value_name = "BYTES")]
    pub title_bytes: u64,
    /// How unequal titles are: the title at rank r is asked for in proportion to r to the power of minus this.
    #[arg(long, default_value_t = 1.0, value_name = "EXPONENT")]
    pub zipf: f64,
    /// What catalogue and demand follow from.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Nights in a row; between two of them is an evening.
    #[arg(long, default_value_t = 2)]
    pub nights: u32,
    /// Times that somebody sits down to watch, in an evening.
    #[arg(long, default_value_t = 400)]
    pub sittings: usize,
}

impl NightOptions {
    /// The system of these options, with two appliances. A night may bring a bit more than half of the catalogue, so that ranking
    /// decides what comes first.
    pub fn system(&self) -> SystemOptions {
        let catalogue =
            CatalogueOptions { titles: self.titles, title_bytes: self.title_bytes, seed: self.seed };
        SystemOptions { catalogue, appliances: 2, night_percent: 55 }
    }

    /// What is watched in the evening after a night, counted from 0.
    pub fn evening(&self, night: u32, known_appliances: Vec<String>) -> Evening {
        Evening {
            popularity: Popularity::new(self.titles, self.zipf, self.seed, night),
            sittings: self.sittings,
            seed: self.seed.wrapping_add(u64::from(night)),
            known_appliances,
        }
    }
}

/// The day after an evening: of the titles that every appliance holds, the one that was watched most appears in another edition, so that the night
/// has something to replace and to retire. Its index, where there is one.
pub async fn day(system: &mut System, evening: &Evening, night: u32) -> Result<Option<usize>, Failure> {
    for member in &mut system.members {
        member.begin_night(night).await?;
    }
    let mut held: Vec<Vec<InventoryEntry>> = Vec::new();
    for member in &system.members {
        held.push(member.held().await?);
    }
    let is_held = |title: &usize| {
        let bundles = &system.titles[*title].bundles;
        held.iter().all(|held| {
            bundles.iter().all(|bundle| held.iter().any(|entry| entry.path.as_str() == bundle.path))
        })
    };
    let Some(title) = evening.popularity.order().iter().copied().find(is_held) else { return Ok(None) };
    let bundles = system.publish_edition(title, night).await?;
    wait_until_listed(system, &bundles).await?;
    Ok(Some(title))
}

/// How a night went for one appliance.
#[derive(Clone, Debug)]
pub struct Filled {
    /// The appliance.
    pub appliance: String,
    /// Its run.
    pub run: FillRun,
}

/// Waits until every appliance has a manifest.
pub async fn wait_for_manifests(system: &System) -> Result<(), Failure> {
    eventually("every appliance has a manifest", MANIFEST_PATIENCE, async || {
        for member in &system.members {
            if member.agent()?.progress().await?.manifest_sequence == 0 {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await
}

/// Waits until every appliance has a manifest that lists these.
async fn wait_until_listed(system: &System, bundles: &[BundleKey]) -> Result<(), Failure> {
    eventually("every appliance has a manifest with the new edition", MANIFEST_PATIENCE, async || {
        for member in &system.members {
            let plan = member.agent()?.plan().await?;
            let listed = |key: &BundleKey| {
                let mut planned = plan.fetches.iter().chain(&plan.skipped);
                planned.any(|planned| planned.path == key.path && planned.generation == key.generation)
            };
            if !bundles.iter().all(listed) {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await
}

/// Has every appliance fill at the same time, and shows how that goes.
pub async fn fill(system: &System) -> Result<Vec<Filled>, Failure> {
    let names: Vec<String> = system.members.iter().map(|member| member.name().to_owned()).collect();
    let bars = FillBars::new(&names);
    let mut runs: Vec<Option<FillRun>> = vec![None; names.len()];
    let agents: Vec<_> = system.members.iter().map(|member| member.agent()).collect::<Result<_, _>>()?;
    // At the same time, on one thread: each is asked in turn how it goes.
    let mut before = Vec::new();
    for agent in &agents {
        before.push(agent.last_run().await?.map(|run| run.run));
        agent.begin_run().await?;
    }
    eventually("the end of the night", NIGHT_PATIENCE, async || {
        for (index, agent) in agents.iter().enumerate() {
            if runs[index].is_some() {
                continue;
            }
            bars.show(index, &agent.progress().await?);
            if let Some(run) = agent.ended_run(before[index].as_deref()).await? {
                bars.finish(index, sources_text(&run));
                runs[index] = Some(run);
            }
        }
        Ok(runs.iter().all(Option::is_some).then_some(()))
    })
    .await?;
    let filled = names.into_iter().zip(runs.into_iter().flatten());
    Ok(filled.map(|(appliance, run)| Filled { appliance, run }).collect())
}

/// Where the bytes of a run came from.
pub fn sources_text(run: &FillRun) -> String {
    let parts: Vec<String> = run
        .sources
        .iter()
        .map(|source| format!("{} from {}", mebibytes(source.bytes), source.name))
        .collect();
    if parts.is_empty() { "nothing to fetch".to_owned() } else { parts.join(", ") }
}

/// The bytes of a night that came from so far away.
pub fn bytes_from(filled: &[Filled], kind: SourceKind) -> u64 {
    filled
        .iter()
        .flat_map(|filled| &filled.run.sources)
        .filter(|source| source.kind == kind)
        .map(|s| s.bytes)
        .sum()
}

/// A table of a night.
pub fn table(filled: &[Filled]) -> String {
    let heading =
        ["appliance", "manifest", "planned", "published", "bytes", "retired", "failed", "seconds", "outcome"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for Filled { appliance, run } in filled {
        rows.push(vec![
            appliance.clone(),
            run.manifest_sequence.to_string(),
            run.planned_bundles.to_string(),
            run.published_bundles.to_string(),
            mebibytes(run.published_bytes),
            run.retired_bundles.to_string(),
            (run.failures.len() as u64 + run.more_failures).to_string(),
            run.ended_at.saturating_sub(run.started_at).to_string(),
            run.outcome.to_string(),
        ]);
    }
    table::render(&rows)
}

/// What was wrong with a night; a night whose budget is spent, or that had nothing to do, is a good one.
pub fn problems(filled: &[Filled]) -> Vec<String> {
    let mut problems = Vec::new();
    for Filled { appliance, run } in filled {
        if !matches!(run.outcome, RunOutcome::Completed | RunOutcome::Suspended) {
            problems.push(format!("{appliance}: the run is {}: {}", run.outcome, run.detail));
        }
        for failure in &run.failures {
            problems.push(format!("{appliance}: {}: {}", failure.bundle.path, failure.detail));
        }
    }
    problems
}

/// Has an evening watched, and waits until the appliances have reported what was asked for.
pub async fn evening(system: &System, evening: &Evening) -> Result<Played, Failure> {
    let viewer = system.viewer()?;
    let played = evening.run(&viewer, &Arc::clone(&system.titles), system.tree()).await?;
    wait_for_reports(system).await?;
    Ok(played)
}

/// Waits until every appliance has reported twice more, so that the last report tells all that has happened before.
pub async fn wait_for_reports(system: &System) -> Result<(), Failure> {
    let told = async || -> Result<BTreeMap<String, u64>, Failure> { system.report_sequences().await };
    let before = told().await?;
    eventually("the appliances report", REPORT_PATIENCE, async || {
        let now = told().await?;
        let have_reported =
            before.iter().all(|(name, sequence)| now.get(name).is_some_and(|n| *n >= sequence + 2));
        Ok(have_reported.then_some(()))
    })
    .await
}
