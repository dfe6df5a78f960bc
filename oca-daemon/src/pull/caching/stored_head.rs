//! The head of a stored response.

mod encoding;

use std::time::{Duration, SystemTime};

use http::header::{DATE, ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::directives::Directives;
use super::media::{Kind, kind};
use super::{Policy, Selecting, freshness};
use crate::serve::WrittenTag;

pub use encoding::Undecodable;

/// What is kept of a response besides its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredHead {
    /// Its status; 200 where only parts are held.
    pub status: StatusCode,
    /// Whether the request that it answered said who asked (Authorization, Cookie).
    pub is_to_credentials: bool,
    /// Its end-to-end fields, without Content-Length.
    pub fields: HeaderMap,
    /// Which requests it answers.
    pub selecting: Selecting,
    /// When the request for it was sent, to the millisecond once it was encoded.
    pub request_time: SystemTime,
    /// When it arrived, likewise.
    pub response_time: SystemTime,
    /// Bytes of the whole body. `None`: not known before its end.
    pub total_length: Option<u64>,
}

impl StoredHead {
    /// Whether it answers a request with those fields (RFC 9111 §4.1).
    pub fn matches(&self, request_fields: &HeaderMap) -> bool {
        self.selecting.matches(request_fields)
    }

    /// How old it is (§4.2.3).
    pub fn age(&self, now: SystemTime) -> Duration {
        freshness::current_age(self, now)
    }

    /// For how long after its making it is fresh (§4.2.1, §4.2.2).
    pub fn lifetime(&self, target: &str, policy: &Policy) -> Duration {
        freshness::lifetime(self, &Directives::of(&self.fields), target, policy)
    }

    /// Whether it is a playlist or MPD.
    pub fn is_playlist(&self, target: &str) -> bool {
        kind(target, &self.fields) == Kind::Playlist
    }

    /// The entity tag that says that every byte is the same, for If-Range and If-Match.
    pub fn strong_validator(&self) -> Option<&HeaderValue> {
        self.fields
            .get(ETAG)
            .filter(|tag| WrittenTag::parse(tag.as_bytes()).is_some_and(|tag| tag.is_strong()))
    }

    /// Whether it can be asked for on a condition.
    pub fn is_validatable(&self) -> bool {
        self.fields.contains_key(ETAG) || freshness::date(&self.fields, &LAST_MODIFIED).is_some()
    }

    /// Its Last-Modified, where that says that every byte is the same: it was a second old at least when the response was made, so that
    /// no other change had the same (RFC 9110 §8.8.2.2).
    pub(super) fn strong_date(&self) -> Option<SystemTime> {
        let modified = freshness::date(&self.fields, &LAST_MODIFIED)?;
        let made = freshness::date(&self.fields, &DATE).unwrap_or(self.response_time);
        made.duration_since(modified).is_ok_and(|before| before >= Duration::from_secs(1)).then_some(modified)
    }

    /// Whether parts that arrive at different times can be told to belong together: a strong entity tag, or a strong Last-Modified
    /// where there is no tag (§3.4 asks for the tag; many an origin has only the date, and segments are written once).
    pub fn is_divisible(&self) -> bool {
        self.strong_validator().is_some() || (!self.fields.contains_key(ETAG) && self.strong_date().is_some())
    }

    /// Whether a later response is of the same representation, so that its part may be combined with those that are held (§3.4).
    pub fn same_representation(&self, response_fields: &HeaderMap) -> bool {
        match self.strong_validator() {
            Some(tag) => response_fields.get(ETAG) == Some(tag),
            None => {
                self.is_divisible()
                    && !response_fields.contains_key(ETAG)
                    && response_fields.get(LAST_MODIFIED) == self.fields.get(LAST_MODIFIED)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::pull::caching::tests::{fields, stored};

    #[test]
    fn parts_belong_together_by_the_same_strong_tag_or_else_the_same_date() {
        const DATE: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 08:49:35 GMT");
        const LATER: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 08:49:36 GMT");
        const LAST: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
        const MADE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:36 GMT");
        const STRONG: (&str, &str) = ("etag", "\"a\"");
        const OTHER: (&str, &str) = ("etag", "\"b\"");
        const WEAK: (&str, &str) = ("etag", "W/\"a\"");
        const UNQUOTED: (&str, &str) = ("etag", "a");
        for (held, is_divisible, later, expected) in [
            (&[STRONG][..], true, &[STRONG][..], true),
            (&[STRONG, DATE], true, &[STRONG, LATER], true),
            (&[STRONG], true, &[OTHER], false),
            (&[STRONG], true, &[WEAK], false),
            (&[STRONG, DATE], true, &[DATE], false),
            (&[WEAK], false, &[WEAK], false),
            (&[WEAK, DATE], false, &[WEAK, DATE], false),
            (&[UNQUOTED], false, &[UNQUOTED], false),
            (&[DATE], true, &[DATE], true),
            (&[DATE], true, &[LATER], false),
            (&[DATE], true, &[DATE, STRONG], false),
            (&[DATE], true, &[], false),
            (&[LATER], true, &[LATER], true),
            (&[LATER, MADE], false, &[LATER], false),
            (&[LAST], false, &[LAST], false),
            (&[LAST, STRONG], true, &[STRONG], true),
            (&[("last-modified", "yesterday")], false, &[("last-modified", "yesterday")], false),
            (&[], false, &[], false),
        ] {
            let head = stored(200, held);
            assert_eq!(head.is_divisible(), is_divisible, "{held:?}");
            assert_eq!(head.same_representation(&fields(later)), expected, "{held:?} {later:?}");
        }
    }
}
