//! What an answer of upstream is, and for whom.

use std::sync::Arc;
use std::time::SystemTime;

use http::header::{CONTENT_LENGTH, CONTENT_RANGE};
use http::{HeaderMap, Method, StatusCode};

use super::Mission;
use super::filing::Filing;
use crate::pull::blocks::{ContentRange, Part};
use crate::pull::caching::{
    RequestHead, ResponseHead, Selecting, Storing, Unstorable, end_to_end, may_keep, may_store,
    says_that_it_is_past, update_after_304,
};
use crate::pull::demand_store::Asked;
use crate::pull::failure::PullFailure;
use crate::pull::flight::{Arrival, ArrivalHead, Flight, Landing, Rest, Sharing};
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
    let request = RequestHead { method: &Method::GET, target: &mission.key, fields: &mission.fields };
    let response_time = SystemTime::now();
    let response = ResponseHead { status: reply.status, fields: &reply.fields, request_time, response_time };
    if let Some(rest) = &mission.filling {
        return fill(pull, flight, rest, reply, &request, &response, asked);
    }
    pull.habits.note_vary(&mission.key, &reply.fields);
    if reply.status == StatusCode::NOT_MODIFIED {
        let Some((_, held)) = &mission.revalidating else { return without_body(PullFailure::Invalid) };
        return Arrived::WithoutBody(confirm(pull, flight, mission, held, &request, &response, asked).await);
    }
    let note_unshared = || pull.habits.note_unshared(&mission.key, flight.variant, flight.part);
    let Some((start, end)) = extent(flight.part, reply) else {
        note_unshared();
        return Arrived::WithoutBody(Landing::Unshared);
    };
    let storing = may_store(&request, &response, &pull.policy);
    match storing {
        Storing::Store(head) if ends_visibly(reply) => {
            let head = Arc::new(head);
            let filing = Filing::new(Arc::clone(&head), start, asked);
            with_body(ArrivalHead::Storable(head), Sharing::Everyone, start, end, filing)
        }
        // What follows is not what the client asked for, and may not be kept either.
        _ if reply.status == StatusCode::PARTIAL_CONTENT => {
            note_unshared();
            Arrived::WithoutBody(Landing::Unshared)
        }
        storing => {
            let why = if let Storing::Pass(why) = storing { Some(why) } else { None };
            if why.is_some_and(|why| is_habit(why, reply.status)) {
                note_unshared();
            }
            let head = ArrivalHead::Passing {
                status: reply.status,
                fields: without_length(&reply.fields),
                length: end,
                selecting: Selecting::of_sent(&mission.fields, &reply.fields, &pull.policy),
                why,
            };
            with_body(head, sharing(why, reply.status), start, end, Filing::none())
        }
    }
}

/// Who may have an answer that is not stored. Where upstream is in trouble, or has nothing, it is not helped by being asked by each who
/// waits; but an answer for one client stays that.
fn sharing(why: Option<Unstorable>, status: StatusCode) -> Sharing {
    let is_for_one = !matches!(why, None | Some(Unstorable::Unusable | Unstorable::TooLarge));
    let is_nothing = status.is_server_error() || matches!(status.as_u16(), 404 | 410);
    if is_nothing && !is_for_one { Sharing::Waiting } else { Sharing::First }
}

/// Whether answers to such requests are likely to be for one client each, as this one is.
fn is_habit(why: Unstorable, status: StatusCode) -> bool {
    let is_said =
        matches!(why, Unstorable::NoStore | Unstorable::Private | Unstorable::Cookie | Unstorable::Vary);
    is_said && status.is_success()
}

/// Missing parts of a representation: they are of the same one, or of no use. Where all of it is sent whatever is asked for, each
/// passenger sees whether what it wants comes soon enough.
fn fill(
    pull: &Pull,
    flight: &Flight,
    rest: &Rest,
    reply: &Reply,
    request: &RequestHead<'_>,
    response: &ResponseHead<'_>,
    asked: Option<Asked>,
) -> Arrived {
    let Rest { head, entry } = rest;
    let total = match reply.status {
        // What comes in chunks does not say how long it is.
        StatusCode::OK => length(&reply.fields).or(head.total_length),
        StatusCode::PARTIAL_CONTENT => content_range(reply).map(|(_, total)| total),
        _ => None,
    };
    if total.is_none() || total != head.total_length || !head.same_representation(&reply.fields) {
        return Arrived::WithoutBody(unlike(pull, rest, reply, request));
    }
    let Some((start, end)) = extent(flight.part, reply) else { return without_body(PullFailure::Invalid) };
    let filing = match entry {
        Some(entry) => Filing::into(Arc::clone(head), start, *entry, asked),
        // Nothing of it is stored: what is stored from now on has the head that has come now.
        None => match may_store(request, response, &pull.policy) {
            Storing::Store(head) => Filing::new(Arc::new(head), start, asked),
            Storing::Pass(_) => Filing::none(),
        },
    };
    with_body(ArrivalHead::Storable(Arc::clone(head)), Sharing::Everyone, start, end.or(total), filing)
}

/// What an answer means that has nothing of what is held.
fn unlike(pull: &Pull, rest: &Rest, reply: &Reply, request: &RequestHead<'_>) -> Landing {
    if reply.status.is_server_error() {
        return Landing::Failed(PullFailure::Invalid);
    }
    if !says_that_it_is_past(&rest.head, reply.status, &reply.fields, request.fields) {
        // Upstream may have something to say to each of those who wait.
        return Landing::Unshared;
    }
    tracing::debug!(key = request.target, "the rest of it cannot be had; what was held of it is dropped");
    if let Some(entry) = rest.entry {
        pull.demand.forget(entry);
    }
    Landing::Changed
}

/// What is held is still right, and is so for longer. Not what has been purged since it was looked up: that is looked up again.
async fn confirm(
    pull: &Pull,
    flight: &Flight,
    mission: &Mission,
    held: &Held,
    request: &RequestHead<'_>,
    response: &ResponseHead<'_>,
    asked: Option<Asked>,
) -> Landing {
    pull.stats.revalidated.add(1);
    let head = Arc::new(update_after_304(&held.head, request, response, &pull.policy));
    let may_keep = may_keep(request, &head);
    let mut is_held = true;
    match (&held.body, asked) {
        (HeldBody::Memory { body, .. }, _) => {
            is_held = false;
            flight.unless_purged(|| {
                let object = pull.memory.find(&mission.key, &held.head, body);
                is_held = object.is_some();
                if let Some(object) = object.filter(|_| may_keep) {
                    pull.memory.insert(&mission.key, MemoryObject { head: Arc::clone(&head), ..object });
                }
            });
        }
        (HeldBody::Disk { entry, .. }, Some(asked)) if may_keep => {
            let updated = pull.demand.update_head(asked, *entry, head.to_bytes(), head.total_length).await;
            if let Err(fault) = updated {
                tracing::debug!(key = %mission.key, %fault, "a confirmed head was not stored");
                is_held = !fault.is_gone();
            }
        }
        (HeldBody::Disk { .. }, _) => {}
    }
    if is_held { Landing::Confirmed(Held { head, body: held.body.clone() }) } else { Landing::Changed }
}

/// The first byte of the object that follows, never after the one that was asked for, and the byte after the last, where that is
/// known. `None`: another part follows than the one that was asked for.
fn extent(part: Part, reply: &Reply) -> Option<(u64, Option<u64>)> {
    if reply.status != StatusCode::PARTIAL_CONTENT {
        return Some((0, length(&reply.fields)));
    }
    let (range, total) = content_range(reply)?;
    let is_asked_for = match part {
        Part::Whole => false,
        Part::Blocks { start, .. } => range.start == start,
        Part::Last(count) => range.end == total && total - range.start <= count,
    };
    let is_consistent = length(&reply.fields).is_none_or(|length| length == range.end - range.start);
    (is_asked_for && is_consistent).then_some((range.start, Some(range.end)))
}

/// Whether the end of the body can be told from a connection that broke.
fn ends_visibly(reply: &Reply) -> bool {
    reply.is_delimited || reply.status == StatusCode::NO_CONTENT
}

/// Which part follows, and of how many bytes; `None` where one of them is not known.
fn content_range(reply: &Reply) -> Option<(ContentRange, u64)> {
    let range = reply.fields.get(CONTENT_RANGE).and_then(ContentRange::parse)?;
    range.total.map(|total| (range, total))
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
