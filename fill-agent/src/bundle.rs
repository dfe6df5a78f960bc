//! One bundle's way in: descriptor → what is there already → fetch → verify → publish → adopt.
//!
//! [`attempt`] goes as far as it can. Where sources make it wait, it says until when, and what it has stays in [`Work`] for the
//! next attempt; so a bundle that waits costs no place.

mod adoption;
mod clearing;
mod description;
mod objects;
mod publication;
mod read_back;
mod space;

use std::sync::Arc;
use std::time::Duration;

use control_client::content::BundleKey;
use control_client::descriptor::Descriptor;
use control_client::fill::FailureReason;
use control_client::fill_manifest::FillEntry;
use control_client::sources::FillSource;
use tokio::sync::Mutex;

use crate::escalation::{Escalation, Next};
use crate::fetch::SourceUrl;
use crate::limits::{ROOM_LOOK_INTERVAL, ROOM_RETRY, ROOM_WAITS_MAX};
use crate::plan::PlannedFetch;
use crate::run::Run;
use crate::volumes::OpenVolume;

use adoption::adopt_published;
pub(crate) use adoption::have_served;
use description::descriptor;
use objects::Stopped;
use publication::publish;
use space::Space;

/// A bundle of the plan, and how far it has come.
#[derive(Debug)]
pub struct Work {
    /// Its place in the plan.
    pub rank: usize,
    /// What the plan says.
    pub planned: PlannedFetch,
    /// What the manifest says.
    pub entry: FillEntry,
    /// Whether something of it was begun in an earlier run.
    pub was_begun: bool,
    sources: Vec<(FillSource, SourceUrl)>,
    escalation: Option<Escalation>,
    space: Option<Space>,
    /// Whoever opens its file, or removes what was begun, has this: an opening goes on when nobody waits for it any more.
    file_turn: Arc<Mutex<()>>,
    /// Where its file is that the daemon refuses to serve.
    unserved_on: Option<OpenVolume>,
    /// Whether bundles before it in the plan have to make their room first.
    is_after_others: bool,
    room_waits: u32,
    descriptor_waits: u32,
    /// Whether the disk has given back something else than it was given.
    was_wrong: bool,
    /// What went wrong last, with whom: for the report.
    last_fault: Option<String>,
}

/// How far an attempt went.
#[derive(Debug)]
pub enum Outcome {
    /// It serves.
    Published,
    /// Nothing can be done for it before that moment of the pace's clock.
    Wait(Duration),
    /// It lacks bytes, and this run fetches no more: it is left for the next one.
    Left,
    /// It was given up for this run.
    Failed(FailureReason, String),
}

/// Why an attempt ended before its bundle is in.
enum End {
    Wait(Duration),
    Left,
    /// It was purged: what has come of it goes, too.
    Purged,
    Failed(FailureReason, String),
}

impl Work {
    /// A bundle that nothing was done for yet.
    pub fn new(
        rank: usize,
        planned: PlannedFetch,
        entry: FillEntry,
        sources: &[FillSource],
        was_begun: bool,
    ) -> Self {
        let usable = |source: &FillSource| match SourceUrl::parse(&source.url) {
            Ok(url) => Some((source.clone(), url)),
            Err(why) => {
                tracing::warn!(bundle = %planned.key, source = source.name, why, "a source is left out");
                None
            }
        };
        let sources = sources.iter().filter_map(usable).collect();
        Self {
            rank,
            planned,
            entry,
            was_begun,
            sources,
            escalation: None,
            space: None,
            file_turn: Arc::default(),
            unserved_on: None,
            is_after_others: false,
            room_waits: 0,
            descriptor_waits: 0,
            was_wrong: false,
            last_fault: None,
        }
    }

    /// Which bundle.
    pub fn key(&self) -> &BundleKey {
        &self.planned.key
    }

    /// Whether anything has to go for it.
    fn makes_room(&self) -> bool {
        !self.planned.retire_first.is_empty() || !self.planned.discard_first.is_empty()
    }

    /// Whether bytes of it are to be fetched, as far as is known.
    pub fn lacks_bytes(&self) -> bool {
        match &self.space {
            Some(space) => !space.is_whole(),
            None => !self.was_begun || self.planned.missing_bytes > 0,
        }
    }

    /// Bytes of its objects that are on the disk, as far as they are known.
    pub fn done_bytes(&self) -> u64 {
        self.space.as_ref().map_or(0, Space::done_bytes)
    }
}

/// Brings a bundle as far as it goes now.
pub async fn attempt(run: &Arc<Run>, work: &mut Work) -> Outcome {
    run.agent.progress.begin_bundle(&work.planned.key, work.entry.bytes, work.done_bytes());
    match bring_in(run, work).await {
        Ok(()) => Outcome::Published,
        Err(End::Wait(until)) => Outcome::Wait(until),
        Err(End::Left) => Outcome::Left,
        Err(End::Purged) => {
            clearing::clear(run, work).await;
            Outcome::Failed(FailureReason::Purged, "it was purged while the run was under way".to_owned())
        }
        Err(End::Failed(reason, detail)) => Outcome::Failed(reason, detail),
    }
}

async fn bring_in(run: &Arc<Run>, work: &mut Work) -> Result<(), End> {
    let path = work.planned.key.path.clone();
    if run.agent.purges.is_purged(&path) {
        return Err(End::Purged);
    }
    work.is_after_others &= run.room.is_to_come(work.planned.volume, work.rank);
    if work.is_after_others {
        return Err(End::Wait(run.agent.pace.now() + ROOM_LOOK_INTERVAL));
    }
    if adopt_published(run, work).await? {
        return Ok(());
    }
    let volume =
        run.volume(work.planned.volume).map_err(|why| End::Failed(FailureReason::VolumeLost, why))?;
    let descriptor = descriptor(run, work).await?;
    if work.was_begun && work.space.is_none() {
        open_space(run, work, &volume, &descriptor).await?;
    }
    loop {
        while work.space.as_ref().is_none_or(|space| !space.is_whole()) {
            let fetching = run.unless_halted(fetch_from_next(run, work, &volume, &descriptor));
            let fetched = run.unless_purged(&path, fetching).await.ok_or(End::Purged)?;
            fetched.unwrap_or(Err(End::Left))?;
        }
        if publish(run, work, &volume).await? {
            return Ok(());
        }
    }
}

/// Asks the source that is next, and fetches what it has.
async fn fetch_from_next(
    run: &Arc<Run>,
    work: &mut Work,
    volume: &OpenVolume,
    descriptor: &Descriptor,
) -> Result<(), End> {
    let source = choose_source(run, work)?;
    run.agent.progress.ask(work.key(), &work.sources[source].0.name);
    if work.space.is_none() {
        // Nothing is retired, and no room taken, for what nobody has.
        if !objects::probe(run, work, source, descriptor).await {
            return Ok(());
        }
        open_space(run, work, volume, descriptor).await?;
    }
    match objects::fetch_missing(run, work, source, descriptor).await {
        Ok(()) | Err(Stopped::BySource) => Ok(()),
        Err(Stopped::ByDisk(error)) => Err(disk_failed(run, volume, error.reason(), error.to_string()).await),
    }
}

/// The source to ask now, by its place.
fn choose_source(run: &Run, work: &mut Work) -> Result<usize, End> {
    let now = run.agent.pace.now();
    let sources: Vec<FillSource> = work.sources.iter().map(|(source, _)| source.clone()).collect();
    let escalation =
        work.escalation.get_or_insert_with(|| Escalation::new(&sources, run.agent.patience, run.began));
    match escalation.next(&run.breakers.admissions(&sources), now) {
        Next::Fetch(source) => Ok(source),
        Next::WaitUntil(at) => Err(End::Wait(at)),
        Next::GiveUp(reason) => {
            let detail = match (&work.last_fault, sources.is_empty()) {
                (Some(fault), _) => fault.clone(),
                (None, true) => "the control plane names no source for it".to_owned(),
                (None, false) => "its sources do not answer".to_owned(),
            };
            Err(End::Failed(reason, detail))
        }
    }
}

/// Retires what has to go for it, and opens its file.
async fn open_space(
    run: &Arc<Run>,
    work: &mut Work,
    volume: &OpenVolume,
    descriptor: &Descriptor,
) -> Result<(), End> {
    match space::open(run, work, volume, descriptor).await {
        Ok(opened) => {
            let space = work.space.insert(opened);
            run.agent.progress.begin_bundle(&work.planned.key, work.entry.bytes, space.done_bytes());
            run.record.note_begun(&work.planned.key, space.done_bytes());
            run.room.settle(work.planned.volume, work.rank);
            Ok(())
        }
        Err(space::NoSpace::AfterOthers) => {
            tracing::info!(bundle = %work.planned.key, "a bundle waits for the room that better ones are to make");
            work.is_after_others = true;
            Err(End::Wait(run.agent.pace.now() + ROOM_LOOK_INTERVAL))
        }
        Err(space::NoSpace::Later(why)) => {
            work.room_waits += 1;
            if work.room_waits > ROOM_WAITS_MAX {
                return Err(End::Failed(FailureReason::DiskFull, why));
            }
            tracing::info!(bundle = %work.planned.key, why, "a bundle waits for its room");
            Err(End::Wait(run.agent.pace.now() + ROOM_RETRY))
        }
        Err(space::NoSpace::Never(reason, why)) => Err(disk_failed(run, volume, reason, why).await),
    }
}

/// A failure of the disk: whether the volume is lost altogether is looked at, and remembered for the bundles after it.
async fn disk_failed(run: &Arc<Run>, volume: &OpenVolume, reason: FailureReason, why: String) -> End {
    if !matches!(reason, FailureReason::DiskFailed | FailureReason::VolumeLost) {
        return End::Failed(reason, why);
    }
    let is_lost = run.agent.volumes.is_lost(volume.index).await;
    if is_lost || reason == FailureReason::VolumeLost {
        run.lose(volume.index, &why);
        return End::Failed(FailureReason::VolumeLost, why);
    }
    End::Failed(reason, why)
}
