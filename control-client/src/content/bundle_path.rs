use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{NameError, check_component};

/// The directory that a bundle serves, normalised and absolute: `/` or `/titles/abc/1080p`. No slash at the end, no
/// component that is empty, `.` or `..`, no control byte, at most [`BundlePath::BYTES_MAX`] bytes of UTF-8.
///
/// A map keyed by `BundlePath` can be asked with a `&str`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, max_length = 1024, pattern = "^/"))]
pub struct BundlePath(Box<str>);

impl BundlePath {
    /// The longest path, in bytes: what leaves room for an object's name in the longest request target that
    /// is served.
    pub const BYTES_MAX: usize = 1024;

    /// Takes a path that is normalised already; nothing is normalised here.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > Self::BYTES_MAX {
            return Err(NameError::TooLong { bytes_max: Self::BYTES_MAX });
        }
        let components = text.strip_prefix('/').ok_or(NameError::NotAbsolute)?;
        if !components.is_empty() {
            for component in components.split('/') {
                if component.is_empty() {
                    return Err(NameError::EmptyComponent);
                }
                check_component(component)?;
            }
        }
        Ok(Self(text.into()))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `directory` or lies below it.
    pub fn is_within(&self, directory: &Self) -> bool {
        match self.0.strip_prefix(&*directory.0) {
            Some(rest) => rest.is_empty() || rest.starts_with('/') || &*directory.0 == "/",
            None => false,
        }
    }
}

impl fmt::Display for BundlePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl Borrow<str> for BundlePath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for BundlePath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for BundlePath {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for BundlePath {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<BundlePath> for String {
    fn from(path: BundlePath) -> Self {
        path.0.into()
    }
}
