//! Why a disk did not do what it was asked for.

use std::fmt;
use std::io;

use control_client::fill::FailureReason;

use crate::limits::DISK_TIMEOUT;

/// Why the disk did not do what it was asked for.
#[derive(Debug)]
pub enum DiskError {
    /// The operating system said so.
    Io(io::Error),
    /// It has not answered within [`DISK_TIMEOUT`].
    Hung,
    /// Its thread is gone.
    Gone,
}

impl DiskError {
    /// The word for it in a run's report.
    pub fn reason(&self) -> FailureReason {
        match self {
            Self::Io(error) => io_reason(error),
            Self::Hung => FailureReason::VolumeLost,
            Self::Gone => FailureReason::DiskFailed,
        }
    }
}

/// The word for what the operating system says of a volume.
pub fn io_reason(error: &io::Error) -> FailureReason {
    if is_full(error) {
        FailureReason::DiskFull
    } else if is_gone(error) {
        FailureReason::VolumeLost
    } else {
        FailureReason::DiskFailed
    }
}

/// Whether the file system has no room.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether the disk is not there any more, or does not answer.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut
        || matches!(
            error.raw_os_error(),
            Some(libc::ENODEV | libc::ENXIO | libc::ENOTCONN | libc::ESTALE | libc::ESHUTDOWN | libc::EROFS)
        )
}

impl fmt::Display for DiskError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(formatter, "the disk failed: {error}"),
            Self::Hung => {
                write!(formatter, "the disk has not answered for {} s", DISK_TIMEOUT.as_secs())
            }
            Self::Gone => write!(formatter, "the disk's thread has ended; restart the agent"),
        }
    }
}

impl std::error::Error for DiskError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_that_are_full_that_vanish_and_that_fail_are_told_apart() {
        let reason = |code| DiskError::Io(io::Error::from_raw_os_error(code)).reason();
        assert_eq!(reason(libc::ENOSPC), FailureReason::DiskFull);
        assert_eq!(reason(libc::EDQUOT), FailureReason::DiskFull);
        assert_eq!(reason(libc::ENODEV), FailureReason::VolumeLost);
        assert_eq!(reason(libc::EIO), FailureReason::DiskFailed);
        assert_eq!(DiskError::Hung.reason(), FailureReason::VolumeLost);
        assert_eq!(io_reason(&io::ErrorKind::TimedOut.into()), FailureReason::VolumeLost);
    }
}
