//! The head of a source's answer, held against what was asked for. Pure.

use std::time::Duration;

use control_client::content::Sha256;
use hyper::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, LOCATION, RETRY_AFTER,
};

use super::fault::Fault;
use crate::limits::ETAG_BYTES_MAX;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked<'a> {
    /// The length of the whole object, by the descriptor.
    pub(super) bytes: u64,
    /// From which byte on; 0 asks for all, without a range.
    pub(super) from: u64,
    /// The validator that the first part came with, where `from` is not 0.
    pub(super) validator: Option<&'a str>,
    /// Of another appliance the digest by the descriptor: which edition it has is known by the object's tag, which follows from
    /// its digest, and by the length.
    pub(super) edition: Option<&'a Sha256>,
}

/// What the body will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Promised {
    /// It begins with this byte of the object.
    pub(super) from: u64,
    /// The strong validator, by which a part of it can be asked for later.
    pub(super) validator: Option<String>,
    /// The object is another one than the first part was of.
    pub(super) has_changed: bool,
}

/// Judges status and fields.
pub(super) fn judge(asked: &Asked<'_>, status: u16, fields: &HeaderMap) -> Result<Promised, Fault> {
    match status {
        200 => whole(asked, fields),
        206 => part(asked, fields),
        404 | 410 => Err(Fault::Absent(status)),
        429 | 503 => Err(Fault::Busy { status, retry_after: retry_after(fields) }),
        300..=399 => Err(Fault::Redirect { status, location: shown(fields, LOCATION) }),
        _ => Err(Fault::Status(status)),
    }
}

/// All of the object, from its first byte, even where a part was asked for.
fn whole(asked: &Asked<'_>, fields: &HeaderMap) -> Result<Promised, Fault> {
    not_encoded(fields)?;
    let validator = strong_validator(fields);
    let length = content_length(fields)?.unwrap_or(asked.bytes);
    if let Some(sha256) = asked.edition
        && (length != asked.bytes || validator.as_ref().is_some_and(|tag| is_of_another(tag, sha256)))
    {
        return Err(Fault::OtherEdition);
    }
    if length != asked.bytes {
        return Err(Fault::Length { expected: asked.bytes, found: length.to_string() });
    }
    let has_changed = asked.from > 0 && asked.validator != validator.as_deref();
    Ok(Promised { from: 0, validator, has_changed })
}

/// Exactly the part that was asked for, of the same object.
fn part(asked: &Asked<'_>, fields: &HeaderMap) -> Result<Promised, Fault> {
    not_encoded(fields)?;
    if asked.from == 0 {
        return Err(Fault::Range("a part, and no range was asked for".to_owned()));
    }
    let expected = format!("bytes {}-{}/{}", asked.from, asked.bytes - 1, asked.bytes);
    let found = shown(fields, CONTENT_RANGE);
    if found != expected {
        return Err(Fault::Range(found));
    }
    if let Some(length) = content_length(fields)?
        && length != asked.bytes - asked.from
    {
        return Err(Fault::Length {
            expected: asked.bytes - asked.from,
            found: format!("{length} of the part"),
        });
    }
    let validator = strong_validator(fields);
    if asked.validator != validator.as_deref() {
        return Err(Fault::Changed);
    }
    Ok(Promised { from: asked.from, validator, has_changed: false })
}

fn not_encoded(fields: &HeaderMap) -> Result<(), Fault> {
    match fields.get(CONTENT_ENCODING).map(|value| value.as_bytes()) {
        None | Some(b"identity") => Ok(()),
        Some(_) => Err(Fault::Head(format!("Content-Encoding {}", shown(fields, CONTENT_ENCODING)))),
    }
}

fn content_length(fields: &HeaderMap) -> Result<Option<u64>, Fault> {
    let Some(value) = fields.get(CONTENT_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or_else(|| Fault::Head("its Content-Length is no number".to_owned()))
}

/// An entity tag that is not weak (RFC 9110, section 8.8.1): only that may be used in `If-Range`.
fn strong_validator(fields: &HeaderMap) -> Option<String> {
    let tag = fields.get(ETAG)?.to_str().ok()?;
    let is_strong =
        tag.len() >= 2 && tag.len() <= ETAG_BYTES_MAX && tag.starts_with('"') && tag.ends_with('"');
    is_strong.then(|| tag.to_owned())
}

/// Whether a tag is one that appliances give, half of the digest in hexadecimal digits, and of other bytes.
fn is_of_another(tag: &str, sha256: &Sha256) -> bool {
    let digits = tag.trim_matches('"');
    let is_of_an_appliance = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_of_an_appliance && !sha256.to_string().starts_with(digits)
}

/// Seconds, or a date that this one takes as unsaid: the sources' clocks need not agree with ours.
fn retry_after(fields: &HeaderMap) -> Option<Duration> {
    fields.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn shown(fields: &HeaderMap, name: hyper::header::HeaderName) -> String {
    match fields.get(&name) {
        Some(value) => String::from_utf8_lossy(value.as_bytes()).chars().take(200).collect(),
        None => format!("no {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (hyper::header::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    const FIRST: Asked<'_> = Asked { bytes: 100, from: 0, validator: None, edition: None };
    const REST: Asked<'_> = Asked { bytes: 100, from: 40, validator: Some("\"a\""), edition: None };

    #[test]
    fn a_whole_object_of_the_right_length_is_taken() {
        let promised = judge(&FIRST, 200, &fields(&[("content-length", "100"), ("etag", "\"a\"")])).unwrap();
        assert_eq!(promised, Promised { from: 0, validator: Some("\"a\"".to_owned()), has_changed: false });
        // Without a length the bytes are counted.
        let promised = judge(&FIRST, 200, &fields(&[("etag", "W/\"a\"")])).unwrap();
        assert_eq!(promised, Promised { from: 0, validator: None, has_changed: false });
    }

    #[test]
    fn another_length_another_coding_and_an_unasked_part_are_refused() {
        for (status, pairs) in [
            (200, &[("content-length", "99")][..]),
            (200, &[("content-length", "101")]),
            (200, &[("content-length", "100, 100")]),
            (200, &[("content-length", "100"), ("content-encoding", "gzip")]),
            (206, &[("content-range", "bytes 0-99/100")]),
        ] {
            assert!(judge(&FIRST, status, &fields(pairs)).is_err(), "{status} {pairs:?}");
        }
    }

    #[test]
    fn a_part_is_taken_only_if_it_is_exactly_the_one_that_was_asked_for() {
        let good = [("content-range", "bytes 40-99/100"), ("content-length", "60"), ("etag", "\"a\"")];
        assert_eq!(judge(&REST, 206, &fields(&good)).unwrap().from, 40);
        for range in ["bytes 40-98/100", "bytes 41-99/100", "bytes 40-99/101", "bytes 40-99/*", "40-99/100"] {
            let pairs = [("content-range", range), good[1], good[2]];
            assert!(matches!(judge(&REST, 206, &fields(&pairs)), Err(Fault::Range(_))), "{range}");
        }
        assert!(matches!(judge(&REST, 206, &fields(&good[1..])), Err(Fault::Range(_))));
        let pairs = [good[0], ("content-length", "59"), good[2]];
        assert!(matches!(judge(&REST, 206, &fields(&pairs)), Err(Fault::Length { .. })));
        let pairs = [good[0], good[1], ("etag", "\"b\"")];
        assert!(matches!(judge(&REST, 206, &fields(&pairs)), Err(Fault::Changed)));
    }

    #[test]
    fn a_source_that_sends_all_instead_of_the_rest_says_whether_it_is_still_the_same() {
        let same = judge(&REST, 200, &fields(&[("content-length", "100"), ("etag", "\"a\"")])).unwrap();
        assert_eq!((same.from, same.has_changed), (0, false));
        let other = judge(&REST, 200, &fields(&[("content-length", "100"), ("etag", "\"b\"")])).unwrap();
        assert_eq!((other.from, other.has_changed), (0, true));
    }

    #[test]
    fn other_answers_are_told_apart() {
        let none = HeaderMap::new();
        assert!(matches!(judge(&FIRST, 404, &none), Err(Fault::Absent(404))));
        assert!(matches!(judge(&FIRST, 416, &none), Err(Fault::Status(416))));
        assert!(matches!(judge(&FIRST, 500, &none), Err(Fault::Status(500))));
        assert!(matches!(judge(&FIRST, 204, &none), Err(Fault::Status(204))));
        assert!(matches!(judge(&FIRST, 302, &none), Err(Fault::Redirect { status: 302, .. })));
        let busy = judge(&FIRST, 503, &fields(&[("retry-after", "12")]));
        assert!(
            matches!(busy, Err(Fault::Busy { status: 503, retry_after: Some(after) }) if after.as_secs() == 12)
        );
        let dated = judge(&FIRST, 429, &fields(&[("retry-after", "Sat, 21 Nov 2026 03:00:00 GMT")]));
        assert!(matches!(dated, Err(Fault::Busy { status: 429, retry_after: None })));
    }

    #[test]
    fn another_edition_of_another_appliance_is_known_by_its_tag_and_its_length() {
        let ours = Sha256::new([0xab; 32]);
        let asked = Asked { edition: Some(&ours), ..FIRST };
        let tagged = |tag: &str| judge(&asked, 200, &fields(&[("content-length", "100"), ("etag", tag)]));
        assert_eq!(tagged(&format!("\"{}\"", "ab".repeat(16))).unwrap().from, 0);
        assert!(matches!(tagged(&format!("\"{}\"", "cd".repeat(16))), Err(Fault::OtherEdition)));
        assert!(tagged("\"no tag of an appliance\"").is_ok());
        assert!(matches!(judge(&asked, 200, &fields(&[("content-length", "99")])), Err(Fault::OtherEdition)));
        // Of an origin that is a mistake.
        assert!(matches!(
            judge(&FIRST, 200, &fields(&[("content-length", "99")])),
            Err(Fault::Length { .. })
        ));
    }
}
