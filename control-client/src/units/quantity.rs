//! The grammar that all quantities share: digits, an optional decimal fraction where the noun allows it, a unit.

use std::fmt;

use serde::Deserializer;
use serde::de::{Error, Visitor};

/// A unit: its spelling, and how many of the base unit it stands for.
pub(super) struct Unit {
    pub(super) name: &'static str,
    pub(super) size: u64,
}

/// Why a text is not a quantity. The text of the error names the units that are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuantityError {
    text: String,
    reason: Reason,
    accepted: String,
    example: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Reason {
    NoNumber,
    NoUnit,
    UnknownUnit,
    NotWhole,
    TooPrecise,
    TooLarge,
}

/// What a noun accepts: its units from small to large, whether a decimal fraction may be written, and an example.
pub(super) struct Grammar {
    pub(super) units: &'static [Unit],
    pub(super) fraction: bool,
    pub(super) example: &'static str,
}

impl Grammar {
    /// The value in the base unit. A fraction must come out as a whole number of base units.
    pub(super) fn parse(&self, text: &str) -> Result<u64, QuantityError> {
        self.value(text).map_err(|reason| self.refusal(text, reason))
    }

    /// Reads the value from a string of a self-describing format. A bare number is refused as one without a unit.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(&self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(QuantityVisitor(self))
    }

    fn refusal(&self, text: &str, reason: Reason) -> QuantityError {
        QuantityError {
            text: text.chars().take(QUOTED_CHARACTERS).collect(),
            reason,
            accepted: self.units.iter().map(|unit| unit.name).collect::<Vec<_>>().join(", "),
            example: self.example,
        }
    }

    fn value(&self, text: &str) -> Result<u64, Reason> {
        let number_bytes = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, unit) = text.split_at(number_bytes);
        let (whole, fraction) = match number.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (number, None),
        };
        if !is_digits(whole) || !fraction.is_none_or(is_digits) {
            return Err(Reason::NoNumber);
        }
        let unit_name = unit.strip_prefix(' ').unwrap_or(unit);
        if unit_name.is_empty() {
            return Err(Reason::NoUnit);
        }
        let unit = self.units.iter().find(|unit| unit.name == unit_name).ok_or(Reason::UnknownUnit)?;
        let whole: u64 = whole.parse().map_err(|_| Reason::TooLarge)?;
        let value = whole.checked_mul(unit.size).ok_or(Reason::TooLarge)?;
        match fraction {
            None => Ok(value),
            Some(_) if !self.fraction => Err(Reason::NotWhole),
            Some(fraction) => value.checked_add(fraction_of(fraction, unit.size)?).ok_or(Reason::TooLarge),
        }
    }

    /// The shortest exact form: the largest unit that needs no fraction, or, where fractions may be written, at most
    /// three decimals.
    pub(super) fn display(&self, value: u64, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals_size = if self.fraction { 1000 } else { 1 };
        let unit = self
            .units
            .iter()
            .rev()
            .find(|unit| value >= unit.size && value.is_multiple_of((unit.size / decimals_size).max(1)))
            .unwrap_or(&self.units[0]);
        let whole = value / unit.size;
        let rest = u128::from(value % unit.size) * 1000 / u128::from(unit.size);
        let fraction = format!("{rest:03}");
        match fraction.trim_end_matches('0') {
            "" => formatter.pad(&format!("{whole} {}", unit.name)),
            fraction => formatter.pad(&format!("{whole}.{fraction} {}", unit.name)),
        }
    }
}

struct QuantityVisitor<'a>(&'a Grammar);

impl Visitor<'_> for QuantityVisitor<'_> {
    type Value = u64;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a number and a unit in quotes, for example \"{}\"", self.0.example)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        self.0.parse(text).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        Err(E::custom(self.0.refusal(&number.to_string(), Reason::NoUnit)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
        let reason = if number < 0 { Reason::NoNumber } else { Reason::NoUnit };
        Err(E::custom(self.0.refusal(&number.to_string(), reason)))
    }
}

/// How much of a refused text an error quotes, in characters: enough to find it, never a screenful.
const QUOTED_CHARACTERS: usize = 40;

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `0.fraction × size`, where that is a whole number.
fn fraction_of(fraction: &str, size: u64) -> Result<u64, Reason> {
    let fraction = fraction.trim_end_matches('0');
    let mut value = 0_u128;
    let mut digit_size = u128::from(size);
    for digit in fraction.bytes() {
        if !digit_size.is_multiple_of(10) {
            return Err(Reason::TooPrecise);
        }
        digit_size /= 10;
        value += u128::from(digit - b'0') * digit_size;
    }
    u64::try_from(value).map_err(|_| Reason::TooLarge)
}

impl fmt::Display for QuantityError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, reason, accepted, example } = self;
        match reason {
            Reason::NoNumber => {
                write!(formatter, "{text:?} does not start with a number: write a number and a unit")
            }
            Reason::NoUnit => write!(formatter, "{text:?} has no unit"),
            Reason::UnknownUnit => write!(formatter, "{text:?} has an unknown unit"),
            Reason::NotWhole => {
                write!(formatter, "{text:?} is not a whole number: write it in a smaller unit")
            }
            Reason::TooPrecise => write!(formatter, "{text:?} is finer than the smallest unit"),
            Reason::TooLarge => write!(formatter, "{text:?} is too large"),
        }?;
        write!(formatter, "; accepted units: {accepted}; for example \"{example}\"")
    }
}

impl std::error::Error for QuantityError {}
