//! What the configuration decides about answers, rendered once as field lines.

use std::fmt;
use std::time::Duration;

use super::cache_control::is_immutable;

/// The operator's choices, as the lines that go on the wire.
#[derive(Clone, Debug)]
pub struct Policy {
    immutable_line: Box<[u8]>,
    mutable_line: Box<[u8]>,
    retry_after_line: Box<[u8]>,
    cors_lines: Box<[u8]>,
    preflight_lines: Box<[u8]>,
}

/// Why a [`Policy`] cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyError {
    /// `serve.allow_origin` is neither empty, nor `*`, nor one origin.
    AllowOrigin(String),
}

/// What a page may read besides the fields that the Fetch standard always shows.
const EXPOSED: &str = "Accept-Ranges, Content-Length, Content-Range, Date, ETag, Retry-After, Server";

/// What a page may send. `*` would do for browsers; televisions of 2017 do not know it, so that the fields of
/// players are named: conditions, ranges, and CMCD (CTA-5004).
const ALLOWED_FIELDS: &str = "*, Accept, Cache-Control, Content-Type, If-Match, If-Modified-Since, If-None-Match, If-Range, \
    If-Unmodified-Since, Range, CMCD-Object, CMCD-Request, CMCD-Session, CMCD-Status";

/// How long a browser may remember a preflight: a day, which browsers shorten as they like.
const PREFLIGHT_SECONDS: u32 = 86_400;

impl Policy {
    /// From the configuration: `serve.allow_origin`, `segment_max_age`, `playlist_max_age`, `retry_after`.
    ///
    /// # Errors
    /// Where `allow_origin` is not empty, `*` or one origin such as `https://player.example`.
    pub fn new(
        allow_origin: &str,
        segment_max_age: Duration,
        playlist_max_age: Duration,
        retry_after: Duration,
    ) -> Result<Self, PolicyError> {
        if !allow_origin.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',') {
            return Err(PolicyError::AllowOrigin(allow_origin.to_owned()));
        }
        let (segment, playlist) = (segment_max_age.as_secs(), playlist_max_age.as_secs());
        // Rounded up: who comes back a moment early is refused again.
        let retry_seconds = retry_after.as_millis().div_ceil(1000);
        let cors = format!("Access-Control-Allow-Origin: {allow_origin}\r\n");
        let exposed = format!("{cors}Access-Control-Expose-Headers: {EXPOSED}\r\n");
        let preflight = format!(
            "{cors}Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\nAccess-Control-Allow-Headers: {ALLOWED_FIELDS}\r\n\
             Access-Control-Max-Age: {PREFLIGHT_SECONDS}\r\n"
        );
        let lines = |text: String| text.into_bytes().into_boxed_slice();
        let unless_silent = |text: String| lines(if allow_origin.is_empty() { String::new() } else { text });
        Ok(Self {
            immutable_line: lines(format!("Cache-Control: public, max-age={segment}, immutable\r\n")),
            mutable_line: lines(format!("Cache-Control: public, max-age={playlist}\r\n")),
            retry_after_line: lines(format!("Retry-After: {retry_seconds}\r\n")),
            cors_lines: unless_silent(exposed),
            preflight_lines: unless_silent(preflight),
        })
    }

    /// Cache-Control for an object of that type.
    pub(super) fn cache_control_line(&self, media_type: &str) -> &[u8] {
        if is_immutable(media_type) { &self.immutable_line } else { &self.mutable_line }
    }

    /// Retry-After of a 503.
    pub(super) fn retry_after_line(&self) -> &[u8] {
        &self.retry_after_line
    }

    /// What lets pages of other origins read any answer; nothing where the operator allows none.
    pub(super) fn cors_lines(&self) -> &[u8] {
        &self.cors_lines
    }

    /// What a preflight is told.
    pub(super) fn preflight_lines(&self) -> &[u8] {
        &self.preflight_lines
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllowOrigin(origin) => write!(
                formatter,
                "serve.allow_origin is {origin:?}: set it to \"*\", to one origin such as \"https://player.example\", or to \"\""
            ),
        }
    }
}

impl std::error::Error for PolicyError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allow_origin: &str) -> Result<Policy, PolicyError> {
        Policy::new(
            allow_origin,
            Duration::from_secs(31_536_000),
            Duration::from_secs(60),
            Duration::from_millis(4500),
        )
    }

    #[test]
    fn segments_are_immutable_and_playlists_short_lived() {
        let policy = policy("*").unwrap();
        assert_eq!(
            policy.cache_control_line("video/mp4"),
            b"Cache-Control: public, max-age=31536000, immutable\r\n"
        );
        assert_eq!(
            policy.cache_control_line("application/dash+xml"),
            b"Cache-Control: public, max-age=60\r\n"
        );
        assert_eq!(policy.retry_after_line(), b"Retry-After: 5\r\n");
    }

    #[test]
    fn an_empty_origin_sends_nothing_about_origins() {
        let policy = policy("").unwrap();
        assert!(policy.cors_lines().is_empty() && policy.preflight_lines().is_empty());
    }

    #[test]
    fn one_origin_is_named_and_anything_that_is_not_one_is_refused() {
        let lines = policy("https://player.example").unwrap();
        assert!(lines.cors_lines().starts_with(b"Access-Control-Allow-Origin: https://player.example\r\n"));
        for wrong in ["*, a", "a b", "a\r\nX: y", "é"] {
            assert!(policy(wrong).unwrap_err().to_string().contains("serve.allow_origin"), "{wrong:?}");
        }
    }
}
