//! What an answer of upstream is, and for whom.

use std::sync::Arc;
use std::time::SystemTime;

use http::header::{CONTENT_LENGTH, CONTENT_RANGE};
use http::{HeaderMap, Method, StatusCode};

use super::Mission;
use super::filing::Filing;
use crate::limits::RANGE_IGNORED_BYTES_MAX;
use crate::pull::blocks::{ContentRange, Part};
use crate::pull::caching::{
    RequestHead, ResponseHead, StoredHead, Storing, Unstorable, end_to_end, may_store, update_after_304,
};
use crate::pull::demand_store::{Asked, DiskEntry};
use crate::pull::failure::PullFailure;
use crate::pull::flight::{Arrival, ArrivalHead, Flight, Landing, Sharing};
use crate::pull::held::{Held, HeldBody};
use crate::pull::memory_store::MemoryObject;
use crate::pull::service::Pull;
use crate::pull::upstream::Reply;

/// What an answer is.
pub(super) enum Arrived {
    /// Its body is of no use, or it has none.
    WithoutBody(Landing),
    /// Its body is brought to the passengers.
    WithBody {
        /// For them.
        arrival: Arc<Arrival>,
        /// The byte after the last one, where it is known.
        end: Option<u64>,
        /// Where it is stored.
        filing: Filing,
    },
}

/// Sees what an answer is.
pub(super) async fn arrive(
    pull: &Pull,
    flight: &Flight,
    mission: &Mission,
    reply: &Reply,
    request_time: SystemTime,
    asked: Option<Asked>,
) -> Arrived {
    if let Some((entry, head)) = &mission.filling {
        return fill(pull, flight, mission, reply, *entry, head).await;
    }
    let request = RequestHead { method: &Method::GET, target: &mission.key, fields: &mission.fields };
    let response_time = SystemTime::now();
    let response = ResponseHead { status: reply.status, fields: &reply.fields, request_time, response_time };
    if reply.status == StatusCode::NOT_MODIFIED {
        let Some((_, held)) = &mission.revalidating else { return without_body(PullFailure::Invalid) };
        let confirmed = confirm(pull, flight, mission, held, &request, &response).await;
        return Arrived::WithoutBody(Landing::Confirmed(confirmed));
    }
    let Some((start, end)) = extent(flight.part, reply) else {
        pull.habits.note_unshared(&mission.key);
        return Arrived::WithoutBody(Landing::Unshared);
    };
    let storing = may_store(&request, &response, &pull.policy);
    match storing {
        Storing::Store(head) if ends_visibly(reply) => {
            pull.habits.note_vary(&mission.key, &head.fields);
            let head = Arc::new(head);
            let filing = Filing::new(Arc::clone(&head), start, asked);
            with_body(ArrivalHead::Storable(head), Sharing::Everyone, start, end, filing)
        }
        // What follows is not what the client asked for, and may not be kept either.
        _ if reply.status == StatusCode::PARTIAL_CONTENT => {
            pull.habits.note_unshared(&mission.key);
            Arrived::WithoutBody(Landing::Unshared)
        }
        storing => {
            let why = if let Storing::Pass(why) = storing { Some(why) } else { None };
            let sharing = if reply.status.is_server_error() { Sharing::Waiting } else { Sharing::First };
            if why.is_some_and(|why| is_habit(why, reply.status)) {
                pull.habits.note_unshared(&mission.key);
            }
            let fields = without_length(&reply.fields);
            let head = ArrivalHead::Passing { status: reply.status, fields, length: end, why };
            with_body(head, sharing, start, end, Filing::none())
        }
    }
}

/// Whether answers under the key are likely to be for one client each, as this one is.
fn is_habit(why: Unstorable, status: StatusCode) -> bool {
    let is_said =
        matches!(why, Unstorable::NoStore | Unstorable::Private | Unstorable::Cookie | Unstorable::Vary);
    is_said && status.is_success()
}

/// Missing blocks of an entry: they are of the same representation, or of no use.
async fn fill(
    pull: &Pull,
    flight: &Flight,
    mission: &Mission,
    reply: &Reply,
    entry: DiskEntry,
    head: &Arc<StoredHead>,
) -> Arrived {
    let total = match reply.status {
        StatusCode::OK => length(&reply.fields),
        StatusCode::PARTIAL_CONTENT => content_range(reply).map(|range| range.total),
        StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::RANGE_NOT_SATISFIABLE => None,
        _ => return without_body(PullFailure::Invalid),
    };
    if total.is_none() || total != head.total_length || !head.same_representation(&reply.fields) {
        tracing::debug!(key = %mission.key, "it has changed upstream; what was held of it is dropped");
        pull.demand.forget(entry).await;
        return Arrived::WithoutBody(Landing::Changed);
    }
    let wanted = flight.part.start().unwrap_or(0);
    match extent(flight.part, reply) {
        Some((start, end)) if wanted - start <= RANGE_IGNORED_BYTES_MAX => {
            let filing = Filing::into(Arc::clone(head), start, entry);
            with_body(ArrivalHead::Storable(Arc::clone(head)), Sharing::Everyone, start, end, filing)
        }
        _ => without_body(PullFailure::Invalid),
    }
}

/// What is held is still right, and is so for longer.
async fn confirm(
    pull: &Pull,
    flight: &Flight,
    mission: &Mission,
    held: &Held,
    request: &RequestHead<'_>,
    response: &ResponseHead<'_>,
) -> Held {
    pull.stats.revalidated.add(1);
    let head = Arc::new(update_after_304(&held.head, request, response));
    match &held.body {
        HeldBody::Memory(body) => flight.unless_purged(|| {
            let object = MemoryObject { head: Arc::clone(&head), body: body.clone() };
            pull.memory.insert(&mission.key, object);
        }),
        HeldBody::Disk { entry, .. } => {
            if let Err(fault) = pull.demand.update_head(*entry, head.to_bytes(), head.total_length).await {
                tracing::debug!(key = %mission.key, %fault, "a confirmed head was not stored");
            }
        }
    }
    Held { head, body: held.body.clone() }
}

/// The first byte of the object that follows, never after the one that was asked for, and the byte after the last, where that is
/// known. `None`: another part follows than the one that was asked for.
fn extent(part: Part, reply: &Reply) -> Option<(u64, Option<u64>)> {
    if reply.status != StatusCode::PARTIAL_CONTENT {
        return Some((0, length(&reply.fields)));
    }
    let range = content_range(reply)?;
    let is_asked_for = match part {
        Part::Whole => false,
        Part::Blocks { start, .. } => range.start == start,
        Part::Last(count) => range.end == range.total && range.total - range.start <= count,
    };
    let is_consistent = length(&reply.fields).is_none_or(|length| length == range.end - range.start);
    (is_asked_for && is_consistent).then_some((range.start, Some(range.end)))
}

/// Whether the end of the body can be told from a connection that broke.
fn ends_visibly(reply: &Reply) -> bool {
    reply.is_delimited || reply.status == StatusCode::NO_CONTENT
}

fn content_range(reply: &Reply) -> Option<ContentRange> {
    reply.fields.get(CONTENT_RANGE).and_then(ContentRange::parse)
}

fn length(fields: &HeaderMap) -> Option<u64> {
    fields.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn without_length(fields: &HeaderMap) -> HeaderMap {
    let mut fields = end_to_end(fields);
    fields.remove(CONTENT_LENGTH);
    fields
}

fn with_body(head: ArrivalHead, sharing: Sharing, start: u64, end: Option<u64>, filing: Filing) -> Arrived {
    Arrived::WithBody { arrival: Arc::new(Arrival { head, sharing, start }), end, filing }
}

fn without_body(failure: PullFailure) -> Arrived {
    Arrived::WithoutBody(Landing::Failed(failure))
}
