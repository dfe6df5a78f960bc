//! Boarding a flight, and what lands: whose it is.
//!
//! Requests wait for the same flight that would have gone upstream with the same words, but for those by which no answer was seen to
//! vary yet; what lands is checked against these, too. So a passenger is given what its own request would have brought: sent when it
//! had come already, or of what a store would give it.

use std::sync::Arc;
use std::time::SystemTime;

use http::header::{RANGE, SET_COOKIE};
use http::{HeaderMap, HeaderName, Method};

use super::{Answer, Ending, Next};
use crate::pull::blocks::Part;
use crate::pull::caching::{Decision, StoredHead, decide};
use crate::pull::flight::{Arrival, ArrivalHead, Landing, Passenger, Sharing, Wish};
use crate::pull::held::Held;
use crate::pull::leading::Mission;
use crate::pull::{CacheStatus, Forwarded, PullFailure};

/// What a request has to say to upstream.
struct Saying {
    fields: HeaderMap,
    /// The same for all who would say the same.
    variant: u64,
}

impl Answer<'_> {
    /// Boards a flight, and answers with what lands.
    pub(super) async fn fetch(
        &mut self,
        revalidating: Option<(HeaderMap, Held)>,
        held: &[Held],
        reason: Forwarded,
        attempt: usize,
    ) -> Result<Next, Ending> {
        let (saying, part) = (self.saying(held), self.part());
        let is_for_many = self.request.method == Method::GET
            && !self.pull.habits.is_unshared(&self.key, saying.variant, part);
        if !is_for_many {
            return Ok(Next::PassAlone);
        }
        if let Some(failure) = self.pull.habits.failure(&self.key, saying.variant, part) {
            self.pull.stats.negative_hits.add(1);
            return self.send_stale_or(failure, held, None).await;
        }
        let wish = self.wish(part, saying.variant, attempt);
        let mission = || Mission {
            key: Arc::clone(&self.key),
            fields: saying.fields,
            revalidating,
            filling: None,
            is_background: false,
        };
        let boarded = if self.is_barred(held) {
            // What others have asked for costs no request more.
            let joined = self.pull.flights.join(&self.key, &wish);
            Some(joined.ok_or(Ending::Failed(PullFailure::Busy))?)
        } else {
            self.pull.board(&self.key, &wish, &mut self.client, mission)
        };
        let Some(passenger) = boarded else {
            tokio::select! {
                waited = self.pull.wait_to_board(&self.key, &wish, &mut self.client) => {
                    waited.map_err(Ending::Failed)?;
                }
                () = self.writer.gone() => return Err(Ending::Gone),
            }
            // What was held may have been purged meanwhile, or brought by another.
            return Ok(Next::LookAgain);
        };
        if !passenger.is_first {
            // Whoever joins another has nothing asked for.
            self.client.give_back();
        }
        let landing = tokio::select! {
            landing = passenger.landing() => landing,
            () = self.writer.gone() => return Err(Ending::Gone),
        };
        match landing {
            Landing::Arrived(arrival) => self.take(passenger, &arrival, held, reason).await,
            Landing::Confirmed(confirmed) if self.is_for_me(&passenger, &confirmed.head) => {
                let status = CacheStatus {
                    forwarded: Some(reason),
                    upstream_status: Some(304),
                    is_stored: true,
                    is_collapsed: !passenger.is_first,
                    ..CacheStatus::default()
                };
                drop(passenger);
                self.send_held(&confirmed, status).await.map(|()| Next::Answered)
            }
            Landing::Failed(failure) => self.send_stale_or(failure, held, None).await,
            Landing::Confirmed(_) | Landing::Changed | Landing::Held => Ok(Next::LookAgain),
            Landing::Unshared => Ok(Next::PassAlone),
        }
    }

    /// Whether upstream is not asked for this client: it has asked for too many absent names, and of this one nothing is held.
    pub(super) fn is_barred(&self, held: &[Held]) -> bool {
        let is_there = held.iter().any(|held| held.head.status.is_success());
        !is_there && self.pull.absences.are_too_many(self.client.address())
    }

    /// Answers with what has arrived, where it is for this request.
    async fn take(
        &mut self,
        passenger: Passenger,
        arrival: &Arrival,
        held: &[Held],
        reason: Forwarded,
    ) -> Result<Next, Ending> {
        let status = match &arrival.head {
            ArrivalHead::Storable(head) => head.status,
            ArrivalHead::Passing { status, .. } => *status,
        };
        let is_trouble = matches!(status.as_u16(), 500 | 502..=504);
        if is_trouble && let Some(stale) = self.stand_in(held) {
            let stale = stale.clone();
            return self.send_stale(&stale, Some(status.as_u16())).await.map(|()| Next::Answered);
        }
        match &arrival.head {
            ArrivalHead::Storable(head) if self.is_for_me(&passenger, head) => {
                self.send_arrived(passenger, arrival, head, reason).await
            }
            ArrivalHead::Storable(_) => {
                if passenger.is_first {
                    // It was asked with less than the answer varies by: it is for others, as far as a block goes.
                    passenger.take_head(arrival.start);
                }
                Ok(Next::LookAgain)
            }
            ArrivalHead::Passing { selecting: Some(selecting), .. }
                if !selecting.matches(&self.request.fields) =>
            {
                Ok(Next::LookAgain)
            }
            ArrivalHead::Passing { status, fields, length, why, .. } => {
                if !passenger.is_first && arrival.sharing != Sharing::Waiting {
                    return Ok(Next::PassAlone);
                }
                let cache_status = CacheStatus {
                    forwarded: Some(reason),
                    is_collapsed: !passenger.is_first,
                    detail: why.map(|why| why.word()),
                    ..CacheStatus::default()
                };
                let (status, mut fields, length) = (*status, fields.clone(), *length);
                if !passenger.is_first {
                    // Whatever else the answer is, this was for who asked.
                    fields.remove(SET_COOKIE);
                }
                self.send_passing(passenger, status, fields, length, cache_status)
                    .await
                    .map(|()| Next::Answered)
            }
        }
    }

    /// Whether a request may be answered with what a flight has brought: it is what it asks for, and its own request to upstream would
    /// not have been sent earlier, or it would be given it from a store.
    fn is_for_me(&self, passenger: &Passenger, head: &Arc<StoredHead>) -> bool {
        let is_fresh = || {
            let heads = [Arc::clone(head)];
            let decision = decide(&self.head(), &heads, SystemTime::now(), &self.pull.policy);
            matches!(decision, Decision::Serve { .. } | Decision::ServeStaleWhileRevalidating { .. })
        };
        head.matches(&self.request.fields)
            && (passenger.is_first || passenger.flight().began >= self.came || is_fresh())
    }

    /// A flight that brings what is wanted.
    fn wish(&self, part: Part, variant: u64, attempt: usize) -> Wish {
        Wish {
            part,
            place: part.start().unwrap_or(0),
            variant,
            filling: None,
            // What has landed already was not for this request.
            not_before: (attempt > 0).then_some(self.came),
        }
    }

    /// Has upstream asked about what is held, for the next who want it; not where the client has all of its part.
    pub(super) fn revalidate_meanwhile(&self, conditions: HeaderMap, index: usize, held: &[Held]) {
        let Saying { fields, variant } = self.saying(held);
        if self.pull.habits.failure(&self.key, variant, Part::Whole).is_some() {
            return;
        }
        let wish = Wish { part: Part::Whole, place: 0, variant, filling: None, not_before: None };
        let mission = || Mission {
            key: Arc::clone(&self.key),
            fields,
            revalidating: (!conditions.is_empty()).then(|| (conditions, held[index].clone())),
            filling: None,
            is_background: true,
        };
        // This answer may need one of the client's part for itself.
        let mut client = self.pull.clients.client(self.request.peer);
        drop(self.pull.board(&self.key, &wish, &mut client, mission));
    }

    /// What upstream is asked with, by what answers were seen to vary by and by what selects those that are held.
    fn saying(&self, held: &[Held]) -> Saying {
        let mut varying: Vec<HeaderName> = self.pull.habits.varying(&self.key).to_vec();
        varying.extend(held.iter().flat_map(|held| held.head.selecting.names()).cloned());
        let fields = self.upstream_fields(&varying);
        let variant = self.pull.habits.variant(&fields, &varying);
        Saying { fields, variant }
    }

    fn part(&self) -> Part {
        Part::wanted_by(self.request.fields.get(RANGE).and_then(|range| range.to_str().ok()))
    }
}
