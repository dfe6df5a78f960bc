//! Where content is pulled from: the configured upstreams, asked in their order until one answers.
//!
//! One that cannot be reached, does not answer in time or not as HTTP has it, or answers 5xx is passed by for this request. One that
//! again and again cannot be reached or is silent is left alone for a while (a circuit breaker each); what else goes wrong may be the
//! request's own fault. A bucket that refuses us has no answer for the client, and is there. What a nearer one does not have (404, 410)
//! a later one may have: only the last one's word counts. One that can have nothing of the kind, as a bucket has no object without a
//! name, is not asked.

mod asking;
mod fields;
mod http_upstream;
mod patience;
mod refusals;
mod s3;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use control_client::config::PullConfig;
use http::{HeaderMap, Method, StatusCode};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::failure::PullFailure;
use super::stats::{PullStats, UpstreamResult};
use crate::limits::FETCHES_WAITING;
use asking::Upstream;
pub(super) use fields::LoopGuard;
use patience::Patience;

/// All upstreams, in their order.
pub(super) struct Upstreams {
    upstreams: Box<[Upstream]>,
    places: Semaphore,
    places_max: usize,
    /// Those of what comes no faster than clients take it.
    waiting: Semaphore,
    /// How long a request waits for such a place.
    place_timeout: Duration,
}

/// One of `pull.fetches`, or of those that wait for their clients.
pub(super) struct Place<'a> {
    upstreams: &'a Upstreams,
    is_waiting: bool,
    _permit: SemaphorePermit<'a>,
}

/// What is asked of an upstream.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    /// GET as a rule.
    pub method: Method,
    /// Path and query as the client wrote them.
    pub target: String,
    /// The fields, conditions and range among them.
    pub fields: HeaderMap,
    /// The request's content; empty as a rule.
    pub content: Bytes,
}

/// An upstream's answer, of which the body is still to come.
pub(super) struct Reply {
    /// Its status; never 1xx.
    pub status: StatusCode,
    /// Its fields as they came.
    pub fields: HeaderMap,
    /// Whether the end of its body can be told from a connection that broke.
    pub is_delimited: bool,
    body: reqwest::Response,
    patience: Patience,
    count: Count,
    is_counted: bool,
}

/// Why a place of configuration cannot be used.
#[derive(Debug)]
pub struct UpstreamError {
    /// The upstream's name.
    pub name: String,
    /// What is wrong, and what to do.
    pub text: String,
}

impl std::fmt::Display for UpstreamError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "pull.upstreams {:?}: {}", self.name, self.text)
    }
}

impl std::error::Error for UpstreamError {}

impl Upstreams {
    /// As configured.
    pub(super) fn new(config: &PullConfig, stats: &Arc<PullStats>) -> Result<Self, UpstreamError> {
        let upstreams = config.upstreams.iter().enumerate();
        let upstreams = upstreams
            .map(|(place, upstream)| {
                Upstream::new(upstream, config, Count { stats: Arc::clone(stats), place })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            upstreams,
            places: Semaphore::new(config.fetches as usize),
            places_max: config.fetches as usize,
            waiting: Semaphore::new(config.fetches as usize * FETCHES_WAITING),
            place_timeout: config.first_byte_timeout,
        })
    }

    /// Waits for a place to ask in.
    ///
    /// # Errors
    /// [`PullFailure::NoObject`] where no upstream can have what is asked for, [`PullFailure::Busy`] where too many requests are under
    /// way for too long.
    pub(super) async fn place(&self, ask: &Ask) -> Result<Place<'_>, PullFailure> {
        if self.able(ask).next().is_none() {
            return Err(PullFailure::NoObject);
        }
        let permit = tokio::time::timeout(self.place_timeout, self.places.acquire());
        let permit = permit.await.map_err(|_| PullFailure::Busy)?.map_err(|_| PullFailure::Stopping)?;
        Ok(Place { upstreams: self, is_waiting: false, _permit: permit })
    }

    /// Those that can have what is asked for. A method that changes something is for the first upstream alone.
    fn able(&self, ask: &Ask) -> impl Iterator<Item = &Upstream> {
        let reach = if ask.method.is_safe() { self.upstreams.len() } else { 1 };
        self.upstreams.iter().take(reach).filter(move |upstream| upstream.can_have(ask))
    }

    /// How many of `pull.fetches` are held.
    pub(super) fn under_way(&self) -> u64 {
        (self.places_max - self.places.available_permits()) as u64
    }
}

impl Place<'_> {
    /// Asks one after another until one answers, of those that can have what is asked for.
    ///
    /// # Errors
    /// [`PullFailure::Invalid`] where one of them could not be understood, which may be this one request's fault; else why the last one
    /// that was asked did not answer.
    pub(super) async fn ask(&self, ask: &Ask) -> Result<Reply, PullFailure> {
        let able: Vec<_> = self.upstreams.able(ask).collect();
        let mut error: Result<Reply, PullFailure> = Err(PullFailure::Unreachable);
        let mut is_invalid = false;
        for (index, upstream) in able.iter().enumerate() {
            match upstream.ask(ask, Instant::now()).await {
                Ok(reply) => match reply.status.as_u16() {
                    404 | 410 if index + 1 < able.len() => error = Err(PullFailure::Unreachable),
                    500 | 502..=504 => error = Ok(reply),
                    _ => return Ok(reply),
                },
                Err(failure) => {
                    is_invalid |= failure == PullFailure::Invalid;
                    // A struggling upstream's own words say more than that the next one cannot be reached.
                    error = error.or(Err(failure));
                }
            }
        }
        error.map_err(|failure| if is_invalid { PullFailure::Invalid } else { failure })
    }

    /// What it is held for comes no faster than clients take it from now on: it is left to others, unless too many wait so already.
    pub(super) fn wait_for_clients(&mut self) {
        if !self.is_waiting
            && let Ok(permit) = self.upstreams.waiting.try_acquire()
        {
            self._permit = permit;
            self.is_waiting = true;
        }
    }
}

impl Reply {
    /// A body that trickles is given up from now on: others wait for it, or for its place. What is for one client alone may come as seldom
    /// as events do.
    pub(super) fn bear_no_trickle(&mut self) {
        self.patience.bear_no_trickle();
    }

    /// The next bytes of the body, never empty; `None` at its end.
    ///
    /// # Errors
    /// [`PullFailure::TimedOut`] where nothing comes for too long, or too little, [`PullFailure::Invalid`] where the body breaks off.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, PullFailure> {
        let next = async {
            loop {
                match self.body.chunk().await {
                    Ok(Some(bytes)) if bytes.is_empty() => {}
                    Ok(next) => return Ok(next),
                    Err(_) => return Err(PullFailure::Invalid),
                }
            }
        };
        let began = Instant::now();
        let next = tokio::time::timeout(self.patience.left(), next).await;
        let next = next.unwrap_or(Err(PullFailure::TimedOut));
        match &next {
            Ok(Some(bytes)) => {
                self.patience.received(bytes.len(), began.elapsed());
                self.count.received(bytes.len());
            }
            Ok(None) => self.ended(UpstreamResult::Answered),
            Err(failure) => self.ended(UpstreamResult::of(*failure)),
        }
        next
    }

    /// Counts how the request ended, once.
    fn ended(&mut self, result: UpstreamResult) {
        if !std::mem::replace(&mut self.is_counted, true) {
            self.count.ended(result);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.ended(UpstreamResult::Abandoned);
    }
}

/// Counts for one upstream.
#[derive(Clone)]
struct Count {
    stats: Arc<PullStats>,
    place: usize,
}

impl Count {
    fn ended(&self, result: UpstreamResult) {
        self.stats.upstreams[self.place].ended(result);
    }

    fn received(&self, bytes: usize) {
        self.stats.upstreams[self.place].received_bytes.add(bytes as u64);
    }

    fn set_open(&self, is_open: bool) {
        self.stats.upstreams[self.place].set_open(is_open);
    }
}

impl UpstreamResult {
    fn of(failure: PullFailure) -> Self {
        match failure {
            PullFailure::Unreachable => Self::Unreachable,
            PullFailure::TimedOut => Self::TimedOut,
            _ => Self::Invalid,
        }
    }

    /// What is known of an answer before its body: `None` where that decides.
    fn of_status(status: StatusCode) -> Option<Self> {
        match status.as_u16() {
            304 => Some(Self::NotModified),
            404 | 410 => Some(Self::Absent),
            500..=599 => Some(Self::ServerError),
            _ => None,
        }
    }
}
