use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::quantity::{Grammar, QuantityError, Unit};

/// A size in bytes. Written with IEC units, `"64 KiB"`; whole numbers only, so that what is written is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteCount(u64);

impl ByteCount {
    /// 1,024 bytes.
    pub const KIB: Self = Self(1 << 10);
    /// 1,024 KiB.
    pub const MIB: Self = Self(1 << 20);
    /// 1,024 MiB.
    pub const GIB: Self = Self(1 << 30);
    /// 1,024 GiB.
    pub const TIB: Self = Self(1 << 40);
    /// No bytes.
    pub const ZERO: Self = Self(0);

    /// So many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many KiB, for constants. Saturates.
    pub const fn kib(count: u64) -> Self {
        Self(count.saturating_mul(Self::KIB.0))
    }

    /// So many MiB, for constants. Saturates.
    pub const fn mib(count: u64) -> Self {
        Self(count.saturating_mul(Self::MIB.0))
    }

    /// So many GiB, for constants. Saturates.
    pub const fn gib(count: u64) -> Self {
        Self(count.saturating_mul(Self::GIB.0))
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The sum, or `None` on overflow.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(bytes) => Some(Self(bytes)),
            None => None,
        }
    }

    /// The difference, or `None` where `other` is larger.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(bytes) => Some(Self(bytes)),
            None => None,
        }
    }

    /// So many times this size, or `None` on overflow.
    pub const fn checked_mul(self, times: u64) -> Option<Self> {
        match self.0.checked_mul(times) {
            Some(bytes) => Some(Self(bytes)),
            None => None,
        }
    }

    /// The difference, or zero where `other` is larger.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// For people: one decimal and the largest fitting unit, `"1.4 GiB"`. Not exact; [`fmt::Display`] is.
    pub fn rounded(self) -> String {
        let unit = UNITS.iter().rev().find(|unit| self.0 >= unit.size).unwrap_or(&UNITS[0]);
        if unit.size == 1 {
            return format!("{} B", self.0);
        }
        let tenths = (u128::from(self.0) * 10 + u128::from(unit.size) / 2) / u128::from(unit.size);
        format!("{}.{} {}", tenths / 10, tenths % 10, unit.name)
    }
}

const UNITS: &[Unit] = &[
    Unit { name: "B", size: 1 },
    Unit { name: "KiB", size: 1 << 10 },
    Unit { name: "MiB", size: 1 << 20 },
    Unit { name: "GiB", size: 1 << 30 },
    Unit { name: "TiB", size: 1 << 40 },
    Unit { name: "PiB", size: 1 << 50 },
];

const GRAMMAR: Grammar = Grammar { units: UNITS, fraction: false, example: "64 MiB" };

impl FromStr for ByteCount {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        GRAMMAR.parse(text).map(Self)
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        GRAMMAR.display(self.0, formatter)
    }
}

impl Serialize for ByteCount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        GRAMMAR.deserialize(deserializer).map(Self)
    }
}
