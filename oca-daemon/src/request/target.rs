//! The request target: which bundle and which object it names (RFC 9112 §3.2, RFC 3986 §3.3, §6.2.2).
//!
//! Escapes are decoded once, then dot segments are removed; what comes out is a name to look up, never a path that an
//! operating system sees. A query is not part of the name.

use std::borrow::Cow;

use super::host;

/// A request target, by its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// `/path?query`, or the absolute form `http://host/path?query`, which overrides Host.
    Path {
        /// The scheme of the absolute form.
        scheme: Option<Scheme>,
        /// From its first slash up to, not including, the query; checked for characters and escapes.
        path: &'a str,
    },
    /// `*`: the server as a whole, for OPTIONS.
    Asterisk,
}

/// The schemes of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Cleartext.
    Http,
    /// TLS.
    Https,
}

/// Which bundle and which object in it a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location<'a> {
    /// The bundle's path: `/` or `/a/b`, no empty and no dot component.
    pub directory: Cow<'a, str>,
    /// The object's name: one component, not empty.
    pub object: Cow<'a, str>,
}

/// Why a target leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetError {
    /// 400: not a target; a bad escape, an escaped slash or control byte, or above the root.
    Malformed,
    /// 404: a valid path that no object can have: a directory, an empty component, not UTF-8.
    NoObject,
}

impl<'a> Target<'a> {
    /// Reads a target that is visible ASCII.
    ///
    /// # Errors
    /// [`TargetError::Malformed`] where it has neither form, or a scheme other than http and https.
    pub fn parse(target: &'a str) -> Result<Self, TargetError> {
        if target.starts_with('/') {
            return Ok(Self::Path { scheme: None, path: cut_path(target)? });
        }
        if target == "*" {
            return Ok(Self::Asterisk);
        }
        let (scheme, rest) = target.split_once("://").ok_or(TargetError::Malformed)?;
        let scheme = match scheme {
            _ if scheme.eq_ignore_ascii_case("http") => Scheme::Http,
            _ if scheme.eq_ignore_ascii_case("https") => Scheme::Https,
            _ => return Err(TargetError::Malformed),
        };
        let authority_bytes = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(authority_bytes);
        // RFC 9110 §4.2.1: an http URI without a host is invalid.
        if authority.is_empty() || authority.starts_with(':') || !host::is_valid(authority.as_bytes()) {
            return Err(TargetError::Malformed);
        }
        let path = cut_path(path)?;
        // RFC 3986 §6.2.3: an empty path is the root.
        Ok(Self::Path { scheme: Some(scheme), path: if path.is_empty() { "/" } else { path } })
    }
}

impl<'a> Location<'a> {
    /// What a path of [`Target::parse`] names. Borrows where there is nothing to decode or to normalise.
    ///
    /// # Errors
    /// [`TargetError::Malformed`] for an escaped slash or control byte, or a path above the root;
    /// [`TargetError::NoObject`] where no object can have that name.
    pub fn of(path: &'a str) -> Result<Self, TargetError> {
        if needs_normalising(path.as_bytes()) {
            return normalise(path);
        }
        let (directory, object) = path.rsplit_once('/').ok_or(TargetError::Malformed)?;
        if object.is_empty() {
            return Err(TargetError::NoObject);
        }
        let directory = if directory.is_empty() { "/" } else { directory };
        Ok(Self { directory: Cow::Borrowed(directory), object: Cow::Borrowed(object) })
    }
}

/// The path without its query, its characters and escapes checked.
fn cut_path(path_and_query: &str) -> Result<&str, TargetError> {
    let bytes = path_and_query.as_bytes();
    // Characters of a query are not ours to judge, since it is dropped; a fragment is never part of a target.
    if memchr::memchr(b'#', bytes).is_some() {
        return Err(TargetError::Malformed);
    }
    let path = &path_and_query[..memchr::memchr(b'?', bytes).unwrap_or(bytes.len())];
    if path.bytes().all(is_path_byte) { Ok(path) } else { Err(TargetError::Malformed) }
}

/// `pchar`, `/` and `%` of RFC 3986, and `[ ] ^ |`, which the URL standard of the browsers leaves unescaped
/// in a path.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%[]^|".contains(&byte)
}

/// Whether an escape, an empty component, or one that starts with a dot is in `path`.
fn needs_normalising(path: &[u8]) -> bool {
    let following = path.get(1..).unwrap_or_default();
    path.iter().zip(following).any(|(&byte, &next)| byte == b'/' && (next == b'/' || next == b'.'))
        || memchr::memchr(b'%', path).is_some()
}

fn normalise(path: &str) -> Result<Location<'static>, TargetError> {
    let mut normal = Vec::with_capacity(path.len());
    let mut ends_in_directory = false;
    for component in path.split('/').skip(1) {
        let start = normal.len();
        normal.push(b'/');
        decode(component.as_bytes(), &mut normal)?;
        ends_in_directory = matches!(&normal[start + 1..], b"" | b"." | b"..");
        match &normal[start + 1..] {
            b"." => normal.truncate(start),
            b".." => {
                normal.truncate(start);
                let parent = normal.iter().rposition(|&byte| byte == b'/').ok_or(TargetError::Malformed)?;
                normal.truncate(parent);
            }
            _ => {}
        }
    }
    if ends_in_directory || memchr::memmem::find(&normal, b"//").is_some() {
        return Err(TargetError::NoObject);
    }
    let text = String::from_utf8(normal).map_err(|_| TargetError::NoObject)?;
    let (directory, object) = text.rsplit_once('/').ok_or(TargetError::NoObject)?;
    let directory = if directory.is_empty() { "/" } else { directory };
    Ok(Location { directory: Cow::Owned(directory.to_owned()), object: Cow::Owned(object.to_owned()) })
}

/// Appends `component` with its escapes decoded, once.
fn decode(component: &[u8], out: &mut Vec<u8>) -> Result<(), TargetError> {
    let mut rest = component;
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        let [high, low, after @ ..] = rest else { return Err(TargetError::Malformed) };
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(TargetError::Malformed);
        let decoded = (digit(*high)? * 16 + digit(*low)?) as u8;
        if decoded == b'/' || decoded < 0x20 || decoded == 0x7f {
            return Err(TargetError::Malformed);
        }
        out.push(decoded);
        rest = after;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locate(target: &str) -> Result<(String, String), TargetError> {
        let Target::Path { path, .. } = Target::parse(target)? else { panic!("{target:?} is no path") };
        Location::of(path).map(|location| (location.directory.into_owned(), location.object.into_owned()))
    }

    #[test]
    fn a_path_names_a_bundle_and_an_object() {
        for (target, directory, object) in [
            ("/a/b/c.m4s", "/a/b", "c.m4s"),
            ("/c.m4s", "/", "c.m4s"),
            ("/a/c.m4s?token=1", "/a", "c.m4s"),
            ("/a/c.m4s?", "/a", "c.m4s"),
            ("/a/c?x=/../../etc", "/a", "c"),
            ("/a/c?x=%zz{}\"", "/a", "c"),
            ("http://cdn.example/a/c", "/a", "c"),
            ("HTTPS://[::1]:443/a/c?x", "/a", "c"),
            ("/a/.hidden", "/a", ".hidden"),
            ("/a/...", "/a", "..."),
            ("/a/c..d", "/a", "c..d"),
            ("/%61/%63", "/a", "c"),
            ("/a/%C3%A9", "/a", "é"),
            ("/a/b%20c", "/a", "b c"),
            ("/a/%252F", "/a", "%2F"),
            ("/a/%252e%252e", "/a", "%2e%2e"),
            ("/a/./c", "/a", "c"),
            ("/a/../c", "/", "c"),
            ("/a/x/../c", "/a", "c"),
            ("/a/%2e/c", "/a", "c"),
            ("/a/x/%2E%2e/c", "/a", "c"),
            ("/a/x/.%2e/c", "/a", "c"),
            ("/a//../c", "/a", "c"),
            ("/a/[1]|^", "/a", "[1]|^"),
            ("/a/%5c", "/a", "\\"),
            ("/a/%3F", "/a", "?"),
            ("/%ff/../c", "/", "c"),
        ] {
            assert_eq!(locate(target), Ok((directory.to_owned(), object.to_owned())), "{target:?}");
        }
    }

    #[test]
    fn what_could_reach_elsewhere_or_is_no_path_is_malformed() {
        for target in [
            "/..",
            "/../a",
            "/a/../../b",
            "/%2e%2e/a",
            "/a/%2e%2e/%2e%2e/b",
            "/./../a",
            "/a%2Fb",
            "/a%2fb",
            "/a/%2F..",
            "/a%00",
            "/a%0d%0a",
            "/a%1f",
            "/a%7F",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%2/b",
            "/a%+1",
            "/a#b",
            "/a?b#c",
            "/a\"b",
            "/a<b",
            "/a\\b",
            "/a`b",
            "/a{b}",
            "a/b",
            "",
            "?a",
            "cdn.example:80",
            "http:/a",
            "http:///a",
            "http://:80/a",
            "http://user@a/b",
            "http://a b/c",
            "ftp://a/b",
            "http://a#b",
            "://a/b",
            "http//a/b",
            "**",
            "*?",
        ] {
            assert_eq!(locate(target), Err(TargetError::Malformed), "{target:?}");
        }
    }

    #[test]
    fn what_no_object_can_be_named_is_no_object() {
        for target in [
            "/",
            "/a/",
            "/a/.",
            "/a/b/..",
            "/a//b",
            "//a",
            "//",
            "/a/%2e",
            "/a/%2e%2e",
            "/a/%ff",
            "/%c3%28/a",
            "http://a",
            "http://a?b",
            "/a//%2e%2e",
        ] {
            assert_eq!(locate(target), Err(TargetError::NoObject), "{target:?}");
        }
    }

    #[test]
    fn a_usual_path_is_borrowed() {
        let location = Location::of("/titles/abc/1080p/00001.m4s").unwrap();
        assert!(matches!((location.directory, location.object), (Cow::Borrowed(_), Cow::Borrowed(_))));
    }

    #[test]
    fn the_scheme_of_an_absolute_target_is_known() {
        for (target, scheme) in
            [("/a", None), ("http://a/b", Some(Scheme::Http)), ("https://a/b", Some(Scheme::Https))]
        {
            assert!(
                matches!(Target::parse(target), Ok(Target::Path { scheme: found, .. }) if found == scheme),
                "{target:?}"
            );
        }
        assert_eq!(Target::parse("*"), Ok(Target::Asterisk));
    }
}
