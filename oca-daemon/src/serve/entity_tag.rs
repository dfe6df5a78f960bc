//! Entity tags (RFC 9110 §8.8.3), as clients and origins write them.

/// One entity tag, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrittenTag<'a> {
    is_weak: bool,
    /// With its quotes.
    opaque: &'a [u8],
}

impl<'a> WrittenTag<'a> {
    /// A strong one; `opaque` has its quotes.
    pub(crate) fn strong(opaque: &'a [u8]) -> Self {
        Self { is_weak: false, opaque }
    }

    /// The tag that is all of `text`; `None` where it is none.
    pub(crate) fn parse(text: &'a [u8]) -> Option<Self> {
        let (tag, rest) = Self::first(text.trim_ascii())?;
        rest.is_empty().then_some(tag)
    }

    /// The tag that `text` starts with, and what follows it.
    fn first(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (is_weak, tag) = match text.strip_prefix(b"W/") {
            Some(tag) => (true, tag),
            None => (false, text),
        };
        let inner = tag.strip_prefix(b"\"")?;
        let end = inner.iter().position(|&byte| byte == b'"')?;
        let is_valid = inner[..end].iter().all(|&byte| byte > 0x20 && byte != 0x7f);
        let (opaque, rest) = tag.split_at_checked(end + 2)?;
        is_valid.then_some((Self { is_weak, opaque }, rest))
    }

    pub(crate) fn is_strong(self) -> bool {
        !self.is_weak
    }

    /// §8.8.3.2: both strong, and the same.
    pub(crate) fn equals_strongly(self, other: Self) -> bool {
        !self.is_weak && !other.is_weak && self.opaque == other.opaque
    }

    /// §8.8.3.2: the same, weak or not.
    pub(crate) fn equals_weakly(self, other: Self) -> bool {
        self.opaque == other.opaque
    }
}

/// Whether the lines of If-Match or If-None-Match are `*`, or list a tag for which `equals` holds. A list that breaks the grammar
/// lists nothing.
pub(crate) fn lists<'a>(lines: &[&'a [u8]], equals: impl Fn(WrittenTag<'a>) -> bool) -> bool {
    if let [b"*"] = lines {
        return true;
    }
    let mut is_listed = false;
    for line in lines {
        match is_in_line(line, &equals) {
            Some(is_in_line) => is_listed |= is_in_line,
            None => return false,
        }
    }
    is_listed
}

/// Tags may contain commas, so that the line is read tag by tag; `None`: not a list of tags.
fn is_in_line<'a>(line: &'a [u8], equals: impl Fn(WrittenTag<'a>) -> bool) -> Option<bool> {
    let mut is_in_line = false;
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(b",") {
            rest = after.trim_ascii_start();
            continue;
        }
        let (tag, after) = WrittenTag::first(rest)?;
        is_in_line |= equals(tag);
        rest = after.trim_ascii_start();
        if !rest.is_empty() && !rest.starts_with(b",") {
            return None;
        }
    }
    Some(is_in_line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_quoted_and_perhaps_weak() {
        for (text, expected) in [
            ("\"a\"", Some(true)),
            ("\"\"", Some(true)),
            ("\"a,b\"", Some(true)),
            ("W/\"a\"", Some(false)),
            ("w/\"a\"", None),
            ("W\"a\"", None),
            ("a", None),
            ("\"a", None),
            ("\"a\" \"b\"", None),
            ("\"a b\"", None),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(WrittenTag::parse(text.as_bytes()).map(WrittenTag::is_strong), expected, "{text}");
        }
    }

    #[test]
    fn lists_are_searched_strongly_or_weakly() {
        for (lines, strongly, weakly) in [
            (&["\"a\""][..], true, true),
            (&["W/\"a\""], false, true),
            (&["\"x\", \"a\", \"y\""], true, true),
            (&["\"x\"", "\"a\""], true, true),
            (&["\"x,a\""], false, false),
            (&[",, \"a\" ,"], true, true),
            (&["*"], true, true),
            (&["*", "*"], false, false),
            (&["\"a\" \"x\""], false, false),
            (&["\"a\", x"], false, false),
            (&["a"], false, false),
            (&[], false, false),
        ] {
            let values: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
            let tag = WrittenTag::parse(b"\"a\"").unwrap();
            assert_eq!(lists(&values, |other| other.equals_strongly(tag)), strongly, "{lines:?}");
            assert_eq!(lists(&values, |other| other.equals_weakly(tag)), weakly, "{lines:?}");
        }
    }
}
