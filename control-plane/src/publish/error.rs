use std::fmt;
use std::io;
use std::path::PathBuf;

use control_client::content::{BundlePath, Generation, NameError};
use control_client::fleet::TitleName;

use crate::database::DatabaseError;

/// Why a title was not published. Nothing was changed.
#[derive(Debug)]
pub enum PublishError {
    /// Something in the directory cannot be read.
    Source(PathBuf, io::Error),
    /// A file changed while it was read.
    Changing(PathBuf),
    /// A directory's path cannot be served.
    Path(PathBuf, NameError),
    /// There is no file in it.
    Nothing,
    /// Too many of something.
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are possible.
        most: usize,
    },
    /// A bundle cannot be made of a directory's files.
    Objects {
        /// The bundle's path.
        path: BundlePath,
        /// Why.
        what: String,
    },
    /// The path belongs to another title.
    Taken {
        /// The path.
        path: BundlePath,
        /// Whose it is.
        owner: TitleName,
    },
    /// The generation is not above the one that is published.
    Generation {
        /// The path.
        path: BundlePath,
        /// The one that is published.
        newest: Generation,
    },
    /// The generation is higher than every reader keeps exact.
    GenerationTooHigh,
    /// The licence ends before the release.
    Times,
    /// A tag is too long, or holds a control character.
    Tag,
    /// A title is named as similar to itself.
    SimilarToItself,
    /// The work was broken off.
    Interrupted(String),
    /// The database did not take it.
    Database(DatabaseError),
}

impl From<DatabaseError> for PublishError {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(path, error) => write!(formatter, "{}: {error}", path.display()),
            Self::Changing(path) => {
                write!(formatter, "{} changed while it was read: publish when it is complete", path.display())
            }
            Self::Path(path, error) => write!(formatter, "{} cannot be served: {error}", path.display()),
            Self::Nothing => write!(formatter, "there is no file that can be published"),
            Self::TooMany { what, most } => write!(formatter, "a title has at most {most} {what}"),
            Self::Objects { path, what } => write!(formatter, "{path} cannot be a bundle: {what}"),
            Self::Taken { path, owner } => {
                write!(formatter, "{path} belongs to the title {owner}: choose another path with --as")
            }
            Self::Generation { path, newest } => write!(
                formatter,
                "{path} is published with generation {newest} and other bytes: give a higher one, or leave --generation out"
            ),
            Self::GenerationTooHigh => {
                write!(formatter, "a generation is at most {}", control_client::limits::INTEGER_MAX)
            }
            Self::Times => {
                write!(formatter, "the licence ends before the release, or a time is beyond the year 9999")
            }
            Self::Tag => write!(
                formatter,
                "a tag has at most {} bytes and no control character",
                crate::limits::TAG_BYTES_MAX
            ),
            Self::SimilarToItself => write!(formatter, "a title is not similar to itself: name another one"),
            Self::Interrupted(why) => write!(formatter, "reading the directory was broken off: {why}"),
            Self::Database(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for PublishError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Source(_, error) => Some(error),
            Self::Database(error) => Some(error),
            _ => None,
        }
    }
}
