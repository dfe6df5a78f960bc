//! The request line: `method SP request-target SP HTTP-version CRLF` (RFC 9112 §3).

use super::{Cause, Method, Refusal, Version, alphanumeric_and};
use crate::limits;

/// A request line, split.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RequestLine<'a> {
    pub(super) method: Method,
    /// Visible ASCII, not empty.
    pub(super) target: &'a str,
    pub(super) version: Version,
}

/// The bytes of the first line of `head` without its CRLF; `None`: its end has not come yet.
pub(super) fn find_end(head: &[u8]) -> Result<Option<usize>, Refusal> {
    let within_limit = &head[..head.len().min(limits::REQUEST_LINE_BYTES + 2)];
    let refused = |cause| Err(Refusal { cause, is_head: head.starts_with(b"HEAD ") });
    let (line, is_complete) = match memchr::memchr(b'\n', within_limit) {
        Some(line_feed) => match within_limit[..line_feed].split_last() {
            Some((b'\r', line)) => (line, true),
            _ => return refused(Cause::Malformed),
        },
        None => (within_limit.strip_suffix(b"\r").unwrap_or(within_limit), false),
    };
    // SP, and what is visible in ASCII; all else can appear in no part of a request line.
    if line.iter().fold(false, |found, &byte| found | !(0x20..0x7f).contains(&byte)) {
        return refused(Cause::Malformed);
    }
    if is_complete {
        return Ok(Some(line.len()));
    }
    if within_limit.len() < limits::REQUEST_LINE_BYTES + 2 {
        return Ok(None);
    }
    // RFC 9112 §3: 501 for a method longer than any that is implemented, 414 for a target longer than is parsed.
    refused(if line.contains(&b' ') { Cause::UriTooLong } else { Cause::UnknownMethod })
}

impl<'a> RequestLine<'a> {
    /// Splits a request line that [`find_end`] has measured. Single spaces only: what is lenient here is
    /// where proxies and servers come to disagree.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, Refusal> {
        let text = str::from_utf8(line).map_err(|_| Refusal::new(Cause::Malformed))?;
        let (method, rest) = split_at_space(text).ok_or(Refusal::new(Cause::Malformed))?;
        let refused = |cause| Refusal { cause, is_head: method == "HEAD" };
        let (target, version) = split_at_space(rest).ok_or(refused(Cause::Malformed))?;
        if method.is_empty() || target.is_empty() || !method.bytes().all(is_token_byte) {
            return Err(refused(Cause::Malformed));
        }
        let version = parse_version(version.as_bytes()).map_err(refused)?;
        Ok(Self { method: Method::named(method), target, version })
    }
}

impl Method {
    fn named(name: &str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "OPTIONS" => Self::Options,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "TRACE" => Self::Trace,
            "PATCH" => Self::Patch,
            "CONNECT" => Self::Connect,
            _ => Self::Unknown,
        }
    }
}

/// What is before the first space, and what is behind it.
fn split_at_space(text: &str) -> Option<(&str, &str)> {
    memchr::memchr(b' ', text.as_bytes()).map(|space| (&text[..space], &text[space + 1..]))
}

/// `HTTP/` DIGIT `.` DIGIT, case-sensitive (RFC 9112 §2.3).
fn parse_version(version: &[u8]) -> Result<Version, Cause> {
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => Ok(Version::Http11),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(Cause::Version),
        _ => Err(Cause::Malformed),
    }
}

/// `tchar` of RFC 9110 §5.6.2.
pub(super) fn is_token_byte(byte: u8) -> bool {
    static TOKEN_BYTES: [bool; 256] = alphanumeric_and(b"!#$%&'*+-.^_`|~");
    TOKEN_BYTES[usize::from(byte)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_told_apart_by_their_exact_names() {
        for (name, method) in [
            ("GET", Method::Get),
            ("HEAD", Method::Head),
            ("OPTIONS", Method::Options),
            ("POST", Method::Post),
            ("PATCH", Method::Patch),
            ("CONNECT", Method::Connect),
            ("get", Method::Unknown),
            ("BREW", Method::Unknown),
            ("!#$%&'*+-.^_`|~9", Method::Unknown),
        ] {
            let line = format!("{name} /a HTTP/1.1");
            let parsed = RequestLine::parse(line.as_bytes()).unwrap();
            assert_eq!(parsed, RequestLine { method, target: "/a", version: Version::Http11 }, "{name}");
            assert_eq!(method.as_str(), if method == Method::Unknown { "-" } else { name });
        }
    }

    #[test]
    fn each_version_is_accepted_treated_as_1_1_or_refused() {
        for (version, expected) in [
            ("HTTP/1.0", Ok(Version::Http10)),
            ("HTTP/1.1", Ok(Version::Http11)),
            ("HTTP/1.2", Ok(Version::Http11)),
            ("HTTP/1.9", Ok(Version::Http11)),
            ("HTTP/2.0", Err(Cause::Version)),
            ("HTTP/0.9", Err(Cause::Version)),
            ("HTTP/1.10", Err(Cause::Malformed)),
            ("HTTP/11.1", Err(Cause::Malformed)),
            ("http/1.1", Err(Cause::Malformed)),
            ("HTTP/1", Err(Cause::Malformed)),
            ("HTTP/1.1 ", Err(Cause::Malformed)),
            ("", Err(Cause::Malformed)),
        ] {
            assert_eq!(parse_version(version.as_bytes()), expected, "{version:?}");
        }
    }

    #[test]
    fn a_line_without_three_parts_is_malformed() {
        for line in [
            "",
            " ",
            "GET",
            "GET /",
            "GET  / HTTP/1.1",
            "GET / a HTTP/1.1",
            " GET / HTTP/1.1",
            "G@T / HTTP/1.1",
        ] {
            let refusal = RequestLine::parse(line.as_bytes()).unwrap_err();
            assert_eq!(refusal.cause, Cause::Malformed, "{line:?}");
        }
    }

    #[test]
    fn a_refused_head_request_is_known_as_one() {
        assert!(RequestLine::parse(b"HEAD / HTTP/3.0").unwrap_err().is_head);
        assert!(!RequestLine::parse(b"GET / HTTP/3.0").unwrap_err().is_head);
    }

    #[test]
    fn a_line_may_be_as_long_as_its_limit_and_no_longer() {
        let target = "a".repeat(limits::REQUEST_LINE_BYTES - "GET / HTTP/1.1".len());
        let longest = format!("GET /{target} HTTP/1.1\r\n");
        assert_eq!(find_end(longest.as_bytes()), Ok(Some(limits::REQUEST_LINE_BYTES)));
        let longer = format!("GET /a{target} HTTP/1.1\r\n");
        assert_eq!(find_end(longer.as_bytes()).unwrap_err().cause, Cause::UriTooLong);
        let method = "A".repeat(limits::REQUEST_LINE_BYTES + 2);
        assert_eq!(find_end(method.as_bytes()).unwrap_err().cause, Cause::UnknownMethod);
    }

    #[test]
    fn what_no_request_line_can_contain_is_refused_before_the_line_is_complete() {
        for start in
            ["\n", "GET / HTTP/1.1\n", "\x16\x03\x01", "GET /\t", "GET /\0", "GET /é", "GET / \rHTTP", "\r\r"]
        {
            assert_eq!(find_end(start.as_bytes()).unwrap_err().cause, Cause::Malformed, "{start:?}");
        }
        for start in ["G", "GET / HTTP/1.1", "GET / HTTP/1.1\r"] {
            assert_eq!(find_end(start.as_bytes()), Ok(None), "{start:?}");
        }
    }
}
