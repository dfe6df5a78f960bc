//! The wall clock as a worker has it: read every now and then, and in between taken on by the monotonic one. It is for the log and for
//! dates, which do not need more.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::limits::WALL_CLOCK_INTERVAL;

/// Time since the Unix epoch, as of a moment of the monotonic clock.
pub struct WallClock {
    as_of: Instant,
    unix_nanos: u64,
    next_reading: Instant,
    date: [u8; 29],
    date_seconds: u64,
}

impl WallClock {
    /// One that has not been read yet: the first turn, at `now` or later, does.
    pub fn new(now: Instant) -> Self {
        Self { as_of: now, unix_nanos: 0, next_reading: now, date: [b' '; 29], date_seconds: u64::MAX }
    }

    /// Brings the time up to date as of `now`, which is no earlier than before. True: it was `read`, as happens every
    /// [`WALL_CLOCK_INTERVAL`].
    pub fn turn(&mut self, now: Instant, read: impl FnOnce() -> SystemTime) -> bool {
        let passed = now.saturating_duration_since(self.as_of);
        self.as_of = now;
        let is_due = now >= self.next_reading;
        if is_due {
            self.next_reading = now + WALL_CLOCK_INTERVAL;
            self.unix_nanos = nanos(read().duration_since(UNIX_EPOCH).unwrap_or_default());
        } else {
            self.unix_nanos = self.unix_nanos.saturating_add(nanos(passed));
        }
        self.bring_date_up_to_date();
        is_due
    }

    /// Nanoseconds since the Unix epoch.
    pub fn unix_nanos(&self) -> u64 {
        self.unix_nanos
    }

    /// Whole seconds since the Unix epoch.
    pub fn unix_seconds(&self) -> u64 {
        self.unix_nanos / 1_000_000_000
    }

    /// The time as the `Date` field has it (RFC 9110 §5.6.7).
    pub fn date(&self) -> &[u8; 29] {
        &self.date
    }

    fn bring_date_up_to_date(&mut self) {
        if self.unix_seconds() != self.date_seconds {
            self.date_seconds = self.unix_seconds();
            let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(self.date_seconds));
            if let Ok(date) = text.as_bytes().try_into() {
                self.date = date;
            }
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 21 November 2026, a Saturday.
    const MIDNIGHT: Duration = Duration::from_secs(1_795_219_200);

    fn unread() -> SystemTime {
        panic!("it is not due")
    }

    #[test]
    fn between_two_readings_the_time_goes_on_with_the_monotonic_clock() {
        let (began, tick) = (Instant::now(), Duration::from_micros(1500));
        let mut clock = WallClock::new(began);
        assert!(clock.turn(began, || UNIX_EPOCH + MIDNIGHT));
        for turn in 1..=6 {
            assert!(!clock.turn(began + tick * turn, unread));
            assert_eq!(clock.unix_nanos(), nanos(MIDNIGHT + tick * turn));
        }
    }

    #[test]
    fn a_reading_is_believed_even_where_the_clock_was_set_back() {
        let began = Instant::now();
        let mut clock = WallClock::new(began);
        clock.turn(began, || UNIX_EPOCH + MIDNIGHT);
        let yesterday = MIDNIGHT - Duration::from_secs(86_400);
        assert!(clock.turn(began + WALL_CLOCK_INTERVAL, || UNIX_EPOCH + yesterday));
        assert_eq!(clock.unix_nanos(), nanos(yesterday));
        assert_eq!(clock.date(), b"Fri, 20 Nov 2026 00:00:00 GMT");
    }

    #[test]
    fn the_date_follows_the_second_without_a_reading() {
        let began = Instant::now();
        let mut clock = WallClock::new(began);
        clock.turn(began, || UNIX_EPOCH + MIDNIGHT - Duration::from_millis(1));
        assert_eq!(clock.date(), b"Fri, 20 Nov 2026 23:59:59 GMT");
        clock.turn(began + Duration::from_millis(1), unread);
        assert_eq!(clock.date(), b"Sat, 21 Nov 2026 00:00:00 GMT");
    }
}
