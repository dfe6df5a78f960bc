use std::fmt;

use cache_store::demand::AppendError;

/// Why a volume did not do something.
#[derive(Debug)]
pub(in crate::pull) enum DiskFault {
    /// No volume can be used, or the one that is meant cannot.
    Unavailable,
    /// Its queue is full, or it did not answer in time, now or a moment ago.
    Stalled,
    /// It said no.
    Refused(AppendError),
}

impl DiskFault {
    /// Whether the disk has no part in it: the entry was purged, replaced or evicted meanwhile.
    pub(in crate::pull) fn is_gone(&self) -> bool {
        matches!(self, Self::Refused(AppendError::Gone))
    }
}

impl fmt::Display for DiskFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable => formatter.write_str("it is not open"),
            Self::Stalled => formatter.write_str("it does not answer in time"),
            Self::Refused(error) => error.fmt(formatter),
        }
    }
}
