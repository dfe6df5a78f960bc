//! The life of one request that is pulled through, from top to bottom:
//!
//! `looked up → decided → served | boarded a flight → landed → served | passed on alone`
//!
//! What is held and fresh is served from memory or disk. For the rest the request boards the flight that brings what it wants, which
//! it causes if there is none ([`boarding`]). What lands is for everybody who waits, unless upstream says otherwise; then each goes on
//! its own ([`passing`]). Where upstream fails, what is held may stand in although it is stale.

mod boarding;
mod passing;
mod sending;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::{HeaderMap, HeaderName, Method};

use super::caching::{Decision, RequestHead, decide, may_serve_stale_on_error, upstream_fields};
use super::clients::Client;
use super::failure::PullFailure;
use super::held::{Held, HeldBody, look_up};
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
    /// Who wants it, with its part in what upstreams are asked for at once.
    client: Client,
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
    /// What is wanted comes late within all of the object, and nothing was sent: a request of its own brings all of it at once.
    Far(Forwarded),
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
    // What no upstream tells apart is one object: else every query would fetch it anew.
    let key = if pull.config.ignores_queries() { request.path().into() } else { request.key() };
    let key: Arc<str> = key.into();
    let came = Instant::now();
    let client = pull.clients.client(request.peer);
    let mut answer = Answer { pull: &pull, request, key, writer, came, is_begun: false, client };
    let mut held = Vec::new();
    let result = match answer.run(&mut held).await {
        Err(Ending::Far(reason)) => answer.pass_unless_barred(reason, &held).await,
        result => result,
    };
    match result {
        Ok(()) => answer.writer.end(),
        Err(Ending::Gone) => {}
        Err(Ending::Failed(failure)) => answer.writer.fail(failure),
        Err(Ending::Changed | Ending::Far(_)) => answer.writer.fail(PullFailure::Invalid),
    }
}

impl Answer<'_> {
    /// Answers, or tries to; `held` is what was found when it was looked for last.
    async fn run(&mut self, held: &mut Vec<Held>) -> Result<(), Ending> {
        if self.pull.loop_guard.has_seen(&self.request.fields) {
            return Err(Ending::Failed(PullFailure::Loop));
        }
        if ![Method::GET, Method::HEAD].contains(&self.request.method) {
            return self.pass(Forwarded::Method).await;
        }
        let mut reason = Forwarded::UriMiss;
        for attempt in 0..FLIGHTS_BOARDED_MAX {
            *held = self.look_up().await;
            let revalidating = match self.decide(held) {
                Decision::Serve { index, .. } => {
                    match self.send_held(&held[index], CacheStatus::default()).await {
                        Err(Ending::Changed) => continue,
                        result => return result,
                    }
                }
                Decision::ServeStaleWhileRevalidating { index, conditions, .. } => {
                    self.revalidate_meanwhile(conditions, index, held);
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
            match self.fetch(revalidating, held, reason, attempt).await {
                Ok(Next::Answered) => return Ok(()),
                Ok(Next::LookAgain) | Err(Ending::Changed) => {}
                Ok(Next::PassAlone) => break,
                Err(ending) => return Err(ending),
            }
        }
        self.pass_or_stale(reason, held).await
    }

    async fn look_up(&self) -> Vec<Held> {
        let Pull { memory, demand, flights, .. } = &**self.pull;
        let is_enough = |held: &[Held]| matches!(self.decide(held), Decision::Serve { .. });
        look_up(&self.key, memory, demand, flights, is_enough).await
    }

    fn decide(&self, held: &[Held]) -> Decision {
        decide(&self.head(), held, SystemTime::now(), &self.pull.policy)
    }

    /// What is held and may be sent although it is stale, because upstream fails.
    fn stand_in<'h>(&self, held: &'h [Held]) -> Option<&'h Held> {
        let matching = held.iter().filter(|held| held.head.matches(&self.request.fields));
        let newest = matching.max_by_key(|held| held.head.response_time)?;
        // What was purged since it was looked up is not sent; a disk says so itself.
        if let HeldBody::Memory { body, .. } = &newest.body
            && self.pull.memory.find(&self.key, &newest.head, body).is_none()
        {
            return None;
        }
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
            // That nobody can have it is no trouble that would pass.
            Some(stale) if failure != PullFailure::NoObject => {
                self.send_stale(stale, upstream_status).await.map(|()| Next::Answered)
            }
            _ => Err(Ending::Failed(failure)),
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

    /// What upstream is asked with, where answers vary by those fields.
    fn upstream_fields(&self, varying: &[HeaderName]) -> HeaderMap {
        upstream_fields(&self.request.fields, varying, &self.pull.policy)
    }

    fn head(&self) -> RequestHead<'_> {
        let PullRequest { method, fields, .. } = &self.request;
        RequestHead { method, target: &self.key, fields }
    }
}
