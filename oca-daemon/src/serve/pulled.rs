//! A response is made of what the pull service answers.

use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, PROXY_AUTHENTICATE, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use super::{Policy, errors};
use crate::pull::{AnswerHead, PullFailure};
use crate::request::{Method, Persistence, Request, Version};
use crate::response::{Response, Status};

/// The head of a response, and how its body follows.
#[derive(Debug)]
pub struct Pulled {
    /// The head; its body is empty.
    pub response: Response,
    /// How the body is delimited.
    pub coding: Coding,
}

/// How a body is delimited that comes from upstream (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// There is none.
    None,
    /// It has so many bytes.
    Length(u64),
    /// In chunks, the last of which is empty.
    Chunked,
    /// The connection's end is its end.
    UntilClose,
}

impl Coding {
    /// How many bytes it has at most.
    pub fn bytes_max(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Length(bytes) => bytes,
            Self::Chunked | Self::UntilClose => u64::MAX,
        }
    }
}

/// The response that upstream's or a held answer is sent as; a failure where it cannot be sent.
///
/// # Errors
/// [`PullFailure::Invalid`] for a status that is no final one.
pub fn pulled(head: &AnswerHead, request: &Request<'_>, policy: &Policy) -> Result<Pulled, PullFailure> {
    let is_head = request.method == Method::Head;
    let status = Status::of_upstream(head.status).ok_or(PullFailure::Invalid)?;
    let mut response = Response::new(status, head.outcome(is_head), request.persistence);
    for (name, value) in &head.fields {
        if !is_of_the_connection(name) {
            response.add_upstream_field(name, value);
        }
    }
    response.add_formatted("Cache-Status", format_args!("{}{}", policy.cache_name(), head.cache_status));
    add_cors(&mut response, &head.fields, policy);
    let coding = match head.content_length {
        _ if !head.has_body(is_head) => Coding::None,
        Some(length) => Coding::Length(length),
        None if request.version == Version::Http11 => Coding::Chunked,
        None => Coding::UntilClose,
    };
    match coding {
        Coding::Chunked => response.add_rendered(b"Transfer-Encoding: chunked\r\n"),
        Coding::UntilClose => response.persistence = Persistence::Close,
        // RFC 9110 §8.6: none with 204.
        Coding::None if head.status == 204 => {}
        Coding::None | Coding::Length(_) => response.set_content_length(head.content_length),
    }
    Ok(Pulled { response, coding })
}

/// What upstream says of other origins stands; where it is silent, our operator decides. Whoever may read the answer may read the fields
/// that are added here, beside those that upstream names: it is a list, which may be said in more than one line.
fn add_cors(response: &mut Response, upstream: &HeaderMap, policy: &Policy) {
    if !upstream.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        response.add_rendered(policy.origin_line());
    }
    response.add_rendered(policy.exposed_line());
    if !upstream.contains_key("timing-allow-origin") {
        response.add_rendered(policy.timing_line());
    }
}

/// The answer where the pull service has none.
pub fn not_pulled(failure: PullFailure, request: &Request<'_>, policy: &Policy) -> Response {
    errors::not_pulled(failure, request, policy)
}

/// Whether a field is about one connection (RFC 9110 §7.6.1) or says what we say ourselves: nobody passes it on, whatever comes here.
fn is_of_the_connection(name: &HeaderName) -> bool {
    [CONNECTION, CONTENT_LENGTH, PROXY_AUTHENTICATE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE].contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "proxy-authentication-info")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;

    use super::*;
    use crate::outcome::Outcome;
    use crate::pull::{CacheStatus, Forwarded};
    use crate::request::{Parsed, parse};

    fn answer(status: u16, content_length: Option<u64>) -> AnswerHead {
        let mut fields = HeaderMap::new();
        fields.append("content-type", HeaderValue::from_static("video/mp4"));
        fields.append("connection", HeaderValue::from_static("keep-alive"));
        fields.append("cache-status", HeaderValue::from_static("parent;hit"));
        let cache_status = CacheStatus { forwarded: Some(Forwarded::UriMiss), ..CacheStatus::default() };
        AnswerHead { status, fields, content_length, source: Outcome::DemandMiss, cache_status }
    }

    fn sent(line: &str, head: &AnswerHead) -> (String, Coding) {
        let bytes = format!("{line}\r\nHost: a\r\n\r\n").into_bytes();
        let Parsed::Complete(request) = parse(&bytes) else { panic!("{line}") };
        let day = Duration::from_secs(86_400);
        let policy = Policy::new("oca-1", "", day, day, day).unwrap();
        let pulled = pulled(head, &request, &policy).unwrap();
        let mut out = Vec::new();
        pulled.response.write_head(&mut out, &crate::response::http_date(0));
        (String::from_utf8(out).unwrap(), pulled.coding)
    }

    const FIELDS: &str = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nServer: oca\r\ncontent-type: video/mp4\r\n\
        cache-status: parent;hit\r\nCache-Status: oca-1;fwd=uri-miss\r\n";

    #[test]
    fn a_known_length_is_said_and_an_unknown_one_is_sent_in_chunks() {
        let (head, coding) = sent("GET /a HTTP/1.1", &answer(200, Some(5)));
        assert_eq!(head, format!("HTTP/1.1 200 OK\r\n{FIELDS}Content-Length: 5\r\n\r\n"));
        assert_eq!(coding, Coding::Length(5));
        let (head, coding) = sent("GET /a HTTP/1.1", &answer(200, None));
        assert_eq!(head, format!("HTTP/1.1 200 OK\r\n{FIELDS}Transfer-Encoding: chunked\r\n\r\n"));
        assert_eq!(coding, Coding::Chunked);
    }

    #[test]
    fn to_http_1_0_an_unknown_length_ends_with_the_connection() {
        let (head, coding) = sent("GET /a HTTP/1.0\r\nConnection: keep-alive", &answer(200, None));
        assert_eq!(head, format!("HTTP/1.1 200 OK\r\n{FIELDS}Connection: close\r\n\r\n"));
        assert_eq!(coding, Coding::UntilClose);
    }

    #[test]
    fn where_http_has_no_body_none_follows() {
        let (head, coding) = sent("HEAD /a HTTP/1.1", &answer(200, Some(5)));
        assert!(head.ends_with("\r\nContent-Length: 5\r\n\r\n") && coding == Coding::None, "{head}");
        for (status, length) in [(304, None), (204, Some(0)), (204, None)] {
            let (head, coding) = sent("GET /a HTTP/1.1", &answer(status, length));
            assert!(!head.contains("Content-Length") && !head.contains("Transfer"), "{head}");
            assert_eq!(coding, Coding::None);
        }
    }

    /// What is said of other origins, in its order.
    fn said_of_origins(allow_origin: &str, upstream: &[(&'static str, &'static str)]) -> Vec<String> {
        let Parsed::Complete(request) = parse(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n") else { panic!() };
        let day = Duration::from_secs(86_400);
        let policy = Policy::new("oca", allow_origin, day, day, day).unwrap();
        let mut head = answer(200, Some(5));
        for (name, value) in upstream {
            head.fields.append(*name, HeaderValue::from_static(value));
        }
        let mut out = Vec::new();
        pulled(&head, &request, &policy)
            .unwrap()
            .response
            .write_head(&mut out, &crate::response::http_date(0));
        let text = String::from_utf8(out).unwrap().replace(&exposed_here(), "ours");
        let lines = text
            .lines()
            .filter(|line| line.to_ascii_lowercase().contains("-origin:") || line.contains("xpose"));
        lines.map(str::to_ascii_lowercase).collect()
    }

    fn exposed_here() -> String {
        let day = Duration::from_secs(86_400);
        let policy = Policy::new("oca", "*", day, day, day).unwrap();
        let lines = String::from_utf8(policy.cors_lines().to_vec()).unwrap();
        lines
            .lines()
            .find_map(|line| line.strip_prefix("Access-Control-Expose-Headers: "))
            .unwrap()
            .to_owned()
    }

    #[test]
    fn pages_may_read_what_is_added_here_whatever_upstream_says_of_origins() {
        let origin = ("access-control-allow-origin", "https://a.example");
        let (ours, exposed, any) = (
            "access-control-expose-headers: ours",
            "access-control-expose-headers: x-a",
            "access-control-allow-origin: *",
        );
        let (timing, their_origin) =
            ("timing-allow-origin: *", "access-control-allow-origin: https://a.example");
        let their_timing = ("timing-allow-origin", "https://b.example");
        for (upstream, expected) in [
            (&[][..], &[any, ours, timing][..]),
            (&[origin], &[their_origin, ours, timing]),
            // A list may be said in more than one line.
            (&[origin, ("access-control-expose-headers", "x-a")], &[their_origin, exposed, ours, timing]),
            (&[origin, their_timing], &[their_origin, "timing-allow-origin: https://b.example", ours]),
            (&[their_timing], &["timing-allow-origin: https://b.example", any, ours]),
        ] {
            assert_eq!(said_of_origins("*", upstream), expected, "{upstream:?}");
        }
        assert_eq!(said_of_origins("", &[origin]), [their_origin], "an operator who wants none adds none");
    }

    #[test]
    fn a_status_that_is_not_final_is_no_answer() {
        let Parsed::Complete(request) = parse(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n") else { panic!() };
        let day = Duration::from_secs(86_400);
        let policy = Policy::new("oca", "*", day, day, day).unwrap();
        assert_eq!(pulled(&answer(103, None), &request, &policy).unwrap_err(), PullFailure::Invalid);
    }
}
