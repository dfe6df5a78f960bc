//! From bytes to a request: the grammar and framing of HTTP/1.1 (RFC 9112), strictly.
//!
//! [`parse`] is a pure function of the bytes received. It allocates nothing on the usual path, so that the
//! connection may call it again after a bundle had to be opened. The field section is split by `httparse`;
//! the rules that it takes lightly (bare LF, bare CR, control bytes, HTTP/1.2) are checked on the raw bytes
//! first.
//!
//! Whatever could let two recipients disagree about where a request ends is refused, and the connection closed.

mod content;
mod fields;
mod head;
mod host;
mod line;
mod target;
mod want;

#[cfg(test)]
mod properties;

pub use content::{ContentSkipper, Framing, Progress};
pub use fields::{Fields, Single};
pub use target::{Location, NormalTarget, Scheme, Target, TargetError};
pub use want::Want;

use crate::limits;
use crate::outcome::Outcome;
use head::Extent;
use line::RequestLine;

/// What the bytes so far amount to.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "lives on the stack for the length of one decision; a box would allocate"
)]
pub enum Parsed<'a> {
    /// The head is not complete yet; nothing is wrong so far.
    Partial,
    /// A request head that can be trusted.
    Complete(Request<'a>),
    /// Answer this and close: where the next request would start is not known.
    Refused(Refusal),
}

/// A request head. It borrows from the connection's bytes.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// What is asked for.
    pub method: Method,
    /// HTTP/1.0, or HTTP/1.1 and higher minors.
    pub version: Version,
    /// The request target as sent: visible ASCII, query included. For the access log; [`Target::parse`] reads it.
    pub target: &'a str,
    /// The head itself, from the request line to the empty line.
    pub head: &'a [u8],
    /// The bytes of the head, with any empty lines before it; the content starts there.
    pub head_bytes: usize,
    /// How long the content is.
    pub framing: Framing,
    /// Whether the connection goes on after this exchange, as far as the request decides.
    pub persistence: Persistence,
    /// The client waits for an answer before it sends its content: the final status is sent at once and the
    /// connection closed, without a `100 Continue` and without reading content (RFC 9110 §10.1.1).
    pub expect_continue: bool,
    /// The fields that serving looks at.
    pub fields: Fields<'a>,
}

/// Request methods, as far as they make a difference here. Names are case-sensitive (RFC 9110 §9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// An object or ranges of it.
    Get,
    /// The fields that GET would send.
    Head,
    /// What is allowed; CORS preflight.
    Options,
    /// Known, never allowed.
    Post,
    /// Known, never allowed.
    Put,
    /// Known, never allowed.
    Delete,
    /// Known, never allowed.
    Trace,
    /// Known, never allowed (RFC 5789).
    Patch,
    /// CONNECT: its target has a form of its own. Not implemented.
    Connect,
    /// A token that names no method known here.
    Unknown,
}

/// The version that the request is treated as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1, and HTTP/1.2 to 1.9, which are treated as 1.1 (RFC 9110 §2.5).
    Http11,
}

/// Whether the connection goes on after the response (RFC 9112 §9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Closed after the response, which says so.
    Close,
    /// Stays open, as HTTP/1.1 expects; nothing is said.
    KeepAlive,
    /// Stays open because an HTTP/1.0 client asked; the response says so.
    KeepAliveAsked,
}

/// A request that is refused before its target is looked at, and the connection with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub cause: Cause,
    /// The method was HEAD: the answer must have no content.
    pub is_head: bool,
}

/// What the client did wrong. Each has its status, its outcome and its sentence in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The request line or a field breaks the grammar.
    Malformed,
    /// Content-Length, Transfer-Encoding or a chunk is wrong.
    Framing,
    /// Host is missing, repeated or not a host.
    Host,
    /// The target names nothing that could be looked for.
    Target,
    /// No object has this name.
    Absent,
    /// The method is known and not allowed.
    Method,
    /// The request was not complete in time.
    Timeout,
    /// If-Match or If-Unmodified-Since does not hold.
    PreconditionFailed,
    /// More content than is read.
    ContentTooLarge,
    /// A longer request line than is read.
    UriTooLong,
    /// No requested range lies within the object.
    RangeNotSatisfiable,
    /// An expectation other than `100-continue`.
    Expectation,
    /// An https target on a cleartext connection.
    Misdirected,
    /// More or longer fields than are read.
    FieldsTooLarge,
    /// A method that is not known, or CONNECT.
    UnknownMethod,
    /// A transfer coding other than chunked.
    Coding,
    /// A version other than HTTP/1.x.
    Version,
}

/// Reads a request head from `bytes`, which start where a request may start. Bytes after the head are not looked at.
///
/// A prefix of a request is [`Parsed::Partial`] or already refused; it is never complete in another way than
/// the whole.
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    match parse_head(bytes) {
        Ok(Some(request)) => Parsed::Complete(request),
        Ok(None) => Parsed::Partial,
        Err(refusal) => Parsed::Refused(refusal),
    }
}

fn parse_head(bytes: &[u8]) -> Result<Option<Request<'_>>, Refusal> {
    let Some(start) = head::skip_empty_lines(bytes)? else { return Ok(None) };
    let head = &bytes[start..bytes.len().min(start + limits::HEAD_BYTES)];
    let Some(line_bytes) = line::find_end(head)? else { return Ok(None) };
    let line = RequestLine::parse(&head[..line_bytes])?;
    let refused = |cause: Cause| Refusal { cause, is_head: line.method == Method::Head };
    let section_start = line_bytes + 2;
    let section_bytes = match head::find_section_end(&head[section_start..]).map_err(refused)? {
        Extent::Complete(section_bytes) => section_bytes,
        Extent::Partial if head.len() == limits::HEAD_BYTES => return Err(refused(Cause::FieldsTooLarge)),
        Extent::Partial => return Ok(None),
    };
    let section = &head[section_start..section_start + section_bytes];
    let mut collected = fields::collect(section).map_err(refused)?;
    let framing = collected.framing(line.version).map_err(refused)?;
    collected.take_host(line.version).map_err(refused)?;
    let has_expectation = collected.expects_continue || collected.fields.expects_other;
    let expect_continue = has_expectation && line.version == Version::Http11 && framing != Framing::None;
    Ok(Some(Request {
        method: line.method,
        version: line.version,
        target: line.target,
        head: &head[..section_start + section_bytes],
        head_bytes: start + section_start + section_bytes,
        framing,
        persistence: if expect_continue { Persistence::Close } else { collected.persistence(line.version) },
        expect_continue,
        fields: collected.fields,
    }))
}

/// Letters, digits, and these: a table, since every byte of a request is looked up in one or two.
const fn alphanumeric_and(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
}

impl Request<'_> {
    /// What reads past this request's content; `None` where there is nothing to read, or nothing will be
    /// ([`Request::expect_continue`]).
    pub fn content_skipper(&self) -> Option<ContentSkipper> {
        if self.expect_continue { None } else { ContentSkipper::new(self.framing) }
    }
}

impl Method {
    /// Its name; `-` where it is not known, since a client could choose any.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
            Self::Connect => "CONNECT",
            Self::Unknown => "-",
        }
    }
}

impl Version {
    /// The version that the request was treated as.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }
}

impl Persistence {
    /// Whether the connection closes after the response.
    pub fn is_close(self) -> bool {
        self == Self::Close
    }
}

impl Refusal {
    /// A refusal for which no method is known yet.
    pub fn new(cause: Cause) -> Self {
        Self { cause, is_head: false }
    }
}

impl Cause {
    /// The outcome that counts it.
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Malformed => Outcome::ClientErrorMalformed,
            Self::Framing => Outcome::ClientErrorFraming,
            Self::Host => Outcome::ClientErrorHost,
            Self::Target => Outcome::ClientErrorTarget,
            Self::Absent => Outcome::ClientErrorAbsent,
            Self::Method => Outcome::ClientErrorMethod,
            Self::Timeout => Outcome::ClientErrorTimeout,
            Self::PreconditionFailed => Outcome::ClientErrorPreconditionFailed,
            Self::ContentTooLarge => Outcome::ClientErrorContentTooLarge,
            Self::UriTooLong => Outcome::ClientErrorUriTooLong,
            Self::RangeNotSatisfiable => Outcome::ClientErrorRangeNotSatisfiable,
            Self::Expectation => Outcome::ClientErrorExpectation,
            Self::Misdirected => Outcome::ClientErrorMisdirected,
            Self::FieldsTooLarge => Outcome::ClientErrorFieldsTooLarge,
            Self::UnknownMethod => Outcome::ClientErrorUnknownMethod,
            Self::Coding => Outcome::ClientErrorCoding,
            Self::Version => Outcome::ClientErrorVersion,
        }
    }
}
