//! Who takes part: appliances, sites, regions, titles, by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest name, in bytes: a label of the DNS (RFC 1035, section 2.3.4), so that it can be one.
pub const NAME_BYTES_MAX: usize = 63;

/// The text is not a name: 1 to 63 of `a`–`z`, `0`–`9` and `-`, neither first nor last a `-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetNameError;

impl fmt::Display for FleetNameError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "a name is 1 to {NAME_BYTES_MAX} of a-z, 0-9 and \"-\", and neither begins nor ends with \"-\""
        )
    }
}

impl std::error::Error for FleetNameError {}

fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !text.starts_with('-')
        && !text.ends_with('-')
}

macro_rules! name {
    ($(#[$documentation:meta])* $name:ident) => {
        $(#[$documentation])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, max_length = 63, pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
        pub struct $name(Box<str>);

        impl $name {
            /// Reads a name.
            pub fn parse(text: &str) -> Result<Self, FleetNameError> {
                if is_name(text) { Ok(Self(text.into())) } else { Err(FleetNameError) }
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = FleetNameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = FleetNameError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.into()
            }
        }
    };
}

name! {
    /// One machine that runs a daemon and an agent.
    ApplianceName
}
name! {
    /// Appliances in one place, which fill from each other.
    SiteName
}
name! {
    /// Sites whose viewers like the same: popularity is kept per region.
    RegionName
}
name! {
    /// The work that a viewer chooses.
    TitleName
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels_of_the_dns() {
        for good in ["a", "oca-1", "9", &"x".repeat(63)] {
            assert_eq!(ApplianceName::parse(good).map(String::from).as_deref(), Ok(good));
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a b", "é", &"x".repeat(64)] {
            assert_eq!(ApplianceName::parse(bad), Err(FleetNameError), "{bad:?}");
        }
    }
}
