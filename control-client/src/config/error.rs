use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::complaint::Complaint;
use super::problem::Problem;

/// Why there is no configuration. All of these are the operator's to mend, and say how.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be opened or read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is larger than [`crate::limits::CONFIG_FILE_BYTES_MAX`].
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The text is not a configuration.
    Refused {
        /// The file, where the text came from one.
        path: Option<PathBuf>,
        /// What is wrong, and where.
        complaint: Box<Complaint>,
    },
    /// The values do not go together.
    Problems {
        /// The file.
        path: PathBuf,
        /// All that is wrong; never empty.
        problems: Vec<Problem>,
    },
}

impl ConfigError {
    pub(super) fn refused(path: Option<&Path>, complaint: Complaint) -> Self {
        Self::Refused { path: path.map(Path::to_owned), complaint: Box::new(complaint) }
    }

    pub(super) fn problems(path: &Path, problems: Vec<Problem>) -> Self {
        Self::Problems { path: path.to_owned(), problems }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, error } => {
                let advice = match error.kind() {
                    io::ErrorKind::NotFound => {
                        "; copy config.example.toml there, or name another file with --config"
                    }
                    io::ErrorKind::PermissionDenied => "; run as a user that may read it",
                    _ => "",
                };
                write!(formatter, "{}: {error}{advice}", path.display())
            }
            Self::TooLarge { path } => {
                write!(formatter, "{}: larger than 1 MiB: this is no configuration file", path.display())
            }
            Self::Refused { path, complaint } => {
                let path = path.as_ref().map_or(Path::new("configuration"), PathBuf::as_path);
                write!(formatter, "{}:{complaint}", path.display())
            }
            Self::Problems { path, problems } => {
                for (index, problem) in problems.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "\n" };
                    let line = problem.line.map(|line| format!(":{line}")).unwrap_or_default();
                    write!(formatter, "{separator}{}{line}: {problem}", path.display())?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { error, .. } => Some(error),
            _ => None,
        }
    }
}
