//! What a player means to ask for next: `nor` and `nrr` of version 1, and the list `nor` of version 2, whose items have their range as
//! the parameter `r`.

use control_client::units::ByteRange;

use super::dictionary::{bare, split_outside};
use crate::limits::PREFETCH_OBJECTS_MAX;

/// An object that a player means to ask for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next<'a> {
    /// A reference relative to this request's path (RFC 3986 §4.2); empty: the same object.
    pub reference: &'a [u8],
    /// The reference is escaped as a whole once more, as version 1 wants it.
    pub is_escaped_again: bool,
    /// The part that it wants of it; `None`: all.
    pub range: Option<NextRange>,
}

/// A range as players write it: `0-99`, `100-`, `-100`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextRange {
    first: Option<u64>,
    last: Option<u64>,
}

impl NextRange {
    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (first, last) = text.strip_prefix("bytes=").unwrap_or(text).split_once('-')?;
        let number = |digits: &str| match digits {
            "" => Some(None),
            _ if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok().map(Some),
            _ => None,
        };
        let range = Self { first: number(first)?, last: number(last)? };
        (range.first.is_some() || range.last.is_some()).then_some(range)
    }

    /// What of an object of that length it is; `None`: nothing.
    pub fn within(self, length: u64) -> Option<ByteRange> {
        let (start, end) = match (self.first, self.last) {
            (Some(first), Some(last)) => (first, last.saturating_add(1).min(length)),
            (Some(first), None) => (first, length),
            (None, last) => (length.saturating_sub(last.unwrap_or(0)), length),
        };
        (start < end).then_some(ByteRange { start, end })
    }
}

/// Gives `take` each object that the values of `nor` and `nrr` name, as many as are heeded; `None` for one that cannot be read.
pub(super) fn read<'a>(
    nor: Option<&'a [u8]>,
    nrr: Option<&'a [u8]>,
    is_version_1: bool,
    mut take: impl FnMut(Option<Next<'a>>),
) {
    let range_of_all = match nrr.map(|value| quoted(bare(value)).and_then(NextRange::parse)) {
        Some(None) => return take(None),
        range => range.flatten(),
    };
    let Some(nor) = nor else {
        return take(Some(Next { reference: b"", is_escaped_again: false, range: range_of_all }));
    };
    let (mut list, is_list) = match bare(nor).strip_prefix(b"(") {
        Some(list) => match list.strip_suffix(b")") {
            Some(list) => (list, true),
            None => return take(None),
        },
        None => (nor, false),
    };
    for _ in 0..PREFETCH_OBJECTS_MAX {
        let (item, rest) = if is_list { split_outside(list.trim_ascii(), b' ') } else { (list, &[][..]) };
        list = rest;
        if item.is_empty() {
            return;
        }
        take(next(item, range_of_all, is_version_1));
    }
}

fn next(item: &[u8], range_of_all: Option<NextRange>, is_escaped_again: bool) -> Option<Next<'_>> {
    let (reference, mut parameters) = split_outside(item, b';');
    let mut range = range_of_all;
    while !parameters.is_empty() {
        let (parameter, rest) = split_outside(parameters, b';');
        parameters = rest;
        if let Some(value) = parameter.trim_ascii().strip_prefix(b"r=") {
            range = Some(quoted(value).and_then(NextRange::parse)?);
        }
    }
    let reference = quoted(reference.trim_ascii())?;
    let is_named = !reference.is_empty() || range.is_some();
    is_named.then_some(Next { reference, is_escaped_again, range })
}

/// What is in quotes, as long as nothing in it is escaped with a backslash, which stands in no reference and no range. Some players
/// forget the quotes.
fn quoted(value: &[u8]) -> Option<&[u8]> {
    let text = match value.strip_prefix(b"\"") {
        Some(quoted) => quoted.strip_suffix(b"\"")?,
        None => value,
    };
    let is_text = text.iter().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(byte));
    is_text.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read, as `REFERENCE RANGE`; `?` for what cannot be.
    fn found(nor: Option<&str>, nrr: Option<&str>, is_version_1: bool) -> Vec<String> {
        let mut found = Vec::new();
        read(nor.map(str::as_bytes), nrr.map(str::as_bytes), is_version_1, |next| {
            found.push(next.map_or("?".to_owned(), |next| {
                assert_eq!(next.is_escaped_again, is_version_1 && nor.is_some());
                let range = next.range.and_then(|range| range.within(1000));
                let range = range.map_or(String::new(), |range| format!(" {}-{}", range.start, range.end));
                format!("{}{range}", String::from_utf8_lossy(next.reference))
            }));
        });
        found
    }

    #[test]
    fn version_1_names_one_object_and_its_range() {
        for (nor, nrr, expected) in [
            (Some("\"..%2Ftrack.m4v\""), None, "..%2Ftrack.m4v"),
            (Some("\"2.m4s\""), Some("\"10-19\""), "2.m4s 10-20"),
            (Some("2.m4s"), Some("10-"), "2.m4s 10-1000"),
            (Some("\"2.m4s\""), Some("\"-10\""), "2.m4s 990-1000"),
            (None, Some("\"5-5000\""), " 5-1000"),
            (Some("\"2.m4s"), None, "?"),
            (Some("\"\""), None, "?"),
            (Some("\"a\\\"b\""), None, "?"),
            (Some("\"a b\""), None, "?"),
            (Some("\"2.m4s\""), Some("\"9\""), "?"),
            (Some("\"2.m4s\""), Some("\"-\""), "?"),
            (Some("\"2.m4s\""), Some("\"1-+2\""), "?"),
        ] {
            assert_eq!(found(nor, nrr, true), [expected], "{nor:?} {nrr:?}");
        }
    }

    #[test]
    fn version_2_names_several_each_with_its_range() {
        for (nor, expected) in [
            ("(\"next-seg.mp4\" \"b,(c\";r=\"0-99\")", vec!["next-seg.mp4", "b,(c 0-100"]),
            ("( \"a\"  \"b\" \"c\" )", vec!["a", "b"]),
            ("(\"a\";x;r=\"9-\" \"b\";r=\"?\")", vec!["a 9-1000", "?"]),
            ("(\"\";r=\"5-9\")", vec![" 5-10"]),
            ("\"a\";r=\"0-0\"", vec!["a 0-1"]),
            ("()", vec![]),
            ("(\"a\"", vec!["?"]),
            ("(\"a)", vec!["?"]),
        ] {
            assert_eq!(found(Some(nor), None, false), expected, "{nor}");
        }
    }

    #[test]
    fn a_range_beyond_the_object_is_nothing_of_it() {
        let within = |text: &str, length| NextRange::parse(text.as_bytes()).unwrap().within(length);
        assert_eq!(within("0-18446744073709551615", 5), Some(ByteRange { start: 0, end: 5 }));
        for (text, length) in [("5-9", 5), ("5-", 5), ("9-5", 100), ("-0", 5), ("0-0", 0), ("-5", 0)] {
            assert_eq!(within(text, length), None, "{text}");
        }
        assert_eq!(NextRange::parse(b"99999999999999999999-"), None);
    }
}
