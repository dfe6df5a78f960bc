//! How much the appliance has to do, over the last seconds: `GET /load`. Measured by the health thread, from
//! the counters that the workers keep anyway.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use control_client::load::Load;
use control_client::wire::DocumentVersion;

use crate::limits::{LOAD_INTERVAL, LOAD_INTERVALS};
use crate::stats::{HistogramTotal, Totals};

/// A load and when it was measured.
pub struct Measured {
    /// What is told.
    pub load: Load,
    /// The end of the interval that it is of.
    pub at: Instant,
}

/// The counters of the last few seconds.
#[derive(Default)]
pub struct LoadHistory {
    marks: VecDeque<Mark>,
}

/// The counters at one moment.
struct Mark {
    at: Instant,
    egress_bytes: u64,
    requests: u64,
    volumes: Vec<VolumeMark>,
}

#[derive(Clone, Default)]
struct VolumeMark {
    in_flight: u64,
    durations: HistogramTotal,
}

impl LoadHistory {
    /// Takes note of the counters, and gives the load; `None` while the last note is less than an interval ago. The
    /// first load is of no time, so that only its connections are above zero.
    pub fn observe(&mut self, totals: &Totals, now: Instant) -> Option<Load> {
        let is_due = |last: &Mark| now.saturating_duration_since(last.at) >= LOAD_INTERVAL;
        if !self.marks.back().is_none_or(is_due) {
            return None;
        }
        self.marks.push_back(Mark::of(totals, now));
        if self.marks.len() > LOAD_INTERVALS + 1 {
            self.marks.pop_front();
        }
        let (first, last) = (self.marks.front()?, self.marks.back()?);
        Some(load_between(first, last, totals.open_connections()))
    }
}

impl Mark {
    fn of(totals: &Totals, at: Instant) -> Self {
        let volumes = totals
            .volumes
            .iter()
            .map(|volume| VolumeMark { in_flight: volume.in_flight, durations: volume.duration.clone() });
        Self {
            at,
            egress_bytes: totals.egress_bytes,
            requests: totals.outcomes.iter().sum(),
            volumes: volumes.collect(),
        }
    }
}

fn load_between(first: &Mark, last: &Mark, connections: u64) -> Load {
    let interval = last.at.saturating_duration_since(first.at);
    let reads = reads_between(first, last, interval);
    let per_second = |count: u64| rate(count, interval);
    Load {
        version: DocumentVersion,
        interval_millis: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
        egress_bits_per_second: per_second(
            last.egress_bytes.saturating_sub(first.egress_bytes).saturating_mul(8),
        ),
        requests_per_second: per_second(last.requests.saturating_sub(first.requests)),
        connections,
        reads_per_second: per_second(reads.ended),
        read_latency_p50_micros: reads.durations.at_most_micros(50).unwrap_or(0),
        read_latency_p99_micros: reads.durations.at_most_micros(99).unwrap_or(0),
    }
}

struct Reads {
    ended: u64,
    durations: HistogramTotal,
}

/// The reads of all volumes, that ended in the interval, and those that lasted through all of it: on each
/// volume, as many as were in flight before and did not end. So a disk that hangs does not look like one that
/// nobody reads.
fn reads_between(first: &Mark, last: &Mark, interval: Duration) -> Reads {
    let mut reads = Reads { ended: 0, durations: HistogramTotal::default() };
    let none = VolumeMark::default();
    for (number, volume) in last.volumes.iter().enumerate() {
        let before = first.volumes.get(number).unwrap_or(&none);
        let durations = volume.durations.since(&before.durations);
        let ended = durations.count();
        reads.ended += ended;
        reads.durations.add_total(&durations);
        if !interval.is_zero() {
            reads.durations.record(interval, before.in_flight.saturating_sub(ended));
        }
    }
    reads
}

/// `count` in `interval` as a number per second, rounded.
fn rate(count: u64, interval: Duration) -> u64 {
    let micros = interval.as_micros();
    if micros == 0 {
        return 0;
    }
    u64::try_from((u128::from(count) * 1_000_000 + micros / 2) / micros).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;
    use crate::stats::{ReadEnd, Transport, WorkerStats};

    const MILLIS: Duration = Duration::from_millis(1);

    /// A worker's counters that tests add to, and the history of them.
    struct Watched {
        stats: WorkerStats,
        history: LoadHistory,
        start: Instant,
    }

    impl Watched {
        fn new() -> Self {
            let mut watched =
                Self { stats: WorkerStats::new(2), history: LoadHistory::default(), start: Instant::now() };
            watched.load_at(0).unwrap();
            watched
        }

        fn load_at(&mut self, millis: u32) -> Option<Load> {
            self.history.observe(&Totals::of([&self.stats]), self.start + MILLIS * millis)
        }

        fn request(&self, bytes: u64) {
            self.stats.began();
            self.stats.sent(bytes);
            self.stats.ended(Outcome::HitDisk, bytes, Some(MILLIS), MILLIS);
        }

        fn read(&self, volume: u8, micros: u64) {
            self.stats.read_began(volume);
            self.stats.read_ended(volume, ReadEnd::Complete, 1, Duration::from_micros(micros));
        }
    }

    #[test]
    fn the_first_load_is_of_no_time_and_has_connections_alone() {
        let stats = WorkerStats::new(1);
        stats.accepted(Transport::Cleartext);
        stats.sent(1000);
        stats.read_began(0);
        let load = LoadHistory::default().observe(&Totals::of([&stats]), Instant::now()).unwrap();
        assert_eq!((load.interval_millis, load.connections), (0, 1));
        assert_eq!((load.egress_bits_per_second, load.read_latency_p99_micros), (0, 0));
    }

    #[test]
    fn rates_are_of_the_time_that_has_passed() {
        let mut watched = Watched::new();
        (0..30).for_each(|_| watched.request(100_000));
        let load = watched.load_at(2000).unwrap();
        assert_eq!((load.interval_millis, load.requests_per_second), (2000, 15));
        assert_eq!(load.egress_bits_per_second, 30 * 100_000 * 8 / 2);
    }

    #[test]
    fn within_a_second_nothing_is_measured_again() {
        let mut watched = Watched::new();
        assert_eq!(watched.load_at(999), None);
        assert!(watched.load_at(1000).is_some());
        assert_eq!(watched.load_at(1999), None);
    }

    #[test]
    fn what_is_more_than_five_seconds_ago_is_no_load_any_more() {
        let mut watched = Watched::new();
        watched.request(1000);
        watched.read(0, 150);
        let last = (1..=5).map(|second| watched.load_at(second * 1000).unwrap()).last().unwrap();
        assert_eq!((last.interval_millis, last.egress_bits_per_second), (5000, 1600));
        assert_eq!(last.read_latency_p50_micros, 200);
        let later = watched.load_at(6000).unwrap();
        assert_eq!((later.interval_millis, later.egress_bits_per_second), (5000, 0));
        assert_eq!((later.reads_per_second, later.read_latency_p50_micros), (0, 0));
    }

    #[test]
    fn latencies_are_those_of_all_volumes_reads_in_the_interval() {
        let mut watched = Watched::new();
        (0..98).for_each(|_| watched.read(0, 150));
        (0..2).for_each(|_| watched.read(1, 45_000));
        let load = watched.load_at(1000).unwrap();
        assert_eq!((load.reads_per_second, load.read_latency_p50_micros), (100, 200));
        assert_eq!(load.read_latency_p99_micros, 50_000);
    }

    #[test]
    fn a_disk_that_hangs_has_the_latency_of_the_interval_in_which_it_answered_nothing() {
        let mut watched = Watched::new();
        (0..3).for_each(|_| watched.stats.read_began(1));
        watched.read(0, 150);
        watched.load_at(1000).unwrap();
        let load = (2..=6).map(|second| watched.load_at(second * 1000).unwrap()).last().unwrap();
        assert_eq!((load.reads_per_second, load.read_latency_p50_micros), (0, 5_000_000));
        assert_eq!(load.read_latency_p99_micros, 5_000_000);
        // It answers again, late.
        (0..3).for_each(|_| watched.stats.read_ended(1, ReadEnd::Complete, 1, MILLIS * 6500));
        let load = watched.load_at(7000).unwrap();
        assert_eq!((load.reads_per_second, load.read_latency_p99_micros), (1, 7_000_000));
    }
}
