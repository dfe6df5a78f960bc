//! What is dropped because somebody says so.

use std::fmt::Write;

use control_client::content::BundlePath;

/// What is to be dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PurgeSelector {
    /// What is held under this key: path and query.
    Exact(String),
    /// What is held under every key that starts so.
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
        let key = key_of(path.as_str());
        match (key.as_str(), everything) {
            ("/", true) => vec![Self::Prefix(key)],
            ("/", false) => vec![Self::Prefix(format!("{key}?")), Self::Exact(key)],
            _ => vec![Self::Prefix(format!("{key}/")), Self::Prefix(format!("{key}?")), Self::Exact(key)],
        }
    }
}

/// A path as keys have it: what clients escape is escaped.
fn key_of(path: &str) -> String {
    let mut key = String::with_capacity(path.len());
    for byte in path.bytes() {
        // As `request/target.rs`: what may stand in a path, but for the sign of an escape.
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/[]^|".contains(&byte) {
            key.push(char::from(byte));
        } else {
            write!(key, "%{byte:02X}").expect("writing to memory cannot fail");
        }
    }
    key
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
        selectors.iter().any(|selector| match selector {
            PurgeSelector::Exact(exact) => *exact == key,
            PurgeSelector::Prefix(prefix) => key.starts_with(prefix),
        })
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
    fn all_that_is_held_is_dropped_only_where_that_is_said() {
        assert!(is_meant(&selectors("/", true), "/a"));
        assert!(!is_meant(&selectors("/", false), "/a") && is_meant(&selectors("/", false), "/?a"));
    }
}
