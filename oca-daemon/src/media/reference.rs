//! Where the object is that a player names beside the one it asks for: a reference, resolved (RFC 3986 §5.2) within the directories of
//! bundles. What comes out is a name to look up, and never leads above the root or to another host.

use super::cmcd::Next;
use crate::limits::PREFETCH_PLACE_BYTES_MAX;

/// The directory of a bundle, and the name of an object in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// `/` or `/a/b`.
    pub directory: &'a str,
    /// One component, not empty.
    pub object: &'a str,
}

/// Why a reference leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// It is no reference, leads above the root or to a directory, or is too long.
    Malformed,
    /// It has a scheme or a host.
    Elsewhere,
}

/// Where a [`Place`] is written to.
pub type PlaceBuffer = [u8; PREFETCH_PLACE_BYTES_MAX];

/// Resolves what a player names against the directory of the object that it asks for.
///
/// # Errors
/// As [`Unresolved`] says; for the player's authors.
pub fn resolve<'a>(
    directory: &str,
    next: &Next<'_>,
    buffer: &'a mut PlaceBuffer,
) -> Result<Place<'a>, Unresolved> {
    let mut text = [0; PREFETCH_PLACE_BYTES_MAX];
    let length = next.reference.len();
    text.get_mut(..length).ok_or(Unresolved::Malformed)?.copy_from_slice(next.reference);
    let length = if next.is_escaped_again { unescape(&mut text[..length])? } else { length };
    // Neither query nor fragment is part of a name.
    let length = memchr::memchr2(b'?', b'#', &text[..length]).unwrap_or(length);
    let first = text[..length].split(|byte| *byte == b'/').next().unwrap_or_default();
    if text[..length].starts_with(b"//") || first.contains(&b':') {
        return Err(Unresolved::Elsewhere);
    }
    let length = unescape(&mut text[..length])?;
    let reference = &text[..length];
    if reference.iter().any(u8::is_ascii_control) {
        return Err(Unresolved::Malformed);
    }

    let mut path = Path { buffer, length: 0 };
    let components = match reference.strip_prefix(b"/") {
        Some(absolute) => absolute,
        None => {
            path.append(directory.trim_end_matches('/').as_bytes())?;
            reference
        }
    };
    let (parents, object) = match memchr::memrchr(b'/', components) {
        Some(slash) => (&components[..slash], &components[slash + 1..]),
        None => (&[][..], components),
    };
    if matches!(object, b"" | b"." | b"..") {
        return Err(Unresolved::Malformed);
    }
    if object.len() < components.len() {
        parents.split(|byte| *byte == b'/').try_for_each(|component| path.descend(component))?;
    }
    path.into_place(object)
}

/// A path of directories, as far as it has been followed.
struct Path<'a> {
    buffer: &'a mut PlaceBuffer,
    length: usize,
}

impl<'a> Path<'a> {
    fn append(&mut self, bytes: &[u8]) -> Result<(), Unresolved> {
        let end = self.length + bytes.len();
        self.buffer.get_mut(self.length..end).ok_or(Unresolved::Malformed)?.copy_from_slice(bytes);
        self.length = end;
        Ok(())
    }

    fn descend(&mut self, component: &[u8]) -> Result<(), Unresolved> {
        match component {
            b"" => Err(Unresolved::Malformed),
            b"." => Ok(()),
            b".." => {
                let parent = memchr::memrchr(b'/', &self.buffer[..self.length]);
                self.length = parent.ok_or(Unresolved::Malformed)?;
                Ok(())
            }
            name => {
                self.append(b"/")?;
                self.append(name)
            }
        }
    }

    fn into_place(mut self, object: &[u8]) -> Result<Place<'a>, Unresolved> {
        let directory_bytes = self.length;
        self.append(object)?;
        let (buffer, length): (&'a PlaceBuffer, usize) = (self.buffer, self.length);
        let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).map_err(|_| Unresolved::Malformed);
        let directory = if directory_bytes == 0 { "/" } else { text(&buffer[..directory_bytes])? };
        Ok(Place { directory, object: text(&buffer[directory_bytes..length])? })
    }
}

/// Undoes escapes where they stand, once, and returns how long the text is then.
fn unescape(text: &mut [u8]) -> Result<usize, Unresolved> {
    let (mut place, mut length) = (0, 0);
    while let Some(&byte) = text.get(place) {
        let mut plain = byte;
        if byte == b'%' {
            let digit = |at: usize| {
                let digit = text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
                digit.ok_or(Unresolved::Malformed)
            };
            plain = (digit(place + 1)? * 16 + digit(place + 2)?) as u8;
            place += 2;
        }
        place += 1;
        text[length] = plain;
        length += 1;
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(directory: &str, reference: &str, is_escaped_again: bool) -> Result<String, Unresolved> {
        let next = Next { reference: reference.as_bytes(), is_escaped_again, range: None };
        let mut buffer = [0; PREFETCH_PLACE_BYTES_MAX];
        resolve(directory, &next, &mut buffer).map(|place| format!("{} {}", place.directory, place.object))
    }

    #[test]
    fn a_reference_is_resolved_against_the_directory_of_what_is_asked_for() {
        for (directory, reference, expected) in [
            ("/a/b", "2.m4s", "/a/b 2.m4s"),
            ("/", "2.m4s", "/ 2.m4s"),
            ("/a/b", "./2.m4s", "/a/b 2.m4s"),
            ("/a/b", "../c/2.m4s", "/a/c 2.m4s"),
            ("/a/b", "../../2.m4s", "/ 2.m4s"),
            ("/a/b", "c/./d/../2.m4s", "/a/b/c 2.m4s"),
            ("/a/b", "/c/2.m4s?token=../x#y", "/c 2.m4s"),
            ("/a/b", "/2.m4s", "/ 2.m4s"),
            ("/a/b c", "d%20e.m4s", "/a/b c d e.m4s"),
            ("/a", "./x:y", "/a x:y"),
            ("/é", "%C3%A9.m4s", "/é é.m4s"),
        ] {
            assert_eq!(resolved(directory, reference, false).as_deref(), Ok(expected), "{reference}");
        }
    }

    #[test]
    fn version_1_escapes_all_of_it_once_more() {
        for (reference, expected) in [
            ("..%2F300kbps%2Ftrack.m4v", "/a/300kbps track.m4v"),
            ("d%2520e.m4s", "/a/b d e.m4s"),
            ("2.m4s%3Ftoken%3D1", "/a/b 2.m4s"),
            ("2.m4s", "/a/b 2.m4s"),
        ] {
            assert_eq!(resolved("/a/b", reference, true).as_deref(), Ok(expected), "{reference}");
        }
    }

    #[test]
    fn nothing_leads_above_the_root_or_elsewhere_and_what_is_no_name_is_none() {
        for (reference, expected) in [
            ("../../../2.m4s", Unresolved::Malformed),
            ("/../2.m4s", Unresolved::Malformed),
            ("%2e%2e/%2e%2e/%2e%2e/x", Unresolved::Malformed),
            ("..%2f..%2f..%2fx", Unresolved::Malformed),
            ("c//2.m4s", Unresolved::Malformed),
            ("c/", Unresolved::Malformed),
            ("..", Unresolved::Malformed),
            ("/", Unresolved::Malformed),
            ("?x", Unresolved::Malformed),
            ("a%00", Unresolved::Malformed),
            ("a%zz", Unresolved::Malformed),
            ("a%2", Unresolved::Malformed),
            ("%ff", Unresolved::Malformed),
            ("//evil.example/2.m4s", Unresolved::Elsewhere),
            ("https://evil.example/2.m4s", Unresolved::Elsewhere),
            ("x:2.m4s", Unresolved::Elsewhere),
        ] {
            assert_eq!(resolved("/a/b", reference, false), Err(expected), "{reference}");
        }
        assert_eq!(resolved("/a", "%252F%252Fevil", true).as_deref(), Err(&Unresolved::Malformed));
        let long = "x".repeat(PREFETCH_PLACE_BYTES_MAX);
        for (directory, reference) in
            [("/a", &*long), ("/a", &long[..PREFETCH_PLACE_BYTES_MAX - 1]), (&*long, "a")]
        {
            assert_eq!(resolved(directory, reference, false), Err(Unresolved::Malformed));
        }
    }
}
