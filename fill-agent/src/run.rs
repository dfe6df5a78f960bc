//! A run, from top to bottom: manifest → inventory → plan → sources → per bundle: fetch, verify, publish → report.
//!
//! Who calls [`run`] has looked at the window. What ends a run early ends its fetching between any two bytes: what is on the disk
//! stays, and the next run goes on with it. When the window closes or the night's bytes are spent, bundles that have all of their
//! bytes are verified and published still; when the agent is told to stop, nothing is.

mod ledger;
mod places;
mod queue;
mod room;
mod shared;
mod unadopted;
mod watch;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use control_client::content::Sha256;
use control_client::fill::{FillRun, FillState, RunOutcome};
use control_client::fill_manifest::FillManifest;
use control_client::inventory::Inventory;
use jiff::Timestamp;
use tokio::sync::watch as signal;

use crate::agent::{Agent, locked};
use crate::bundle::Work;
use crate::clock;
use crate::descriptors;
use crate::expiry;
use crate::history::{self, keep_checkpoint};
use crate::planning::{self, Planned};
use crate::run_record::{Checkpoint, RunRecord};
use crate::sources::Sources;

use ledger::Ledger;

pub use shared::{Halt, Run};

/// Why a run takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occasion {
    /// The night that its bytes count for.
    pub night: Timestamp,
    /// Somebody said so: then it goes on when the window closes.
    pub is_by_hand: bool,
}

/// How a run ended that could begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// There was nothing to fetch.
    Nothing,
    /// Every bundle was brought in, or given up.
    Through,
    /// Before that.
    Halted(Halt),
}

/// Why a run could not begin.
#[derive(Debug)]
struct Hindrance(String);

/// Runs, reports, and gives the report. `None` where nothing was to be done and nobody asked for the run.
pub async fn run(
    agent: &Arc<Agent>,
    occasion: Occasion,
    mut told: signal::Receiver<bool>,
) -> Option<FillRun> {
    // Before it knows of anything: what is purged from here on, it has none of.
    agent.purges.begin_run();
    let record = Arc::new(RunRecord::begin(clock::now()));
    record.know_begun(agent.blocking(|agent| history::begun(&agent.state)).await);
    let ledger = Arc::new(Ledger::open(agent, occasion.night));
    agent.progress.begin_run(record.name());
    tracing::info!(run = record.name(), ?occasion, "a run begins");
    let ending = tokio::select! {
        // While bundles are fetched, this is told, too, and has the first word.
        biased;
        ending = fill(agent, occasion, &record, &ledger, told.clone()) => ending,
        Ok(_) = told.wait_for(|told| *told) => Ok(Ending::Halted(Halt::Told)),
    };
    agent.progress.enter(FillState::Reporting, "");
    agent.pace.set_rate(agent.config.fill.rate);
    agent.volumes.rest();
    let is_idle = matches!(ending, Ok(Ending::Nothing)) && record.done() == (0, 0);
    let (outcome, detail) = judge(ending, &record);
    let checkpoint = record.checkpoint(clock::now(), outcome, detail);
    let report = checkpoint.run.clone();
    if is_idle && !occasion.is_by_hand {
        ledger.close(agent, |_| {}).await;
        agent.progress.enter(FillState::Waiting, report.detail);
        return None;
    }
    ledger.close(agent, move |agent| keep(agent, &checkpoint)).await;
    let state = if outcome == RunOutcome::Suspended { FillState::Suspended } else { FillState::Waiting };
    agent.progress.enter(state, report.detail.clone());
    Some(report)
}

async fn fill(
    agent: &Arc<Agent>,
    occasion: Occasion,
    record: &Arc<RunRecord>,
    ledger: &Arc<Ledger>,
    told: signal::Receiver<bool>,
) -> Result<Ending, Hindrance> {
    let manifest = manifest(agent).await?;
    let inventory = inventory(agent).await?;
    let adopted = unadopted::adopt(agent, record, &manifest, &inventory).await;
    let inventory = if adopted.0 > 0 { self::inventory(agent).await? } else { inventory };
    let planned = planning::make(agent, &manifest, &inventory, occasion.night).await;
    let volumes = planned.volumes.iter().map(|volume| (volume.index, volume.volume.id())).collect();
    agent.blocking(move |agent| expiry::note_volumes(agent, &inventory, &volumes)).await;
    let bundles = planned.plan.fetches.len() as u64;
    let bytes = planned.plan.fetches.iter().map(|fetch| manifest.entries[fetch.entry].bytes).sum();
    record.plan(manifest.sequence, bundles + adopted.0, bytes + adopted.1);
    record.know_begun(planned.begun.iter().map(|begun| (begun.key.clone(), begun.done_bytes)));
    agent.progress.plan(bundles, bytes);
    tracing::info!(bundles, bytes, retires = planned.plan.retires.len(), held = planned.plan.held, "planned");
    let fetches = planned.plan.fetches.iter().map(|fetch| fetch.key.clone());
    let sources = Sources::ask(agent, fetches.collect()).await;

    let run = Arc::new(Run::new(agent, record, ledger, &planned));
    clear_away(&run, &planned).await;
    let fetches = planned.plan.fetches.iter();
    let wanted: HashSet<Sha256> = fetches.map(|fetch| manifest.entries[fetch.entry].descriptor).collect();
    let forgetting =
        move |agent: &Agent| descriptors::forget_others(&agent.state, |digest| wanted.contains(digest));
    agent.blocking(forgetting).await;
    if bundles == 0 {
        return Ok(Ending::Nothing);
    }
    agent.progress.enter(FillState::Filling, "");
    let works = works(&planned, &manifest, &sources);
    let ending = tokio::select! {
        biased;
        left = queue::bring_in_all(&run, works) => match run.halted() {
            Some(halt) if left > 0 => Ending::Halted(halt),
            _ => Ending::Through,
        },
        () = watch::until_told(&run, occasion, told) => Ending::Halted(Halt::Told),
        never = watch::yield_to_viewers(&run) => match never {},
    };
    Ok(ending)
}

/// A newer manifest where there is one, else the one in force.
async fn manifest(agent: &Arc<Agent>) -> Result<Arc<FillManifest>, Hindrance> {
    let renewed = agent.renew_manifest().await;
    if let Err(error) = &renewed {
        tracing::warn!(%error, "there is no newer manifest; the last good one stays in force");
    }
    let manifests = locked(&agent.manifests);
    manifests.in_force().ok_or_else(|| {
        let why = match (renewed, manifests.refused()) {
            (Err(error), _) => error.to_string(),
            (Ok(_), Some(refused)) => refused.to_owned(),
            (Ok(_), None) if agent.control_plane.is_none() => "control.url names no control plane".to_owned(),
            (Ok(_), None) => "the control plane has none for this appliance yet".to_owned(),
        };
        Hindrance(format!("there is no manifest: {why}"))
    })
}

async fn inventory(agent: &Agent) -> Result<Inventory, Hindrance> {
    agent.daemon.inventory().await.map_err(|error| {
        Hindrance(format!("the daemon does not say what it holds, so nothing can be planned: {error}"))
    })
}

/// What is to go at once: bundles that must not be served, and what was begun of bundles that nobody wants.
async fn clear_away(run: &Arc<Run>, planned: &Planned) {
    if let Err(why) = run.retire(&planned.plan.retires).await {
        tracing::warn!(why, "bundles stay for now");
    }
    let calls = run.agent.volumes.calls();
    for (volume, id) in planned.unwanted.clone() {
        // Who removed nothing has told of it.
        let _ = calls.work(volume.index, move || volume.remove_begun(&id)).await;
    }
    for discard in &planned.plan.discards {
        if let Ok(volume) = run.volume(discard.volume) {
            let id = cache_store::BundleId::of(&discard.key);
            let _ = calls.work(volume.index, move || volume.remove_begun(&id)).await;
        }
    }
}

fn works(planned: &Planned, manifest: &FillManifest, sources: &Sources) -> Vec<Work> {
    let work = |(rank, fetch): (usize, &crate::plan::PlannedFetch)| {
        let was_begun =
            planned.begun.iter().any(|begun| begun.key == fetch.key && begun.volume == fetch.volume);
        let entry = manifest.entries[fetch.entry].clone();
        Work::new(rank, fetch.clone(), entry, sources.of(&fetch.key), was_begun)
    };
    planned.plan.fetches.iter().enumerate().map(work).collect()
}

fn judge(ending: Result<Ending, Hindrance>, record: &RunRecord) -> (RunOutcome, String) {
    match ending {
        Err(hindrance) => {
            tracing::error!(%hindrance, "the run could do nothing");
            (RunOutcome::Failed, hindrance.0)
        }
        Ok(Ending::Halted(Halt::Told)) => {
            (RunOutcome::Interrupted, "the agent was told to stop; the next run goes on".to_owned())
        }
        Ok(Ending::Halted(Halt::WindowClosed)) => {
            (RunOutcome::Suspended, "the window closed; the next run goes on".to_owned())
        }
        Ok(Ending::Halted(Halt::BudgetSpent)) => {
            (RunOutcome::Suspended, "the night's bytes are spent; the next night goes on".to_owned())
        }
        Ok(Ending::Nothing) => (RunOutcome::Completed, "there was nothing to fetch".to_owned()),
        Ok(Ending::Through) => match record.failed() {
            0 => (RunOutcome::Completed, "everything planned was published".to_owned()),
            failed => (RunOutcome::Incomplete, format!("{failed} bundles were given up")),
        },
    }
}

/// Keeps the report of a run, with what it has begun: for the control plane, then for the operator. Blocks.
pub fn keep(agent: &Agent, checkpoint: &Checkpoint) {
    let report = &checkpoint.run;
    tracing::info!(
        run = report.run,
        outcome = %report.outcome,
        detail = report.detail,
        published = report.published_bundles,
        failed = report.failures.len() as u64 + report.more_failures,
        retired = report.retired_bundles,
        "a run has ended"
    );
    keep_checkpoint(checkpoint, &agent.state);
    if let Err(error) = locked(&agent.outbox).add_run(report.clone()) {
        tracing::warn!(%error, "the run's report could not be kept yet");
    }
    locked(&agent.history).add(report.clone(), &agent.state);
}

impl fmt::Display for Hindrance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
