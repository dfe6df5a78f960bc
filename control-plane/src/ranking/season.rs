//! The time of the year in which a title is watched more, or less, as an operator writes it: `12-01..01-06 x3`.

use std::fmt;
use std::str::FromStr;

use jiff::ToSpan;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// The largest factor: a title that is watched a hundred times more in December than in June is as good as
/// not there in June.
const FACTOR_MAX: f64 = 100.0;

/// A day of every year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonthDay {
    month: i8,
    day: i8,
}

/// Some days of every year, both ends included, across the turn of the year where the last is before the first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Season {
    first: MonthDay,
    last: MonthDay,
    factor: f64,
}

/// The text is not a season.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeasonError;

impl fmt::Display for SeasonError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "a season is two days of the year and a factor from 0 to {FACTOR_MAX}: \"12-01..01-06 x3\""
        )
    }
}

impl std::error::Error for SeasonError {}

impl MonthDay {
    fn parse(text: &str) -> Result<Self, SeasonError> {
        let (month, day) = text.split_once('-').ok_or(SeasonError)?;
        let month = month.parse().map_err(|_| SeasonError)?;
        let day = day.parse().map_err(|_| SeasonError)?;
        // A leap year, so that 29 February is a day.
        Date::new(2024, month, day).map_err(|_| SeasonError)?;
        Ok(Self { month, day })
    }
}

impl fmt::Display for MonthDay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:02}-{:02}", self.month, self.day)
    }
}

impl Season {
    /// Whether a day, counted from 1970-01-01, is in it. Days beyond the year 9999 are in none.
    pub fn contains(&self, day: u32) -> bool {
        let epoch = Date::constant(1970, 1, 1);
        let Ok(date) = epoch.checked_add(i64::from(day.min(4_000_000)).days()) else { return false };
        let day = MonthDay { month: date.month(), day: date.day() };
        if self.first <= self.last {
            self.first <= day && day <= self.last
        } else {
            self.first <= day || day <= self.last
        }
    }
}

impl FromStr for Season {
    type Err = SeasonError;

    fn from_str(text: &str) -> Result<Self, SeasonError> {
        let (days, factor) = text.split_once(" x").ok_or(SeasonError)?;
        let (first, last) = days.split_once("..").ok_or(SeasonError)?;
        let factor: f64 = factor.parse().map_err(|_| SeasonError)?;
        if !(0.0..=FACTOR_MAX).contains(&factor) {
            return Err(SeasonError);
        }
        Ok(Self { first: MonthDay::parse(first)?, last: MonthDay::parse(last)?, factor })
    }
}

impl fmt::Display for Season {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}..{} x{}", self.first, self.last, self.factor)
    }
}

impl TryFrom<String> for Season {
    type Error = SeasonError;

    fn try_from(text: String) -> Result<Self, SeasonError> {
        text.parse()
    }
}

impl From<Season> for String {
    fn from(season: Season) -> Self {
        season.to_string()
    }
}

/// The factor of a day: that of the first season that it is in, else 1.
pub(super) fn factor(seasons: &[Season], day: u32) -> f64 {
    seasons.iter().find(|season| season.contains(day)).map_or(1.0, |season| season.factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(year: i16, month: i8, day: i8) -> u32 {
        let span = Date::constant(1970, 1, 1).until(Date::new(year, month, day).unwrap()).unwrap();
        u32::try_from(span.get_days()).unwrap()
    }

    #[test]
    fn a_season_reaches_across_the_turn_of_the_year() {
        let season: Season = "12-01..01-06 x3".parse().unwrap();
        for inside in [day(2026, 12, 1), day(2026, 12, 31), day(2027, 1, 1), day(2027, 1, 6)] {
            assert!(season.contains(inside));
            assert_eq!(factor(&[season], inside), 3.0);
        }
        for outside in [day(2026, 11, 30), day(2027, 1, 7), day(2027, 6, 15)] {
            assert!(!season.contains(outside));
            assert_eq!(factor(&[season], outside), 1.0);
        }
    }

    #[test]
    fn a_season_is_written_as_it_is_read() {
        let season: Season = "06-01..08-31 x0.5".parse().unwrap();
        assert_eq!(season.to_string(), "06-01..08-31 x0.5");
        assert!(season.contains(day(2026, 7, 1)) && !season.contains(day(2026, 9, 1)));
        assert!("02-29..02-29 x2".parse::<Season>().unwrap().contains(day(2028, 2, 29)));
    }

    #[test]
    fn what_is_no_season_is_refused() {
        for bad in [
            "",
            "12-01..01-06",
            "12-01..01-06 x-1",
            "12-01..01-06 xNaN",
            "12-01..01-06 x1e9",
            "13-01..01-06 x2",
            "x2",
        ] {
            assert_eq!(bad.parse::<Season>(), Err(SeasonError), "{bad:?}");
        }
    }

    #[test]
    fn a_day_beyond_all_calendars_is_in_no_season() {
        let season: Season = "01-01..12-31 x3".parse().unwrap();
        assert!(!season.contains(u32::MAX));
    }
}
