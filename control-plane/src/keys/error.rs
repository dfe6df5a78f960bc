use std::fmt;
use std::io;
use std::path::PathBuf;

use control_client::signature::SigningKeyError;

/// Why a secret cannot be had.
#[derive(Debug)]
pub enum KeyError {
    /// A file cannot be read or written.
    File(PathBuf, io::Error),
    /// Others than its owner can read it.
    Exposed(PathBuf),
    /// A key's file holds none.
    Key(PathBuf, SigningKeyError),
    /// No key of that name signs or waits.
    Unknown(String),
    /// It is the last one: nothing would be signed.
    Last,
    /// There is none that signs.
    None(PathBuf),
    /// There is none that signs, and the database has manifests of one that was elsewhere.
    Elsewhere {
        /// Where keys are looked for.
        folder: PathBuf,
        /// The one that signed last.
        id: String,
    },
    /// The operator's token is empty.
    NoToken(PathBuf),
    /// The system gives no random bytes.
    Randomness,
}

impl fmt::Display for KeyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) => write!(formatter, "{}: {error}", path.display()),
            Self::Exposed(path) => {
                let path = path.display();
                write!(
                    formatter,
                    "others can read {path}: chmod 600 {path}, and replace the secret if they may have"
                )
            }
            Self::Key(path, error) => write!(formatter, "{}: {error}", path.display()),
            Self::Unknown(id) => {
                write!(
                    formatter,
                    "no key {id} signs or waits: \"control-plane keys list\" shows those that do"
                )
            }
            Self::Last => {
                write!(
                    formatter,
                    "it is the only key: make the next one first, with \"control-plane keys new\""
                )
            }
            Self::None(folder) => {
                write!(
                    formatter,
                    "{} holds no key that signs: put it back, or make one with \"control-plane keys new\"",
                    folder.display()
                )
            }
            Self::Elsewhere { folder, id } => write!(
                formatter,
                "{} holds no key, and key {id} has signed manifests of this database: put its file back, or let control_plane.state name \
                 the one folder that all control planes of a database share; where the key is lost, \"control-plane keys new\" makes \
                 another, which appliances obey once it is in their control.trusted_keys",
                folder.display()
            ),
            Self::NoToken(path) => {
                write!(formatter, "{} is empty: remove it, and the next start makes a token", path.display())
            }
            Self::Randomness => write!(formatter, "the system gives no random bytes"),
        }
    }
}

impl std::error::Error for KeyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(_, error) => Some(error),
            Self::Key(_, error) => Some(error),
            _ => None,
        }
    }
}
