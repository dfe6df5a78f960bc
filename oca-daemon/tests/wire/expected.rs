//! What an exchange expects of one answer, and how the answer differs.

use std::ops::RangeInclusive;

use crate::client::Head;
use crate::fixture::Fixture;

/// One answer.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    /// The status line, exactly.
    pub(crate) status_line: String,
    /// What fields must be there, or must not.
    pub(crate) fields: Vec<ExpectedField>,
    /// No other field may be there.
    pub(crate) nothing_else: bool,
    /// What follows the head.
    pub(crate) body: ExpectedBody,
}

/// One field.
#[derive(Debug)]
pub(crate) enum ExpectedField {
    /// Name and value, exactly.
    Is(String, String),
    /// Name, and how the value starts.
    Starts(String, String),
    /// Not there.
    Absent(String),
}

/// What follows a head.
#[derive(Debug, Default)]
pub(crate) enum ExpectedBody {
    /// Not a byte, whatever Content-Length says.
    #[default]
    Nothing,
    /// This text.
    Text(String),
    /// An object, whole.
    Object(String),
    /// Bytes of an object, last one included.
    Range(String, RangeInclusive<usize>),
    /// `multipart/byteranges` of an object.
    Parts(String, Vec<RangeInclusive<usize>>),
}

impl Expected {
    /// The status line, the fields, and what holds for every answer.
    pub(crate) fn compare_head(&self, head: &Head) -> Result<(), String> {
        let mut differences = Vec::new();
        if head.status_line != self.status_line {
            differences.push(format!("  - {}\n  + {}", self.status_line, head.status_line));
        }
        for field in &self.fields {
            differences.extend(field.difference(head));
        }
        if self.nothing_else {
            let is_named =
                |name: &str| self.fields.iter().any(|field| field.name().eq_ignore_ascii_case(name));
            let others = head.fields.iter().filter(|(name, _)| !is_named(name));
            differences.extend(others.map(|(name, value)| format!("  + {name}: {value}")));
        }
        differences.extend(broken_promises(head));
        if differences.is_empty() {
            return Ok(());
        }
        let fields: String =
            head.fields.iter().map(|(name, value)| format!("\n    {name}: {value}")).collect();
        Err(format!("{}\n  the answer was:\n    {}{fields}", differences.join("\n"), head.status_line))
    }

    /// How many bytes follow the head.
    pub(crate) fn body_bytes(&self, head: &Head) -> Result<usize, String> {
        match (&self.body, head.field("Content-Length")) {
            (ExpectedBody::Nothing, _) => Ok(0),
            (_, Some(length)) => length.parse().map_err(|_| format!("  Content-Length is {length:?}")),
            (_, None) => Err("  there is no Content-Length".to_owned()),
        }
    }

    /// The bytes that followed the head.
    pub(crate) fn compare_body(&self, head: &Head, body: &[u8], fixture: &Fixture) -> Result<(), String> {
        match &self.body {
            ExpectedBody::Nothing => Ok(()),
            ExpectedBody::Text(text) => same_bytes(text.as_bytes(), body),
            ExpectedBody::Object(path) => same_bytes(fixture.object(path)?, body),
            ExpectedBody::Range(path, range) => same_bytes(&fixture.object(path)?[range.clone()], body),
            ExpectedBody::Parts(path, ranges) => compare_parts(head, body, fixture.object(path)?, ranges),
        }
    }
}

impl ExpectedField {
    fn name(&self) -> &str {
        match self {
            Self::Is(name, _) | Self::Starts(name, _) | Self::Absent(name) => name,
        }
    }

    fn difference(&self, head: &Head) -> Option<String> {
        let found = head.field(self.name());
        let shown = found.map(|value| format!("\n  + {}: {value}", self.name())).unwrap_or_default();
        match (self, found) {
            (Self::Is(_, expected), Some(value)) if value == expected => None,
            (Self::Starts(_, start), Some(value)) if value.starts_with(start.as_str()) => None,
            (Self::Absent(_), None) => None,
            (Self::Is(name, expected), _) => Some(format!("  - {name}: {expected}{shown}")),
            (Self::Starts(name, start), _) => Some(format!("  - {name}: {start}...{shown}")),
            (Self::Absent(name), _) => Some(format!("  - !{name}{shown}")),
        }
    }
}

/// What every answer promises, and this one does not keep.
fn broken_promises(head: &Head) -> Vec<String> {
    let status = head.status();
    let has = |name: &str| head.field(name).is_some();
    let has_no_length = matches!(status, 204 | 304);
    let is_error = status >= 400;
    let is_text = head.field("Content-Type") == Some("text/plain; charset=utf-8");
    let is_repeated =
        |name: &str| head.fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).count() > 1;
    let promises = [
        (head.field("Date").is_some_and(|date| httpdate::parse_http_date(date).is_ok()), "Date is there"),
        (head.field("Server") == Some("oca"), "Server says oca, and no version"),
        (has("Content-Length") != has_no_length, "Content-Length is there, except in 204 and 304"),
        (!has("Transfer-Encoding"), "nothing is sent chunked"),
        (!is_error || head.field("Cache-Control") == Some("no-store"), "errors are not stored"),
        (!is_error || is_text, "errors are plain text"),
        (has_no_length || head.field("X-Content-Type-Options") == Some("nosniff"), "types are not guessed"),
        (head.field("Access-Control-Allow-Origin") == Some("*"), "pages of any origin may read it"),
        (!head.fields.iter().any(|(name, _)| is_repeated(name)), "no field is sent twice"),
    ];
    let broken = promises.iter().filter(|(is_kept, _)| !is_kept);
    broken
        .map(|(_, promise)| format!("  every answer keeps this, and this one does not: {promise}"))
        .collect()
}

fn same_bytes(expected: &[u8], found: &[u8]) -> Result<(), String> {
    if expected == found {
        return Ok(());
    }
    let place = expected.iter().zip(found).position(|(left, right)| left != right);
    let place = place.unwrap_or(expected.len().min(found.len()));
    let excerpt =
        |bytes: &[u8]| String::from_utf8_lossy(&bytes[place..bytes.len().min(place + 60)]).into_owned();
    Err(format!(
        "  the body differs at byte {place}: expected {} bytes, came {}\n  - {:?}\n  + {:?}",
        expected.len(),
        found.len(),
        excerpt(expected),
        excerpt(found)
    ))
}

/// Takes a multipart body apart by its boundary, as a client would.
fn compare_parts(
    head: &Head,
    body: &[u8],
    object: &[u8],
    ranges: &[RangeInclusive<usize>],
) -> Result<(), String> {
    let media_type = head.field("Content-Type").unwrap_or_default();
    let boundary = media_type.strip_prefix("multipart/byteranges; boundary=");
    let boundary = boundary.ok_or_else(|| format!("  Content-Type is {media_type:?}"))?;
    let mut rest = body;
    for range in ranges {
        let after = take(rest, format!("--{boundary}\r\nContent-Type: ").as_bytes())?;
        let type_bytes = after.iter().position(|&byte| byte == b'\r').unwrap_or(0);
        let place =
            format!("\r\nContent-Range: bytes {}-{}/{}\r\n\r\n", range.start(), range.end(), object.len());
        let content = take(&after[type_bytes..], place.as_bytes())?;
        rest = take(take(content, &object[range.clone()])?, b"\r\n")?;
    }
    same_bytes(format!("--{boundary}--\r\n").as_bytes(), rest)
}

fn take<'a>(bytes: &'a [u8], start: &[u8]) -> Result<&'a [u8], String> {
    match bytes.strip_prefix(start) {
        Some(rest) => Ok(rest),
        None => same_bytes(start, &bytes[..bytes.len().min(start.len())]).map(|()| bytes),
    }
}
