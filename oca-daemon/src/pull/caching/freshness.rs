//! How long a response is fresh, and how old it is (RFC 9111 §4.2).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{AGE, DATE, EXPIRES, LAST_MODIFIED, PRAGMA};
use http::{HeaderMap, HeaderName, StatusCode};

use super::Policy;
use super::directives::{Directives, Reach, delta_seconds};
use super::media::{Kind, kind};
use super::stored_head::StoredHead;
use crate::limits::{HEURISTIC_LIFETIME_MAX, SERVER_ERROR_LIFETIME_MAX};

/// Statuses that are fresh by heuristics (RFC 9110 §15.1); 206 is held as 200.
const HEURISTICALLY_CACHEABLE: [u16; 11] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];

/// For how long the response is fresh from its making; zero where it is not at all.
pub(super) fn lifetime(
    head: &StoredHead,
    directives: &Directives,
    target: &str,
    policy: &Policy,
) -> Duration {
    let lifetime = explicit(head, directives).unwrap_or_else(|| assumed(head, directives, target, policy));
    if head.status.is_server_error() { lifetime.min(SERVER_ERROR_LIFETIME_MAX) } else { lifetime }
}

/// Whether upstream says how long (§4.2.1).
pub(super) fn is_explicit(fields: &HeaderMap, directives: &Directives) -> bool {
    directives.s_maxage.or(directives.max_age).is_some()
        || (!directives.is_targeted && fields.contains_key(EXPIRES))
}

/// The lifetime that upstream says: s-maxage, max-age, Expires, in this order.
fn explicit(head: &StoredHead, directives: &Directives) -> Option<Duration> {
    if let Some(seconds) = directives.s_maxage.or(directives.max_age) {
        return Some(seconds);
    }
    if directives.is_targeted || !head.fields.contains_key(EXPIRES) {
        return None;
    }
    // §5.3: one that is no date has expired.
    let expires = date(&head.fields, &EXPIRES);
    let made = date(&head.fields, &DATE).unwrap_or(head.response_time);
    Some(expires.and_then(|expires| expires.duration_since(made).ok()).unwrap_or_default())
}

/// The lifetime where upstream says none: the operator's for media and absences, else a tenth of the time since Last-Modified (§4.2.2).
fn assumed(head: &StoredHead, directives: &Directives, target: &str, policy: &Policy) -> Duration {
    if directives.no_cache == Reach::Response || says_pragma_no_cache(&head.fields, directives) {
        return Duration::ZERO;
    }
    match (head.status, kind(target, &head.fields)) {
        (StatusCode::OK, Kind::Playlist) => policy.playlist_ttl,
        (StatusCode::OK, Kind::Segment) => policy.segment_ttl,
        (StatusCode::NOT_FOUND | StatusCode::GONE, _) => policy.negative_ttl,
        (status, _) if is_heuristic(status) || directives.public => heuristic(head),
        _ => Duration::ZERO,
    }
}

pub(super) fn is_heuristic(status: StatusCode) -> bool {
    HEURISTICALLY_CACHEABLE.contains(&status.as_u16())
}

fn heuristic(head: &StoredHead) -> Duration {
    let made = date(&head.fields, &DATE).unwrap_or(head.response_time);
    let unchanged = date(&head.fields, &LAST_MODIFIED).and_then(|since| made.duration_since(since).ok());
    (unchanged.unwrap_or_default() / 10).min(HEURISTIC_LIFETIME_MAX)
}

/// How old the response was when its head arrived (§4.2.3).
pub(super) fn initial_age(head: &StoredHead) -> Duration {
    // Date counts whole seconds: a response of this very second is not half a second old.
    let arrived = whole_seconds(head.response_time);
    let made = date(&head.fields, &DATE);
    let apparent_age = made.and_then(|made| arrived.duration_since(made).ok()).unwrap_or_default();
    let response_delay = head.response_time.duration_since(head.request_time).unwrap_or_default();
    apparent_age.max(age_said(&head.fields) + response_delay)
}

/// How old the response is.
pub(super) fn current_age(head: &StoredHead, now: SystemTime) -> Duration {
    initial_age(head) + now.duration_since(head.response_time).unwrap_or_default()
}

/// The first member of Age (§5.1); what is no number is not heeded.
fn age_said(fields: &HeaderMap) -> Duration {
    let first = fields.get(AGE).and_then(|line| line.as_bytes().split(|&byte| byte == b',').next());
    first.and_then(|member| delta_seconds(member.trim_ascii())).unwrap_or_default()
}

/// The moment that a field says, in any of the three forms of RFC 9110 §5.6.7, their letters in any case (§4.2); `None` where there is
/// none, or more than one.
pub(super) fn date(fields: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut lines = fields.get_all(name).iter();
    let (line, None) = (lines.next()?, lines.next()) else { return None };
    httpdate::parse_http_date(&in_proper_case(line.to_str().ok()?.trim())).ok()
}

/// Words as HTTP-date has them: `Sun`, `Nov`, `GMT`.
fn in_proper_case(text: &str) -> String {
    let mut is_in_word = false;
    let letters = text.chars().map(|letter| {
        let was_in_word = std::mem::replace(&mut is_in_word, letter.is_ascii_alphabetic());
        if was_in_word { letter.to_ascii_lowercase() } else { letter.to_ascii_uppercase() }
    });
    letters.collect::<String>().replace("Gmt", "GMT")
}

fn whole_seconds(moment: SystemTime) -> SystemTime {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

/// What servers of HTTP/1.0 said for `no-cache`; heeded where nothing else is said.
fn says_pragma_no_cache(fields: &HeaderMap, directives: &Directives) -> bool {
    *directives == Directives::default()
        && fields.get_all(PRAGMA).iter().any(|line| line.as_bytes().eq_ignore_ascii_case(b"no-cache"))
}
