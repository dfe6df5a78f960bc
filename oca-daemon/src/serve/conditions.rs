//! Preconditions (RFC 9110 §13): whether the client's idea of an object still holds.

use std::time::UNIX_EPOCH;

use super::entity_tag::{WrittenTag, lists};
use crate::request::{Fields, Single};

/// What identifies the state of an object.
pub(super) struct Validators {
    pub(super) entity_tag: EntityTag,
    /// Seconds since 1970.
    pub(super) last_modified: u64,
}

/// A strong entity tag: the first 32 hexadecimal digits of the object's SHA-256, in quotes.
#[derive(Clone, Copy)]
pub(super) struct EntityTag([u8; 34]);

/// What the preconditions say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Answer as if there were none.
    Proceed,
    /// 304: the client's copy is right.
    NotModified,
    /// 412: the object is not what the client takes it for.
    PreconditionFailed,
}

/// How two entity tags compare (§8.8.3.2).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    /// A weak tag equals nothing.
    Strong,
    /// `W/` makes no difference.
    Weak,
}

/// Evaluates the preconditions of a GET or HEAD in the order of §13.2.2. If-Range is for [`range_applies`].
pub(super) fn evaluate(fields: &Fields<'_>, current: &Validators) -> Verdict {
    if !fields.if_match.is_empty() {
        if !current.entity_tag.is_listed(&fields.if_match, Comparison::Strong) {
            return Verdict::PreconditionFailed;
        }
    } else if date(fields.if_unmodified_since).is_some_and(|since| current.last_modified > since) {
        return Verdict::PreconditionFailed;
    }
    if !fields.if_none_match.is_empty() {
        if current.entity_tag.is_listed(&fields.if_none_match, Comparison::Weak) {
            return Verdict::NotModified;
        }
    } else if date(fields.if_modified_since).is_some_and(|since| current.last_modified <= since) {
        return Verdict::NotModified;
    }
    Verdict::Proceed
}

/// Whether If-Range lets a Range apply (§13.1.5): absent, the same strong tag, or exactly the Last-Modified.
pub(super) fn range_applies(fields: &Fields<'_>, current: &Validators) -> bool {
    match fields.if_range {
        Single::Absent => true,
        Single::Several => false,
        Single::One(value) if value == current.entity_tag.as_bytes() => true,
        if_range => date(if_range) == Some(current.last_modified),
    }
}

/// A date in any of the three forms of §5.6.7, in seconds since 1970; `None` where the field is absent,
/// repeated or not a date, which has it ignored (§13.1.3, §13.1.4).
fn date(field: Single<'_>) -> Option<u64> {
    let text = str::from_utf8(field.one()?).ok()?;
    let moment = httpdate::parse_http_date(text).ok()?;
    moment.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

impl EntityTag {
    /// The tag of an object with that SHA-256.
    pub(super) fn of(sha256: &[u8; 32]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut tag = [b'"'; 34];
        for (pair, byte) in tag[1..33].chunks_exact_mut(2).zip(sha256) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        Self(tag)
    }

    /// The tag with its quotes.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the lines of If-Match or If-None-Match are `*` or list this tag.
    fn is_listed(&self, lines: &[&[u8]], comparison: Comparison) -> bool {
        let current = WrittenTag::strong(&self.0);
        lists(lines, |tag| match comparison {
            Comparison::Strong => tag.equals_strongly(current),
            Comparison::Weak => tag.equals_weakly(current),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: &[u8] = b"\"000102030405060708090a0b0c0d0e0f\"";
    const AT: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &[u8] = b"Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &[u8] = b"Sun, 06 Nov 1994 08:49:38 GMT";

    fn current() -> Validators {
        Validators {
            entity_tag: EntityTag::of(&std::array::from_fn(|place| place as u8)),
            last_modified: 784_111_777,
        }
    }

    fn listed(lines: &[&str], comparison: Comparison) -> bool {
        let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
        current().entity_tag.is_listed(&lines, comparison)
    }

    #[test]
    fn the_entity_tag_is_half_of_the_digest_in_quotes() {
        assert_eq!(current().entity_tag.as_bytes(), TAG);
    }

    #[test]
    fn tags_compare_strongly_for_if_match_and_weakly_for_if_none_match() {
        let tag = str::from_utf8(TAG).unwrap();
        for (lines, strong, weak) in [
            (vec![tag.to_owned()], true, true),
            (vec![format!("W/{tag}")], false, true),
            (vec![format!("\"a\", {tag}")], true, true),
            (vec![format!("\"a,b\",{tag},")], true, true),
            (vec![format!("W/\"a\" , W/{tag}")], false, true),
            (vec!["\"a\"".to_owned(), tag.to_owned()], true, true),
            (vec!["*".to_owned()], true, true),
            (vec!["\"*\"".to_owned()], false, false),
            (vec!["\"a\"".to_owned()], false, false),
            (vec![tag.trim_matches('"').to_owned()], false, false),
            (vec![format!("w/{tag}")], false, false),
            (vec![format!("{tag} {tag}")], false, false),
            (vec![format!("{tag}, *")], false, false),
            (vec![format!("{tag}, x")], false, false),
            (vec![tag.to_owned(), "x".to_owned()], false, false),
            (vec!["*".to_owned(), "*".to_owned()], false, false),
            (vec![tag.trim_end_matches('"').to_owned()], false, false),
            (vec![tag.to_uppercase()], false, false),
            (vec![String::new()], false, false),
        ] {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            assert_eq!(listed(&lines, Comparison::Strong), strong, "{lines:?}");
            assert_eq!(listed(&lines, Comparison::Weak), weak, "{lines:?}");
        }
    }

    #[test]
    fn preconditions_are_evaluated_in_the_order_of_rfc_9110() {
        use Verdict::{NotModified, PreconditionFailed, Proceed};
        let other: &[u8] = b"\"other\"";
        // If-Match, If-Unmodified-Since, If-None-Match, If-Modified-Since; an empty value stands for none.
        for (if_match, unmodified, none_match, modified, expected) in [
            (b"".as_slice(), b"".as_slice(), b"".as_slice(), b"".as_slice(), Proceed),
            (TAG, b"", b"", b"", Proceed),
            (other, b"", b"", b"", PreconditionFailed),
            (TAG, BEFORE, b"", b"", Proceed),
            (other, AFTER, b"", b"", PreconditionFailed),
            (b"", AT, b"", b"", Proceed),
            (b"", AFTER, b"", b"", Proceed),
            (b"", BEFORE, b"", b"", PreconditionFailed),
            (b"", b"yesterday", b"", b"", Proceed),
            (b"", b"", TAG, b"", NotModified),
            (b"", b"", b"*", b"", NotModified),
            (b"", b"", other, b"", Proceed),
            (b"", b"", other, AFTER, Proceed),
            (b"", b"", TAG, BEFORE, NotModified),
            (b"", b"", b"", AT, NotModified),
            (b"", b"", b"", AFTER, NotModified),
            (b"", b"", b"", BEFORE, Proceed),
            (b"", b"", b"", b"1994-11-06", Proceed),
            (TAG, b"", TAG, b"", NotModified),
            (other, b"", TAG, b"", PreconditionFailed),
            (b"", BEFORE, TAG, b"", PreconditionFailed),
        ] {
            let list = |value: &'static [u8]| {
                if value.is_empty() { Default::default() } else { smallvec::smallvec![value] }
            };
            let single =
                |value: &'static [u8]| if value.is_empty() { Single::Absent } else { Single::One(value) };
            let fields = Fields {
                if_match: list(if_match),
                if_unmodified_since: single(unmodified),
                if_none_match: list(none_match),
                if_modified_since: single(modified),
                ..Fields::default()
            };
            assert_eq!(
                evaluate(&fields, &current()),
                expected,
                "{:?}",
                [if_match, unmodified, none_match, modified]
            );
        }
    }

    #[test]
    fn dates_are_understood_in_all_three_forms_and_ignored_otherwise() {
        for value in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(date(Single::One(value.as_bytes())), Some(784_111_777), "{value}");
        }
        for value in [
            "",
            "0",
            "784111777",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 36 Nov 1994 08:49:37 GMT",
            "\u{e9}",
        ] {
            assert_eq!(date(Single::One(value.as_bytes())), None, "{value}");
        }
        assert_eq!(date(Single::Several), None);
    }

    #[test]
    fn if_range_takes_the_same_strong_tag_or_the_exact_date() {
        let weak = [b"W/", TAG].concat();
        for (if_range, expected) in [
            (Single::Absent, true),
            (Single::One(TAG), true),
            (Single::One(&weak), false),
            (Single::One(b"\"other\""), false),
            (Single::One(b"*"), false),
            (Single::One(AT), true),
            (Single::One(BEFORE), false),
            (Single::One(AFTER), false),
            (Single::One(b"soon"), false),
            (Single::Several, false),
        ] {
            let fields = Fields { if_range, ..Fields::default() };
            assert_eq!(range_applies(&fields, &current()), expected, "{if_range:?}");
        }
    }
}
