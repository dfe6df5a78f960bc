//! What bundles are worth, class by class.

use std::ops::{Add, AddAssign, Sub};

use control_client::fill_manifest::FillClass;

/// Bytes served within the horizon, by class. Compared class by class, the highest first: no amount of a
/// lower class makes up for anything of a higher one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Worth([i128; 3]);

impl Worth {
    pub(super) const ZERO: Self = Self([0; 3]);

    pub(super) const fn of(class: FillClass, bytes: i128) -> Self {
        match class {
            FillClass::Pinned => Self([bytes, 0, 0]),
            FillClass::Prewarm => Self([0, bytes, 0]),
            FillClass::Ranked => Self([0, 0, bytes]),
        }
    }
}

impl Add for Worth {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let ([a, b, c], [d, e, f]) = (self.0, other.0);
        Self([a + d, b + e, c + f])
    }
}

impl AddAssign for Worth {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Worth {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        let ([a, b, c], [d, e, f]) = (self.0, other.0);
        Self([a - d, b - e, c - f])
    }
}

const DAY_SECONDS: u64 = 86_400;

/// The span over which bundles are compared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Horizon {
    now: u64,
    seconds: u64,
    /// Without it, no licence ends.
    clock_is_synchronised: bool,
}

impl Horizon {
    pub(super) fn new(now: u64, churn_days: u32, clock_is_synchronised: bool) -> Self {
        Self { now, seconds: u64::from(churn_days.max(1)) * DAY_SECONDS, clock_is_synchronised }
    }

    pub(super) fn has_expired(&self, expires_at: Option<u64>) -> bool {
        self.clock_is_synchronised && expires_at.is_some_and(|moment| moment <= self.now)
    }

    pub(super) fn expires_within_a_day(&self, expires_at: Option<u64>) -> bool {
        let tomorrow = self.now.saturating_add(DAY_SECONDS);
        self.clock_is_synchronised && expires_at.is_some_and(|moment| moment <= tomorrow)
    }

    /// What serves `score` bytes a day, until it expires or the horizon ends: at least a byte, as it is wanted.
    pub(super) fn value(&self, score: u64, expires_at: Option<u64>) -> i128 {
        (i128::from(score) * i128::from(self.life(expires_at)) / i128::from(DAY_SECONDS)).max(1)
    }

    /// What it is worth to have fetched so many bytes already: less where they are soon of no use.
    pub(super) fn sunk(&self, bytes: u64, expires_at: Option<u64>) -> i128 {
        i128::from(bytes) * i128::from(self.life(expires_at)) / i128::from(self.seconds)
    }

    fn life(&self, expires_at: Option<u64>) -> u64 {
        match expires_at {
            Some(moment) if self.clock_is_synchronised => moment.saturating_sub(self.now).min(self.seconds),
            _ => self.seconds,
        }
    }
}
