//! Latencies in fixed buckets: 1, 2, 3, 5, 7 in each decade from 100 µs to 30 s.
//!
//! The steps are fine enough that a quantile read from them is never off by more than a factor of two, and
//! the bounds that we promise something about (5, 20 and 50 ms) are among them, so that those shares are
//! exact. One addition for each event; nothing is ever summed up on the worker.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The upper bound of each bucket in microseconds, inclusive. One more bucket holds what is above the last.
pub const BOUNDS_MICROS: [u64; 28] = [
    100, 200, 300, 500, 700, // microseconds
    1_000, 2_000, 3_000, 5_000, 7_000, // milliseconds
    10_000, 20_000, 30_000, 50_000, 70_000, // tens
    100_000, 200_000, 300_000, 500_000, 700_000, // hundreds
    1_000_000, 2_000_000, 3_000_000, 5_000_000, 7_000_000, // seconds
    10_000_000, 20_000_000, 30_000_000,
];

/// A histogram with one writer.
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS_MICROS.len() + 1],
    sum_micros: AtomicU64,
}

/// The sum of histograms, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramTotal {
    /// Events in each bucket (not cumulated); the last is above every bound.
    pub buckets: [u64; BOUNDS_MICROS.len() + 1],
    /// Sum of what was recorded, in microseconds.
    pub sum_micros: u64,
}

impl Histogram {
    /// Without events.
    pub const fn new() -> Self {
        Histogram {
            buckets: [const { AtomicU64::new(0) }; BOUNDS_MICROS.len() + 1],
            sum_micros: AtomicU64::new(0),
        }
    }

    /// Counts one event. Only the owner of the histogram may call it.
    pub fn record(&self, duration: Duration) {
        self.record_value(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// The same, of a histogram whose numbers are no microseconds but in a unit of their own, milliseconds or kbit/s: the
    /// steps from 100 to 30,000,000 suit these, too.
    pub fn record_value(&self, value: u64) {
        let bucket = &self.buckets[bucket_of(value)];
        bucket.store(bucket.load(Relaxed).wrapping_add(1), Relaxed);
        self.sum_micros.store(self.sum_micros.load(Relaxed).wrapping_add(value), Relaxed);
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram::new()
    }
}

impl HistogramTotal {
    /// Adds what `histogram` holds now.
    pub fn add(&mut self, histogram: &Histogram) {
        for (total, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *total += bucket.load(Relaxed);
        }
        self.sum_micros = self.sum_micros.wrapping_add(histogram.sum_micros.load(Relaxed));
    }

    /// Adds another sum.
    pub fn add_total(&mut self, other: &HistogramTotal) {
        for (total, bucket) in self.buckets.iter_mut().zip(&other.buckets) {
            *total += bucket;
        }
        self.sum_micros = self.sum_micros.wrapping_add(other.sum_micros);
    }

    /// Adds `count` events of the same duration.
    pub fn record(&mut self, duration: Duration, count: u64) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(micros)] += count;
        self.sum_micros = self.sum_micros.wrapping_add(micros.wrapping_mul(count));
    }

    /// What was recorded since `earlier`, an earlier sum of the same histograms.
    pub fn since(&self, earlier: &HistogramTotal) -> HistogramTotal {
        let mut difference = HistogramTotal::default();
        for ((difference, now), then) in
            difference.buckets.iter_mut().zip(&self.buckets).zip(&earlier.buckets)
        {
            *difference = now.saturating_sub(*then);
        }
        difference.sum_micros = self.sum_micros.wrapping_sub(earlier.sum_micros);
        difference
    }

    /// The bound that `percent` of the events did not exceed, in microseconds; `None` without events. What is above
    /// every bound counts as the last one.
    pub fn at_most_micros(&self, percent: u64) -> Option<u64> {
        let count = self.count();
        let needed = (count * percent).div_ceil(100).max(1);
        let mut cumulated = 0;
        let bucket = self.buckets.iter().position(|bucket| {
            cumulated += bucket;
            cumulated >= needed
        })?;
        Some(BOUNDS_MICROS[bucket.min(BOUNDS_MICROS.len() - 1)])
    }

    /// Number of events.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

fn bucket_of(micros: u64) -> usize {
    BOUNDS_MICROS.partition_point(|&bound| bound < micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_bucket_and_one_more_microsecond_to_the_next() {
        for (index, &bound) in BOUNDS_MICROS.iter().enumerate() {
            assert_eq!(bucket_of(bound), index);
            assert_eq!(bucket_of(bound + 1), index + 1);
        }
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(u64::MAX), BOUNDS_MICROS.len());
    }

    #[test]
    fn neighbouring_bounds_differ_by_at_most_a_factor_of_two() {
        for pair in BOUNDS_MICROS.windows(2) {
            assert!(pair[0] < pair[1] && pair[1] <= 2 * pair[0], "{pair:?}");
        }
    }

    #[test]
    fn a_percentile_is_the_bound_that_so_many_events_did_not_exceed() {
        let mut total = HistogramTotal::default();
        assert_eq!(total.at_most_micros(50), None);
        total.record(Duration::from_micros(150), 1);
        assert_eq!((total.at_most_micros(1), total.at_most_micros(100)), (Some(200), Some(200)));
        total.record(Duration::from_micros(250), 1);
        assert_eq!((total.at_most_micros(50), total.at_most_micros(51)), (Some(200), Some(300)));
        total.record(Duration::from_secs(60), 198);
        assert_eq!(total.at_most_micros(99), Some(30_000_000), "beyond the last bound nothing is known");
    }

    #[test]
    fn a_difference_is_what_was_recorded_in_between() {
        let histogram = Histogram::new();
        let now = || {
            let mut total = HistogramTotal::default();
            total.add(&histogram);
            total
        };
        histogram.record(Duration::from_micros(50));
        let earlier = now();
        histogram.record(Duration::from_micros(250));
        let difference = now().since(&earlier);
        assert_eq!((difference.count(), difference.sum_micros), (1, 250));
        assert_eq!(difference.at_most_micros(50), Some(300));
    }

    #[test]
    fn totals_add_up_several_histograms() {
        let (one, two) = (Histogram::new(), Histogram::new());
        one.record(Duration::from_micros(100));
        two.record(Duration::from_micros(50));
        two.record(Duration::from_secs(60));
        let mut total = HistogramTotal::default();
        total.add(&one);
        total.add(&two);
        assert_eq!(total.count(), 3);
        assert_eq!(total.buckets[0], 2);
        assert_eq!(total.buckets[BOUNDS_MICROS.len()], 1);
        assert_eq!(total.sum_micros, 60_000_150);
    }
}
