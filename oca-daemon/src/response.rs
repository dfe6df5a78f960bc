//! What is sent: a status, the fields, and where the body's bytes come from.
//!
//! A [`Response`] is a value: it holds the fields as they go on the wire and says which ranges of the
//! bundle's file follow them. Who sends it writes the head with [`Response::write_head`] and the parts of the
//! body in order.

mod multipart;

use std::borrow::Cow;
use std::cell::Cell;
use std::io::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use control_client::units::ByteRange;
use httpdate::HttpDate;
use smallvec::SmallVec;

use crate::outcome::Outcome;
use crate::request::Persistence;
pub(crate) use multipart::Multipart;

/// One response, ready to be sent.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: Status,
    /// What the request counts as, if the response can be sent whole.
    pub outcome: Outcome,
    /// Whether the connection goes on afterwards. Closing may be decided until the head is written, which says so.
    pub persistence: Persistence,
    /// What follows the head; nothing for HEAD.
    pub body: Body,
    /// The Content-Length that is stated: for HEAD, that of the body which GET would have got.
    content_length: Option<u64>,
    /// Who says Date and Server.
    said_by: SaidBy,
    /// The fields of this response, as on the wire.
    fields: Vec<u8>,
}

/// Which of the fields that every response has are among its own already, because upstream has said them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SaidBy {
    upstream_date: bool,
    upstream_server: bool,
}

/// A status code that is sent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(u16);

/// What follows a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    Empty,
    /// A few words about an error.
    Text(Cow<'static, str>),
    /// Ranges of one object, in order.
    Object(SmallVec<[Part; 1]>),
}

/// A piece of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// These bytes: what separates the ranges of a multipart body.
    Text(Vec<u8>),
    /// These bytes, which came from upstream.
    Bytes(bytes::Bytes),
    /// These bytes of the bundle's file; never empty.
    File(ByteRange),
}

macro_rules! statuses {
    ($($name:ident $code:literal $reason:literal)*) => {
        impl Status {
            $(#[doc = concat!($code, " ", $reason)] pub const $name: Self = Self($code);)*

            /// The status line, its CRLF included; `None` for one that only upstream says.
            pub const fn line(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some(concat!("HTTP/1.1 ", $code, " ", $reason, "\r\n")),)*
                    _ => None,
                }
            }
        }
    };
}

statuses! {
    OK 200 "OK"
    NO_CONTENT 204 "No Content"
    PARTIAL_CONTENT 206 "Partial Content"
    NOT_MODIFIED 304 "Not Modified"
    TEMPORARY_REDIRECT 307 "Temporary Redirect"
    BAD_REQUEST 400 "Bad Request"
    NOT_FOUND 404 "Not Found"
    METHOD_NOT_ALLOWED 405 "Method Not Allowed"
    REQUEST_TIMEOUT 408 "Request Timeout"
    PRECONDITION_FAILED 412 "Precondition Failed"
    CONTENT_TOO_LARGE 413 "Content Too Large"
    URI_TOO_LONG 414 "URI Too Long"
    RANGE_NOT_SATISFIABLE 416 "Range Not Satisfiable"
    EXPECTATION_FAILED 417 "Expectation Failed"
    MISDIRECTED_REQUEST 421 "Misdirected Request"
    REQUEST_HEADER_FIELDS_TOO_LARGE 431 "Request Header Fields Too Large"
    NOT_IMPLEMENTED 501 "Not Implemented"
    BAD_GATEWAY 502 "Bad Gateway"
    SERVICE_UNAVAILABLE 503 "Service Unavailable"
    GATEWAY_TIMEOUT 504 "Gateway Timeout"
    HTTP_VERSION_NOT_SUPPORTED 505 "HTTP Version Not Supported"
    LOOP_DETECTED 508 "Loop Detected"
}

impl Status {
    /// A status that upstream says; `None` where it is no final one.
    pub(crate) fn of_upstream(code: u16) -> Option<Self> {
        (200..600).contains(&code).then_some(Self(code))
    }

    fn write_line(self, out: &mut Vec<u8>) {
        match self.line() {
            Some(line) => out.extend_from_slice(line.as_bytes()),
            None => {
                let known = http::StatusCode::from_u16(self.0).ok();
                let reason = known.and_then(|status| status.canonical_reason()).unwrap_or_default();
                write!(out, "HTTP/1.1 {} {reason}\r\n", self.0).expect("writing to a vector cannot fail");
            }
        }
    }

    /// The number.
    pub const fn code(self) -> u16 {
        self.0
    }
}

impl Response {
    /// A response without content and without a Content-Length.
    pub(crate) fn new(status: Status, outcome: Outcome, persistence: Persistence) -> Self {
        let fields = Vec::with_capacity(FIELDS_BYTES_USUAL);
        let said_by = SaidBy::default();
        Self { status, outcome, persistence, body: Body::Empty, content_length: None, said_by, fields }
    }

    /// Sets the body, and Content-Length with it. For HEAD the length alone is kept.
    pub(crate) fn set_body(&mut self, body: Body, is_head: bool) {
        self.content_length = Some(body.bytes());
        self.body = if is_head { Body::Empty } else { body };
    }

    /// States the length of a body that is not part of this value.
    pub(crate) fn set_content_length(&mut self, length: Option<u64>) {
        self.content_length = length;
    }

    /// Adds a field that upstream has said. One that every response has is said once.
    pub(crate) fn add_upstream_field(&mut self, name: &http::HeaderName, value: &http::HeaderValue) {
        self.said_by.upstream_date |= name == http::header::DATE;
        self.said_by.upstream_server |= name == http::header::SERVER;
        self.add_field(name.as_str(), value.as_bytes());
    }

    /// Adds a field. `value` comes from us or was checked: it holds no line end.
    pub(crate) fn add_field(&mut self, name: &str, value: &[u8]) {
        for piece in [name.as_bytes(), b": ", value, b"\r\n"] {
            self.fields.extend_from_slice(piece);
        }
    }

    /// Adds a field whose value is formatted.
    pub(crate) fn add_formatted(&mut self, name: &str, value: std::fmt::Arguments<'_>) {
        write!(self.fields, "{name}: {value}\r\n").expect("writing to a vector cannot fail");
    }

    /// Adds field lines that were rendered once, each with its CRLF.
    pub(crate) fn add_rendered(&mut self, lines: &[u8]) {
        self.fields.extend_from_slice(lines);
    }

    /// Appends the head: status line, fields, empty line. `date` is the present moment, by [`http_date`].
    pub fn write_head(&self, out: &mut Vec<u8>, date: &[u8; HTTP_DATE_BYTES]) {
        out.reserve(self.fields.len() + FIELDS_BYTES_USUAL);
        self.status.write_line(out);
        if !self.said_by.upstream_date {
            [b"Date: ", date.as_slice(), b"\r\n"].iter().for_each(|piece| out.extend_from_slice(piece));
        }
        if !self.said_by.upstream_server {
            out.extend_from_slice(b"Server: oca\r\n");
        }
        out.extend_from_slice(&self.fields);
        if let Some(length) = self.content_length {
            let mut digits = itoa::Buffer::new();
            [b"Content-Length: ", digits.format(length).as_bytes(), b"\r\n"]
                .iter()
                .for_each(|piece| out.extend_from_slice(piece));
        }
        out.extend_from_slice(match self.persistence {
            Persistence::Close => b"Connection: close\r\n\r\n",
            Persistence::KeepAlive => b"\r\n",
            Persistence::KeepAliveAsked => b"Connection: keep-alive\r\n\r\n",
        });
    }

    /// Adds rendered field lines to a head that was written before, at its end: what is known only when the body is there.
    pub fn add_to_head(head: &mut Vec<u8>, append_lines: impl FnOnce(&mut Vec<u8>)) {
        // The empty line that ends it moves.
        head.truncate(head.len().saturating_sub(2));
        append_lines(head);
        head.extend_from_slice(b"\r\n");
    }

    /// Bytes that follow the head.
    pub fn body_bytes(&self) -> u64 {
        self.body.bytes()
    }
}

impl Body {
    /// Its length.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Text(text) => text.len() as u64,
            Self::Object(parts) => parts.iter().map(Part::bytes).sum(),
        }
    }
}

impl Part {
    /// Its length.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(range) => range.len(),
        }
    }
}

/// Bytes of an HTTP date in its preferred form (RFC 9110 §5.6.7).
pub const HTTP_DATE_BYTES: usize = 29;

/// The last second that an HTTP date can say: the end of the year 9999.
const HTTP_DATE_LAST: u64 = 253_402_300_799;

/// What the fields of a usual response take, 800 with the digest and all that pages may read; more is only slower.
const FIELDS_BYTES_USUAL: usize = 1000;

thread_local! {
    /// The moment that was said last, and how: objects that were made together say the same one.
    static LAST_DATE: Cell<(u64, [u8; HTTP_DATE_BYTES])> = const { Cell::new((0, *b"Thu, 01 Jan 1970 00:00:00 GMT")) };
}

/// The HTTP date of a moment in seconds since 1970, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn http_date(unix_seconds: u64) -> [u8; HTTP_DATE_BYTES] {
    let (last_seconds, last_date) = LAST_DATE.get();
    if unix_seconds == last_seconds {
        return last_date;
    }
    let date = format_date(unix_seconds);
    LAST_DATE.set((unix_seconds, date));
    date
}

fn format_date(unix_seconds: u64) -> [u8; HTTP_DATE_BYTES] {
    let moment = UNIX_EPOCH + Duration::from_secs(unix_seconds.min(HTTP_DATE_LAST));
    let mut date = [b' '; HTTP_DATE_BYTES];
    write!(date.as_mut_slice(), "{}", HttpDate::from(moment))
        .expect("an HTTP date has 29 bytes up to the year 9999");
    date
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(response: &Response) -> String {
        let mut out = Vec::new();
        response.write_head(&mut out, &http_date(784_111_777));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_head_is_a_status_line_fields_and_an_empty_line() {
        let mut response =
            Response::new(Status::NOT_FOUND, Outcome::ClientErrorAbsent, Persistence::KeepAlive);
        response.add_field("Content-Type", b"text/plain");
        response.set_body(Body::Text("gone\n".into()), false);
        assert_eq!(
            head(&response),
            "HTTP/1.1 404 Not Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: oca\r\n\
             Content-Type: text/plain\r\nContent-Length: 5\r\n\r\n"
        );
    }

    #[test]
    fn connection_says_only_what_the_client_would_not_expect() {
        for (persistence, line) in [
            (Persistence::Close, "\r\nConnection: close\r\n\r\n"),
            (Persistence::KeepAlive, "\r\nServer: oca\r\n\r\n"),
            (Persistence::KeepAliveAsked, "\r\nConnection: keep-alive\r\n\r\n"),
        ] {
            let response = Response::new(Status::NO_CONTENT, Outcome::Options, persistence);
            assert!(head(&response).ends_with(line), "{persistence:?}");
        }
    }

    #[test]
    fn head_states_the_length_of_the_body_that_get_would_get() {
        let mut response = Response::new(Status::OK, Outcome::Head, Persistence::KeepAlive);
        response.set_body(Body::Text("four".into()), true);
        assert_eq!((response.body_bytes(), &response.body), (0, &Body::Empty));
        assert!(head(&response).contains("\r\nContent-Length: 4\r\n"));
    }

    #[test]
    fn what_is_added_to_a_head_stands_before_the_empty_line() {
        let response = Response::new(Status::NO_CONTENT, Outcome::Options, Persistence::Close);
        let mut out = Vec::new();
        response.write_head(&mut out, &http_date(0));
        Response::add_to_head(&mut out, |head| head.extend_from_slice(b"A: b\r\n"));
        assert!(out.ends_with(b"\r\nServer: oca\r\nConnection: close\r\nA: b\r\n\r\n"));
    }

    #[test]
    fn what_upstream_says_stands_for_what_every_response_says() {
        let status = Status::of_upstream(203).unwrap();
        let mut response = Response::new(status, Outcome::DemandMiss, Persistence::KeepAlive);
        response.add_upstream_field(&http::header::DATE, &http::HeaderValue::from_static("then"));
        response.add_upstream_field(&http::header::SERVER, &http::HeaderValue::from_static("theirs"));
        assert_eq!(
            head(&response),
            "HTTP/1.1 203 Non Authoritative Information\r\ndate: then\r\nserver: theirs\r\n\r\n"
        );
        assert!(Status::of_upstream(103).is_none() && Status::of_upstream(600).is_none());
    }

    #[test]
    fn dates_are_29_bytes_up_to_the_last_that_can_be_said() {
        for (seconds, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (HTTP_DATE_LAST, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(http_date(seconds), *date.as_bytes());
        }
    }
}
