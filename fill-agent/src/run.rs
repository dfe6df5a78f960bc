//! A run, from top to bottom: manifest → inventory → plan → sources → per bundle: fetch, verify, publish → report.
//!
//! Who calls [`run`] has looked at the window. What ends a run early (the window closes, the night's bytes are spent, the
//! agent is told to stop) ends it between any two bytes: what is on the disk stays, and the next run goes on with it.

mod queue;
mod watch;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use control_client::fill::{FillRun, FillState, RunOutcome};
use control_client::fill_manifest::FillManifest;
use jiff::Timestamp;
use tokio::sync::{Semaphore, watch as signal};

use crate::agent::{Agent, locked};
use crate::breakers::Breakers;
use crate::bundle::{Work, retire_one};
use crate::clock;
use crate::descriptors;
use crate::fetch::{Connections, Fetcher};
use crate::history::keep_checkpoint;
use crate::planning::{self, Planned};
use crate::run_record::{Checkpoint, RunRecord};
use crate::sources::Sources;
use crate::volumes::OpenVolume;

use watch::Halt;

/// What the bundles of a run share.
pub struct Run {
    /// The agent.
    pub agent: Arc<Agent>,
    /// What it has done.
    pub record: Arc<RunRecord>,
    /// Fetches objects.
    pub fetcher: Fetcher,
    /// Which sources are left alone.
    pub breakers: Arc<Breakers>,
    /// A place for each object that is fetched at once.
    pub places: Arc<Semaphore>,
    /// The volumes that can be written.
    pub volumes: Vec<OpenVolume>,
    /// Those that were lost since the run began, and why.
    lost: Mutex<HashMap<u8, String>>,
}

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
    let record = Arc::new(RunRecord::begin(clock::now()));
    agent.progress.begin_run(record.name());
    tracing::info!(run = record.name(), ?occasion, "a run begins");
    let ending = tokio::select! {
        // While bundles are fetched, this is told, too, and has the first word.
        biased;
        ending = fill(agent, occasion, &record, told.clone()) => ending,
        Ok(_) = told.wait_for(|told| *told) => Ok(Ending::Halted(Halt::Told)),
    };
    agent.progress.enter(FillState::Reporting, "");
    agent.pace.set_rate(agent.config.fill.rate);
    agent.volumes.rest();
    let is_idle = matches!(ending, Ok(Ending::Nothing)) && record.done() == (0, 0);
    let (outcome, detail) = judge(ending, &record);
    let report = record.end(clock::now(), outcome, detail);
    if is_idle && !occasion.is_by_hand {
        agent.progress.enter(FillState::Waiting, report.detail);
        return None;
    }
    keep(agent, &report);
    let state = if outcome == RunOutcome::Suspended { FillState::Suspended } else { FillState::Waiting };
    agent.progress.enter(state, report.detail.clone());
    Some(report)
}

async fn fill(
    agent: &Arc<Agent>,
    occasion: Occasion,
    record: &Arc<RunRecord>,
    told: signal::Receiver<bool>,
) -> Result<Ending, Hindrance> {
    let manifest = manifest(agent).await?;
    let inventory = agent.daemon.inventory().await.map_err(|error| {
        Hindrance(format!("the daemon does not say what it holds, so nothing can be planned: {error}"))
    })?;
    let planned = planning::make(agent, &manifest, &inventory, occasion.night).await;
    let bundles = planned.plan.fetches.len() as u64;
    let bytes = planned.plan.fetches.iter().map(|fetch| manifest.entries[fetch.entry].bytes).sum();
    record.plan(manifest.sequence, bundles, bytes);
    agent.progress.plan(bundles, bytes);
    tracing::info!(bundles, bytes, retires = planned.plan.retires.len(), held = planned.plan.held, "planned");
    let fetches = planned.plan.fetches.iter().map(|fetch| fetch.key.clone());
    let sources = Sources::ask(&agent.state, agent.control_plane.as_ref(), fetches.collect()).await;

    let run = Arc::new(Run::new(agent, record, planned.volumes.clone()));
    clear_away(&run, &planned).await;
    descriptors::forget_others(&agent.state, |digest| {
        planned.plan.fetches.iter().any(|fetch| manifest.entries[fetch.entry].descriptor == *digest)
    });
    if bundles == 0 {
        return Ok(Ending::Nothing);
    }
    agent.progress.enter(FillState::Filling, "");
    let works = works(&planned, &manifest, &sources);
    let ending = tokio::select! {
        biased;
        halt = watch::until_halt(&run, occasion, told) => Ending::Halted(halt),
        () = queue::bring_in_all(&run, works) => Ending::Through,
        never = watch::yield_to_viewers(&run) => match never {},
    };
    watch::account(&run, occasion);
    watch::keep_checkpoint(&run);
    Ok(ending)
}

/// A newer manifest where there is one, else the one in force.
async fn manifest(agent: &Agent) -> Result<Arc<FillManifest>, Hindrance> {
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

/// What is to go at once: bundles that must not be served, and what was begun of bundles that nobody wants.
async fn clear_away(run: &Arc<Run>, planned: &Planned) {
    for retire in &planned.plan.retires {
        if let Err(why) = retire_one(run, retire).await {
            tracing::warn!(why, "a bundle stays for now");
        }
    }
    for (volume, id) in planned.unwanted.clone() {
        run.blocking(move || volume.remove_begun(&id)).await;
    }
    for discard in &planned.plan.discards {
        if let Ok(volume) = run.volume(discard.volume) {
            let id = cache_store::BundleId::of(&discard.key);
            run.blocking(move || volume.remove_begun(&id)).await;
        }
    }
}

fn works(planned: &Planned, manifest: &FillManifest, sources: &Sources) -> Vec<Work> {
    let work = |fetch: &crate::plan::PlannedFetch| {
        let was_begun =
            planned.begun.iter().any(|begun| begun.key == fetch.key && begun.volume == fetch.volume);
        let entry = manifest.entries[fetch.entry].clone();
        Work::new(fetch.clone(), entry, sources.of(&fetch.key), was_begun)
    };
    planned.plan.fetches.iter().map(work).collect()
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

/// Keeps the report: for the control plane, then for the operator.
pub fn keep(agent: &Agent, report: &FillRun) {
    tracing::info!(
        run = report.run,
        outcome = %report.outcome,
        detail = report.detail,
        published = report.published_bundles,
        failed = report.failures.len() as u64 + report.more_failures,
        retired = report.retired_bundles,
        "a run has ended"
    );
    let begun = crate::history::begun(&agent.state);
    keep_checkpoint(&Checkpoint { run: report.clone(), begun }, &agent.state);
    if let Err(error) = locked(&agent.outbox).add_run(report.clone()) {
        tracing::warn!(%error, "the run's report could not be kept yet");
    }
    locked(&agent.history).add(report.clone(), &agent.state);
}

impl Run {
    fn new(agent: &Arc<Agent>, record: &Arc<RunRecord>, volumes: Vec<OpenVolume>) -> Self {
        let fill = &agent.config.fill;
        let concurrency = usize::try_from(fill.concurrency).unwrap_or(usize::MAX).max(1);
        let connections = Connections::new(
            Arc::clone(&agent.pace),
            agent.tls.clone(),
            agent.receive_buffer_bytes,
            fill.connect_timeout,
            concurrency,
        );
        Self {
            agent: Arc::clone(agent),
            record: Arc::clone(record),
            fetcher: Fetcher { connections, stall_timeout: fill.stall_timeout },
            breakers: Arc::new(Breakers::new(Arc::clone(&agent.pace))),
            places: Arc::new(Semaphore::new(concurrency.min(Semaphore::MAX_PERMITS))),
            volumes,
            lost: Mutex::default(),
        }
    }

    /// The volume of that index, or why it cannot be used.
    pub fn volume(&self, index: u8) -> Result<OpenVolume, String> {
        if let Some(why) = locked(&self.lost).get(&index) {
            return Err(format!("volume {index} was lost in this run: {why}"));
        }
        let found = self.volumes.iter().find(|volume| volume.index == index);
        found.cloned().ok_or_else(|| format!("volume {index} cannot be used"))
    }

    /// From now on, nothing is written to that volume.
    pub fn lose(&self, index: u8, why: &str) {
        tracing::error!(
            volume = index,
            why,
            "a volume was lost; its bundles are planned anew by the next run"
        );
        locked(&self.lost).insert(index, why.to_owned());
    }

    /// Does what blocks on a thread for that; `None` if it panicked.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        tokio::task::spawn_blocking(work).await.ok()
    }
}

impl fmt::Display for Hindrance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
