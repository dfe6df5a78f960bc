use std::borrow::Cow;

use http::HeaderValue;

/// One `cache-directive` (RFC 9111 §5.2), as written.
pub(super) struct Element<'a> {
    pub(super) name: &'a [u8],
    pub(super) argument: Argument<'a>,
}

/// What follows the name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Argument<'a> {
    None,
    Token(&'a [u8]),
    /// Without its quotes, escapes undone.
    Quoted(Cow<'a, [u8]>),
    /// Something that is neither.
    Malformed,
}

/// The directives of all lines of a field. What breaks the grammar costs only the directive that it stands in.
pub(super) fn elements<'a>(
    lines: impl IntoIterator<Item = &'a HeaderValue>,
) -> impl Iterator<Item = Element<'a>> {
    lines.into_iter().flat_map(|line| Parts { rest: line.as_bytes() }).filter_map(element)
}

fn element(part: &[u8]) -> Option<Element<'_>> {
    let part = part.trim_ascii();
    let Some(equals) = part.iter().position(|&byte| byte == b'=') else {
        return (!part.is_empty()).then_some(Element { name: part, argument: Argument::None });
    };
    let (name, argument) = (&part[..equals], argument(&part[equals + 1..]));
    match name.trim_ascii_end() {
        // Space before "=" is no grammar (§5.2): known for what it means, not for what it says.
        trimmed if trimmed.len() < name.len() => {
            Some(Element { name: trimmed, argument: Argument::Malformed })
        }
        name => Some(Element { name, argument }),
    }
}

fn argument(text: &[u8]) -> Argument<'_> {
    match text {
        [b'"', inner @ .., b'"'] if closes_only_there(inner) => Argument::Quoted(unescaped(inner)),
        [] | [b' ' | b'\t' | b'"', ..] => Argument::Malformed,
        token => Argument::Token(token),
    }
}

/// Whether `inner` has no quote of its own and does not escape the one that follows it.
fn closes_only_there(inner: &[u8]) -> bool {
    let mut bytes = inner.iter();
    while let Some(&byte) = bytes.next() {
        if byte == b'"' || (byte == b'\\' && bytes.next().is_none()) {
            return false;
        }
    }
    true
}

fn unescaped(inner: &[u8]) -> Cow<'_, [u8]> {
    if !inner.contains(&b'\\') {
        return Cow::Borrowed(inner);
    }
    let mut text = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(&byte) = bytes.next() {
        text.push(if byte == b'\\' { bytes.next().copied().unwrap_or(byte) } else { byte });
    }
    Cow::Owned(text)
}

/// What stands between commas, but for commas within quotes.
struct Parts<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let (mut is_quoted, mut is_escaped) = (false, false);
        let end = self.rest.iter().position(|&byte| {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' if is_quoted => is_escaped = true,
                b'"' => is_quoted = !is_quoted,
                b',' if !is_quoted => return true,
                _ => {}
            }
            false
        });
        let (part, rest) = match end {
            Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
            None => (self.rest, &[][..]),
        };
        self.rest = rest;
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(line: &str) -> Vec<&str> {
        Parts { rest: line.as_bytes() }.map(|part| str::from_utf8(part).unwrap()).collect()
    }

    #[test]
    fn commas_divide_but_for_those_in_quotes() {
        for (line, expected) in [
            ("", &[][..]),
            ("a", &["a"]),
            ("a,b", &["a", "b"]),
            ("a=\"b,c\",d", &["a=\"b,c\"", "d"]),
            ("a=\"b\\\",c\",d", &["a=\"b\\\",c\"", "d"]),
            ("a=\"b,c", &["a=\"b,c"]),
            ("a\\,b", &["a\\", "b"]),
            (",,", &["", ""]),
        ] {
            assert_eq!(parts(line), expected, "{line}");
        }
    }

    #[test]
    fn arguments_are_tokens_or_quoted_strings() {
        for (text, expected) in [
            ("1", Argument::Token(b"1")),
            ("\"1\"", Argument::Quoted(Cow::Borrowed(b"1"))),
            ("\"\"", Argument::Quoted(Cow::Borrowed(b""))),
            ("\"a\\\"b\\c\"", Argument::Quoted(Cow::Borrowed(b"a\"bc"))),
            ("", Argument::Malformed),
            ("\"1", Argument::Malformed),
            ("\"", Argument::Malformed),
            ("\"a\"b\"", Argument::Malformed),
            ("\"a\\\"", Argument::Malformed),
            (" 1", Argument::Malformed),
        ] {
            assert_eq!(argument(text.as_bytes()), expected, "{text}");
        }
    }
}
