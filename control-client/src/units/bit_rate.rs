use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::quantity::{Grammar, QuantityError, Unit};

/// A rate in bits per second. Written with SI units, `"1.2 Gbit/s"`, as link speeds are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BitRate(u64);

impl BitRate {
    /// So many bits per second.
    pub const fn new(bits_per_second: u64) -> Self {
        Self(bits_per_second)
    }

    /// The number of bits per second.
    pub const fn bits_per_second(self) -> u64 {
        self.0
    }

    /// The number of whole bytes per second.
    pub const fn bytes_per_second(self) -> u64 {
        self.0 / 8
    }
}

const GRAMMAR: Grammar = Grammar {
    units: &[
        Unit { name: "bit/s", size: 1 },
        Unit { name: "kbit/s", size: 1_000 },
        Unit { name: "Mbit/s", size: 1_000_000 },
        Unit { name: "Gbit/s", size: 1_000_000_000 },
        Unit { name: "Tbit/s", size: 1_000_000_000_000 },
    ],
    fraction: true,
    example: "1.2 Gbit/s",
};

impl FromStr for BitRate {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        GRAMMAR.parse(text).map(Self)
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        GRAMMAR.display(self.0, formatter)
    }
}

impl Serialize for BitRate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BitRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        GRAMMAR.deserialize(deserializer).map(Self)
    }
}
