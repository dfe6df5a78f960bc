use std::fmt;
use std::io;
use std::time::Duration;

use super::AdminAddress;
use crate::admin::Failure;
use crate::limits::ANSWER_BYTES_MAX;
use crate::units::{ByteCount, display_duration};

/// Why a call to the admin API failed.
#[derive(Debug)]
pub enum AdminError {
    /// Nobody could be connected to: the operator looks after the daemon, or after the address.
    Unreachable {
        /// Who was called.
        address: AdminAddress,
        /// What the system said.
        error: io::Error,
    },
    /// No whole answer came in time.
    TimedOut {
        /// Who was called.
        address: AdminAddress,
        /// How long was waited.
        after: Duration,
    },
    /// The exchange broke off, or the peer does not speak HTTP.
    Broken {
        /// Who was called.
        address: AdminAddress,
        /// What broke.
        detail: String,
    },
    /// The answer is longer than [`ANSWER_BYTES_MAX`].
    TooLarge,
    /// The daemon answered that it cannot, and why.
    Refused {
        /// The HTTP status code.
        status: u16,
        /// What the daemon says.
        failure: Failure,
    },
    /// The answer is not the document that was asked for.
    Unintelligible(String),
}

impl AdminError {
    /// Whether there was no answer at all.
    pub const fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Broken { .. })
    }
}

impl fmt::Display for AdminError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { address, error } => {
                write!(formatter, "{address}: {error}; {}", advice(address, error))
            }
            Self::TimedOut { address, after } => {
                let after = display_duration(*after);
                write!(
                    formatter,
                    "{address}: no answer after {after}; what does the {}'s log say?",
                    address.program()
                )
            }
            Self::Broken { address, detail } => {
                write!(
                    formatter,
                    "{address}: the exchange broke off ({detail}); what does the {}'s log say?",
                    address.program()
                )
            }
            Self::TooLarge => {
                write!(formatter, "the answer is longer than {}", ByteCount::new(ANSWER_BYTES_MAX))?;
                write!(formatter, "; is it the appliance's admin API that listens there?")
            }
            Self::Refused { status, failure } => {
                write!(formatter, "{} ({}, status {status})", failure.detail, failure.error)
            }
            Self::Unintelligible(detail) => {
                write!(formatter, "the answer cannot be read: {detail}")?;
                write!(formatter, "; does it come from the appliance's admin API, and from the same release?")
            }
        }
    }
}

impl std::error::Error for AdminError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable { error, .. } => Some(error),
            _ => None,
        }
    }
}

fn advice(address: &AdminAddress, error: &io::Error) -> &'static str {
    match (address, error.kind()) {
        (AdminAddress::Socket(_), io::ErrorKind::NotFound) => {
            "is the daemon running (systemctl status oca-daemon), with this admin.socket?"
        }
        (AdminAddress::Socket(_), io::ErrorKind::PermissionDenied) => {
            "run as root (sudo), or as the daemon's user: the group counts only where it is the primary one"
        }
        (AdminAddress::Socket(_), io::ErrorKind::ConnectionRefused) => {
            "the socket is a leftover, or not the daemon's: is the daemon running (systemctl status oca-daemon)?"
        }
        (AdminAddress::Agent(_), io::ErrorKind::NotFound) => {
            "is the fill agent running (systemctl status fill-agent), with this fill.socket?"
        }
        (AdminAddress::Agent(_), io::ErrorKind::PermissionDenied) => {
            "run as root (sudo), or as the agent's user"
        }
        (AdminAddress::Agent(_), io::ErrorKind::ConnectionRefused) => {
            "the socket is a leftover: is the fill agent running (systemctl status fill-agent)?"
        }
        (AdminAddress::Agent(_), _) => "is that the path of the agent's fill.socket?",
        (AdminAddress::Tcp(_), io::ErrorKind::ConnectionRefused) => {
            "is the daemon running there, and does its admin.listen name this address?"
        }
        (AdminAddress::Tcp(_), io::ErrorKind::TimedOut) => "does a firewall stand between?",
        (AdminAddress::Tcp(_), _) => "write HOST:PORT, for example 127.0.0.1:9090",
        (AdminAddress::Socket(_), _) => "is that the path of the daemon's admin.socket?",
    }
}
