//! What volumes have missed: purges that could not be made on them, because they were away, slow or sick. They are written down in a
//! file of the daemon's own, outlive restarts, and are made before anybody can look at what such a volume holds.
//!
//! A volume is known by its path, as its operator wrote it: it may never have said what its identity is. What is missed beyond a bound
//! becomes "everything", and so does a file that cannot be understood: it is not known then what was purged, and content that can be
//! pulled again is worth less than a purge that does not hold.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::limits::{MISSED_PURGES_BYTES_MAX, MISSED_PURGES_FILE_BYTES_MAX};
use crate::pull::PurgeSelector;

/// The register of missed purges.
#[derive(Debug)]
pub(super) struct MissedPurges {
    file: Option<PathBuf>,
    register: Mutex<Register>,
}

#[derive(Debug, Default)]
struct Register {
    by_volume: BTreeMap<String, Vec<PurgeSelector>>,
    /// The file says the same.
    is_written: bool,
}

/// The file: JSON.
#[derive(Deserialize, Serialize)]
struct Document {
    version: u32,
    volumes: BTreeMap<String, Vec<PurgeSelector>>,
}

const VERSION: u32 = 1;

impl MissedPurges {
    /// What the file says that these volumes have missed. Without a file it is kept in memory only, and no purge that a volume has
    /// missed is safe.
    pub(super) fn load<'a>(file: Option<PathBuf>, volumes: impl Iterator<Item = &'a Path>) -> Self {
        let by_volume = file.as_deref().map_or_else(|| Ok(BTreeMap::new()), read);
        let by_volume = by_volume.unwrap_or_else(|error| {
            tracing::error!(
                file = %file.as_deref().unwrap_or(Path::new("")).display(), %error,
                "it is not known which purges volumes have missed: what was pulled before is dropped. pull.missed_purges must be a \
                 file that the daemon may read and write"
            );
            volumes.map(|volume| (name(volume), vec![PurgeSelector::everything()])).collect()
        });
        Self { file, register: Mutex::new(Register { by_volume, is_written: true }) }
    }

    /// These volumes have missed these purges. Durable when it returns. Waits for the file's disk.
    pub(super) fn add(&self, volumes: &[PathBuf], selectors: &[PurgeSelector]) -> io::Result<()> {
        let mut register = self.lock();
        for volume in volumes {
            let missed = register.by_volume.entry(name(volume)).or_default();
            let has_grown = add(missed, selectors);
            register.is_written &= !has_grown;
        }
        self.write(&mut register)
    }

    /// Purges a volume's log of what it has missed, and has it `serve` when there is no more of that.
    pub(super) fn make_up<L>(
        &self,
        volume: &Path,
        log: L,
        purge: impl Fn(&L, &PurgeSelector) -> io::Result<usize>,
        serve: impl FnOnce(L),
    ) -> io::Result<()> {
        let volume = name(volume);
        let mut made = Vec::new();
        loop {
            let mut register = self.lock();
            let missed = register.by_volume.get(&volume).cloned().unwrap_or_default();
            if missed == made {
                serve(log);
                register.is_written &= register.by_volume.remove(&volume).is_none();
                if let Err(error) = self.write(&mut register) {
                    tracing::warn!(%error, "a purge that was missed is made again at the next start");
                }
                return Ok(());
            }
            // Purging waits for the volume's disk: others do not wait for that.
            drop(register);
            for selector in missed.iter().filter(|selector| !made.contains(selector)) {
                let entries = purge(&log, selector)?;
                tracing::info!(volume, ?selector, entries, "a purge that was missed is made");
            }
            made = missed;
        }
    }

    fn write(&self, register: &mut Register) -> io::Result<()> {
        if register.is_written {
            return Ok(());
        }
        let Some(file) = &self.file else {
            return Err(io::Error::other("pull.missed_purges names no file to write that down in"));
        };
        let document = Document { version: VERSION, volumes: register.by_volume.clone() };
        replace(file, &serde_json::to_vec(&document)?)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))?;
        register.is_written = true;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Register> {
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds what is new; whether anything is.
fn add(missed: &mut Vec<PurgeSelector>, selectors: &[PurgeSelector]) -> bool {
    let everything = PurgeSelector::everything();
    let before = missed.len();
    for selector in selectors {
        if !missed.contains(selector) && !missed.contains(&everything) {
            missed.push(selector.clone());
        }
    }
    let bytes: usize = missed.iter().map(|selector| selector.text().len()).sum();
    if bytes > MISSED_PURGES_BYTES_MAX {
        *missed = vec![everything];
        return true;
    }
    missed.len() > before
}

/// As it is written in the file.
fn name(volume: &Path) -> String {
    volume.display().to_string()
}

fn read(file: &Path) -> io::Result<BTreeMap<String, Vec<PurgeSelector>>> {
    let opened = match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        other => other?,
    };
    let mut bytes = Vec::new();
    opened.take(MISSED_PURGES_FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    let document: Document = serde_json::from_slice(&bytes)?;
    if document.version != VERSION {
        return Err(io::Error::other(format!("version {} is not known", document.version)));
    }
    Ok(document.volumes)
}

/// Written beside it, synced, renamed, and the folder synced.
fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = file.with_extension("new");
    let mut new = OpenOptions::new().create(true).write(true).truncate(true).mode(0o640).open(&beside)?;
    new.write_all(bytes)?;
    new.sync_all()?;
    fs::rename(&beside, file)?;
    File::open(file.parent().ok_or(io::ErrorKind::InvalidInput)?)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const VOLUME: &str = "/srv/oca/volume0";

    fn load(folder: &tempfile::TempDir) -> MissedPurges {
        MissedPurges::load(Some(folder.path().join("missed")), [Path::new(VOLUME)].into_iter())
    }

    fn path(path: &str) -> PurgeSelector {
        PurgeSelector::Path(path.to_owned())
    }

    /// What is made up for when the volume is opened.
    fn made_up(missed: &MissedPurges) -> Vec<PurgeSelector> {
        let made = RefCell::new(Vec::new());
        let purge = |(): &(), selector: &PurgeSelector| {
            made.borrow_mut().push(selector.clone());
            Ok(0)
        };
        missed.make_up(Path::new(VOLUME), (), purge, |()| ()).unwrap();
        made.into_inner()
    }

    #[test]
    fn what_was_missed_outlives_a_restart_and_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        load(&folder).add(&[VOLUME.into(), "/other".into()], &[path("/a"), path("/b")]).unwrap();
        assert_eq!(made_up(&load(&folder)), [path("/a"), path("/b")]);
        assert!(made_up(&load(&folder)).is_empty());
    }

    #[test]
    fn a_purge_that_cannot_be_made_up_for_leaves_the_volume_unserved_and_is_missed_still() {
        let folder = tempfile::tempdir().unwrap();
        let missed = load(&folder);
        missed.add(&[VOLUME.into()], &[path("/a")]).unwrap();
        let made = missed.make_up(
            Path::new(VOLUME),
            (),
            |(), _| Err(io::Error::other("sick")),
            |()| panic!("it must not serve"),
        );
        assert_eq!(made.unwrap_err().to_string(), "sick");
        assert_eq!(made_up(&load(&folder)), [path("/a")]);
    }

    #[test]
    fn what_is_missed_while_others_are_made_up_for_is_made_before_it_serves() {
        let folder = tempfile::tempdir().unwrap();
        let missed = load(&folder);
        missed.add(&[VOLUME.into()], &[path("/a")]).unwrap();
        let made = RefCell::new(Vec::new());
        let purge = |(): &(), selector: &PurgeSelector| {
            if made.borrow().is_empty() {
                missed.add(&[VOLUME.into()], &[path("/late")]).unwrap();
            }
            made.borrow_mut().push(selector.clone());
            Ok(0)
        };
        let serve = |()| assert_eq!(made.borrow().len(), 2);
        missed.make_up(Path::new(VOLUME), (), purge, serve).unwrap();
        assert_eq!(*made.borrow(), [path("/a"), path("/late")]);
    }

    #[test]
    fn beyond_the_bound_and_where_the_file_is_damaged_everything_was_missed() {
        let folder = tempfile::tempdir().unwrap();
        let missed = load(&folder);
        for number in 0..MISSED_PURGES_BYTES_MAX / 1000 + 1 {
            missed.add(&[VOLUME.into()], &[path(&format!("/{number:01000}"))]).unwrap();
        }
        assert_eq!(made_up(&missed), [PurgeSelector::everything()]);
        for damaged in ["", "{", "{\"version\":2,\"volumes\":{}}"] {
            fs::write(folder.path().join("missed"), damaged).unwrap();
            assert_eq!(made_up(&load(&folder)), [PurgeSelector::everything()], "{damaged}");
        }
    }

    #[test]
    fn a_purge_that_cannot_be_written_down_is_an_error_each_time() {
        let missed = MissedPurges::load(Some("/nowhere/missed".into()), [Path::new(VOLUME)].into_iter());
        for _ in 0..2 {
            missed.add(&[VOLUME.into()], &[path("/a")]).unwrap_err();
        }
        MissedPurges::load(None, std::iter::empty()).add(&[VOLUME.into()], &[path("/a")]).unwrap_err();
        assert_eq!(made_up(&missed), [path("/a")], "while the process lives it is remembered all the same");
    }
}
