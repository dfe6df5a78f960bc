//! How an answer came about, told to whoever reads its head.

use std::fmt;

/// How an answer came about, for our member of Cache-Status (RFC 9211); the name of the cache is the appliance's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStatus {
    /// Why upstream was asked; `None`: it was not, the answer is a hit.
    pub forwarded: Option<Forwarded>,
    /// Upstream's status, where it was asked and it is not the one that is sent.
    pub upstream_status: Option<u16>,
    /// How long the answer is fresh still, in seconds; negative where it is stale.
    pub ttl_seconds: Option<i64>,
    /// Whether upstream's answer was stored.
    pub is_stored: bool,
    /// Whether another's request to upstream was joined.
    pub is_collapsed: bool,
    /// One more word.
    pub detail: Option<&'static str>,
}

/// Why a request was forwarded (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// Nothing here is answered from a cache.
    Bypass,
    /// The method is one that caches do not answer.
    Method,
    /// Nothing was held of its target.
    UriMiss,
    /// Nothing was held that fits its fields (`Vary`).
    VaryMiss,
    /// The request asked for it.
    Request,
    /// What was held was stale.
    Stale,
    /// Not all of the range was held.
    Partial,
}

impl Forwarded {
    /// Its token.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
            Self::Stale => "stale",
            Self::Partial => "partial",
        }
    }
}

/// The parameters, each with its semicolon, as they follow the cache's name.
impl fmt::Display for CacheStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.forwarded {
            None => formatter.write_str(";hit")?,
            Some(why) => {
                write!(formatter, ";fwd={}", why.as_str())?;
                if let Some(status) = self.upstream_status {
                    write!(formatter, ";fwd-status={status}")?;
                }
            }
        }
        if let Some(seconds) = self.ttl_seconds {
            write!(formatter, ";ttl={seconds}")?;
        }
        if self.forwarded.is_some() && self.is_stored {
            formatter.write_str(";stored")?;
        }
        if self.forwarded.is_some() && self.is_collapsed {
            formatter.write_str(";collapsed")?;
        }
        match self.detail {
            Some(word) => write!(formatter, ";detail={word}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_whether_it_was_held_and_why_it_was_not() {
        let miss = CacheStatus {
            forwarded: Some(Forwarded::UriMiss),
            upstream_status: Some(200),
            ttl_seconds: Some(60),
            is_stored: true,
            is_collapsed: true,
            detail: None,
        };
        assert_eq!(miss.to_string(), ";fwd=uri-miss;fwd-status=200;ttl=60;stored;collapsed");
        let stale =
            CacheStatus { ttl_seconds: Some(-5), detail: Some("stale_if_error"), ..Default::default() };
        assert_eq!(stale.to_string(), ";hit;ttl=-5;detail=stale_if_error");
        assert_eq!(CacheStatus::default().to_string(), ";hit");
    }
}
