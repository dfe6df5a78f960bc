use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many threads serve. Written `"per-core"`, or as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// One for each core that the daemon may run on.
    PerCore,
    /// So many.
    Count(u32),
}

const PER_CORE: &str = "per-core";
const EXPECTED: &str = "\"per-core\" or a whole number";

impl fmt::Display for Workers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PerCore => formatter.write_str(PER_CORE),
            Self::Count(count) => count.fmt(formatter),
        }
    }
}

impl Serialize for Workers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::PerCore => serializer.serialize_str(PER_CORE),
            Self::Count(count) => serializer.serialize_u32(*count),
        }
    }
}

impl<'de> Deserialize<'de> for Workers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WorkersVisitor)
    }
}

struct WorkersVisitor;

impl Visitor<'_> for WorkersVisitor {
    type Value = Workers;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Workers, E> {
        if text == PER_CORE {
            return Ok(Workers::PerCore);
        }
        Err(E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Workers, E> {
        let refusal = E::invalid_value(serde::de::Unexpected::Signed(number), &self);
        u32::try_from(number).map(Workers::Count).map_err(|_| refusal)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Workers, E> {
        let refusal = E::invalid_value(serde::de::Unexpected::Unsigned(number), &self);
        u32::try_from(number).map(Workers::Count).map_err(|_| refusal)
    }
}
