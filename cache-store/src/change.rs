//! What can be asked of a store, and how it is answered.

use std::fmt;
use std::io;
use std::path::PathBuf;

use control_client::content::{BundleKey, Generation};

use crate::inventory::BundleRecord;

/// The end of a request to adopt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adoption {
    /// The bundle in the file: its key, lengths and counts.
    pub record: BundleRecord,
    /// What became of it.
    pub outcome: AdoptionOutcome,
    /// The generation that served its path until now, and is on its way out.
    pub replaced: Option<Generation>,
}

/// What became of a bundle that was to be adopted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdoptionOutcome {
    /// It is in the inventory, durably, and serves; a lower generation of its path is on its way out.
    Adopted,
    /// It was in the inventory before.
    AlreadyAdopted,
    /// The same or a higher generation of its path serves: the file was removed.
    Outdated,
}

/// The end of a request to retire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retirement {
    /// Which bundle.
    pub key: BundleKey,
    /// Bytes of its file.
    pub file_bytes: u64,
    /// Whether the space has returned; `false` where readers still hold the file, or it is still being
    /// unlinked, at the end of the time that the caller gave. Asking again waits again.
    pub has_returned: bool,
}

/// The end of a request to purge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purge {
    /// The bundles that were taken out of service and unlinked, and those that were unlinked before they were adopted.
    pub keys: Vec<BundleKey>,
    /// Bytes of their files.
    pub file_bytes: u64,
    /// Volumes that have failed or are not open yet, and those on which something that was published and not adopted
    /// could not be read, so that nobody knows whether it is meant, or could not be removed: what they hold may serve
    /// again once it can be read.
    pub not_reached: Vec<PathBuf>,
}

/// Why a change was not made.
#[derive(Debug)]
pub enum ChangeError {
    /// No volume of the store has that path or identity.
    NoSuchVolume,
    /// No bundle with that path (and generation) is in service or on its way out.
    NoSuchBundle,
    /// The name is not one of a bundle's file.
    NotAFileName,
    /// There is no such file.
    NoSuchFile(String),
    /// The file is not a bundle that can be served; the text says what became of it.
    Refused(String),
    /// A bundle with the same path and generation is on its way out; once it has gone, it can be published
    /// again.
    Leaving,
    /// The volume is not used.
    VolumeFailed(String),
    /// The volume has not answered in time; what was asked for may still happen.
    TimedOut,
    /// The inventory cannot be written: the bundle does not serve.
    Journal(io::Error),
    /// The disk did not do it.
    Io(io::Error),
    /// It could not be unlinked; it is out of service, and it is tried again at the next start.
    NotRemoved(String),
    /// The store is being closed.
    Closing,
}

impl ChangeError {
    /// A short name for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoSuchVolume => "no_such_volume",
            Self::NoSuchBundle => "no_such_bundle",
            Self::NotAFileName => "not_a_file_name",
            Self::NoSuchFile(_) => "no_such_file",
            Self::Refused(_) => "refused",
            Self::Leaving => "leaving",
            Self::VolumeFailed(_) => "volume_failed",
            Self::TimedOut => "timed_out",
            Self::Journal(_) => "journal",
            Self::Io(_) => "io",
            Self::NotRemoved(_) => "not_removed",
            Self::Closing => "closing",
        }
    }
}

impl AdoptionOutcome {
    /// The outcome's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Adopted => "adopted",
            Self::AlreadyAdopted => "already_adopted",
            Self::Outdated => "outdated",
        }
    }
}

impl fmt::Display for ChangeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchVolume => write!(formatter, "the store has no such volume; see `oca status`"),
            Self::NoSuchBundle => write!(formatter, "no such bundle; see `oca inventory`"),
            Self::NotAFileName => {
                write!(formatter, "not the name of a bundle's file (32 digits, '-', 16 digits, '.bundle')")
            }
            Self::NoSuchFile(file) => write!(formatter, "{file}: no such file on the volume"),
            Self::Refused(what) => write!(formatter, "not a bundle that can be served: {what}"),
            Self::Leaving => {
                write!(formatter, "the bundle is on its way out; publish it again once it has gone")
            }
            Self::VolumeFailed(what) => write!(formatter, "the volume is not used: {what}"),
            Self::TimedOut => {
                write!(formatter, "the volume has not answered in time; ask again, see `oca health`")
            }
            Self::Journal(error) => write!(formatter, "the volume's inventory cannot be written: {error}"),
            Self::Io(error) => write!(formatter, "{error}"),
            Self::NotRemoved(what) => {
                write!(formatter, "out of service, but not removed, tried again at the next start: {what}")
            }
            Self::Closing => write!(formatter, "the store is being closed"),
        }
    }
}

impl std::error::Error for ChangeError {}
