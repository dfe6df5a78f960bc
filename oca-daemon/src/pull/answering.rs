//! The life of one request that is pulled through, from top to bottom:
//!
//! `looked up → decided → served | boarded a flight → landed → served | passed on alone`
//!
//! What is held and fresh is served from memory or disk. For the rest the request boards the flight that brings what it wants, which
//! it causes if there is none. What lands is for everybody who waits, unless upstream says otherwise; then each goes on its own
//! ([`passing`]). Where upstream fails, what is held may stand in although it is stale.

mod passing;
mod sending;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::{HeaderMap, Method};

use super::blocks::Part;
use super::caching::{Decision, RequestHead, StoredHead, decide, may_serve_stale_on_error};
use super::failure::PullFailure;
use super::flight::{Arrival, ArrivalHead, Landing, Passenger, Sharing, Wish};
use super::held::{Held, look_up};
use super::leading::Mission;
use super::pipe::{Gone, Writer};
use super::service::Pull;
use super::{CacheStatus, Forwarded, PullRequest};
use crate::limits::FLIGHTS_BOARDED_MAX;

/// One request, and where its answer goes.
struct Answer<'a> {
    pull: &'a Arc<Pull>,
    request: PullRequest,
    key: Arc<str>,
    writer: Writer,
    came: Instant,
    /// A head has been passed on.
    is_begun: bool,
}

/// Why an answer ends before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The client has left.
    Gone,
    /// There is none, or no more of it.
    Failed(PullFailure),
    /// What was to be sent has changed, and nothing was sent: it can be looked up again.
    Changed,
}

/// What a request does after a flight has landed.
enum Next {
    /// It has been answered.
    Answered,
    /// It looks again: what landed is not for it.
    LookAgain,
    /// It asks upstream for itself alone.
    PassAlone,
}

impl From<Gone> for Ending {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// Answers a request.
pub(super) async fn answer(pull: Arc<Pull>, request: PullRequest, writer: Writer) {
    let key: Arc<str> = request.key().into();
    let mut answer = Answer { pull: &pull, request, key, writer, came: Instant::now(), is_begun: false };
    match answer.run().await {
        Ok(()) => answer.writer.end(),
        Err(Ending::Gone) => {}
        Err(Ending::Failed(failure)) => answer.writer.fail(failure),
        Err(Ending::Changed) => answer.writer.fail(PullFailure::Invalid),
    }
}

impl Answer<'_> {
    async fn run(&mut self) -> Result<(), Ending> {
        if self.pull.loop_guard.has_seen(&self.request.fields) {
            return Err(Ending::Failed(PullFailure::Loop));
        }
        if ![Method::GET, Method::HEAD].contains(&self.request.method) {
            return self.pass(Forwarded::Method).await;
        }
        let mut reason = Forwarded::UriMiss;
        for attempt in 0..FLIGHTS_BOARDED_MAX {
            let held = look_up(&self.key, &self.pull.memory, &self.pull.demand, &self.pull.flights).await;
            let heads: Vec<Arc<StoredHead>> = held.iter().map(|held| Arc::clone(&held.head)).collect();
            let decision = decide(&self.head(), &heads, SystemTime::now(), &self.pull.policy);
            let revalidating = match decision {
                Decision::Serve { index, .. } => {
                    match self.send_held(&held[index], CacheStatus::default()).await {
                        Err(Ending::Changed) => continue,
                        result => return result,
                    }
                }
                Decision::ServeStaleWhileRevalidating { index, conditions, .. } => {
                    self.revalidate_meanwhile(conditions, &held[index]);
                    self.pull.stats.stale_served.add(1);
                    let status =
                        CacheStatus { detail: Some("stale_while_revalidate"), ..CacheStatus::default() };
                    match self.send_held(&held[index], status).await {
                        Err(Ending::Changed) => continue,
                        result => return result,
                    }
                }
                Decision::GatewayTimeout => return Err(Ending::Failed(PullFailure::NotHeld)),
                Decision::Revalidate { index, conditions, reason: why } => {
                    reason = why;
                    Some((conditions, held[index].clone()))
                }
                Decision::Fetch { reason: why } => {
                    reason = why;
                    None
                }
            };
            match self.fetch(revalidating, &held, reason, attempt).await {
                Ok(Next::Answered) => return Ok(()),
                Ok(Next::LookAgain) | Err(Ending::Changed) => {}
                Ok(Next::PassAlone) => return self.pass_or_stale(reason, &held).await,
                Err(ending) => return Err(ending),
            }
        }
        self.pass(reason).await
    }

    /// Boards a flight, and answers with what lands.
    async fn fetch(
        &mut self,
        revalidating: Option<(HeaderMap, Held)>,
        held: &[Held],
        reason: Forwarded,
        attempt: usize,
    ) -> Result<Next, Ending> {
        if self.pull.absences.are_too_many(self.request.peer) {
            return Err(Ending::Failed(PullFailure::Busy));
        }
        let is_for_many = self.request.method == Method::GET && !self.pull.habits.is_unshared(&self.key);
        if !is_for_many {
            return Ok(Next::PassAlone);
        }
        if let Some(failure) = self.pull.habits.failure(&self.key) {
            self.pull.stats.negative_hits.add(1);
            return self.send_stale_or(failure, held, None).await;
        }
        let passenger = self.board(revalidating, attempt);
        let landing = tokio::select! {
            landing = passenger.landing() => landing,
            () = self.writer.gone() => return Err(Ending::Gone),
        };
        match landing {
            Landing::Arrived(arrival) => self.take(passenger, &arrival, held, reason).await,
            Landing::Confirmed(confirmed) if confirmed.head.matches(&self.request.fields) => {
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
        if passenger.is_first && matches!(status.as_u16(), 404 | 410) {
            self.pull.absences.note(self.request.peer);
        }
        let is_trouble = matches!(status.as_u16(), 500 | 502..=504);
        if is_trouble && let Some(stale) = self.stand_in(held) {
            let stale = stale.clone();
            return self.send_stale(&stale, Some(status.as_u16())).await.map(|()| Next::Answered);
        }
        match &arrival.head {
            ArrivalHead::Storable(head) if self.is_for_me(&passenger, head) => {
                self.send_arrived(passenger, arrival, head, reason).await
            }
            ArrivalHead::Storable(_) => Ok(Next::LookAgain),
            ArrivalHead::Passing { status, fields, length, why } => {
                if !passenger.is_first && arrival.sharing != Sharing::Waiting {
                    return Ok(Next::PassAlone);
                }
                let cache_status = CacheStatus {
                    forwarded: Some(reason),
                    is_collapsed: !passenger.is_first,
                    detail: why.map(|why| why.word()),
                    ..CacheStatus::default()
                };
                let (status, fields, length) = (*status, fields.clone(), *length);
                self.send_passing(passenger, status, fields, length, cache_status)
                    .await
                    .map(|()| Next::Answered)
            }
        }
    }

    /// Whether a request may be answered with what another's flight has brought: it would be given it from a store, or its own request
    /// to upstream would not have been sent earlier.
    fn is_for_me(&self, passenger: &Passenger, head: &Arc<StoredHead>) -> bool {
        if passenger.is_first {
            return true;
        }
        let heads = [Arc::clone(head)];
        let is_fresh = || {
            let decision = decide(&self.head(), &heads, SystemTime::now(), &self.pull.policy);
            matches!(decision, Decision::Serve { .. } | Decision::ServeStaleWhileRevalidating { .. })
        };
        head.matches(&self.request.fields) && (passenger.flight().began >= self.came || is_fresh())
    }

    /// A seat in a flight that brings what is wanted.
    fn board(&self, revalidating: Option<(HeaderMap, Held)>, attempt: usize) -> Passenger {
        let range = self.request.fields.get(http::header::RANGE).and_then(|range| range.to_str().ok());
        let part = Part::wanted_by(range);
        let wish = Wish {
            part,
            place: part.start().unwrap_or(0),
            variant: self.pull.habits.variant(&self.key, &self.request.fields),
            filling: None,
            // What has landed already was not for this request.
            not_before: (attempt > 0).then_some(self.came),
        };
        let mission = || Mission {
            key: Arc::clone(&self.key),
            fields: self.request.fields.clone(),
            revalidating,
            filling: None,
            is_background: false,
        };
        self.pull.board(&self.key, &wish, mission)
    }

    /// Has upstream asked about what is held, for the next who want it.
    fn revalidate_meanwhile(&self, conditions: HeaderMap, held: &Held) {
        if self.pull.habits.failure(&self.key).is_some() {
            return;
        }
        let variant = self.pull.habits.variant(&self.key, &self.request.fields);
        let wish = Wish { part: Part::Whole, place: 0, variant, filling: None, not_before: None };
        let mission = || Mission {
            key: Arc::clone(&self.key),
            fields: self.request.fields.clone(),
            revalidating: (!conditions.is_empty()).then(|| (conditions, held.clone())),
            filling: None,
            is_background: true,
        };
        drop(self.pull.board(&self.key, &wish, mission));
    }

    /// What is held and may be sent although it is stale, because upstream fails.
    fn stand_in<'h>(&self, held: &'h [Held]) -> Option<&'h Held> {
        let matching = held.iter().filter(|held| held.head.matches(&self.request.fields));
        let newest = matching.max_by_key(|held| held.head.response_time)?;
        may_serve_stale_on_error(&newest.head, &self.key, SystemTime::now(), &self.pull.policy)
            .then_some(newest)
    }

    async fn send_stale_or(
        &mut self,
        failure: PullFailure,
        held: &[Held],
        upstream_status: Option<u16>,
    ) -> Result<Next, Ending> {
        match self.stand_in(held) {
            Some(stale) => self.send_stale(stale, upstream_status).await.map(|()| Next::Answered),
            None => Err(Ending::Failed(failure)),
        }
    }

    async fn send_stale(&mut self, stale: &Held, upstream_status: Option<u16>) -> Result<(), Ending> {
        self.pull.stats.stale_served.add(1);
        let status = CacheStatus {
            forwarded: Some(Forwarded::Stale),
            upstream_status,
            detail: Some("stale_if_error"),
            ..CacheStatus::default()
        };
        self.send_held(stale, status).await
    }

    fn head(&self) -> RequestHead<'_> {
        let PullRequest { method, fields, .. } = &self.request;
        RequestHead { method, target: &self.key, fields }
    }
}
