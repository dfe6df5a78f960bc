//! The life of a flight, as its leader sees it: ask upstream, see what the answer is, and bring its body to the passengers and into a
//! store.

mod arriving;
mod filing;

use std::pin::pin;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use super::blocks::BLOCK_BYTES;
use super::caching::{Decision, RequestHead, decide};
use super::clients::ClientPart;
use super::failure::PullFailure;
use super::flight::{Flight, Landing, Progress, Rest, Sharing};
use super::held::{Held, look_up};
use super::service::{Led, Pull};
use super::upstream::{Ask, Place, Reply};
use crate::limits::{BACKGROUND_BYTES, FLIGHT_PATIENCE, FLIGHT_REST_BYTES, UNSHARED_WINDOW_BYTES};
use arriving::{Arrived, arrive};
use filing::Filing;

/// What a flight is for.
pub(super) struct Mission {
    /// The primary key, which is also what upstream is asked for.
    pub key: Arc<str>,
    /// What upstream is asked with, beside conditions and range.
    pub fields: HeaderMap,
    /// Conditions on which upstream is asked, and what is held that they are about.
    pub revalidating: Option<(HeaderMap, Held)>,
    /// What missing parts are asked for of.
    pub filling: Option<Rest>,
    /// Nobody waits for it, and it is finished all the same.
    pub is_background: bool,
}

/// Leads a flight to its end. It is `part` of what is asked for one client until it has landed, however soon that client leaves; then that
/// is for whoever takes what it brings. What nobody takes is so to its end.
pub(super) async fn lead(pull: Arc<Pull>, flight: Arc<Flight>, mission: Mission, part: Arc<ClientPart>) {
    let _led = Led::new(&pull, &flight, &mission.key);
    if mission.filling.is_none() && is_held_by_now(&pull, &mission).await {
        return flight.land(Landing::Held);
    }
    let asked = pull.demand.asked(&mission.key);
    let ask = Ask {
        method: Method::GET,
        target: mission.key.to_string(),
        fields: fields_for(&pull, &flight, &mission),
        content: Bytes::new(),
    };
    let place = match pull.upstreams.place(&ask).await {
        Ok(place) => place,
        Err(failure) => return flight.land(Landing::Failed(failure)),
    };
    if !mission.is_background && pull.flights.remove_deserted(&mission.key, &flight) {
        return flight.land(Landing::Failed(PullFailure::Invalid));
    }
    let request_time = SystemTime::now();
    let reply = match place.ask(&ask).await {
        Ok(reply) => reply,
        Err(failure) => {
            // That a part of what is held cannot be had says nothing of the rest.
            if mission.filling.is_none() {
                pull.habits.note_failure(&mission.key, flight.variant, flight.part, failure);
            }
            return flight.land(Landing::Failed(failure));
        }
    };
    if matches!(reply.status, StatusCode::NOT_FOUND | StatusCode::GONE) {
        // Here, since who has asked may have left.
        pull.absences.note(part.address());
    }
    match arrive(&pull, &flight, &mission, &reply, request_time, asked).await {
        Arrived::WithoutBody(landing) => flight.land(landing),
        Arrived::WithBody { arrival, end, mut filing } => {
            if arrival.sharing != Sharing::Everyone {
                // Nobody else comes on board; who is there already learns whether it is for them.
                pull.flights.remove(&mission.key, &flight);
            }
            let is_shared = arrival.sharing == Sharing::Everyone;
            flight.land(Landing::Arrived(arrival));
            let _part = mission.is_background.then_some(part);
            let source = Source { reply, end, is_shared };
            let mut place = Some(place);
            let result = carry(&pull, &flight, &mission, source, &mut place, &mut filing).await;
            filing.close(&pull, &flight, &mission, result).await;
            flight.end(result);
            // What is in memory only counts as under way until it is read.
            if let Some(place) = &mut place {
                place.wait_for_clients();
            }
            flight.trim_stored(0);
            flight.drain(FLIGHT_REST_BYTES).await;
        }
    }
}

/// A body that comes.
struct Source {
    reply: Reply,
    /// The byte after its last one, where that is known.
    end: Option<u64>,
    /// Whether others may come on board.
    is_shared: bool,
}

/// Brings the body, to its end.
async fn carry(
    pull: &Pull,
    flight: &Flight,
    mission: &Mission,
    source: Source,
    place: &mut Option<Place<'_>>,
    filing: &mut Filing,
) -> Result<(), PullFailure> {
    let Source { mut reply, end, is_shared } = source;
    if is_shared {
        reply.bear_no_trickle();
    }
    loop {
        if flight.end_if_deserted(|progress| is_worth_finishing(pull, progress, mission, end, filing)) {
            return Err(PullFailure::Invalid);
        }
        if is_shared {
            make_room(pull, flight, filing, place).await;
        } else {
            // For one client as a rule, and as slow as that: it holds less than the client's pipe.
            *place = None;
            flight.trim_read(UNSHARED_WINDOW_BYTES, FLIGHT_PATIENCE).await;
        }
        let Some(bytes) = reply.chunk().await? else { break };
        if end.is_some_and(|end| flight.received_to() + bytes.len() as u64 > end) {
            return Err(PullFailure::Invalid);
        }
        flight.push(bytes);
        filing.take(pull, flight, mission, end).await;
    }
    let is_whole = end.is_none_or(|end| flight.received_to() == end);
    if is_whole { Ok(()) } else { Err(PullFailure::Invalid) }
}

/// Keeps what is in memory within its bound, and does not run far ahead of everybody. Once it has to wait for its passengers, it leaves
/// its place to others: it comes no faster than these take it.
async fn make_room(pull: &Pull, flight: &Flight, filing: &Filing, place: &mut Option<Place<'_>>) {
    let mut room = pin!(async {
        let window_bytes = pull.window_bytes();
        if filing.is_storing() {
            flight.trim_stored(window_bytes);
            flight.wait_for_fastest().await;
        } else {
            flight.trim_read(window_bytes, FLIGHT_PATIENCE).await;
        }
    });
    tokio::select! {
        biased;
        () = &mut room => return,
        () = std::future::ready(()) => {}
    }
    if let Some(place) = place {
        place.wait_for_clients();
    }
    room.await;
}

/// Whether a body that nobody waits for, or waits for any more, is fetched further.
fn is_worth_finishing(
    pull: &Pull,
    progress: Progress,
    mission: &Mission,
    end: Option<u64>,
    filing: &Filing,
) -> bool {
    let finish_below = pull.config.finish_below.bytes();
    let is_worth_it = if mission.is_background {
        let left = match end {
            Some(end) => end.saturating_sub(progress.received_to),
            // What has no length and is short so far is as likely short altogether.
            None if progress.received_to <= BLOCK_BYTES => 0,
            None => u64::MAX,
        };
        left <= finish_below.max(BACKGROUND_BYTES)
    } else {
        progress.is_worth_finishing(end, finish_below)
    };
    filing.is_storing() && is_worth_it
}

/// Whether an earlier flight has brought what is wanted since it was looked for.
async fn is_held_by_now(pull: &Pull, mission: &Mission) -> bool {
    let request = RequestHead { method: &Method::GET, target: &mission.key, fields: &mission.fields };
    let is_enough = |held: &[Held]| {
        matches!(decide(&request, held, SystemTime::now(), &pull.policy), Decision::Serve { .. })
    };
    is_enough(&look_up(&mission.key, &pull.memory, &pull.demand, &pull.flights, is_enough).await)
}

/// What upstream is asked with.
fn fields_for(pull: &Pull, flight: &Flight, mission: &Mission) -> HeaderMap {
    let mut fields = mission.fields.clone();
    if let Some((conditions, _)) = &mission.revalidating {
        fields.extend(conditions.clone());
    }
    if let Some(range) = flight.part.field() {
        fields.insert(http::header::RANGE, range);
    }
    pull.loop_guard.mark(&mut fields);
    fields
}
