use std::fmt;
use std::path::PathBuf;

/// Where a daemon's admin API listens, or the fill agent's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// The Unix socket: everything, for peers that the daemon trusts.
    Socket(PathBuf),
    /// The Unix socket of the fill agent, which answers as the daemon does: see [`crate::agent_client`].
    Agent(PathBuf),
    /// `HOST:PORT`: reading only.
    Tcp(String),
}

impl AdminAddress {
    /// Who listens there, in words.
    pub(super) const fn program(&self) -> &'static str {
        match self {
            Self::Socket(_) | Self::Tcp(_) => "daemon",
            Self::Agent(_) => "agent",
        }
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) | Self::Agent(path) => path.display().fmt(formatter),
            Self::Tcp(address) => address.fmt(formatter),
        }
    }
}
