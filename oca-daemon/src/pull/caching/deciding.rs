//! What a request is answered with: what is held, or what upstream says (RFC 9111 §4).

use std::borrow::Borrow;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method};

use super::directives::{Directives, Reach, only_if_cached};
use super::stored_head::StoredHead;
use super::{Policy, RequestHead, freshness, validation};
use crate::pull::Forwarded;

/// How a request is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// With what is held.
    Serve {
        /// The place of the response among those that are held.
        index: usize,
        /// For the field Age.
        age: Duration,
        /// How long it is fresh still, in seconds.
        ttl: i64,
    },
    /// With what is held, though it is stale; upstream is asked in the background (RFC 5861 §3).
    ServeStaleWhileRevalidating {
        /// The place of the response among those that are held.
        index: usize,
        /// For the field Age.
        age: Duration,
        /// Negative: how long it has been stale, in seconds.
        ttl: i64,
        /// Fields to send upstream; none where it has no validator.
        conditions: HeaderMap,
    },
    /// By what upstream says of what is held.
    Revalidate {
        /// The place of the response among those that are held.
        index: usize,
        /// Fields to send upstream.
        conditions: HeaderMap,
        /// Why.
        reason: Forwarded,
    },
    /// With what upstream has.
    Fetch {
        /// Why.
        reason: Forwarded,
    },
    /// 504: the client wants only what is held (§5.2.1.7).
    GatewayTimeout,
}

/// Decides for one request, by the responses that are held under its key.
pub fn decide(
    request: &RequestHead<'_>,
    stored: &[impl Borrow<StoredHead>],
    now: SystemTime,
    policy: &Policy,
) -> Decision {
    if ![Method::GET, Method::HEAD].contains(request.method) {
        return Decision::Fetch { reason: Forwarded::Method };
    }
    let decision = match most_recent(request, stored) {
        Some((index, head)) => decide_for(index, head, request.target, now, policy),
        None if stored.is_empty() => Decision::Fetch { reason: Forwarded::UriMiss },
        None => Decision::Fetch { reason: Forwarded::VaryMiss },
    };
    let needs_upstream = matches!(decision, Decision::Revalidate { .. } | Decision::Fetch { .. });
    if needs_upstream && only_if_cached(request.fields) { Decision::GatewayTimeout } else { decision }
}

/// Of several that answer the request, the one that arrived last (§4.1).
fn most_recent<'a>(
    request: &RequestHead<'_>,
    stored: &'a [impl Borrow<StoredHead>],
) -> Option<(usize, &'a StoredHead)> {
    let stored = stored.iter().map(Borrow::borrow);
    let matching = stored.enumerate().filter(|(_, head)| head.matches(request.fields));
    matching.max_by_key(|(_, head)| head.response_time)
}

fn decide_for(index: usize, head: &StoredHead, target: &str, now: SystemTime, policy: &Policy) -> Decision {
    let directives = Directives::of(&head.fields);
    let age = freshness::current_age(head, now);
    let lifetime = freshness::lifetime(head, &directives, target, policy);
    let ttl = seconds(lifetime) - seconds(age);
    if must_validate(&directives) {
        return ask(index, head, Forwarded::Stale);
    }
    if age < lifetime {
        return Decision::Serve { index, age, ttl };
    }
    match directives.stale_while_revalidate {
        Some(window) if !forbids_stale(&directives) && age < lifetime.saturating_add(window) => {
            let conditions = validation::conditions(head);
            Decision::ServeStaleWhileRevalidating { index, age, ttl, conditions }
        }
        _ => ask(index, head, Forwarded::Stale),
    }
}

fn ask(index: usize, head: &StoredHead, reason: Forwarded) -> Decision {
    let conditions = validation::conditions(head);
    if conditions.is_empty() {
        Decision::Fetch { reason }
    } else {
        Decision::Revalidate { index, conditions, reason }
    }
}

/// Whether it must not be used without asking, however fresh: `no-cache` (§5.2.2.4), or what a 304 brought since it was stored.
fn must_validate(directives: &Directives) -> bool {
    directives.no_cache == Reach::Response
        || directives.private == Reach::Response
        || (directives.no_store && !directives.must_understand)
}

/// Whether a stale response must not be sent whatever happens (§5.2.2.2, §5.2.2.8).
fn forbids_stale(directives: &Directives) -> bool {
    directives.must_revalidate || directives.proxy_revalidate || must_validate(directives)
}

/// Whether what is held may stand in for an upstream that cannot be reached or answers 500, 502, 503 or 504 (§4.2.4, RFC 5861 §4):
/// for as long as upstream said or, where it said nothing, as the operator did.
///
/// `s-maxage` means `proxy-revalidate` (§5.2.2.10), but for what upstream allows in so many words.
pub fn may_serve_stale_on_error(head: &StoredHead, target: &str, now: SystemTime, policy: &Policy) -> bool {
    let directives = Directives::of(&head.fields);
    let window = match directives.stale_if_error {
        Some(window) => window,
        None if directives.s_maxage.is_some() => return false,
        None => policy.stale_if_error,
    };
    let lifetime = freshness::lifetime(head, &directives, target, policy);
    head.status.as_u16() < 400
        && !forbids_stale(&directives)
        && freshness::current_age(head, now) < lifetime.saturating_add(window)
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
