//! The rules as tables, each with the section that it is from.

mod answering;
mod deciding;
mod freshness;
mod invalidation;
mod storing;
mod updating;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::{Policy, RequestHead, ResponseHead, Selecting, StoredHead};

/// Sun, 06 Nov 1994 08:49:37 GMT, when every response of these tests is made and arrives.
pub(super) const NOW_SECONDS: u64 = 784_111_777;

pub(super) const POLICY: Policy = Policy {
    playlist_ttl: Duration::from_secs(2),
    segment_ttl: Duration::from_secs(1_000_000),
    negative_ttl: Duration::from_secs(5),
    stale_if_error: Duration::from_secs(100),
    request_fields: Vec::new(),
};

pub(super) fn fields(lines: &[(&str, &str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        fields.append(name, HeaderValue::from_str(value).unwrap());
    }
    fields
}

/// The moment so many seconds after [`NOW_SECONDS`].
pub(super) fn after(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW_SECONDS + seconds)
}

/// An HTTP-date so many seconds from [`NOW_SECONDS`].
pub(super) fn date(offset_seconds: i64) -> String {
    let seconds = NOW_SECONDS.checked_add_signed(offset_seconds).unwrap();
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// A head as it is held, without a look at whether it may be.
pub(super) fn stored(status: u16, lines: &[(&str, &str)]) -> StoredHead {
    StoredHead {
        status: StatusCode::from_u16(status).unwrap(),
        is_to_credentials: false,
        fields: fields(lines),
        selecting: Selecting::default(),
        request_time: after(0),
        response_time: after(0),
        total_length: None,
    }
}

pub(super) fn get<'a>(target: &'a str, fields: &'a HeaderMap) -> RequestHead<'a> {
    RequestHead { method: &Method::GET, target, fields }
}

pub(super) fn response(status: u16, fields: &HeaderMap) -> ResponseHead<'_> {
    let status = StatusCode::from_u16(status).unwrap();
    ResponseHead { status, fields, request_time: after(0), response_time: after(0) }
}
