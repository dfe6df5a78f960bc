//! Adaptive bitrate: which representation the next segment is fetched in. Throughput is averaged over the last segments and used with a
//! margin, and the way up is one step at a time, as in FESTIVE (Jiang, Sekar and Zhang, CoNEXT 2012); the buffer says how bold to be, as in
//! BBA (Huang et al., SIGCOMM 2014).
//!
//! | buffer | up | down |
//! |---|---|---|
//! | below 10 s | one step, to at most 0.7 of the throughput | as soon as it is more than 0.7 of the throughput, all the way |
//! | up to 30 s | one step, to at most 0.85 of it | only where the present representation is more than all of it |
//! | from 30 s on | nothing is fetched | |
//!
//! What lies between the factors is the hysteresis: a throughput that wavers by a sixth moves nothing once the buffer has 10 s.

use std::collections::VecDeque;
use std::time::Duration;

use super::ladder::{HIGHEST, LADDER, highest_within};

/// A buffer with less is in danger.
pub(crate) const LOW: Duration = Duration::from_secs(10);

/// A buffer with so much is full.
pub(crate) const FULL: Duration = Duration::from_secs(30);

/// Segments whose throughput is averaged.
const SEGMENTS_AVERAGED: usize = 5;

/// The part of the throughput that is used while the buffer is low.
const CAUTIOUS: f64 = 0.7;

/// The part that the next step up may need otherwise.
const BOLD: f64 = 0.85;

/// What the rule remembers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Abr {
    /// Bits and seconds of the last segments.
    fetched: VecDeque<(f64, f64)>,
    /// The representation of the last segment.
    current: Option<usize>,
}

impl Abr {
    /// A segment came.
    pub(crate) fn note(&mut self, bytes: u64, took: Duration) {
        if self.fetched.len() == SEGMENTS_AVERAGED {
            self.fetched.pop_front();
        }
        // What came in no time was faster than can be said.
        self.fetched.push_back((bytes as f64 * 8.0, took.as_secs_f64().max(1e-6)));
    }

    /// Bits per second over the last segments: all bits by all time, so that a long wait counts as long as it was.
    pub(crate) fn throughput(&self) -> Option<f64> {
        let (bits, seconds) = self
            .fetched
            .iter()
            .fold((0.0, 0.0), |(bits, seconds), (more, longer)| (bits + more, seconds + longer));
        (seconds > 0.0).then(|| bits / seconds)
    }

    /// The representation of the next segment: its place in the ladder.
    pub(crate) fn choose(&mut self, buffer: Duration) -> usize {
        let chosen = match (self.current, self.throughput()) {
            (Some(current), Some(throughput)) => next(current, throughput, buffer),
            // The first is the shortest, so that it is there soonest.
            _ => 0,
        };
        self.current = Some(chosen);
        chosen
    }
}

fn next(current: usize, throughput: f64, buffer: Duration) -> usize {
    let up = (current + 1).min(HIGHEST);
    if buffer < LOW {
        return highest_within(CAUTIOUS * throughput).min(up);
    }
    if LADDER[current].bitrate as f64 > throughput {
        return highest_within(BOLD * throughput).min(current);
    }
    if LADDER[up].bitrate as f64 <= BOLD * throughput { up } else { current }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_FULL: Duration = Duration::from_secs(20);

    /// A rule that is at a representation and has seen this throughput, in bits per second.
    fn at(current: usize, throughput: f64) -> Abr {
        let mut abr = Abr { current: Some(current), ..Abr::default() };
        abr.note((throughput / 8.0) as u64, Duration::from_secs(1));
        abr
    }

    #[test]
    fn it_begins_with_the_lowest_and_goes_up_one_step_at_a_time() {
        let mut abr = Abr::default();
        let mut chosen = Vec::new();
        for _ in 0..6 {
            chosen.push(abr.choose(Duration::ZERO));
            abr.note(5_000_000, Duration::from_secs(1));
        }
        assert_eq!(chosen, [0, 1, 2, 3, 3, 3]);
    }

    #[test]
    fn a_low_buffer_takes_all_the_steps_down_at_once() {
        assert_eq!(at(3, 1_200_000.0).choose(Duration::from_secs(9)), 1);
        assert_eq!(at(3, 100_000.0).choose(Duration::ZERO), 0);
    }

    #[test]
    fn a_buffer_above_ten_seconds_rides_out_what_a_low_one_does_not() {
        // 720p needs 3 Mbit/s; 0.7 of 3.1 Mbit/s is not enough for it.
        assert_eq!(at(3, 3_100_000.0).choose(HALF_FULL), 3);
        assert_eq!(at(3, 3_100_000.0).choose(Duration::from_secs(9)), 2);
        assert_eq!(at(3, 2_900_000.0).choose(HALF_FULL), 2);
    }

    #[test]
    fn between_the_two_thresholds_nothing_moves() {
        // From 480p up takes 3 / 0.85 = 3.53 Mbit/s, from 720p down less than 3.
        for throughput in [3_000_000.0, 3_200_000.0, 3_500_000.0] {
            assert_eq!(at(2, throughput).choose(HALF_FULL), 2, "{throughput}");
            assert_eq!(at(3, throughput).choose(HALF_FULL), 3, "{throughput}");
        }
        assert_eq!(at(2, 3_600_000.0).choose(HALF_FULL), 3);
    }

    #[test]
    fn throughput_is_all_bits_by_all_time_of_the_last_five() {
        let mut abr = Abr::default();
        assert_eq!(abr.throughput(), None);
        abr.note(1_000_000_000, Duration::from_secs(1));
        for _ in 0..4 {
            abr.note(125_000, Duration::from_secs(1));
        }
        abr.note(125_000, Duration::from_secs(6));
        assert_eq!(abr.throughput(), Some(500_000.0));
    }
}
