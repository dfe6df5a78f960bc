//! One upstream, with its circuit breaker.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use control_client::breaker::{Admission, Breaker};
use control_client::config::{PullConfig, UpstreamConfig};
use http::StatusCode;

use super::http_upstream::{Answer, HttpUpstream};
use super::patience::Patience;
use super::refusals::{Refusals, is_refusal};
use super::s3::S3Upstream;
use super::{Ask, Count, Reply, UpstreamError};
use crate::pull::failure::PullFailure;
use crate::pull::stats::UpstreamResult;

/// One upstream.
pub(super) struct Upstream {
    name: String,
    protocol: Protocol,
    started: Instant,
    breaker: Mutex<Breaker>,
    refusals: Refusals,
    first_byte_timeout: Duration,
    stall_timeout: Duration,
    count: Count,
}

enum Protocol {
    Http(HttpUpstream),
    S3(S3Upstream),
}

/// A request that is under way. Dropped without a word, it has told nothing of its upstream.
struct Asking<'a> {
    upstream: &'a Upstream,
    has_told: bool,
}

impl Upstream {
    pub(super) fn new(
        config: &UpstreamConfig,
        pull: &PullConfig,
        count: Count,
    ) -> Result<Self, UpstreamError> {
        let unusable = |text: String| UpstreamError { name: config.name.clone(), text };
        let protocol = match (&config.url, &config.s3) {
            (Some(url), None) => {
                let host = config.host.as_deref();
                HttpUpstream::new(url, host, pull).map(Protocol::Http).map_err(unusable)?
            }
            (None, Some(s3)) => S3Upstream::new(s3, pull).map(Protocol::S3).map_err(unusable)?,
            _ => return Err(unusable("name either a url or an s3".to_owned())),
        };
        Ok(Self {
            name: config.name.clone(),
            protocol,
            started: Instant::now(),
            breaker: Mutex::default(),
            refusals: Refusals::default(),
            first_byte_timeout: pull.connect_timeout + pull.first_byte_timeout,
            stall_timeout: pull.stall_timeout,
            count,
        })
    }

    /// Whether it can have what is asked for at all.
    pub(super) fn can_have(&self, ask: &Ask) -> bool {
        let Protocol::S3(s3) = &self.protocol else { return true };
        let object = s3.object(ask);
        if let Err(why) = &object {
            tracing::debug!(upstream = self.name, target = ask.target, "not asked: {why}");
        }
        object.is_ok()
    }

    /// Asks it, unless it is left alone at the moment.
    pub(super) async fn ask(&self, ask: &Ask, now: Instant) -> Result<Reply, PullFailure> {
        let Some(asking) = self.begin(now) else {
            return Err(PullFailure::Unreachable);
        };
        let answer = async {
            match &self.protocol {
                Protocol::Http(http) => http.ask(ask).await,
                Protocol::S3(s3) => s3.ask(ask).await,
            }
        };
        let answer = tokio::time::timeout(self.first_byte_timeout, answer).await;
        match answer.unwrap_or(Err((PullFailure::TimedOut, "no answer in time".to_owned()))) {
            Ok(Answer { status, fields, is_delimited, body }) => {
                asking.succeeded();
                if matches!(self.protocol, Protocol::S3(_)) && is_refusal(status) {
                    self.tell_of_refusal(ask, status, now);
                    self.count.ended(UpstreamResult::Invalid);
                    return Err(PullFailure::Invalid);
                }
                let (patience, count) = (Patience::new(self.stall_timeout), self.count.clone());
                let mut reply =
                    Reply { status, fields, is_delimited, body, patience, count, is_counted: false };
                if let Some(result) = UpstreamResult::of_status(status) {
                    reply.ended(result);
                }
                Ok(reply)
            }
            Err((failure, text)) => {
                match failure {
                    PullFailure::Unreachable | PullFailure::TimedOut => asking.failed(&text),
                    // It may be this one request that upstream cannot bear, and any client can send such.
                    _ => drop(asking),
                }
                self.count.ended(UpstreamResult::of(failure));
                tracing::debug!(upstream = self.name, "no answer: {text}");
                Err(failure)
            }
        }
    }

    /// For the operator; neither the key nor what was signed.
    fn tell_of_refusal(&self, ask: &Ask, status: StatusCode, now: Instant) {
        let upstream = &self.name;
        tracing::debug!(upstream, target = ask.target, %status, "the bucket refuses us");
        if self.refusals.note(now) {
            tracing::warn!(
                upstream, %status,
                "the bucket refuses us: check that the key of s3.credentials is valid, that the clock is right, and that the bucket's \
                 policy allows s3:GetObject; without s3:ListBucket a bucket can refuse what it does not have, too"
            );
        }
    }

    fn begin(&self, now: Instant) -> Option<Asking<'_>> {
        let now = now.duration_since(self.started);
        let mut breaker = self.breaker();
        matches!(breaker.admission(now), Admission::Admitted).then(|| {
            breaker.begin(now);
            Asking { upstream: self, has_told: false }
        })
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asking<'_> {
    fn succeeded(self) {
        self.tell(|breaker, _| breaker.succeeded());
    }

    /// For the operator, `why` in words.
    fn failed(self, why: &str) {
        let name = &self.upstream.name;
        if self.tell(|breaker, now| breaker.failed(now, None, jitter())) {
            tracing::warn!(upstream = name, why, "it fails again and again; it is left alone for a while");
        }
    }

    /// Whether it is left alone from now on, and was not before.
    fn tell(mut self, tell: impl FnOnce(&mut Breaker, Duration)) -> bool {
        self.has_told = true;
        let mut breaker = self.upstream.breaker();
        let was_admitted = matches!(breaker.admission(self.now()), Admission::Admitted);
        tell(&mut breaker, self.now());
        let is_admitted = matches!(breaker.admission(self.now()), Admission::Admitted);
        self.upstream.count.set_open(!is_admitted);
        was_admitted && !is_admitted
    }

    fn now(&self) -> Duration {
        self.upstream.started.elapsed()
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.has_told {
            let now = self.now();
            self.upstream.breaker().ended(now);
        }
    }
}

/// Evenly spread over 0 to 1.
fn jitter() -> f64 {
    RandomState::new().hash_one(()) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use control_client::breaker::{FAILURES_TO_OPEN, OPEN_FOR};

    use super::*;
    use crate::pull::stats::PullStats;

    #[test]
    fn one_that_is_left_alone_is_asked_by_one_probe_at_a_time_until_it_answers_and_operators_see_it() {
        let upstream = UpstreamConfig {
            name: "origin".to_owned(),
            url: Some("http://127.0.0.1".to_owned()),
            host: None,
            s3: None,
        };
        let config = PullConfig { upstreams: vec![upstream], ..PullConfig::default() };
        let stats = Arc::new(PullStats::new(&config, 0));
        let count = Count { stats: Arc::clone(&stats), place: 0 };
        let upstream = Upstream::new(&config.upstreams[0], &config, count).unwrap();
        let is_open = || stats.upstreams[0].is_open();
        let (now, later) = (upstream.started, upstream.started + OPEN_FOR.longest);
        for _ in 0..FAILURES_TO_OPEN {
            assert!(!is_open());
            upstream.begin(now).unwrap().failed("silent");
        }
        assert!(is_open() && upstream.begin(now).is_none());

        let probe = upstream.begin(later).unwrap();
        assert!(upstream.begin(later).is_none(), "one at a time");
        // Nobody waited for it any more.
        drop(probe);
        upstream.begin(later).unwrap().failed("silent still");
        assert!(is_open() && upstream.begin(now).is_none());

        let probe = upstream.begin(later).unwrap();
        assert!(is_open(), "nothing is known of it yet");
        probe.succeeded();
        assert!(!is_open());
        let both = (upstream.begin(now), upstream.begin(now));
        assert!(both.0.is_some() && both.1.is_some());
    }
}
