use std::fmt;
use std::path::PathBuf;

/// Where a daemon's admin API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// The Unix socket: everything, for peers that the daemon trusts.
    Socket(PathBuf),
    /// `HOST:PORT`: reading only.
    Tcp(String),
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(formatter),
            Self::Tcp(address) => address.fmt(formatter),
        }
    }
}
