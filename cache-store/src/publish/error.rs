use std::fmt;
use std::io;

use control_client::content::{BundleKey, ObjectName, Sha256};

use crate::format::FormatError;

/// Why a bundle was not published, sorted by who has to act.
#[derive(Debug)]
pub enum PublishError {
    /// The caller: these objects cannot be one bundle, or what was said of them does not fit them.
    Contents(String),
    /// The source: an object has another length than was said.
    Length {
        /// Which object.
        name: ObjectName,
        /// What was said, in bytes.
        planned_bytes: u64,
    },
    /// The source: an object has another digest than was said.
    Digest {
        /// Which object.
        name: ObjectName,
        /// The digest of what was written.
        found: Sha256,
    },
    /// Nobody: a bundle with that path and generation is published already.
    Exists(BundleKey),
    /// Nobody, or whoever runs two agents: another process writes that bundle.
    InUse(BundleKey),
    /// The operator: the disk is full.
    Full {
        /// Bytes that the bundle needs.
        file_bytes: u64,
    },
    /// The operator: the volume is isolated, and nothing is written to it.
    Isolated {
        /// Why it is.
        reason: String,
    },
    /// The operator: the disk gave back other bytes than were written.
    ReadBack(String),
    /// The operator: the disk failed.
    Io {
        /// What was being done.
        step: &'static str,
        /// What the operating system said.
        error: io::Error,
    },
}

/// What it means that the operating system refuses this step.
pub(crate) fn failed(step: &'static str) -> impl Fn(io::Error) -> PublishError {
    move |error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => PublishError::Full { file_bytes: 0 },
        _ => PublishError::Io { step, error },
    }
}

impl From<FormatError> for PublishError {
    fn from(error: FormatError) -> Self {
        Self::Contents(error.to_string())
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contents(what) => formatter.write_str(what),
            Self::Length { name, planned_bytes } => {
                write!(
                    formatter,
                    "{name}: not the {planned_bytes} bytes that were announced; it changed meanwhile?"
                )
            }
            Self::Digest { name, found } => {
                write!(formatter, "{name}: its SHA-256 is {found}, not the one announced; fetch it again")
            }
            Self::Exists(key) => write!(formatter, "{key} is published on this volume already"),
            Self::InUse(key) => {
                write!(formatter, "{key} is being written by another process; let it finish, or stop it")
            }
            Self::Full { file_bytes: 0 } => write!(formatter, "the volume is full; retire something first"),
            Self::Full { file_bytes } => {
                write!(formatter, "the volume has no room for {file_bytes} bytes; retire something first")
            }
            Self::Isolated { reason } => write!(
                formatter,
                "the volume is isolated: {reason}; check or replace its disk, then `oca init --readmit`"
            ),
            Self::ReadBack(what) => {
                write!(formatter, "the disk gives back other bytes than were written; replace it: {what}")
            }
            Self::Io { step, error } => write!(formatter, "{step}: {error}"),
        }
    }
}

impl std::error::Error for PublishError {}
