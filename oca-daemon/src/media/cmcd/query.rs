//! The query argument `CMCD`.

use crate::limits::CMCD_BYTES_MAX;

/// The argument's value, still escaped; the first where there are several.
pub(super) fn argument(target: &str) -> Option<&[u8]> {
    let bytes = target.as_bytes();
    let query = &bytes[memchr::memchr(b'?', bytes)? + 1..];
    let value = match query.strip_prefix(b"CMCD=") {
        Some(value) => value,
        None => &query[memchr::memmem::find(query, b"&CMCD=")? + b"&CMCD=".len()..],
    };
    Some(&value[..memchr::memchr(b'&', value).unwrap_or(value.len())])
}

/// Undoes the escapes of a query: `%XX`, and `+` for a space, as pages write it. What is no escape stays as it is. `None`: more
/// than `decoded` holds.
pub(super) fn decode<'a>(value: &[u8], decoded: &'a mut [u8; CMCD_BYTES_MAX]) -> Option<&'a [u8]> {
    let (mut place, mut length) = (0, 0);
    while let Some(&byte) = value.get(place) {
        place += 1;
        *decoded.get_mut(length)? = match byte {
            b'+' => b' ',
            b'%' => match escaped(value, place) {
                Some(byte) => {
                    place += 2;
                    byte
                }
                None => byte,
            },
            _ => byte,
        };
        length += 1;
    }
    Some(&decoded[..length])
}

fn escaped(value: &[u8], place: usize) -> Option<u8> {
    let (high, low) = (hex_digit(*value.get(place)?)?, hex_digit(*value.get(place + 1)?)?);
    Some(high << 4 | low)
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_is_found_wherever_it_stands_and_only_by_its_own_name() {
        for (target, expected) in [
            ("/a/1.m4s", None),
            ("/a/1.m4s?", None),
            ("/a/1.m4s?token=x", None),
            ("/a/1.m4s?cmcd=br%3D1", None),
            ("/a/1.m4s?XCMCD=br%3D1", None),
            ("/a/1.m4s?CMCD=", Some("")),
            ("/a/1.m4s?CMCD=br%3D1", Some("br%3D1")),
            ("/a/1.m4s?token=x&CMCD=br%3D1&more", Some("br%3D1")),
            ("/a/1.m4s?CMCD=a&CMCD=b", Some("a")),
            ("/a/1.m4s?a&CMCD=b&CMCD=c", Some("b")),
            ("/a/1.m4s?XCMCD=a&CMCD=b", Some("b")),
        ] {
            assert_eq!(argument(target), expected.map(str::as_bytes), "{target}");
        }
    }

    #[test]
    fn escapes_are_undone_and_what_is_none_stays() {
        for (value, expected) in [
            ("br%3D3200%2Cbs", "br=3200,bs"),
            ("bl=(0;v+2000;a)", "bl=(0;v 2000;a)"),
            ("%e2%82%ac", "€"),
            ("a%2", "a%2"),
            ("a%", "a%"),
            ("%zz%+1%-1", "%zz% 1%-1"),
        ] {
            assert_eq!(
                decode(value.as_bytes(), &mut [0; CMCD_BYTES_MAX]),
                Some(expected.as_bytes()),
                "{value}"
            );
        }
    }

    #[test]
    fn a_value_is_as_long_as_the_bound_and_no_longer() {
        let escaped = |count: usize| "%61".repeat(count);
        let mut decoded = [0; CMCD_BYTES_MAX];
        assert_eq!(
            decode(escaped(CMCD_BYTES_MAX).as_bytes(), &mut decoded),
            Some(&[b'a'; CMCD_BYTES_MAX][..])
        );
        assert_eq!(decode(escaped(CMCD_BYTES_MAX + 1).as_bytes(), &mut decoded), None);
    }
}
