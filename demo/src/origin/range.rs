//! What a request for an object gets: conditions and ranges, as far as a fill needs them (RFC 9110, sections 13 and 14).

use std::ops::Range;

/// What to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selected {
    /// 304.
    NotModified,
    /// 200.
    Whole,
    /// 206.
    Part(Range<u64>),
    /// 416.
    Unsatisfiable,
}

/// The fields of a request that matter.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) range: Option<&'a str>,
    pub(super) if_range: Option<&'a str>,
    pub(super) if_none_match: Option<&'a str>,
}

/// Decides. `etag` is the object's, which is strong.
pub(super) fn select(fields: Fields<'_>, etag: &str, length: u64) -> Selected {
    if fields.if_none_match.is_some_and(|tags| tags.split(',').any(|tag| tag.trim() == etag || tag == "*")) {
        return Selected::NotModified;
    }
    let Some(range) = fields.range.filter(|_| fields.if_range.is_none_or(|tag| tag == etag)) else {
        return Selected::Whole;
    };
    match parse(range, length) {
        None => Selected::Whole,
        Some(range) if range.is_empty() => Selected::Unsatisfiable,
        Some(range) => Selected::Part(range),
    }
}

/// One range of bytes; empty where it begins beyond the end. `None` for anything else, which is ignored (section 14.2).
fn parse(text: &str, length: u64) -> Option<Range<u64>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        let suffix: u64 = last.parse().ok()?;
        return Some(length.saturating_sub(suffix)..length);
    }
    let first: u64 = first.parse().ok()?;
    let end = match last {
        "" => length,
        last => last.parse::<u64>().ok().filter(|last| *last >= first)?.saturating_add(1).min(length),
    };
    Some(if first < end { first..end } else { 0..0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(range: &str) -> Selected {
        select(Fields { range: Some(range), ..Fields::default() }, "\"a\"", 100)
    }

    #[test]
    fn ranges_are_cut_at_the_end_and_beyond_it_there_is_none() {
        assert_eq!(selected("bytes=0-0"), Selected::Part(0..1));
        assert_eq!(selected("bytes=90-200"), Selected::Part(90..100));
        assert_eq!(selected("bytes=90-"), Selected::Part(90..100));
        assert_eq!(selected("bytes=-10"), Selected::Part(90..100));
        assert_eq!(selected("bytes=-1000"), Selected::Part(0..100));
        assert_eq!(selected("bytes=100-"), Selected::Unsatisfiable);
        assert_eq!(selected("bytes=-0"), Selected::Unsatisfiable);
    }

    #[test]
    fn what_is_no_single_range_of_bytes_is_ignored() {
        for range in ["lines=0-1", "bytes=a-b", "bytes=5-4", "bytes=0-1,4-5", "bytes"] {
            assert_eq!(selected(range), Selected::Whole, "{range}");
        }
    }

    #[test]
    fn a_range_of_something_that_has_changed_is_the_whole() {
        let fields =
            |if_range| Fields { range: Some("bytes=5-"), if_range: Some(if_range), ..Fields::default() };
        assert_eq!(select(fields("\"a\""), "\"a\"", 10), Selected::Part(5..10));
        assert_eq!(select(fields("\"b\""), "\"a\"", 10), Selected::Whole);
    }

    #[test]
    fn what_the_client_has_already_is_not_sent_again() {
        let fields = Fields { if_none_match: Some("\"b\", \"a\""), ..Fields::default() };
        assert_eq!(select(fields, "\"a\"", 10), Selected::NotModified);
    }
}
