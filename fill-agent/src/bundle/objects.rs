//! The objects of one bundle from one source, several at once.

use std::sync::Arc;
use std::time::Duration;

use control_client::descriptor::Descriptor;
use control_client::sources::FillSource;
use tokio::task::JoinSet;

use super::Work;
use crate::breaker::Admission;
use crate::breakers::Asking;
use crate::disk::DiskError;
use crate::escalation::Answer;
use crate::fetch::{Failed, Fault, ObjectWriter, SourceUrl, Wanted};
use crate::random::jitter;
use crate::run::Run;

/// Why not all objects came.
pub(super) enum Stopped {
    /// The source failed, or has to be left alone: whom to ask next is decided anew.
    BySource,
    /// The disk failed.
    ByDisk(DiskError),
}

/// An object that was fetched, or not.
struct Fetched {
    place: usize,
    bytes: u64,
    result: Result<(), Failed>,
}

/// Asks a source whether it has the bundle, by its largest object. Nothing of it is transferred.
pub(super) async fn probe(run: &Arc<Run>, work: &mut Work, source: usize, descriptor: &Descriptor) -> bool {
    let (asked, url) = &work.sources[source];
    let Some(object) = descriptor.objects.iter().max_by_key(|object| object.bytes) else { return false };
    let wanted = Wanted {
        url,
        target: url.target(&work.planned.key.path, &object.name),
        bytes: object.bytes,
        sha256: object.sha256,
    };
    let asking = run.breakers.ask(asked);
    match run.fetcher.probe(&wanted, asked.kind).await {
        Ok(()) => {
            asking.succeeded();
            true
        }
        Err(fault) => {
            note_fault(run, work, source, asking, &fault);
            false
        }
    }
}

/// Fetches what is missing, in the order of the descriptor.
pub(super) async fn fetch_missing(
    run: &Arc<Run>,
    work: &mut Work,
    source: usize,
    descriptor: &Descriptor,
) -> Result<(), Stopped> {
    let missing = work.space.as_ref().map(|space| space.missing()).unwrap_or_default();
    let mut fetching = JoinSet::new();
    let mut stopped = None;
    for place in missing {
        // A place that is free, and a source that may be asked; what ends meanwhile may say that it is over.
        let asking = loop {
            if stopped.is_some() {
                break None;
            }
            match run.breakers.admission(&work.sources[source].0) {
                admission if may_ask(admission, run.agent.pace.now()) => {}
                _ if fetching.is_empty() => {
                    // Whatever is decided next, it is not decided a thousand times a second.
                    tokio::time::sleep(REFUSED_PAUSE).await;
                    stopped = Some(Stopped::BySource);
                    continue;
                }
                _ => {
                    let ended = fetching.join_next().await;
                    stopped = ended.and_then(|ended| take_in(run, work, source, ended));
                    continue;
                }
            }
            tokio::select! {
                permit = Arc::clone(&run.places).acquire_owned() => {
                    break permit.ok().map(|permit| (permit, run.breakers.ask(&work.sources[source].0)));
                }
                Some(ended) = fetching.join_next() => stopped = take_in(run, work, source, ended),
            }
        };
        let Some((permit, asking)) = asking else { break };
        let fetch = fetch_one(run, work, source, descriptor, place);
        fetching.spawn(async move {
            let _permit = permit;
            (asking, fetch.await)
        });
    }
    // What is under way ends, whatever the others did: each object is worth its bytes by itself.
    while let Some(ended) = fetching.join_next().await {
        stopped = match (stopped, take_in(run, work, source, ended)) {
            (disk @ Some(Stopped::ByDisk(_)), _) => disk,
            (earlier, later) => later.or(earlier),
        };
    }
    stopped.map_or(Ok(()), Err)
}

fn fetch_one(
    run: &Arc<Run>,
    work: &Work,
    source: usize,
    descriptor: &Descriptor,
    place: usize,
) -> impl Future<Output = Fetched> + Send + 'static {
    let space = work.space.as_ref().expect("objects are fetched into a space that is open");
    let (disk, file) = (Arc::clone(&space.disk), space.file.clone());
    let range = space.incoming.layout().range(place);
    let object = descriptor.objects[place].clone();
    let (source, url): (FillSource, SourceUrl) = work.sources[source].clone();
    let target = url.target(&work.planned.key.path, &object.name);
    let run = Arc::clone(run);
    async move {
        let wanted = Wanted { url: &url, target, bytes: object.bytes, sha256: object.sha256 };
        let tally = run.record.tallies.of(&source);
        let writer = ObjectWriter::new(&disk, &file, range);
        let result = run.fetcher.fetch(wanted, writer, &tally).await;
        Fetched { place, bytes: object.bytes, result }
    }
}

/// As the choice of the source sees it.
fn may_ask(admission: Admission, now: Duration) -> bool {
    match admission {
        Admission::Admitted => true,
        Admission::NotBefore(until) | Admission::Down(until) => until <= now,
        Admission::Probing => false,
    }
}

/// After a breaker has opened between the choice of its source and the first question.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);

/// Takes in what became of an object; why to stop, where it is to be stopped.
fn take_in(
    run: &Run,
    work: &mut Work,
    source: usize,
    ended: Result<(Asking, Fetched), tokio::task::JoinError>,
) -> Option<Stopped> {
    let (asking, fetched) = match ended {
        Ok(ended) => ended,
        Err(error) => {
            tracing::error!(%error, "the work on an object ended in a panic; please report it with the log");
            return Some(Stopped::ByDisk(DiskError::Gone));
        }
    };
    match fetched.result {
        Ok(()) => {
            asking.succeeded();
            if let Some(space) = &mut work.space {
                space.arrived(fetched.place);
            }
            if let Some(escalation) = &mut work.escalation {
                escalation.note(source, Answer::Whole, run.agent.pace.now(), jitter());
            }
            run.agent.progress.advance(&work.planned.key, fetched.bytes, &work.sources[source].0.name);
            None
        }
        Err(Failed::Source(fault)) => {
            note_fault(run, work, source, asking, &fault);
            Some(Stopped::BySource)
        }
        Err(Failed::Disk(error)) => Some(Stopped::ByDisk(error)),
    }
}

fn note_fault(run: &Run, work: &mut Work, source: usize, asking: Asking, fault: &Fault) {
    let (asked, _) = &work.sources[source];
    tracing::info!(bundle = %work.planned.key, source = asked.name, %fault, "a source failed");
    match fault {
        fault if !fault.is_of_the_source() => asking.succeeded(),
        Fault::Busy { retry_after, .. } => asking.failed(*retry_after),
        _ => asking.failed(None),
    }
    work.last_fault = Some(format!("{} {}: {fault}", asked.kind, asked.name));
    if let Some(escalation) = &mut work.escalation {
        escalation.note(source, fault.answer(), run.agent.pace.now(), jitter());
    }
}
