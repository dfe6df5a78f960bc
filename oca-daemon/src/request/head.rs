//! Where a request head starts and ends in the bytes received, and which bytes may be in it.

use super::{Cause, Refusal};
use crate::limits;

/// How far a field section reaches.
pub(super) enum Extent {
    /// Its last line has not come yet.
    Partial,
    /// Its bytes, the empty line that ends it included.
    Complete(usize),
}

/// Where the request line starts, past the empty lines that RFC 9112 §2.2 has a server ignore; `None`: not come yet.
pub(super) fn skip_empty_lines(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
    let mut start = 0;
    for _ in 0..=limits::EMPTY_LINES_BEFORE_REQUEST {
        match &bytes[start..] {
            [] | [b'\r'] => return Ok(None),
            [b'\r', b'\n', ..] => start += 2,
            _ => return Ok(Some(start)),
        }
    }
    Err(Refusal::new(Cause::Malformed))
}

/// Finds the empty line that ends a field section. Lines end in CRLF only; a bare LF, a bare CR or a control
/// byte other than HTAB is refused as soon as it has come, so that binary noise does not wait for the header
/// timeout.
pub(super) fn find_section_end(section: &[u8]) -> Result<Extent, Cause> {
    let mut line_start = 0;
    for line_feed in memchr::memchr_iter(b'\n', section) {
        if line_feed == line_start || section[line_feed - 1] != b'\r' {
            return Err(Cause::Malformed);
        }
        if line_feed == line_start + 1 {
            let end = line_feed + 1;
            return check_bytes(&section[..end]).map(|()| Extent::Complete(end));
        }
        line_start = line_feed + 1;
    }
    check_bytes(section).map(|()| Extent::Partial)
}

/// Refuses CR without LF and control bytes. A CR at the very end may still be followed by its LF. Written
/// without branches, so that the compiler makes it a vector loop.
fn check_bytes(section: &[u8]) -> Result<(), Cause> {
    let control =
        |byte: u8| (byte < 0x20) & (byte != b'\t') & (byte != b'\r') & (byte != b'\n') | (byte == 0x7f);
    let has_control = section.iter().fold(false, |found, &byte| found | control(byte));
    let following = section.get(1..).unwrap_or_default();
    let has_bare_return = section
        .iter()
        .zip(following)
        .fold(false, |found, (&byte, &next)| found | (byte == b'\r') & (next != b'\n'));
    if has_control || has_bare_return { Err(Cause::Malformed) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_number_of_empty_lines_is_skipped() {
        assert_eq!(skip_empty_lines(b"GET"), Ok(Some(0)));
        assert_eq!(skip_empty_lines(b"\r\n\r\nGET"), Ok(Some(4)));
        assert_eq!(skip_empty_lines(b"\r\n\r\n\r\n\r\nGET"), Ok(Some(8)));
        assert_eq!(skip_empty_lines(b"\r\n\r\n\r\n\r\n"), Ok(None));
        assert!(skip_empty_lines(b"\r\n\r\n\r\n\r\n\r\n").is_err());
        assert_eq!(skip_empty_lines(b""), Ok(None));
        assert_eq!(skip_empty_lines(b"\r"), Ok(None));
        assert_eq!(skip_empty_lines(b"\n"), Ok(Some(0)), "left for the request line to refuse");
    }

    #[test]
    fn a_section_ends_at_its_first_empty_line() {
        for (section, bytes) in
            [("\r\n", 2), ("a: b\r\n\r\n", 8), ("a: b\r\n\r\nmore\r\n\r\n", 8), ("\r\n\0\n\n", 2)]
        {
            assert!(
                matches!(find_section_end(section.as_bytes()), Ok(Extent::Complete(end)) if end == bytes),
                "{section:?}"
            );
        }
        for section in ["", "a", "a: b", "a: b\r", "a: b\r\n", "a: b\r\n\r", "\r"] {
            assert!(matches!(find_section_end(section.as_bytes()), Ok(Extent::Partial)), "{section:?}");
        }
    }

    #[test]
    fn bare_line_ends_and_control_bytes_are_refused_before_the_section_is_complete() {
        for section in [
            "\n",
            "a: b\n",
            "a: b\r\n\n",
            "a\rb",
            "a: b\r\r\n",
            "\r\r",
            "a: \0",
            "a: \x01\r\n\r\n",
            "a: \x7f",
        ] {
            assert!(find_section_end(section.as_bytes()).is_err(), "{section:?}");
        }
    }
}
