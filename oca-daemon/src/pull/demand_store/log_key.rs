//! How a key is written in the log: by its plain path first, so that a purge finds it however a client escaped it.
//!
//! ```text
//! plain path, NUL, query                          /films/a b ␀ ?x=1
//! plain path, NUL, path as it was sent, query     /films/a!b ␀ /films/a%21b?x=1
//! ```
//!
//! Two keys never have the same: the path is left out only where its escaped form is that of the plain one. No path has a NUL in it:
//! a target with an escaped control byte is refused.

use std::io;

use cache_store::demand::{DemandLog, Selector};

use crate::pull::purge::{PurgeSelector, plain_path};

const END_OF_PATH: u8 = 0;

/// A key as the log has it.
pub(super) fn log_key(key: &str) -> Box<[u8]> {
    let (path, query) = key.split_at(key.find('?').unwrap_or(key.len()));
    let plain = plain_path(path);
    let mut bytes = Vec::with_capacity(2 * path.len() + 1 + query.len());
    bytes.extend_from_slice(&plain);
    bytes.push(END_OF_PATH);
    if *plain != *path.as_bytes() {
        bytes.extend_from_slice(path.as_bytes());
    }
    bytes.extend_from_slice(query.as_bytes());
    bytes.into()
}

/// Purges a log of what is selected, durably; says how many entries that were.
pub(super) fn purge(log: &DemandLog, selector: &PurgeSelector) -> io::Result<usize> {
    let purged = match selector {
        PurgeSelector::Exact(key) => log.purge(Selector::Exact(&log_key(key))),
        PurgeSelector::Path(path) => log.purge(Selector::Prefix(&[path.as_bytes(), &[END_OF_PATH]].concat())),
        PurgeSelector::Prefix(prefix) => log.purge(Selector::Prefix(prefix.as_bytes())),
    };
    match purged {
        // Longer than any key: nothing is held under it.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(0),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_path_stands_once_and_another_beside_its_plain_form() {
        assert_eq!(&*log_key("/a/b?x=%21"), b"/a/b\0?x=%21");
        assert_eq!(&*log_key("/a%21b?x"), b"/a!b\0/a%21b?x");
        assert_eq!(&*log_key("/"), b"/\0");
    }

    #[test]
    fn different_keys_stay_different() {
        let keys = ["/a!b", "/a%21b", "/a!b?", "/a%21b?", "/a!b?/a%21b", "/a//b", "/a/b", "/a%2Fb", "/a%2fb"];
        let written: std::collections::HashSet<_> = keys.iter().map(|key| log_key(key)).collect();
        assert_eq!(written.len(), keys.len());
    }
}
