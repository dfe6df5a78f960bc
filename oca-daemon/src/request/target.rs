//! The request target: which bundle and which object it names (RFC 9112 §3.2, RFC 3986 §3.3, §6.2.2).
//!
//! Escapes are decoded once, then dot segments are removed; what comes out is a name to look up, never a path that an
//! operating system sees. A query is not part of the name.

use std::borrow::Cow;

use super::{alphanumeric_and, host};

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

/// A target as it goes upstream, and as answers are kept under: two ways to write the same become one (RFC 3986 §6.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalTarget {
    /// Path and query. The path has no dot segments, its escapes are in upper case, and what needs no escape has none; the query is as
    /// it was sent.
    pub text: String,
    /// Bytes of it that are the path.
    pub path_bytes: usize,
    /// Whom an absolute target asks, which overrides Host.
    pub authority: Option<String>,
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
        let slash = memchr::memrchr(b'/', path.as_bytes()).ok_or(TargetError::Malformed)?;
        let (directory, object) = (&path[..slash], &path[slash + 1..]);
        if object.is_empty() {
            return Err(TargetError::NoObject);
        }
        let directory = if directory.is_empty() { "/" } else { directory };
        Ok(Self { directory: Cow::Borrowed(directory), object: Cow::Borrowed(object) })
    }
}

impl NormalTarget {
    /// The normal form of a target that [`Target::parse`] reads as a path. Unlike [`Location::of`] it keeps empty components, what ends
    /// in a slash, and escaped slashes.
    ///
    /// # Errors
    /// [`TargetError::Malformed`] for anything else, a broken escape, an escaped control byte, or a path above the root.
    pub fn of(target: &str) -> Result<Self, TargetError> {
        let Target::Path { path, .. } = Target::parse(target)? else { return Err(TargetError::Malformed) };
        let mut text = String::with_capacity(target.len());
        for component in path.split('/').skip(1) {
            let start = text.len();
            text.push('/');
            unescape_unreserved(component, &mut text)?;
            match &text[start + 1..] {
                "." => text.truncate(start),
                ".." => {
                    text.truncate(start);
                    let parent = text.rfind('/').ok_or(TargetError::Malformed)?;
                    text.truncate(parent);
                }
                _ => {}
            }
        }
        let ends_in_dots = matches!(last_component(path)?.as_str(), "." | "..");
        if text.is_empty() || ends_in_dots {
            text.push('/');
        }
        let path_bytes = text.len();
        if let Some(query) = memchr::memchr(b'?', target.as_bytes()) {
            text.push_str(&target[query..]);
        }
        let authority = target
            .split_once("://")
            .filter(|_| !target.starts_with('/'))
            .map(|(_, rest)| rest.split(['/', '?']).next().unwrap_or_default().to_owned());
        Ok(Self { text, path_bytes, authority })
    }

    /// The path.
    pub fn path(&self) -> &str {
        &self.text[..self.path_bytes]
    }
}

/// The last component of a path, in its normal form.
fn last_component(path: &str) -> Result<String, TargetError> {
    let mut text = String::new();
    unescape_unreserved(path.rsplit('/').next().unwrap_or_default(), &mut text)?;
    Ok(text)
}

/// Appends `component` with the escapes undone of what needs none (RFC 3986 §2.3), and the others in upper case.
fn unescape_unreserved(component: &str, out: &mut String) -> Result<(), TargetError> {
    let mut rest = component;
    while let Some(place) = rest.find('%') {
        out.push_str(&rest[..place]);
        let byte = escaped_byte(&rest.as_bytes()[place + 1..])?;
        if byte < 0x20 || byte == 0x7f {
            return Err(TargetError::Malformed);
        }
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&rest[place..place + 3].to_ascii_uppercase());
        }
        rest = &rest[place + 3..];
    }
    out.push_str(rest);
    Ok(())
}

/// The byte that two hexadecimal digits stand for.
fn escaped_byte(digits: &[u8]) -> Result<u8, TargetError> {
    let [high, low, ..] = digits else { return Err(TargetError::Malformed) };
    let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(TargetError::Malformed);
    Ok((digit(*high)? * 16 + digit(*low)?) as u8)
}

/// The path without its query, its characters and escapes checked.
fn cut_path(path_and_query: &str) -> Result<&str, TargetError> {
    let bytes = path_and_query.as_bytes();
    // Characters of a query are not ours to judge, since it is dropped; a fragment is never part of a target.
    if memchr::memchr(b'#', bytes).is_some() {
        return Err(TargetError::Malformed);
    }
    let path = &path_and_query[..memchr::memchr(b'?', bytes).unwrap_or(bytes.len())];
    if path.bytes().all(|byte| PATH_BYTES[usize::from(byte)]) {
        Ok(path)
    } else {
        Err(TargetError::Malformed)
    }
}

/// `pchar`, `/` and `%` of RFC 3986, and `[ ] ^ |`, which the URL standard of the browsers leaves unescaped
/// in a path.
static PATH_BYTES: [bool; 256] = alphanumeric_and(b"-._~!$&'()*+,;=:@/%[]^|");

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
        let decoded = escaped_byte(rest)?;
        if decoded == b'/' || decoded < 0x20 || decoded == 0x7f {
            return Err(TargetError::Malformed);
        }
        out.push(decoded);
        rest = &rest[2..];
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
    fn two_ways_to_write_a_target_have_one_normal_form() {
        for (target, normal, path_bytes) in [
            ("/a/b?c", "/a/b?c", 4),
            ("/", "/", 1),
            ("/?", "/?", 1),
            ("/a/", "/a/", 3),
            ("/a//b", "/a//b", 5),
            ("/a/./b/../c", "/a/c", 4),
            ("/a/%2e%2E/c", "/c", 2),
            ("/a/..", "/", 1),
            ("/a/b/..", "/a/", 3),
            ("/a/b/.?x", "/a/b/?x", 5),
            ("/%61%2f%c3%a9%7E", "/a%2F%C3%A9~", 12),
            ("/a?%61/../%zz", "/a?%61/../%zz", 2),
            ("http://h/a?b", "/a?b", 2),
            ("http://h", "/", 1),
            ("http://h?b", "/?b", 1),
            ("/a?u=http://h/", "/a?u=http://h/", 2),
        ] {
            let found = NormalTarget::of(target).unwrap();
            assert_eq!((found.text.as_str(), found.path_bytes), (normal, path_bytes), "{target}");
        }
        assert_eq!(NormalTarget::of("http://h:81/a").unwrap().authority.as_deref(), Some("h:81"));
        assert_eq!(NormalTarget::of("/a?u=http://h/").unwrap().authority, None);
        for target in
            ["*", "a", "/..", "/a/../../b", "/%2e%2e/", "/a%", "/a%2", "/a%zz", "/a%00", "/a%0A", "/a#b"]
        {
            assert_eq!(NormalTarget::of(target), Err(TargetError::Malformed), "{target}");
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
