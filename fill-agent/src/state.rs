//! The state folder: what the agent knows across restarts, and the lock that lets one agent work at a time.
//!
//! | file | what | where it is lost |
//! |---|---|---|
//! | `lock` | held while an agent works | |
//! | `manifest.json` | the last good manifest, as it was signed | the next one is taken |
//! | `sequence.json` | the newest sequence seen; never goes back | so does the manifest's |
//! | `licences.json` | when what is held expires, from all manifests so far, and the volumes it was seen on | only the manifest's are known |
//! | `sources.json` | where the bundles of the last plan can be fetched | asked again |
//! | `descriptors/` | those of bundles that were begun | asked again |
//! | `run_wanted.json` | somebody asked for a run that has not begun | they ask again |
//! | `run.json` | the run under way, as far as it came | that run is not reported |
//! | `budget.json` | bytes received in the last nights | the night begins anew |
//! | `history.json` | the last runs | |
//! | the outbox's | what the control plane has not heard yet | see [`control_client::outbox`] |
//!
//! A document is replaced as a whole, and synced. One that cannot be read is put aside as `….damaged`, and counts as lost.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits::STATE_BYTES_MAX;

/// The folder.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    _lock: File,
}

/// Why the folder cannot be used: all are for the operator.
#[derive(Debug)]
pub enum StateError {
    /// Another agent works with it.
    Locked(PathBuf),
    /// Root would leave files in it that its owner, of that number, cannot replace.
    Foreign(PathBuf, u32),
    /// The operating system refused.
    Io(PathBuf, io::Error),
}

impl StateFolder {
    /// Opens the folder, made where it is not there, and takes its lock.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let refused = |error| StateError::Io(path.to_owned(), error);
        fs::DirBuilder::new().recursive(true).mode(0o750).create(path).map_err(refused)?;
        let owner = fs::metadata(path).map_err(refused)?.uid();
        if is_foreign(geteuid().as_raw(), owner) {
            return Err(StateError::Foreign(path.to_owned(), owner));
        }
        let name = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o640)
            .open(&name)
            .map_err(|error| StateError::Io(name.clone(), error))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StateError::Locked(path.to_owned())),
            Err(error) => Err(StateError::Io(name, error.into())),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A document; `None` where there is none, or it is damaged.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.read_within(name, STATE_BYTES_MAX).ok().flatten()
    }

    /// A document of at most so many bytes; otherwise what is the matter with the file.
    pub fn read_within<T: DeserializeOwned>(&self, name: &str, bytes_max: u64) -> Result<Option<T>, String> {
        let Some(bytes) = self.bytes(name, bytes_max)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| self.put_aside(name, &error))
    }

    /// A file of at most so many bytes; `None` where there is none, or it is damaged.
    pub fn read_bytes(&self, name: &str, bytes_max: u64) -> Option<Vec<u8>> {
        self.bytes(name, bytes_max).ok().flatten()
    }

    fn bytes(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, String> {
        let path = self.path.join(name);
        let read = File::open(&path).and_then(|file| {
            let mut bytes = Vec::new();
            file.take(bytes_max + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        match read {
            Ok(bytes) if bytes.len() as u64 > bytes_max => Err(self.put_aside(name, &"it is too long")),
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a file of the agent's state cannot be read; it counts as lost");
                Err(error.to_string())
            }
        }
    }

    /// Replaces a document.
    pub fn write(&self, name: &str, document: &impl Serialize) -> Result<(), StateError> {
        let bytes = serde_json::to_vec(document)
            .map_err(|error| StateError::Io(self.path.join(name), io::Error::other(error)))?;
        self.write_bytes(name, &bytes)
    }

    /// Replaces a file: written beside it, synced, renamed, and the folder synced.
    pub fn write_bytes(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        let path = self.path.join(name);
        replace(&path, bytes).map_err(|error| StateError::Io(path, error))
    }

    /// Removes a file, where it is there.
    pub fn remove(&self, name: &str) -> Result<(), StateError> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StateError::Io(path, error)),
            _ => Ok(()),
        }
    }

    /// Why, in words.
    fn put_aside(&self, name: &str, why: &dyn fmt::Display) -> String {
        let path = self.path.join(name);
        tracing::warn!(path = %path.display(), %why, "a file of the agent's state is damaged, and counts as lost");
        let _ = fs::rename(&path, path.with_extension("damaged"));
        why.to_string()
    }
}

/// Whoever is not root is refused by the file system where it has to be.
fn is_foreign(user: u32, owner: u32) -> bool {
    user == 0 && owner != 0
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o640).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

/// Says that a document could not be kept, where nothing depends on it before the next restart.
pub fn or_warn(kept: Result<(), StateError>) {
    if let Err(error) = kept {
        tracing::warn!(%error, "the agent's state could not be kept; what it is for is lost with the next restart");
    }
}

impl fmt::Display for StateError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(path) => write!(
                formatter,
                "{}: another agent works with this folder; `oca fill run` has it begin a run",
                path.display()
            ),
            Self::Foreign(path, owner) => write!(
                formatter,
                "{}: belongs to user {owner}, and root would leave files that this user cannot replace; \
                 run it as that user, with sudo -u",
                path.display()
            ),
            Self::Io(path, error) => write!(
                formatter,
                "{}: {error}; fill.state has to be a folder that the agent's user may write",
                path.display()
            ),
        }
    }
}

impl std::error::Error for StateError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_agent_works_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let held = StateFolder::open(&path).unwrap();
        assert!(matches!(StateFolder::open(&path), Err(StateError::Locked(_))));
        held.write("x.json", &7).unwrap();
        drop(held);
        assert_eq!(StateFolder::open(&path).unwrap().read::<u32>("x.json"), Some(7));
    }

    #[test]
    fn root_works_in_no_folder_of_another_user() {
        assert!(is_foreign(0, 990));
        assert!(!is_foreign(0, 0) && !is_foreign(990, 990) && !is_foreign(991, 990));
    }

    #[test]
    fn a_damaged_document_is_put_aside_and_counts_as_lost() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        state.write_bytes("x.json", b"{\"torn").unwrap();
        assert_eq!(state.read::<u32>("x.json"), None);
        assert!(folder.path().join("x.damaged").exists());
        assert!(!folder.path().join("x.json").exists());
        state.remove("x.json").unwrap();
    }

    #[test]
    fn a_file_that_is_too_long_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        state.write_bytes("long", &[0; 11]).unwrap();
        assert_eq!(state.read_bytes("long", 11).map(|bytes| bytes.len()), Some(11));
        assert_eq!(state.read_bytes("long", 10), None);
    }
}
