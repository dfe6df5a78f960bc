//! When the agent may fill: a span of every day in the site's local time.
//!
//! The window of a date goes from the first moment at which the local clock shows its beginning to the first
//! at which it shows its end, and is one piece. Where daylight saving time begins, a boundary that the clock
//! skips is the moment of the skip. Where it ends, a boundary that the clock shows twice is taken so that the
//! window is never open while the clock shows a time outside of it.

use std::fmt;
use std::time::Duration;

use control_client::units::DailyWindow;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// The fill window of one appliance.
#[derive(Clone, Debug)]
pub struct FillWindow {
    daily: DailyWindow,
    time_zone: TimeZone,
    jitter: Duration,
    appliance: Box<str>,
}

/// Whether the window is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowState {
    /// It is.
    Open {
        /// When it began, before jitter: what the night's budget is kept under.
        night: Timestamp,
        /// When it closes.
        until: Timestamp,
    },
    /// It is not.
    Closed {
        /// When it opens next.
        opens_at: Timestamp,
    },
}

/// No such time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeZoneError {
    name: String,
    why: String,
}

/// The name that stands for the system's own time zone.
const SYSTEM: &str = "system";

/// Dates before and after today that are looked at: a window over midnight began yesterday, and in one of two
/// days that follow each other the clock may have skipped it.
const DAYS_AROUND: i64 = 3;

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The window of one date.
#[derive(Clone, Copy)]
struct Night {
    /// The moment at which the local clock shows its beginning.
    began: Timestamp,
    /// The same, later by the appliance's jitter.
    opens: Timestamp,
    closes: Timestamp,
}

impl FillWindow {
    /// A window. `time_zone` is `system`, or a name of the IANA time zone database. Each night it opens later
    /// by a part of `jitter` that follows from the appliance's name and the date, so that a region's
    /// appliances do not all ask the same origin in the same second; a window of the whole day has none.
    pub fn new(
        daily: DailyWindow,
        time_zone: &str,
        jitter: Duration,
        appliance: &str,
    ) -> Result<Self, TimeZoneError> {
        let found = if time_zone == SYSTEM { TimeZone::try_system() } else { TimeZone::get(time_zone) };
        let time_zone =
            found.map_err(|error| TimeZoneError { name: time_zone.to_owned(), why: error.to_string() })?;
        Ok(Self { daily, time_zone, jitter, appliance: appliance.into() })
    }

    /// Whether it is open at `now`, and when that changes.
    pub fn at(&self, now: Timestamp) -> WindowState {
        let mut opens_at = now.saturating_add(DAY).unwrap_or(now);
        for night in self.nights_around(now).rev() {
            if night.opens <= now && now < night.closes {
                return WindowState::Open { night: night.began, until: night.closes };
            }
            if now < night.opens {
                opens_at = night.opens;
            }
        }
        WindowState::Closed { opens_at }
    }

    /// When the latest window began, before jitter: the night that a run belongs to which is begun by hand at
    /// any time.
    pub fn night_of(&self, now: Timestamp) -> Timestamp {
        self.nights_around(now).rev().map(|night| night.began).find(|began| *began <= now).unwrap_or(now)
    }

    /// In their order.
    fn nights_around(&self, now: Timestamp) -> impl DoubleEndedIterator<Item = Night> {
        let today = self.time_zone.to_datetime(now).date();
        (-DAYS_AROUND..=DAYS_AROUND).filter_map(move |days| {
            let date = today.checked_add(DAY.checked_mul(i32::try_from(days).ok()?)?).ok()?;
            self.night(date)
        })
    }

    /// `None` where the clock skips all of it.
    fn night(&self, date: Date) -> Option<Night> {
        let over_midnight = self.daily.closes_minute() <= self.daily.opens_minute();
        let last_date = if over_midnight { date.tomorrow().ok()? } else { date };
        let closes = self.shows(at_minute(last_date, self.daily.closes_minute())?)?;
        let began = self.shows_for_good(at_minute(date, self.daily.opens_minute())?)?;
        // Both lie in the hour that the clock shows twice: it is open in the first of them.
        let began =
            if began < closes { began } else { self.shows(at_minute(date, self.daily.opens_minute())?)? };
        if began >= closes {
            return None;
        }
        let opens = began.saturating_add(self.jitter_of(date, closes.duration_since(began))).ok()?;
        Some(Night { began, opens, closes })
    }

    /// When the clock shows `local`, for the first time where it does so twice; where it never does, when it
    /// jumps past it.
    fn shows(&self, local: DateTime) -> Option<Timestamp> {
        match self.time_zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok(),
            AmbiguousOffset::Gap { before, .. } => self.transition_until(before.to_timestamp(local).ok()?),
        }
    }

    /// The same, but for the second time where the clock is set back to before `local`.
    fn shows_for_good(&self, local: DateTime) -> Option<Timestamp> {
        let first = self.shows(local)?;
        let AmbiguousOffset::Fold { after, .. } = self.time_zone.to_ambiguous_timestamp(local).offset()
        else {
            return Some(first);
        };
        let second = after.to_timestamp(local).ok()?;
        // Set back exactly to it: it has been shown since the first time, or something later.
        let set_back_to_it = self.transition_until(second) == Some(second);
        Some(if set_back_to_it { first } else { second })
    }

    /// The last change of the clock that is not after `moment`.
    fn transition_until(&self, moment: Timestamp) -> Option<Timestamp> {
        let after = moment.checked_add(SignedDuration::from_nanos(1)).ok()?;
        self.time_zone.preceding(after).next().map(|transition| transition.timestamp())
    }

    /// At most half of the window.
    fn jitter_of(&self, date: Date, length: SignedDuration) -> SignedDuration {
        if self.daily.minutes() == WHOLE_DAY_MINUTES {
            return SignedDuration::ZERO;
        }
        let longest = self.jitter.min(length.unsigned_abs() / 2);
        let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        let day = [i64::from(date.year()), i64::from(date.month()), i64::from(date.day())];
        let part = spread(self.appliance.bytes().chain(day.iter().flat_map(|number| number.to_le_bytes())));
        let millis = (u128::from(millis) * u128::from(part)) >> 64;
        SignedDuration::from_millis(i64::try_from(millis).unwrap_or(0))
    }
}

impl fmt::Display for TimeZoneError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "there is no time zone {:?} ({}); write \"system\", or a name like \"Europe/Berlin\"",
            self.name, self.why
        )
    }
}

impl std::error::Error for TimeZoneError {}

const WHOLE_DAY_MINUTES: u16 = 24 * 60;

/// `minute` counts from midnight; 1440 is the next midnight.
fn at_minute(date: Date, minute: u16) -> Option<DateTime> {
    let (date, minute) = match minute.checked_sub(WHOLE_DAY_MINUTES) {
        Some(minute) => (date.tomorrow().ok()?, minute),
        None => (date, minute),
    };
    let (hours, minutes) = (i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?);
    Some(DateTime::from_parts(date, Time::new(hours, minutes, 0, 0).ok()?))
}

/// A number that looks evenly spread and is the same in every release: FNV-1a, then the finishing steps of
/// SplitMix64.
fn spread(bytes: impl Iterator<Item = u8>) -> u64 {
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests;
