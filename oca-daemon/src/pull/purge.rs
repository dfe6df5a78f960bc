//! What is dropped because somebody says so.
//!
//! Clients escape what they like, and keys keep that apart: to an origin `/a;b` and `/a%3Bb` may be two things. An operator means a
//! name, and so all keys with the same *plain path*: escapes undone, no empty and no dot components, slashes for backslashes.

use std::borrow::Cow;

use control_client::content::BundlePath;
use serde::{Deserialize, Serialize};

/// What is to be dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PurgeSelector {
    /// What is held under this key, path and query, and under no other.
    Exact(String),
    /// What is held under every key with this plain path.
    Path(String),
    /// What is held under every key whose plain path starts so.
    Prefix(String),
}

/// What was dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Objects: the variants of a key count each.
    pub objects: u64,
}

impl PurgeSelector {
    /// What an operator means who names a path: what has that path, whatever its query, and what lies below it. Of the root only what
    /// `everything` allows: there all that is held lies below it.
    pub fn of(path: &BundlePath, everything: bool) -> Vec<Self> {
        let path = String::from_utf8_lossy(&resolved(path.as_str().as_bytes())).into_owned();
        match (path.as_str(), everything) {
            ("/", true) => vec![Self::everything()],
            ("/", false) => vec![Self::Path(path)],
            _ => vec![Self::Prefix(format!("{path}/")), Self::Path(path)],
        }
    }

    /// All that there is.
    pub(super) fn everything() -> Self {
        Self::Prefix("/".to_owned())
    }

    /// Whether what is held under `key` is meant.
    pub(super) fn means(&self, key: &str) -> bool {
        let path = || plain_path(key.split('?').next().unwrap_or_default());
        match self {
            Self::Exact(exact) => exact == key,
            Self::Path(meant) => *path() == *meant.as_bytes(),
            Self::Prefix(prefix) => path().starts_with(prefix.as_bytes()),
        }
    }

    /// The key, path or prefix.
    pub(super) fn text(&self) -> &str {
        let (Self::Exact(text) | Self::Path(text) | Self::Prefix(text)) = self;
        text
    }
}

/// The plain path of a path that a client sent.
pub(crate) fn plain_path(path: &str) -> Cow<'_, [u8]> {
    let bytes = path.as_bytes();
    let is_plain = bytes.starts_with(b"/")
        && !bytes.iter().any(|byte| b"%\\".contains(byte))
        && !bytes.windows(2).any(|pair| matches!(pair, b"//" | b"/."));
    if is_plain { Cow::Borrowed(bytes) } else { Cow::Owned(resolved(&unescaped(bytes))) }
}

/// Every escape undone, once.
pub(crate) fn unescaped(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [byte, after @ ..] = rest {
        let digit = |place: usize| after.get(place).and_then(|byte| char::from(*byte).to_digit(16));
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                plain.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            _ => {
                plain.push(*byte);
                rest = after;
            }
        }
    }
    plain
}

/// Without empty and dot components; it ends in a slash where the last of them was one.
pub(crate) fn resolved(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut ends_in_slash = false;
    for component in bytes.split(|byte| b"/\\".contains(byte)) {
        ends_in_slash = matches!(component, b"" | b"." | b"..");
        match component {
            b"" | b"." => {}
            b".." => plain.truncate(plain.iter().rposition(|byte| *byte == b'/').unwrap_or(0)),
            name => {
                plain.push(b'/');
                plain.extend_from_slice(name);
            }
        }
    }
    if ends_in_slash {
        plain.push(b'/');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::NormalTarget;

    fn selectors(path: &str, everything: bool) -> Vec<PurgeSelector> {
        PurgeSelector::of(&BundlePath::parse(path).unwrap(), everything)
    }

    fn is_meant(selectors: &[PurgeSelector], target: &str) -> bool {
        let key = NormalTarget::of(target).unwrap().text;
        selectors.iter().any(|selector| selector.means(&key))
    }

    #[test]
    fn a_path_means_itself_with_any_query_and_what_lies_below_it() {
        let meant = selectors("/titles/a é", false);
        for target in ["/titles/a%20%c3%a9", "/titles/a%20%C3%A9?x", "/titles/a%20%C3%A9/1080p/1.m4s?y"] {
            assert!(is_meant(&meant, target), "{target}");
        }
        for target in ["/titles/a%20%C3%A9b", "/titles/a%20", "/titles", "/other/titles/a%20%C3%A9"] {
            assert!(!is_meant(&meant, target), "{target}");
        }
    }

    #[test]
    fn a_path_means_itself_however_it_is_escaped() {
        let meant = selectors("/t!tles/(a)+b'%", false);
        for target in [
            "/t!tles/(a)+b'%25",
            "/t%21tles/%28a%29%2Bb%27%25",
            "/t%21tles/(a)+b%27%25/1.m4s?x",
            "/t!tles//(a)+b'%25/",
            "/t!tles%2F(a)+b'%25%2F1.m4s",
            "/t!tles%5C(a)+b'%25",
            "/t!tles/x/..%2f(a)+b'%25",
        ] {
            assert!(is_meant(&meant, target), "{target}");
        }
        for target in ["/t!tles/(a)+b'", "/t!tles/(a)%20b'%25", "/t%2521tles/(a)+b'%25"] {
            assert!(!is_meant(&meant, target), "{target}");
        }
    }

    #[test]
    fn all_that_is_held_is_dropped_only_where_that_is_said() {
        assert!(is_meant(&selectors("/", true), "/a"));
        assert!(!is_meant(&selectors("/", false), "/a") && is_meant(&selectors("/", false), "/?a"));
    }

    #[test]
    fn a_key_means_no_other_spelling() {
        let exact = PurgeSelector::Exact("/a;b?x".to_owned());
        assert!(exact.means("/a;b?x") && !exact.means("/a%3Bb?x") && !exact.means("/a;b"));
    }
}
