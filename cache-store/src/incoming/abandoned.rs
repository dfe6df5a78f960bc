use std::io;
use std::os::fd::AsFd;

use super::{DIRECTORY, partial_name, remove_unlocked};
use crate::clock::unix_seconds;
use crate::disk::{self, FileFacts};
use crate::limits::PARTIAL_AGE_MAX;
use crate::volume::Volume;

/// What was found under `incoming/` that nobody writes.
#[derive(Debug, Default)]
pub(crate) struct Cleared {
    /// How many files were removed.
    pub(crate) removed: u64,
    /// What could not be, and why: by its name, or no name for all of it.
    pub(crate) left: Vec<(String, io::Error)>,
}

/// Removes the files under `incoming/` that no writer holds the lock of, except partial files that are still young. One
/// that cannot be removed keeps no other from being.
pub(crate) fn remove_abandoned(volume: &Volume) -> Cleared {
    let mut cleared = Cleared::default();
    let listed = volume.directory(DIRECTORY).and_then(|incoming| {
        let names = disk::list(incoming.as_fd())?;
        Ok((incoming, names))
    });
    let (incoming, names) = match listed {
        Ok(listed) => listed,
        Err(error) => {
            cleared.left.push((String::new(), error));
            return cleared;
        }
    };
    let now = unix_seconds();
    for name in names {
        let is_abandoned = |facts: &FileFacts| !name.ends_with(partial_name::SUFFIX) || is_old(facts, now);
        // Asked without the lock first, so that a partial file that is in use is not even touched.
        let removed = match disk::named_facts(incoming.as_fd(), &name) {
            Ok(Some(facts)) if !is_abandoned(&facts) => Ok(false),
            _ => remove_unlocked(incoming.as_fd(), &name, is_abandoned),
        };
        match removed {
            Ok(is_removed) => cleared.removed += u64::from(is_removed),
            Err(error) => cleared.left.push((name, error)),
        }
    }
    cleared
}

/// Whether a partial file is not worth keeping: nobody has written it for days, or it has another name, which is the
/// bundle's. A file from the future is young: the clock was, or is, wrong.
fn is_old(facts: &FileFacts, now: u64) -> bool {
    let written = u64::try_from(facts.written / 1_000_000_000).unwrap_or(0);
    facts.links > 1 || now.saturating_sub(written) >= PARTIAL_AGE_MAX.as_secs()
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn a_partial_file_is_old_three_days_after_its_last_write_and_never_before_its_time() {
        let directory = tempfile::tempdir().unwrap();
        let opened: OwnedFd = std::fs::File::open(directory.path()).unwrap().into();
        std::fs::write(directory.path().join("file"), b"").unwrap();
        let mut facts = disk::named_facts(opened.as_fd(), "file").unwrap().unwrap();
        let written = (facts.written / 1_000_000_000) as u64;
        let age_max = PARTIAL_AGE_MAX.as_secs();
        assert!(!is_old(&facts, written) && !is_old(&facts, written + age_max - 1));
        assert!(is_old(&facts, written + age_max) && is_old(&facts, u64::MAX));
        // The clock was ahead, or has not been set yet.
        assert!(!is_old(&facts, 0));
        facts.links = 2;
        assert!(is_old(&facts, written));
    }
}
