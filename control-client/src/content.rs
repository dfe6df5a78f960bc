//! What is stored and served: bundles and objects by name, generations, digests.

mod bundle_path;
mod object_name;
mod sha256;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use bundle_path::BundlePath;
pub use object_name::ObjectName;
pub use sha256::{Sha256, Sha256Error};

/// Which edition of a bundle: of two bundles with one path, the higher generation serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Generation(u64);

/// What names one bundle on one appliance: its path and its generation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BundleKey {
    /// The directory that the bundle serves.
    pub path: BundlePath,
    /// Its edition.
    pub generation: Generation,
}

/// Why a text is not a [`BundlePath`] or an [`ObjectName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Nothing was written.
    Empty,
    /// More bytes than the bound.
    TooLong {
        /// The bound, in bytes.
        bytes_max: usize,
    },
    /// A bundle path that does not start with `/`.
    NotAbsolute,
    /// `//`, or a `/` at the end.
    EmptyComponent,
    /// A component that is `.` or `..`.
    DotComponent,
    /// A `/` in the name of an object.
    Slash,
    /// A byte below 0x20, or 0x7f.
    ControlByte,
}

impl Generation {
    /// The generation of that number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for BundleKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} (generation {})", self.path, self.generation)
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(formatter, "the name is empty"),
            Self::TooLong { bytes_max } => write!(formatter, "the name is longer than {bytes_max} bytes"),
            Self::NotAbsolute => write!(formatter, "the path must start with '/'"),
            Self::EmptyComponent => {
                write!(formatter, "the path has an empty component ('//' or a '/' at its end)")
            }
            Self::DotComponent => write!(formatter, "'.' and '..' are not names"),
            Self::Slash => write!(formatter, "the name of an object holds no '/'"),
            Self::ControlByte => write!(formatter, "the name holds a control byte"),
        }
    }
}

impl std::error::Error for NameError {}

/// The rules that a component of a path and the name of an object share.
fn check_component(component: &str) -> Result<(), NameError> {
    if component == "." || component == ".." {
        return Err(NameError::DotComponent);
    }
    if component.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return Err(NameError::ControlByte);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
