//! What an answer begins with.

use control_client::units::ByteRange;
use http::HeaderMap;
use http::header::CONTENT_RANGE;

use super::blocks::ContentRange;
use super::cache_status::CacheStatus;
use crate::outcome::Outcome;

/// The head of an answer, as it goes to one client.
#[derive(Clone, Debug)]
pub struct AnswerHead {
    /// The status; a final one, 200 to 599.
    pub status: u16,
    /// End-to-end fields, ready to be sent, without Connection, Content-Length and Transfer-Encoding, which are the connection's to
    /// say. `Date` is upstream's where there is one (RFC 9111 §4.2.3 reckons with it); without one the present moment is said.
    pub fields: HeaderMap,
    /// Bytes of the body; for HEAD and 304, what GET would get, if that is known. `None`: known only when the body ends.
    pub content_length: Option<u64>,
    /// [`Outcome::DemandHit`], [`Outcome::DemandMiss`], or [`Outcome::DemandPassed`]; [`Self::outcome`] says what it is counted as.
    pub source: Outcome,
    /// How it came about.
    pub cache_status: CacheStatus,
}

impl AnswerHead {
    /// What the request counts as: what is said to the client comes before where it came from.
    pub fn outcome(&self, is_head: bool) -> Outcome {
        match self.status {
            _ if self.source == Outcome::DemandPassed => Outcome::DemandPassed,
            304 => Outcome::NotModified,
            404 | 410 => Outcome::ClientErrorAbsent,
            412 => Outcome::ClientErrorPreconditionFailed,
            416 => Outcome::ClientErrorRangeNotSatisfiable,
            400..=499 => Outcome::ClientErrorUpstream,
            500..=599 => Outcome::RefusedUpstreamError,
            _ if is_head => Outcome::Head,
            _ => self.source,
        }
    }

    /// The bytes of the object that follow, of a 206 with one range of a known whole.
    pub fn range(&self) -> Option<ByteRange> {
        let range = self.fields.get(CONTENT_RANGE).filter(|_| self.status == 206)?;
        let ContentRange { start, end, total } = ContentRange::parse(range)?;
        total.map(|_| ByteRange { start, end })
    }

    /// Whether a body may follow (RFC 9112 §6.3).
    pub fn has_body(&self, is_head: bool) -> bool {
        !is_head && !matches!(self.status, 100..=199 | 204 | 304)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, source: Outcome) -> AnswerHead {
        let (fields, cache_status) = (HeaderMap::new(), CacheStatus::default());
        AnswerHead { status, fields, content_length: None, source, cache_status }
    }

    #[test]
    fn a_request_counts_as_what_its_client_is_told() {
        for (status, source, is_head, outcome) in [
            (200, Outcome::DemandHit, false, Outcome::DemandHit),
            (206, Outcome::DemandMiss, false, Outcome::DemandMiss),
            (301, Outcome::DemandMiss, false, Outcome::DemandMiss),
            (200, Outcome::DemandMiss, true, Outcome::Head),
            (304, Outcome::DemandHit, true, Outcome::NotModified),
            (404, Outcome::DemandHit, false, Outcome::ClientErrorAbsent),
            (403, Outcome::DemandMiss, false, Outcome::ClientErrorUpstream),
            (503, Outcome::DemandMiss, false, Outcome::RefusedUpstreamError),
            (403, Outcome::DemandPassed, false, Outcome::DemandPassed),
        ] {
            assert_eq!(head(status, source).outcome(is_head), outcome, "{status}");
        }
    }

    #[test]
    fn a_206_says_which_bytes_follow() {
        let range = |status, value: &'static str| {
            let mut head = head(status, Outcome::DemandHit);
            head.fields.insert(CONTENT_RANGE, http::HeaderValue::from_static(value));
            head.range()
        };
        assert_eq!(range(206, "bytes 2-4/10"), Some(ByteRange::new(2, 5)));
        assert_eq!(
            (range(206, "bytes 2-4/*"), range(416, "bytes */10"), range(200, "bytes 2-4/10")),
            (None, None, None)
        );
        assert_eq!(head(206, Outcome::DemandMiss).range(), None);
    }

    #[test]
    fn no_body_follows_where_http_has_none() {
        assert!(head(200, Outcome::DemandHit).has_body(false));
        assert!(!head(200, Outcome::DemandHit).has_body(true));
        assert!(
            !head(204, Outcome::DemandHit).has_body(false) && !head(304, Outcome::DemandHit).has_body(false)
        );
    }
}
