//! How much of something is served per day, from days of demand that are incomplete: smoothed over days, and
//! not misled by days on which nobody reported.
//!
//! Every day has an exposure: the share of the region's appliances that reported it, and of today the part
//! that has gone by. A level is the weighted sum of bytes divided by the weighted sum of exposures, the
//! weights halving with age. So a day that is missing counts for nothing, half a day for half, and a silent
//! day on which all reported for a true zero.

use std::collections::BTreeMap;

/// Seconds of a day.
pub const DAY_SECONDS: u64 = 86_400;

/// Days that count. What is older weighs less than a sixteenth of today.
pub const DAYS: u32 = 28;

/// The age at which a day weighs half of today in the long level: one week, so that every weekday has its say.
pub const LONG_HALF_LIFE_DAYS: f64 = 7.0;

/// The same in the short level, which follows a change within two or three days.
pub const SHORT_HALF_LIFE_DAYS: f64 = 2.0;

/// Exposure that every level has at least, in days: an hour after midnight of a first day says little of the day.
const EXPOSURE_MIN_DAYS: f64 = 0.25;

/// Exposure after which what was seen is believed alone, in days.
const EXPOSURE_ENOUGH_DAYS: f64 = 3.0;

/// How much of a region reported one day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReportedDay {
    /// The day, counted from 1970-01-01 in UTC.
    pub day: u32,
    /// The share of the region's appliances that reported it, 0 to 1.
    pub share: f64,
}

/// What was served of one thing on one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayBytes {
    /// The day, counted from 1970-01-01 in UTC.
    pub day: u32,
    /// Bytes sent to clients.
    pub bytes: u64,
}

/// The days of one region, and how much of each was seen.
#[derive(Clone, Debug, Default)]
pub struct Calendar {
    /// By day, above 0 and at most 1.
    exposures: BTreeMap<u32, f64>,
    today: u32,
}

/// How much of one thing is served per day, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Popularity {
    /// The level over weeks.
    pub long: f64,
    /// The level over days.
    pub short: f64,
    /// How much of this is known, from 0 (no day was seen) to 1 (three whole days or more).
    pub evidence: f64,
}

impl Popularity {
    /// What the next day brings if the change from the long level to the short one goes on: a straight line,
    /// never below 0.
    pub fn trend(&self) -> f64 {
        (2.0 * self.short - self.long).max(0.0)
    }
}

impl Calendar {
    /// The days that were reported, at `now` in seconds since 1970. Days to come and days too long ago are
    /// left out; of a day that is given twice the larger share counts.
    pub fn new(reported: &[ReportedDay], now: u64) -> Self {
        let today = u32::try_from(now / DAY_SECONDS).unwrap_or(u32::MAX);
        let gone = (now % DAY_SECONDS) as f64 / DAY_SECONDS as f64;
        let mut exposures = BTreeMap::new();
        for day in reported {
            let age = today.checked_sub(day.day).filter(|age| *age < DAYS);
            let share = if day.share.is_finite() { day.share.clamp(0.0, 1.0) } else { 0.0 };
            let exposure = if age == Some(0) { share * gone } else { share };
            if age.is_some() && exposure > 0.0 {
                let known: &mut f64 = exposures.entry(day.day).or_default();
                *known = known.max(exposure);
            }
        }
        Self { exposures, today }
    }

    /// Today, counted from 1970-01-01 in UTC.
    pub const fn today(&self) -> u32 {
        self.today
    }

    /// Days with exposure, the oldest first.
    pub fn days(&self) -> impl Iterator<Item = (u32, f64)> {
        self.exposures.iter().map(|(&day, &exposure)| (day, exposure))
    }

    /// Whether anyone reported the day.
    pub fn sees(&self, day: u32) -> bool {
        self.exposures.contains_key(&day)
    }

    /// The popularity of something that could be asked for since `first_day`. Demand of days that nobody
    /// reported is left out; of a day that is given twice both count.
    pub fn popularity(&self, demand: &[DayBytes], first_day: u32) -> Popularity {
        let mut long = Level::default();
        let mut short = Level::default();
        let mut seen_days = 0.0;
        for (&day, &exposure) in self.exposures.range(first_day..) {
            let age = f64::from(self.today - day);
            long.expose(exposure, weight(age, LONG_HALF_LIFE_DAYS));
            short.expose(exposure, weight(age, SHORT_HALF_LIFE_DAYS));
            seen_days += exposure;
        }
        for day in demand {
            if day.day >= first_day && self.sees(day.day) {
                let age = f64::from(self.today - day.day);
                long.add(day.bytes, weight(age, LONG_HALF_LIFE_DAYS));
                short.add(day.bytes, weight(age, SHORT_HALF_LIFE_DAYS));
            }
        }
        Popularity {
            long: long.per_day(),
            short: short.per_day(),
            evidence: (seen_days / EXPOSURE_ENOUGH_DAYS).min(1.0),
        }
    }
}

/// A weighted rate.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    bytes: f64,
    days: f64,
    /// The greatest weight of a day that was seen.
    heaviest: f64,
}

impl Level {
    fn expose(&mut self, exposure: f64, weight: f64) {
        self.days += exposure * weight;
        self.heaviest = self.heaviest.max(weight);
    }

    fn add(&mut self, bytes: u64, weight: f64) {
        self.bytes += bytes as f64 * weight;
    }

    fn per_day(&self) -> f64 {
        if self.heaviest > 0.0 { self.bytes / self.days.max(EXPOSURE_MIN_DAYS * self.heaviest) } else { 0.0 }
    }
}

fn weight(age_days: f64, half_life_days: f64) -> f64 {
    (-age_days / half_life_days).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDNIGHT: u64 = 20_000 * DAY_SECONDS;

    fn calendar(days: impl IntoIterator<Item = (u32, f64)>) -> Calendar {
        let reported: Vec<_> = days.into_iter().map(|(day, share)| ReportedDay { day, share }).collect();
        Calendar::new(&reported, MIDNIGHT)
    }

    fn demand(days: impl IntoIterator<Item = (u32, u64)>) -> Vec<DayBytes> {
        days.into_iter().map(|(day, bytes)| DayBytes { day, bytes }).collect()
    }

    fn close(left: f64, right: f64) -> bool {
        (left - right).abs() <= 1e-9 * right.abs().max(1.0)
    }

    #[test]
    fn the_same_demand_every_day_is_the_level_and_the_trend() {
        let popularity = calendar((19_990..20_000).map(|day| (day, 1.0)))
            .popularity(&demand((19_990..20_000).map(|day| (day, 700))), 0);
        assert!(
            close(popularity.long, 700.0)
                && close(popularity.short, 700.0)
                && close(popularity.trend(), 700.0)
        );
        assert_eq!(popularity.evidence, 1.0);
    }

    #[test]
    fn days_that_nobody_reported_change_nothing() {
        let days = || (19_980..20_000).filter(|day| day % 3 != 0);
        let popularity =
            calendar(days().map(|day| (day, 1.0))).popularity(&demand(days().map(|day| (day, 700))), 0);
        assert!(close(popularity.long, 700.0) && close(popularity.trend(), 700.0));
    }

    #[test]
    fn a_day_on_which_all_reported_and_nobody_asked_is_a_zero() {
        let popularity = calendar([(19_998, 1.0), (19_999, 1.0)]).popularity(&demand([(19_998, 700)]), 0);
        assert!(popularity.long < 350.0 && popularity.short < popularity.long && popularity.short > 0.0);
    }

    #[test]
    fn half_of_the_appliances_saw_half_of_the_demand() {
        let popularity = calendar((19_990..20_000).map(|day| (day, 0.5)))
            .popularity(&demand((19_990..20_000).map(|day| (day, 350))), 0);
        assert!(close(popularity.long, 700.0));
    }

    #[test]
    fn half_of_today_counts_as_half_a_day() {
        let today = Calendar::new(&[ReportedDay { day: 20_000, share: 1.0 }], MIDNIGHT + DAY_SECONDS / 2);
        let popularity = today.popularity(&demand([(20_000, 350)]), 0);
        assert!(close(popularity.long, 700.0));
        assert!(close(popularity.evidence, 0.5 / 3.0));
    }

    #[test]
    fn the_first_minutes_of_a_first_day_are_not_multiplied_into_a_day() {
        let today = Calendar::new(&[ReportedDay { day: 20_000, share: 1.0 }], MIDNIGHT + 60);
        assert!(close(today.popularity(&demand([(20_000, 100)]), 0).long, 400.0));
    }

    #[test]
    fn days_before_the_release_are_no_zeros() {
        let calendar = calendar((19_980..20_000).map(|day| (day, 1.0)));
        let popularity = calendar.popularity(&demand([(19_998, 700), (19_999, 700)]), 19_998);
        assert!(close(popularity.long, 700.0));
        assert!(close(popularity.evidence, 2.0 / 3.0));
    }

    #[test]
    fn what_rises_has_a_trend_above_its_level_and_what_falls_one_below() {
        let calendar = calendar((19_990..20_000).map(|day| (day, 1.0)));
        let rising =
            calendar.popularity(&demand((19_990..20_000).map(|day| (day, 100 * u64::from(day - 19_989)))), 0);
        assert!(rising.trend() > rising.short && rising.short > rising.long);
        let falling =
            calendar.popularity(&demand((19_990..20_000).map(|day| (day, 100 * u64::from(20_000 - day)))), 0);
        assert!(falling.trend() < falling.short && falling.short < falling.long && falling.trend() >= 0.0);
    }

    #[test]
    fn without_a_day_nothing_is_known() {
        assert_eq!(calendar([]).popularity(&demand([(19_999, 700)]), 0), Popularity::default());
        assert_eq!(calendar([(19_999, f64::NAN)]).popularity(&[], 0), Popularity::default());
        assert_eq!(calendar([(20_001, 1.0), (100, 1.0)]).days().count(), 0);
    }
}
