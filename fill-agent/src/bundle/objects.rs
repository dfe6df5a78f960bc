//! The objects of one bundle from one source, several at once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use control_client::breaker::Admission;
use control_client::descriptor::Descriptor;
use control_client::sources::FillSource;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::task::JoinSet;

use super::Work;
use super::space::Space;
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
    result: Result<Vec<u32>, Failed>,
}

/// Asks a source whether it has the bundle, by its largest object. Nothing of it is transferred.
pub(super) async fn probe(run: &Arc<Run>, work: &mut Work, source: usize, descriptor: &Descriptor) -> bool {
    let (asked, url) = &work.sources[source];
    let Some(object) = descriptor.objects.iter().max_by_key(|object| object.bytes) else { return false };
    let wanted = Wanted {
        url,
        kind: asked.kind,
        target: url.target(&work.planned.key.path, &object.name),
        bytes: object.bytes,
        sha256: object.sha256,
    };
    let asking = run.breakers.ask(asked);
    match run.fetcher.probe(&wanted).await {
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
    let mut missing = VecDeque::from(work.space.as_ref().map(Space::missing).unwrap_or_default());
    // As many places as could be used are asked for, so that none that becomes free goes past this bundle to a later one.
    let mut places = FuturesUnordered::new();
    let mut fetching = JoinSet::new();
    let mut stopped = None;
    loop {
        let admission = run.breakers.admission(&work.sources[source].0);
        if stopped.is_none() && admission == Admission::Admitted {
            while places.len() < missing.len().min(run.places.count()) {
                places.push(run.places.take(work.rank));
            }
        } else {
            places.clear();
        }
        tokio::select! {
            Some(place) = places.next() => {
                let Some(object) = missing.pop_front() else { continue };
                let asking = run.breakers.ask(&work.sources[source].0);
                let fetch = fetch_one(run, work, source, descriptor, object);
                fetching.spawn(async move {
                    let _place = place;
                    (asking, fetch.await)
                });
            }
            // What is under way ends, whatever the others did: each object is worth its bytes by itself.
            Some(ended) = fetching.join_next() => {
                stopped = match (stopped, take_in(run, work, source, ended)) {
                    (disk @ Some(Stopped::ByDisk(_)), _) => disk,
                    (earlier, later) => later.or(earlier),
                };
            }
            else => break,
        }
    }
    match stopped {
        Some(stopped) => Err(stopped),
        None if missing.is_empty() => Ok(()),
        None => {
            // The breaker has opened since its source was chosen. Whatever is decided next, it is not decided a thousand times a
            // second.
            tokio::time::sleep(REFUSED_PAUSE).await;
            Err(Stopped::BySource)
        }
    }
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
        let wanted =
            Wanted { url: &url, kind: source.kind, target, bytes: object.bytes, sha256: object.sha256 };
        let tally = run.record.tallies.of(&source);
        let writer = ObjectWriter::new(&disk, &file, range);
        let result = run.fetcher.fetch(wanted, writer, &tally).await;
        Fetched { place, bytes: object.bytes, result }
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
        Ok(checksums) => {
            asking.succeeded();
            if let Some(space) = &mut work.space {
                space.arrived(fetched.place, checksums);
                run.record.note_begun(&work.planned.key, space.done_bytes());
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
