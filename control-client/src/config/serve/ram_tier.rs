use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::units::ByteCount;

/// How much of what is asked for most is kept in memory. Written `"auto"`, `"off"`, or as a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RamTier {
    /// Half of the memory that is there beside what the daemon needs.
    Auto,
    /// None.
    Off,
    /// So much.
    Size(ByteCount),
}

const AUTO: &str = "auto";
const OFF: &str = "off";
const EXPECTED: &str = "\"auto\", \"off\" or a size such as \"16 GiB\"";

impl fmt::Display for RamTier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str(AUTO),
            Self::Off => formatter.write_str(OFF),
            Self::Size(size) => size.fmt(formatter),
        }
    }
}

impl Serialize for RamTier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RamTier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(RamTierVisitor)
    }
}

struct RamTierVisitor;

impl Visitor<'_> for RamTierVisitor {
    type Value = RamTier;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<RamTier, E> {
        match text {
            AUTO => Ok(RamTier::Auto),
            OFF => Ok(RamTier::Off),
            size => size
                .parse()
                .map(RamTier::Size)
                .map_err(|error| E::custom(format!("{error}; expected {EXPECTED}"))),
        }
    }
}
