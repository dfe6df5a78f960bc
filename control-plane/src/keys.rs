//! The secrets of the control plane, in its state folder: keys that sign fill manifests, and the operator's
//! token. Files that only their owner reads.
//!
//! Keys live in `keys/`, one file each: `<number>-<id>.key`, and `<number>-<id>.retired` once it signs no
//! more. The one with the lowest number signs. So a key is followed by another in three steps that never
//! leave an appliance without a manifest that it believes: `keys new` makes the next one, which signs nothing
//! yet; its public half is put into every appliance's `control.trusted_keys`; `keys retire` takes the old one
//! away, and from then on the next one signs.

mod error;

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use control_client::content::Sha256;
use control_client::digest::sha256;
use control_client::signature::{SigningKey, TrustedKey};
use control_client::token::Token;

pub use error::KeyError;

/// The state folder.
#[derive(Clone, Debug)]
pub struct StateFolder {
    path: PathBuf,
}

/// A key that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its place in the order.
    pub number: u64,
    /// What manifests call it.
    pub id: String,
    /// Whether it signs no more.
    pub is_retired: bool,
    path: PathBuf,
}

/// The key that signs.
#[derive(Debug)]
pub struct Signer {
    /// What manifests call it.
    pub id: String,
    /// The key.
    pub key: SigningKey,
}

impl StateFolder {
    /// The folder at `path`, made where it is not there, for its owner alone.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        let keys = path.join("keys");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&keys)
            .map_err(|error| KeyError::File(keys, error))?;
        Ok(Self { path: path.to_owned() })
    }

    /// All keys, the one that signs first.
    pub fn keys(&self) -> Result<Vec<KeyRecord>, KeyError> {
        let folder = self.keys_path();
        let error = |error| KeyError::File(folder.clone(), error);
        let mut keys = Vec::new();
        for entry in fs::read_dir(&folder).map_err(error)? {
            let path = entry.map_err(error)?.path();
            keys.extend(KeyRecord::of(path));
        }
        keys.sort_by(|left, right| {
            (left.is_retired, left.number, &left.id).cmp(&(right.is_retired, right.number, &right.id))
        });
        Ok(keys)
    }

    /// The key that signs.
    pub fn signer(&self) -> Result<Signer, KeyError> {
        let record = self.keys()?.into_iter().find(|key| !key.is_retired);
        let record = record.ok_or_else(|| KeyError::None(self.keys_path()))?;
        Ok(Signer { key: record.load()?, id: record.id })
    }

    /// The key that signs; the first one is made where there is none.
    pub fn signer_or_first(&self) -> Result<Signer, KeyError> {
        match self.signer() {
            Err(KeyError::None(_)) => {
                self.new_key()?;
                self.signer()
            }
            signer => signer,
        }
    }

    /// Makes a key, to sign when those before it are retired.
    pub fn new_key(&self) -> Result<KeyRecord, KeyError> {
        let key = SigningKey::generate().map_err(|_| KeyError::Randomness)?;
        let number = self.keys()?.iter().map(|key| key.number + 1).max().unwrap_or(1);
        let id = key.id();
        let path = self.keys_path().join(format!("{number}-{id}.key"));
        // Under a name that no key has, until all of it is on the disk.
        let beginning = path.with_extension("new");
        key.save(&beginning).map_err(|error| KeyError::Key(beginning.clone(), error))?;
        fs::rename(&beginning, &path).map_err(|error| KeyError::File(path.clone(), error))?;
        sync_folder(&self.keys_path())?;
        Ok(KeyRecord { number, id, is_retired: false, path })
    }

    /// Lets a key sign no more, and tells which one signs now.
    pub fn retire(&self, id: &str) -> Result<String, KeyError> {
        let (retiring, others): (Vec<_>, Vec<_>) =
            self.keys()?.into_iter().filter(|key| !key.is_retired).partition(|key| key.id == id);
        let Some(key) = retiring.into_iter().next() else { return Err(KeyError::Unknown(id.to_owned())) };
        let Some(next) = others.into_iter().next() else { return Err(KeyError::Last) };
        // One that cannot be read would sign nothing.
        next.load()?;
        let retired = key.path.with_extension("retired");
        fs::rename(&key.path, &retired).map_err(|error| KeyError::File(retired, error))?;
        sync_folder(&self.keys_path())?;
        Ok(next.id)
    }

    /// Where the keys are.
    pub fn keys_path(&self) -> PathBuf {
        self.path.join("keys")
    }

    /// Where the operator's token is.
    pub fn operator_token_path(&self) -> PathBuf {
        self.path.join("operator.token")
    }

    /// The digest of the operator's token, which is made where there is none.
    pub fn operator_token(&self) -> Result<Sha256, KeyError> {
        let path = self.operator_token_path();
        match read_secret(&path) {
            Err(KeyError::File(_, error)) if error.kind() == io::ErrorKind::NotFound => {
                let token = Token::generate().map_err(|_| KeyError::Randomness)?;
                write_secret(&path, &format!("{}\n", token.as_str()))?;
                Ok(token.sha256())
            }
            Err(error) => Err(error),
            Ok(text) if text.trim().is_empty() => Err(KeyError::NoToken(path)),
            Ok(text) => Ok(sha256(text.trim().as_bytes())),
        }
    }
}

impl KeyRecord {
    /// The public half, as appliances are configured with it.
    pub fn trusted_key(&self) -> Result<TrustedKey, KeyError> {
        Ok(self.load()?.trusted_key(&self.id))
    }

    fn load(&self) -> Result<SigningKey, KeyError> {
        check_mode(&self.path)?;
        SigningKey::load(&self.path).map_err(|error| KeyError::Key(self.path.clone(), error))
    }

    fn of(path: PathBuf) -> Option<Self> {
        let is_retired = match path.extension()?.to_str()? {
            "key" => false,
            "retired" => true,
            _ => return None,
        };
        let (number, id) = path.file_stem()?.to_str()?.split_once('-')?;
        Some(Self { number: number.parse().ok()?, id: id.to_owned(), is_retired, path: path.clone() })
    }
}

/// The longest secret, in bytes.
const SECRET_BYTES_MAX: u64 = 4096;

fn read_secret(path: &Path) -> Result<String, KeyError> {
    let error = |error| KeyError::File(path.to_owned(), error);
    check_mode(path)?;
    let file = fs::File::open(path).map_err(error)?;
    let mut text = String::new();
    file.take(SECRET_BYTES_MAX).read_to_string(&mut text).map_err(error)?;
    Ok(text)
}

fn check_mode(path: &Path) -> Result<(), KeyError> {
    let metadata = fs::metadata(path).map_err(|error| KeyError::File(path.to_owned(), error))?;
    if metadata.mode() & 0o077 == 0 { Ok(()) } else { Err(KeyError::Exposed(path.to_owned())) }
}

fn write_secret(path: &Path, text: &str) -> Result<(), KeyError> {
    let error = |error| KeyError::File(path.to_owned(), error);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(error)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(error)
}

fn sync_folder(path: &Path) -> Result<(), KeyError> {
    fs::File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| KeyError::File(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_oldest_key_signs_until_it_is_retired() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(&folder.path().join("state")).unwrap();
        assert!(matches!(state.signer(), Err(KeyError::None(_))));
        let first = state.signer_or_first().unwrap().id;
        assert_eq!(state.signer_or_first().unwrap().id, first);
        assert!(matches!(state.retire(&first), Err(KeyError::Last)));
        let second = state.new_key().unwrap().id;
        assert_eq!(state.signer().unwrap().id, first);
        assert_eq!(state.retire(&first).unwrap(), second);
        assert_eq!(state.signer().unwrap().id, second);
        assert!(matches!(state.retire(&first), Err(KeyError::Unknown(_))));
        let listed: Vec<_> =
            state.keys().unwrap().into_iter().map(|key| (key.number, key.is_retired)).collect();
        assert_eq!(listed, [(2, false), (1, true)]);
    }

    #[test]
    fn a_key_is_not_retired_before_the_next_one_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        let first = state.signer_or_first().unwrap().id;
        let next = state.new_key().unwrap();
        fs::write(&next.path, "half a ke").unwrap();
        assert!(matches!(state.retire(&first), Err(KeyError::Key(..))));
        assert_eq!(state.signer().unwrap().id, first);
    }

    #[test]
    fn a_key_that_was_not_written_to_its_end_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        fs::write(folder.path().join("keys/1-0123456789abcdef.new"), "0123").unwrap();
        assert_eq!(state.keys().unwrap(), []);
        assert_ne!(state.signer_or_first().unwrap().id, "0123456789abcdef");
    }

    #[test]
    fn secrets_are_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(&folder.path().join("state")).unwrap();
        let digest = state.operator_token().unwrap();
        let key = state.new_key().unwrap();
        for (path, mode) in [
            (folder.path().join("state"), 0o700),
            (folder.path().join("state/keys"), 0o700),
            (state.operator_token_path(), 0o600),
            (key.path.clone(), 0o600),
        ] {
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, mode, "{}", path.display());
        }
        assert_eq!(state.operator_token().unwrap(), digest);
        fs::set_permissions(state.operator_token_path(), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(state.operator_token(), Err(KeyError::Exposed(_))));
        fs::set_permissions(&key.path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(state.signer(), Err(KeyError::Exposed(_))));
    }
}
