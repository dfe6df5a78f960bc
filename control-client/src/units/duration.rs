//! Durations as text, whole numbers of `ms`, `s`, `min`, `h` or `d`: `"100 ms"`, `"30 s"`, `"365 d"`. A day
//! is 24 hours.
//!
//! The functions `serialize` and `deserialize` serve `#[serde(with = "units::duration")]`.

use std::fmt;
use std::time::Duration;

use serde::{Deserializer, Serializer};

use super::quantity::{Grammar, QuantityError, Unit};

/// Reads a duration. The largest is 2⁶⁴ − 1 milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    GRAMMAR.parse(text).map(Duration::from_millis)
}

/// A duration in the form that [`parse_duration`] reads. What is below a millisecond is dropped; what is
/// above 2⁶⁴ − 1 milliseconds is shown as that.
pub fn display_duration(duration: Duration) -> impl fmt::Display {
    DisplayDuration(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// For people: the two largest units, `"3 d 4 h"`, `"12 s"`. Not exact; [`display_duration`] is.
pub fn rounded_duration(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let place = GRAMMAR.units.iter().rposition(|unit| milliseconds >= unit.size).unwrap_or(0);
    let unit = &GRAMMAR.units[place];
    let whole = format!("{} {}", milliseconds / unit.size, unit.name);
    match place.checked_sub(1).map(|below| &GRAMMAR.units[below]) {
        Some(below) if milliseconds % unit.size >= below.size => {
            format!("{whole} {} {}", milliseconds % unit.size / below.size, below.name)
        }
        _ => whole,
    }
}

/// For `#[serde(with = "units::duration")]`.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&display_duration(*duration))
}

/// For `#[serde(with = "units::duration")]`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    GRAMMAR.deserialize(deserializer).map(Duration::from_millis)
}

struct DisplayDuration(u64);

impl fmt::Display for DisplayDuration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        GRAMMAR.display(self.0, formatter)
    }
}

const GRAMMAR: Grammar = Grammar {
    units: &[
        Unit { name: "ms", size: 1 },
        Unit { name: "s", size: 1_000 },
        Unit { name: "min", size: 60_000 },
        Unit { name: "h", size: 3_600_000 },
        Unit { name: "d", size: 86_400_000 },
    ],
    fraction: false,
    example: "30 s",
};
