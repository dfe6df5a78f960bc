//! What a source can do wrong, and what is done about it.

use std::fmt;
use std::time::Duration;

use control_client::content::Sha256;

use crate::escalation::Answer;

/// Why an object did not come.
#[derive(Debug)]
pub enum Fault {
    /// Nobody answers there: no address, nothing connects, or no TLS.
    Unreachable(String),
    /// No byte came for so long.
    Stalled(Duration),
    /// Bytes came, and too few of them.
    Slow {
        /// Per second, while they were waited for.
        bytes_per_second: u64,
    },
    /// The connection ended in the middle, or what came is no HTTP.
    Broken {
        /// What was received of the object.
        received: u64,
        /// What hyper or the system says.
        detail: String,
    },
    /// 404 or 410: it is not there, or not yet.
    Absent(u16),
    /// A peer serves another edition of the object: it has this one not yet, or no longer.
    OtherEdition,
    /// 429 or 503: it asks to be left alone for a while.
    Busy {
        /// The status.
        status: u16,
        /// For how long, where it says so.
        retry_after: Option<Duration>,
    },
    /// 3xx, which is never followed: a manifest's sources are the only ones.
    Redirect {
        /// The status.
        status: u16,
        /// Where to.
        location: String,
    },
    /// Any other status.
    Status(u16),
    /// A head that cannot be: too large, malformed, an encoding that was not asked for.
    Head(String),
    /// The length is not the descriptor's.
    Length {
        /// What the descriptor says.
        expected: u64,
        /// What the source says or sends.
        found: String,
    },
    /// A range that was not asked for.
    Range(String),
    /// It became another one while it was being received.
    Changed,
    /// The digest is not the descriptor's.
    WrongBytes(Sha256),
}

impl Fault {
    /// Whether the object can be gone on with from where it broke off, at the same source and at once.
    pub fn is_resumable(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Stalled(_) | Self::Broken { .. })
    }

    /// What the choice of the next source is told.
    pub fn answer(&self) -> Answer {
        match self {
            Self::Unreachable(_) | Self::Stalled(_) | Self::Slow { .. } | Self::Broken { .. } => {
                Answer::Unreachable
            }
            Self::Absent(_) | Self::OtherEdition => Answer::Missing,
            Self::Busy { retry_after, .. } => Answer::Busy(*retry_after),
            Self::Redirect { .. } | Self::Status(_) | Self::Head(_) => Answer::Refused,
            Self::Length { .. } => Answer::WrongLength,
            Self::Range(_) | Self::Changed => Answer::Changed,
            Self::WrongBytes(_) => Answer::WrongBytes,
        }
    }

    /// Whether it speaks against the source as a whole, and not against one object on it.
    pub fn is_of_the_source(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_)
                | Self::Stalled(_)
                | Self::Slow { .. }
                | Self::Broken { .. }
                | Self::Busy { .. }
                | Self::Status(500..=599)
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(detail) => write!(formatter, "it cannot be reached: {detail}"),
            Self::Stalled(after) => write!(formatter, "it sent nothing for {} s", after.as_secs_f32()),
            Self::Slow { bytes_per_second } => {
                write!(formatter, "it is too slow: {bytes_per_second} bytes per second")
            }
            Self::Broken { received, detail } => {
                write!(formatter, "the connection broke after {received} bytes of the object: {detail}")
            }
            Self::Absent(status) => write!(formatter, "it does not have the object (status {status})"),
            Self::OtherEdition => write!(formatter, "it has another edition of the object"),
            Self::Busy { status, retry_after: Some(after) } => {
                write!(formatter, "it is busy (status {status}, Retry-After {} s)", after.as_secs())
            }
            Self::Busy { status, retry_after: None } => write!(formatter, "it is busy (status {status})"),
            Self::Redirect { status, location } => {
                write!(formatter, "it redirects to {location:?} (status {status}), which is never followed")
            }
            Self::Status(status) => write!(formatter, "it answered with status {status}"),
            Self::Head(what) => write!(formatter, "its answer cannot be used: {what}"),
            Self::Length { expected, found } => {
                write!(formatter, "the object has {expected} bytes by the descriptor, {found} by the source")
            }
            Self::Range(found) => write!(formatter, "it sent another range than was asked for: {found}"),
            Self::Changed => write!(formatter, "the object changed while it was being received"),
            Self::WrongBytes(found) => {
                write!(formatter, "the object's SHA-256 is {found}, not the descriptor's")
            }
        }
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_way_there_did_is_resumed() {
        let broken = Fault::Broken { received: 1, detail: String::new() };
        assert!(broken.is_resumable() && broken.is_of_the_source());
        for fault in
            [Fault::Changed, Fault::WrongBytes(Sha256::new([0; 32])), Fault::Status(416), Fault::Absent(404)]
        {
            assert!(!fault.is_resumable() && !fault.is_of_the_source(), "{fault}");
        }
        assert!(Fault::Status(500).is_of_the_source());
    }
}
