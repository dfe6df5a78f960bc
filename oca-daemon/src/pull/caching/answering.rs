//! What one client is told of a stored response: its conditions (RFC 9110 §13) and its range (§14) are evaluated here.

use std::time::{Duration, SystemTime};

use control_client::units::ByteRange;
use http::header::{
    ACCEPT_RANGES, AGE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG,
    IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use smallvec::SmallVec;

use super::RequestHead;
use super::fields::{DIGESTS_OF_CONTENT, filtered};
use super::freshness::date;
use super::stored_head::StoredHead;
use crate::serve::{Selection, WrittenTag, lists, select};

/// What one client gets of a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answering {
    /// All of it, with its own status.
    Whole,
    /// 206, these bytes; not empty, and within it.
    Range(ByteRange),
    /// 304: the client's copy is right.
    NotModified,
    /// 412: it is not what the client takes it for.
    PreconditionFailed,
    /// 416: no byte of the range is within it.
    Unsatisfiable,
}

impl Answering {
    /// The status that is answered.
    pub fn status(self, head: &StoredHead) -> StatusCode {
        match self {
            Self::Whole => head.status,
            Self::Range(_) => StatusCode::PARTIAL_CONTENT,
            Self::NotModified => StatusCode::NOT_MODIFIED,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::Unsatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
        }
    }
}

/// Decides what of `head` answers the request, in the order of RFC 9110 §13.2.2. More than one range is answered with the whole, as is
/// any range of what has no known length.
pub fn answering(request: &RequestHead<'_>, head: &StoredHead) -> Answering {
    // §13.2.1: conditions are about what would else be answered with success.
    if !head.status.is_success() {
        return Answering::Whole;
    }
    if fails(request.fields, head) {
        return Answering::PreconditionFailed;
    }
    if is_not_modified(request.fields, head) {
        return Answering::NotModified;
    }
    let range = request.fields.get(RANGE).filter(|_| {
        *request.method == Method::GET && head.status == StatusCode::OK && range_applies(request.fields, head)
    });
    match (range, head.total_length) {
        (Some(range), Some(length)) => match select(range.as_bytes(), length) {
            Selection::Ranges(ranges) if ranges.len() == 1 => Answering::Range(ranges[0]),
            Selection::Unsatisfiable => Answering::Unsatisfiable,
            Selection::Ranges(_) | Selection::Whole => Answering::Whole,
        },
        _ => Answering::Whole,
    }
}

/// If-Match (§13.1.1), or else If-Unmodified-Since (§13.1.4).
fn fails(request: &HeaderMap, head: &StoredHead) -> bool {
    if request.contains_key(IF_MATCH) {
        let current = tag(head);
        !lists(&lines(request, &IF_MATCH), |tag| current.is_some_and(|current| current.equals_strongly(tag)))
    } else {
        date(request, &IF_UNMODIFIED_SINCE).is_some_and(|since| modified(head) > since)
    }
}

/// If-None-Match (§13.1.2), or else If-Modified-Since (§13.1.3); a tag that breaks the grammar is the client's if it is the same, byte
/// by byte.
fn is_not_modified(request: &HeaderMap, head: &StoredHead) -> bool {
    if !request.contains_key(IF_NONE_MATCH) {
        return date(request, &IF_MODIFIED_SINCE).is_some_and(|since| modified(head) <= since);
    }
    let current = tag(head);
    lists(&lines(request, &IF_NONE_MATCH), |tag| current.is_some_and(|current| current.equals_weakly(tag)))
        || head.fields.get(ETAG).is_some_and(|tag| request.get(IF_NONE_MATCH) == Some(tag))
}

/// If-Range (§13.1.5): absent, the same strong tag, or exactly the Last-Modified, where that is strong.
fn range_applies(request: &HeaderMap, head: &StoredHead) -> bool {
    let mut lines = request.get_all(IF_RANGE).iter();
    match (lines.next(), lines.next()) {
        (None, _) => true,
        (Some(_), Some(_)) => false,
        (Some(line), None) => match WrittenTag::parse(line.as_bytes()) {
            Some(asked) => tag(head).is_some_and(|current| current.equals_strongly(asked)),
            None => {
                let asked = date(request, &IF_RANGE);
                asked.is_some() && asked == head.strong_date()
            }
        },
    }
}

fn lines<'a>(request: &'a HeaderMap, name: &HeaderName) -> SmallVec<[&'a [u8]; 4]> {
    request.get_all(name).into_iter().map(HeaderValue::as_bytes).collect()
}

fn tag(head: &StoredHead) -> Option<WrittenTag<'_>> {
    WrittenTag::parse(head.fields.get(ETAG)?.as_bytes())
}

/// When it was modified, as far as is known: at the latest when it was made or, without Date, when it arrived (RFC 9111 §4.3.2).
fn modified(head: &StoredHead) -> SystemTime {
    date(&head.fields, &LAST_MODIFIED).or_else(|| date(&head.fields, &DATE)).unwrap_or(head.response_time)
}

/// What of a stored response does not belong into a 304 (RFC 9110 §15.4.5).
const OF_THE_CONTENT: [HeaderName; 4] = [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_RANGE];

/// The fields of the answer, ready to be sent; Content-Length is for who sends it. `age`: of a response that was held; `None` for one
/// that has just arrived.
///
/// Date is the stored one: when the response was made does not change with its being sent again.
pub fn answer_fields(head: &StoredHead, answering: Answering, age: Option<Duration>) -> HeaderMap {
    let mut fields = match answering {
        Answering::Whole => head.fields.clone(),
        Answering::Range(_) => filtered(&head.fields, |name| !DIGESTS_OF_CONTENT.contains(name)),
        Answering::NotModified => filtered(&head.fields, |name| {
            !OF_THE_CONTENT.contains(name) && !DIGESTS_OF_CONTENT.contains(name)
        }),
        Answering::PreconditionFailed | Answering::Unsatisfiable => HeaderMap::new(),
    };
    if let (StatusCode::OK, Some(length)) = (head.status, head.total_length) {
        fields.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        match answering {
            Answering::Range(range) => {
                insert(
                    &mut fields,
                    CONTENT_RANGE,
                    format!("bytes {}-{}/{length}", range.start, range.end - 1),
                );
            }
            Answering::Unsatisfiable => insert(&mut fields, CONTENT_RANGE, format!("bytes */{length}")),
            Answering::Whole | Answering::NotModified | Answering::PreconditionFailed => {}
        }
    }
    if let Some(age) = age {
        fields.insert(AGE, HeaderValue::from(age.as_secs()));
    }
    fields
}

fn insert(fields: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        fields.insert(name, value);
    }
}
