//! The life of a flight, as its leader sees it: ask upstream, see what the answer is, and bring its body to the passengers and into a
//! store.

mod arriving;
mod filing;

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::blocks::BLOCK_BYTES;
use super::caching::{Decision, RequestHead, StoredHead, decide, upstream_fields};
use super::demand_store::DiskEntry;
use super::failure::PullFailure;
use super::flight::{Flight, Landing, Sharing};
use super::held::{Held, look_up};
use super::service::{Led, Pull};
use super::upstream::{Ask, Reply};
use crate::limits::{BACKGROUND_BYTES, FLIGHT_LEAD_BYTES, FLIGHT_PATIENCE, SMALL_BODY_BYTES};
use arriving::{Arrived, arrive};
use filing::Filing;

/// What a flight is for.
pub(super) struct Mission {
    /// The primary key, which is also what upstream is asked for.
    pub key: Arc<str>,
    /// The fields of the request that caused it.
    pub fields: HeaderMap,
    /// Conditions on which upstream is asked, and what is held that they are about.
    pub revalidating: Option<(HeaderMap, Held)>,
    /// The entry of which missing blocks are asked for, and its head.
    pub filling: Option<(DiskEntry, Arc<StoredHead>)>,
    /// Nobody waits for it, and it is finished all the same.
    pub is_background: bool,
}

/// Leads a flight to its end.
pub(super) async fn lead(pull: Arc<Pull>, flight: Arc<Flight>, mission: Mission) {
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
    let request_time = SystemTime::now();
    let (reply, _place) = match pull.upstreams.ask(&ask).await {
        Ok(answered) => answered,
        Err(failure) => {
            if failure != PullFailure::Busy {
                pull.habits.note_failure(&mission.key, failure);
            }
            return flight.land(Landing::Failed(failure));
        }
    };
    match arrive(&pull, &flight, &mission, &reply, request_time, asked).await {
        Arrived::WithoutBody(landing) => flight.land(landing),
        Arrived::WithBody { arrival, end, mut filing } => {
            if arrival.sharing != Sharing::Everyone {
                // Nobody else comes on board; who is there already learns whether it is for them.
                pull.flights.remove(&mission.key, &flight);
            }
            flight.land(Landing::Arrived(arrival));
            let result = carry(&pull, &flight, &mission, reply, end, &mut filing).await;
            filing.close(&pull, &flight, &mission, result).await;
            flight.end(result);
            // What is in memory only counts as under way until it is read.
            flight.trim_stored(0);
            flight.drain(SMALL_BODY_BYTES).await;
        }
    }
}

/// Brings the body, to its end.
async fn carry(
    pull: &Pull,
    flight: &Flight,
    mission: &Mission,
    mut reply: Reply,
    end: Option<u64>,
    filing: &mut Filing,
) -> Result<(), PullFailure> {
    loop {
        if flight.is_deserted() && !is_worth_finishing(pull, flight, mission, end, filing) {
            return Err(PullFailure::Invalid);
        }
        make_room(pull, flight, filing).await;
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

/// Keeps what is in memory within its bound, and does not run far ahead of everybody.
async fn make_room(pull: &Pull, flight: &Flight, filing: &Filing) {
    let window_bytes = pull.window_bytes();
    if filing.is_storing() {
        flight.trim_stored(window_bytes);
        flight.wait_for_fastest(FLIGHT_LEAD_BYTES).await;
    } else {
        flight.trim_read(window_bytes, FLIGHT_PATIENCE).await;
    }
}

/// Whether a body that nobody waits for is fetched to its end.
fn is_worth_finishing(
    pull: &Pull,
    flight: &Flight,
    mission: &Mission,
    end: Option<u64>,
    filing: &Filing,
) -> bool {
    let finish_below = pull.config.finish_below.bytes();
    let finish_below = if mission.is_background { finish_below.max(BACKGROUND_BYTES) } else { finish_below };
    let left = match end {
        Some(end) => end.saturating_sub(flight.received_to()),
        // What has no length and is short so far is as likely short altogether.
        None if flight.received_to() <= BLOCK_BYTES => 0,
        None => u64::MAX,
    };
    filing.is_storing() && left <= finish_below
}

/// Whether an earlier flight has brought what is wanted since it was looked for.
async fn is_held_by_now(pull: &Pull, mission: &Mission) -> bool {
    let held = look_up(&mission.key, &pull.memory, &pull.demand, &pull.flights).await;
    let heads: Vec<_> = held.into_iter().map(|held| held.head).collect();
    let request = RequestHead { method: &Method::GET, target: &mission.key, fields: &mission.fields };
    matches!(decide(&request, &heads, SystemTime::now(), &pull.policy), Decision::Serve { .. })
}

/// What upstream is asked with.
fn fields_for(pull: &Pull, flight: &Flight, mission: &Mission) -> HeaderMap {
    let mut fields = upstream_fields(&mission.fields);
    if let Some((conditions, _)) = &mission.revalidating {
        fields.extend(conditions.clone());
    }
    if let Some(range) = flight.part.field() {
        fields.insert(http::header::RANGE, range);
    }
    pull.loop_guard.mark(&mut fields);
    fields
}
