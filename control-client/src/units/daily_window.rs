use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// A span of every day in local time, `"02:00-14:00"`; `"22:00-06:00"` goes over midnight, `"00:00-24:00"` is the whole day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DailyWindow {
    opens_minute: u16,
    closes_minute: u16,
}

/// The text is no daily window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DailyWindowError;

/// Minutes of a day.
const DAY_MINUTES: u16 = 24 * 60;

impl DailyWindow {
    /// From one minute of the day to another, both counted from midnight; `None` where either is no minute of a day, or both
    /// are the same. 1440 ends the day.
    pub const fn new(opens_minute: u16, closes_minute: u16) -> Option<Self> {
        if opens_minute >= DAY_MINUTES || closes_minute > DAY_MINUTES || opens_minute == closes_minute {
            return None;
        }
        Some(Self { opens_minute, closes_minute })
    }

    /// When it opens, in minutes from midnight: 0 to 1439.
    pub const fn opens_minute(self) -> u16 {
        self.opens_minute
    }

    /// When it closes, in minutes from midnight: 0 to 1440. Where that is below [`Self::opens_minute`], on the next day.
    pub const fn closes_minute(self) -> u16 {
        self.closes_minute
    }

    /// How many minutes it is open on a day of 24 hours.
    pub const fn minutes(self) -> u16 {
        if self.closes_minute > self.opens_minute {
            self.closes_minute - self.opens_minute
        } else {
            DAY_MINUTES - self.opens_minute + self.closes_minute
        }
    }
}

impl fmt::Display for DailyWindow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        formatter.pad(&format!("{}-{}", clock(self.opens_minute), clock(self.closes_minute)))
    }
}

impl FromStr for DailyWindow {
    type Err = DailyWindowError;

    fn from_str(text: &str) -> Result<Self, DailyWindowError> {
        let (opens, closes) = text.split_once('-').ok_or(DailyWindowError)?;
        let window = minute_of_day(opens).zip(minute_of_day(closes));
        window.and_then(|(opens, closes)| Self::new(opens, closes)).ok_or(DailyWindowError)
    }
}

/// Exactly `HH:MM`.
fn minute_of_day(text: &str) -> Option<u16> {
    let &[h1, h2, b':', m1, m2] = text.as_bytes() else { return None };
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
    let (hours, minutes) = (digit(h1)? * 10 + digit(h2)?, digit(m1)? * 10 + digit(m2)?);
    (minutes < 60).then_some(hours * 60 + minutes)
}

impl fmt::Display for DailyWindowError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "a window is two different times of the day, from 00:00 to 24:00, for example \"02:00-14:00\""
        )
    }
}

impl std::error::Error for DailyWindowError {}

impl Serialize for DailyWindow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DailyWindow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error| D::Error::custom(format!("{text:?}: {error}")))
    }
}
