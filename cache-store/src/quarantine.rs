//! Why a bundle is taken out of service and kept for examination.

use std::fmt;

use control_client::content::{BundlePath, Generation};

use crate::format::FormatError;

/// What was wrong with a bundle. The names are those of metrics, reports and quarantined files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum QuarantineReason {
    /// The inventory has it, the directory does not.
    Missing = 0,
    /// The file is shorter than it was when it was adopted.
    Truncated = 1,
    /// The file is longer than it was when it was adopted.
    Overlong = 2,
    /// Its trailer is damaged.
    Trailer = 3,
    /// Its footer is damaged.
    Footer = 4,
    /// It was written in a version of the format that this program does not know. Its file stays where it is,
    /// for the program that knows it.
    Version = 5,
    /// It is another bundle than the one that its name or the inventory says.
    Identity = 6,
    /// Its data does not match its checksums.
    Data = 7,
    /// The disk could not read it. Its file stays where it is: a disk that comes back has it.
    Unreadable = 8,
}

/// A bundle that was quarantined, as reports show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantinedBundle {
    /// Its path; `None` where a file was found whose path could not be read.
    pub path: Option<BundlePath>,
    /// Its edition.
    pub generation: Generation,
    /// Why.
    pub reason: QuarantineReason,
    /// When, in seconds since 1970.
    pub at: u64,
}

impl QuarantineReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Missing,
        Self::Truncated,
        Self::Overlong,
        Self::Trailer,
        Self::Footer,
        Self::Version,
        Self::Identity,
        Self::Data,
        Self::Unreadable,
    ];

    /// The number of reasons.
    pub const COUNT: usize = Self::ALL.len();

    /// The reason's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Truncated => "truncated",
            Self::Overlong => "overlong",
            Self::Trailer => "trailer",
            Self::Footer => "footer",
            Self::Version => "version",
            Self::Identity => "identity",
            Self::Data => "data",
            Self::Unreadable => "unreadable",
        }
    }

    /// Whether the bundle only leaves service, until the next start: nothing is known to be wrong with its file.
    pub const fn keeps_file(self) -> bool {
        matches!(self, Self::Version | Self::Unreadable)
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

impl From<FormatError> for QuarantineReason {
    fn from(error: FormatError) -> Self {
        match error {
            FormatError::Trailer(_) => Self::Trailer,
            FormatError::Footer(_) | FormatError::Object { .. } => Self::Footer,
            FormatError::Version { .. } => Self::Version,
        }
    }
}

impl fmt::Display for QuarantineReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_the_number_of_its_place_and_a_name_of_its_own() {
        for (place, reason) in QuarantineReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
            assert_eq!(QuarantineReason::from_number(place as u8), Some(reason));
            let same = QuarantineReason::ALL.into_iter().filter(|other| other.as_str() == reason.as_str());
            assert_eq!(same.count(), 1);
        }
        assert_eq!(QuarantineReason::from_number(QuarantineReason::COUNT as u8), None);
    }
}
