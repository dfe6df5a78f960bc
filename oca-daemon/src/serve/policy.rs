//! What the configuration decides about answers, rendered once as field lines.

use std::fmt;
use std::time::Duration;

use super::cache_control::is_immutable;
use super::miss::MissRules;

/// The operator's choices, as the lines that go on the wire.
#[derive(Clone, Debug)]
pub struct Policy {
    immutable: ObjectLines,
    mutable: ObjectLines,
    retry_after_line: Box<[u8]>,
    cors: CorsLines,
    preflight_lines: Box<str>,
    cache_name: Box<str>,
    misses: MissRules,
}

/// What is said of every object of a kind.
#[derive(Clone, Debug)]
struct ObjectLines {
    /// With its bytes, or as if with them.
    found: Box<[u8]>,
    /// Where the client's copy is right.
    not_modified: Box<[u8]>,
}

/// What lets pages of other origins read an answer (the CORS protocol of the Fetch standard); nothing where the operator allows none.
#[derive(Clone, Debug)]
struct CorsLines {
    all: Box<str>,
    /// Which of them may read it.
    origin: Box<str>,
    /// Which of its fields they may read.
    exposed: Box<str>,
    /// Which of them may read its timing.
    timing: Box<str>,
}

/// Why a [`Policy`] cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyError {
    /// `serve.allow_origin` is neither empty, nor `*`, nor one origin.
    AllowOrigin(String),
}

/// What a page may read besides the fields that the Fetch standard always shows.
const EXPOSED: &str = "Accept-Ranges, Age, Cache-Status, CMSD-Dynamic, CMSD-Static, Content-Digest, Content-Length, \
    Content-Range, Date, ETag, Repr-Digest, Retry-After, Server, Server-Timing";

/// What a page may send. `*` would do for browsers, but for Authorization, which it does not cover; televisions of 2017 do not know it,
/// so that the fields of players are named: conditions, ranges, digests (RFC 9530), and CMCD (CTA-5004).
const ALLOWED_FIELDS: &str = "*, Accept, Authorization, Cache-Control, Content-Type, If-Match, If-Modified-Since, If-None-Match, If-Range, \
    If-Unmodified-Since, Range, Want-Content-Digest, Want-Repr-Digest, CMCD-Object, CMCD-Request, CMCD-Session, CMCD-Status";

/// How long a browser may remember a preflight: a day, which browsers shorten as they like.
const PREFLIGHT_SECONDS: u32 = 86_400;

impl Policy {
    /// `cache_name` is the appliance's, for Cache-Status; the rest is from the configuration: `serve.allow_origin`,
    /// `segment_max_age`, `playlist_max_age`, `retry_after`.
    ///
    /// # Errors
    /// Where `allow_origin` is not empty, `*` or one origin such as `https://player.example`.
    pub fn new(
        cache_name: &str,
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
        let lines = |text: String| text.into_bytes().into_boxed_slice();
        let cors = CorsLines::new(allow_origin);
        let cache_name = structured_name(cache_name);
        let hit = format!("Cache-Status: {cache_name};hit\r\n");
        let of_object = |cache_control: String| {
            let not_modified = format!("Cache-Control: {cache_control}\r\n{hit}{}", cors.all);
            let found = format!("Accept-Ranges: bytes\r\nX-Content-Type-Options: nosniff\r\n{not_modified}");
            ObjectLines { found: lines(found), not_modified: lines(not_modified) }
        };
        Ok(Self {
            immutable: of_object(format!("public, max-age={segment}, immutable")),
            mutable: of_object(format!("public, max-age={playlist}")),
            retry_after_line: lines(format!("Retry-After: {retry_seconds}\r\n")),
            preflight_lines: preflight_lines(&cors.origin, MissRules::default().methods()),
            cors,
            cache_name: cache_name.into(),
            misses: MissRules::default(),
        })
    }

    /// The same, with these rules about what no bundle holds; without, it is absent.
    pub fn with_misses(mut self, misses: MissRules) -> Self {
        self.preflight_lines = preflight_lines(&self.cors.origin, misses.methods());
        self.misses = misses;
        self
    }

    /// The rules about what no bundle holds.
    pub(super) fn misses(&self) -> &MissRules {
        &self.misses
    }

    /// Our name in Cache-Status, as structured fields have it.
    pub(super) fn cache_name(&self) -> &str {
        &self.cache_name
    }

    /// What a 200 or 206 says of any object of that type: that it has ranges, how long it is fresh, where it came from, and who
    /// may read it.
    pub(super) fn found_lines(&self, media_type: &str) -> &[u8] {
        &self.object_lines(media_type).found
    }

    /// What a 304 says.
    pub(super) fn not_modified_lines(&self, media_type: &str) -> &[u8] {
        &self.object_lines(media_type).not_modified
    }

    fn object_lines(&self, media_type: &str) -> &ObjectLines {
        if is_immutable(media_type) { &self.immutable } else { &self.mutable }
    }

    /// Retry-After of a 503.
    pub(super) fn retry_after_line(&self) -> &[u8] {
        &self.retry_after_line
    }

    /// What lets pages of other origins read any answer, its fields and its timing; nothing where the operator allows none.
    pub(super) fn cors_lines(&self) -> &[u8] {
        self.cors.all.as_bytes()
    }

    /// Of these, the line that says which pages may read the answer.
    pub(super) fn origin_line(&self) -> &[u8] {
        self.cors.origin.as_bytes()
    }

    /// Of these, the line that says which of its fields they may read.
    pub(super) fn exposed_line(&self) -> &[u8] {
        self.cors.exposed.as_bytes()
    }

    /// Of these, the line that says which pages may read its timing.
    pub(super) fn timing_line(&self) -> &[u8] {
        self.cors.timing.as_bytes()
    }

    /// What a preflight is told.
    pub(super) fn preflight_lines(&self) -> &[u8] {
        self.preflight_lines.as_bytes()
    }
}

impl CorsLines {
    fn new(allow_origin: &str) -> Self {
        let line = |name: &str, value: &str| match allow_origin {
            "" => String::new(),
            _ => format!("{name}: {value}\r\n"),
        };
        let origin = line("Access-Control-Allow-Origin", allow_origin);
        let exposed = line("Access-Control-Expose-Headers", EXPOSED);
        let timing = line("Timing-Allow-Origin", allow_origin);
        let all = format!("{origin}{exposed}{timing}");
        Self { all: all.into(), origin: origin.into(), exposed: exposed.into(), timing: timing.into() }
    }
}

/// What a preflight is told, by the line about origins that it begins with.
fn preflight_lines(origin_line: &str, methods: &str) -> Box<str> {
    if origin_line.is_empty() {
        return Box::default();
    }
    let text = format!(
        "{origin_line}Access-Control-Allow-Methods: {methods}\r\nAccess-Control-Allow-Headers: {ALLOWED_FIELDS}\r\n\
         Access-Control-Max-Age: {PREFLIGHT_SECONDS}\r\n"
    );
    text.into()
}

/// A cache's name as Cache-Status wants it (RFC 9211 §2): a token of structured fields where it is one, else a string.
fn structured_name(name: &str) -> String {
    let is_token = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_token { name.to_owned() } else { format!("{name:?}") }
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
            "oca-17",
            allow_origin,
            Duration::from_secs(31_536_000),
            Duration::from_secs(60),
            Duration::from_millis(4500),
        )
    }

    #[test]
    fn segments_are_immutable_and_playlists_short_lived() {
        let policy = policy("*").unwrap();
        let says = |lines: &[u8], line: &str| String::from_utf8_lossy(lines).contains(&format!("{line}\r\n"));
        for (media_type, line) in [
            ("video/mp4", "Cache-Control: public, max-age=31536000, immutable"),
            ("application/dash+xml", "Cache-Control: public, max-age=60"),
        ] {
            assert!(says(policy.found_lines(media_type), line), "{media_type}");
            assert!(says(policy.not_modified_lines(media_type), line), "{media_type}");
        }
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
        assert!(lines.cors_lines().ends_with(b"\r\nTiming-Allow-Origin: https://player.example\r\n"));
        assert!(lines.cors_lines().starts_with(b"Access-Control-Allow-Origin: https://player.example\r\n"));
        for wrong in ["*, a", "a b", "a\r\nX: y", "é"] {
            assert!(policy(wrong).unwrap_err().to_string().contains("serve.allow_origin"), "{wrong:?}");
        }
    }

    #[test]
    fn a_name_is_a_token_where_it_can_be_one_and_else_a_string() {
        assert_eq!(
            (structured_name("oca-17"), structured_name("17-oca")),
            ("oca-17".into(), "\"17-oca\"".into())
        );
        assert!(policy("").unwrap().found_lines("video/mp4").ends_with(b"\r\nCache-Status: oca-17;hit\r\n"));
    }
}
