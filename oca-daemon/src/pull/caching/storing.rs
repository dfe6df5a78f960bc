//! What may be stored (RFC 9111 §3).

use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, COOKIE, SET_COOKIE};
use http::{HeaderMap, Method, StatusCode};

use super::directives::{Directives, Reach};
use super::fields::{DIGESTS_OF_CONTENT, filtered, lasting, says_who_asks};
use super::selecting::Selecting;
use super::stored_head::StoredHead;
use super::{Policy, RequestHead, ResponseHead, freshness};
use crate::limits::STORED_HEAD_BYTES_MAX;

/// Whether a response may be stored, and what of its head.
#[derive(Clone, Debug)]
pub enum Storing {
    /// It may: this is kept of its head. The same response may be given to all who wait for it and whom the head
    /// [matches](StoredHead::matches).
    Store(StoredHead),
    /// It is for the one who asked.
    Pass(Unstorable),
}

/// Why a response may not be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unstorable {
    /// The method is not GET.
    Method,
    /// `no-store` (§5.2.2.5).
    NoStore,
    /// `private` (§5.2.2.7).
    Private,
    /// It answers a request with Authorization, and does not say that it is for all (§3.5).
    Authorization,
    /// It answers a request with Cookie, and does not say for how long it may be kept, nor that it is for all.
    RequestCookie,
    /// It sets a cookie, and does not say that it is for all (§7.3).
    Cookie,
    /// `Vary: *` (§4.1).
    Vary,
    /// `must-understand` on a status that is not understood (§5.2.2.3), a 304 to nothing that is held, or an interim status.
    Status,
    /// A part of which it is not known what it is a part of: no Content-Range, no complete length, or no validator (§3.3).
    Part,
    /// It is not fresh for a moment, and nothing could ever tell whether it has changed.
    Unusable,
    /// Its fields take more than [`STORED_HEAD_BYTES_MAX`].
    TooLarge,
}

impl Unstorable {
    /// One word, for `detail` of Cache-Status (RFC 9211 §2.8).
    pub fn word(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::NoStore => "no_store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::RequestCookie => "cookie",
            Self::Cookie => "set_cookie",
            Self::Vary => "vary",
            Self::Status => "status",
            Self::Part => "part",
            Self::Unusable => "no_freshness",
            Self::TooLarge => "head_too_large",
        }
    }
}

/// Decides whether what answers `request`, whose fields are those that were sent upstream, may be kept for others.
///
/// The head of a 206 is kept as that of the whole of which it is a part: status 200, with the complete length.
pub fn may_store(request: &RequestHead<'_>, response: &ResponseHead<'_>, policy: &Policy) -> Storing {
    match stored_head(request, response, policy) {
        Ok(head) => Storing::Store(head),
        Err(cause) => Storing::Pass(cause),
    }
}

/// Whether a head that a 304 to `request` has freshened may be kept for others. What is confirmed to one who says who asks is an answer
/// to that one, and kept only where a whole answer would be.
pub fn may_keep(request: &RequestHead<'_>, head: &StoredHead) -> bool {
    !says_who_asks(request.fields)
        || check_permission(request, head.status, &head.fields, &Directives::of(&head.fields)).is_ok()
}

fn stored_head(
    request: &RequestHead<'_>,
    response: &ResponseHead<'_>,
    policy: &Policy,
) -> Result<StoredHead, Unstorable> {
    let directives = Directives::of(response.fields);
    check_permission(request, response.status, response.fields, &directives)?;
    let selecting = Selecting::of_sent(request.fields, response.fields, policy).ok_or(Unstorable::Vary)?;
    let (status, total_length) = whole(response)?;
    let head = StoredHead {
        status,
        is_to_credentials: says_who_asks(request.fields),
        fields: storable_fields(response, &directives),
        selecting,
        request_time: response.request_time,
        response_time: response.response_time,
        total_length,
    };
    if response.status == StatusCode::PARTIAL_CONTENT && !head.is_divisible() {
        return Err(Unstorable::Part);
    }
    if !is_usable(&head, &directives, request.target, policy) {
        return Err(Unstorable::Unusable);
    }
    if head.encoded_bytes() > STORED_HEAD_BYTES_MAX {
        return Err(Unstorable::TooLarge);
    }
    Ok(head)
}

/// Whether upstream and the standard allow it.
fn check_permission(
    request: &RequestHead<'_>,
    status: StatusCode,
    fields: &HeaderMap,
    directives: &Directives,
) -> Result<(), Unstorable> {
    let is_for_all = directives.public || directives.s_maxage.is_some();
    // Nothing is assumed of how long an answer is fresh that may be one viewer's.
    let says_how_long = freshness::is_explicit(fields, directives) || directives.no_cache == Reach::Response;
    let must_and_can_understand = directives.must_understand && is_understood(status);
    if *request.method != Method::GET {
        Err(Unstorable::Method)
    } else if directives.no_store && !must_and_can_understand {
        Err(Unstorable::NoStore)
    } else if directives.private == Reach::Response {
        Err(Unstorable::Private)
    } else if status.is_informational()
        || status == StatusCode::NOT_MODIFIED
        || (directives.must_understand && !is_understood(status))
    {
        Err(Unstorable::Status)
    } else if request.fields.contains_key(AUTHORIZATION)
        && !is_for_all
        && !(directives.must_revalidate && says_how_long)
    {
        Err(Unstorable::Authorization)
    } else if fields.contains_key(SET_COOKIE) && !is_for_all {
        Err(Unstorable::Cookie)
    } else if request.fields.contains_key(COOKIE) && !is_for_all && !says_how_long {
        Err(Unstorable::RequestCookie)
    } else {
        Ok(())
    }
}

/// Final statuses whose meaning for caching is known (RFC 9110 §15, RFC 7725).
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=206 | 300..=303 | 305 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 451 | 500..=505
    )
}

/// The status and the length of the whole representation.
fn whole(response: &ResponseHead<'_>) -> Result<(StatusCode, Option<u64>), Unstorable> {
    if response.status != StatusCode::PARTIAL_CONTENT {
        return Ok((
            response.status,
            number(response.fields.get(CONTENT_LENGTH).map(|value| value.as_bytes())),
        ));
    }
    let range = response.fields.get(CONTENT_RANGE).map(|value| value.as_bytes());
    let complete = range.and_then(|value| value.rsplit(|&byte| byte == b'/').next());
    Ok((StatusCode::OK, Some(number(complete).ok_or(Unstorable::Part)?)))
}

fn number(text: Option<&[u8]>) -> Option<u64> {
    let text = str::from_utf8(text?).ok()?;
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// §3.1, without what `no-cache` and `private` name, without the length, which is [`StoredHead::total_length`], and without what a part
/// says of itself alone.
fn storable_fields(response: &ResponseHead<'_>, directives: &Directives) -> HeaderMap {
    let is_part = response.status == StatusCode::PARTIAL_CONTENT;
    filtered(&lasting(response.fields), |name| {
        *name != CONTENT_LENGTH
            && !(is_part && (*name == CONTENT_RANGE || DIGESTS_OF_CONTENT.contains(name)))
            && directives.fields_kept_back().all(|kept_back| kept_back != name)
    })
}

/// Whether it will ever answer anything: fresh for a while, or able to be revalidated, or to stand in for an upstream that fails.
fn is_usable(head: &StoredHead, directives: &Directives, target: &str, policy: &Policy) -> bool {
    let is_fresh = freshness::lifetime(head, directives, target, policy) > freshness::initial_age(head);
    let is_cacheable = freshness::is_explicit(&head.fields, directives)
        || freshness::is_heuristic(head.status)
        || directives.public;
    is_fresh || (is_cacheable && !head.status.is_server_error() && head.is_validatable())
}
