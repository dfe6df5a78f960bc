//! Medians of paired ratios, and how sure they are: pure functions.
//!
//! The interval of a median is taken from the order statistics: of `n` independent values, the median of what they are drawn from lies
//! between the `k`-th smallest and the `k`-th largest, but for twice the probability that a fair coin shows fewer than `k` heads in `n`
//! throws (David and Nagaraja, "Order Statistics", 3rd edition, 7.1). It assumes nothing about the distribution, and needs no seed.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How often the interval may miss.
const MISSES: f64 = 0.05;

/// From the lowest to the highest that the median is likely to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

/// The median of ratios, with its 95 % interval; there is none for fewer than six ratios.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// Of the ratios.
    pub median: f64,
    /// Of their median.
    pub interval: Option<Interval>,
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.median)?;
        match self.interval {
            Some(Interval { low, high }) => write!(f, " ({low:.3} to {high:.3})"),
            None => Ok(()),
        }
    }
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [self.low, self.high].serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <[f64; 2]>::deserialize(deserializer).map(|[low, high]| Self { low, high })
    }
}

/// Of values that were measured in pairs: the ratio of each pair, and of these the median. What disturbs both of a pair does not show.
/// `None` where a pair has none, because its second value is 0: the others would not speak for all.
pub fn paired_ratio(ours: &[f64], other: &[f64]) -> Option<Ratio> {
    let ratios: Vec<f64> = ours.iter().zip(other).map(|(ours, other)| ours / other).collect();
    (!ratios.is_empty() && !other.contains(&0.0))
        .then(|| Ratio { median: median(&ratios), interval: median_interval(&ratios) })
}

/// The middle value, or the mean of the two in the middle; not a number where there is none.
pub fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[half],
        _ => f64::midpoint(sorted[half - 1], sorted[half]),
    }
}

/// The smallest value that at least this part of the values does not exceed; not a number where there is none.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let sorted = sorted(values);
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// A value with as many digits as mean something.
pub fn shown(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{:.1} M", value / 1e6),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// The narrowest interval between the `k`-th smallest and the `k`-th largest that misses the median at most as often as is allowed.
fn median_interval(values: &[f64]) -> Option<Interval> {
    let sorted = sorted(values);
    let count = sorted.len();
    let rank = (1..=count / 2).take_while(|&rank| 2.0 * fewer_heads(rank, count) <= MISSES).last()?;
    Some(Interval { low: sorted[rank - 1], high: sorted[count - rank] })
}

/// The probability that a fair coin shows fewer than `heads` heads in so many throws.
fn fewer_heads(heads: usize, throws: usize) -> f64 {
    let mut of_exactly = 0.5_f64.powi(i32::try_from(throws).unwrap_or(i32::MAX));
    let mut sum = 0.0;
    for exactly in 0..heads {
        sum += of_exactly;
        of_exactly *= (throws - exactly) as f64 / (exactly + 1) as f64;
    }
    sum
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_quantile_is_a_value_that_was_measured() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&values, 0.99), 99.0);
        assert_eq!(quantile(&values, 0.5), 50.0);
        assert_eq!(quantile(&values, 1.0), 100.0);
        assert_eq!(quantile(&[7.0], 0.99), 7.0);
    }

    #[test]
    fn the_interval_of_nine_is_from_the_second_smallest_to_the_second_largest() {
        let values: Vec<f64> = (1..=9).map(f64::from).collect();
        assert_eq!(median_interval(&values), Some(Interval { low: 2.0, high: 8.0 }));
        let values: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(median_interval(&values), Some(Interval { low: 6.0, high: 15.0 }));
    }

    #[test]
    fn five_values_have_no_interval_and_six_have_all_of_their_range() {
        assert_eq!(median_interval(&[1.0, 2.0, 3.0, 4.0, 5.0]), None);
        let six = [6.0, 5.0, 4.0, 3.0, 2.0, 1.0];
        assert_eq!(median_interval(&six), Some(Interval { low: 1.0, high: 6.0 }));
    }

    #[test]
    fn coins_fall_as_the_tables_say() {
        assert!((fewer_heads(2, 9) - 10.0 / 512.0).abs() < 1e-12);
        assert!((fewer_heads(10, 9) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn what_disturbs_both_of_a_pair_does_not_show() {
        let (ours, other) = ([1.0, 2.0, 30.0], [2.0, 4.0, 60.0]);
        assert_eq!(paired_ratio(&ours, &other).map(|ratio| ratio.median), Some(0.5));
        assert_eq!(paired_ratio(&ours, &[]), None);
        assert_eq!(paired_ratio(&[1.0, 1.0], &[1.0, 0.0]), None);
    }

    #[test]
    fn values_keep_their_digits() {
        assert_eq!(shown(0.0712), "0.0712");
        assert_eq!(shown(12.34), "12.34");
        assert_eq!(shown(4096.4), "4096");
        assert_eq!(shown(2.5e9), "2500.0 M");
    }

    #[test]
    fn a_ratio_is_shown_with_its_interval_where_there_is_one() {
        let interval = Some(Interval { low: 0.4, high: 0.6 });
        assert_eq!(Ratio { median: 0.5, interval }.to_string(), "0.500 (0.400 to 0.600)");
        assert_eq!(Ratio { median: 0.5, interval: None }.to_string(), "0.500");
    }
}
