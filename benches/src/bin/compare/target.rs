//! What is to be reached, fixed before anything is measured, and whether it is.

use benches::statistics::Interval;

use super::record::Record;

/// The metrics of hot objects that have targets.
const RUN_GIB: &str = "run_seconds_per_gib";
const RUN_REQUEST: &str = "run_micros_per_request";

/// A bound of a ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

/// Whether a target is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All of the interval is within the target; without an interval, the median.
    Reached,
    /// All of the interval is beyond the target; without an interval, the median.
    Missed,
    /// The target lies within the interval.
    Open,
}

/// The target of a scenario against the limit. What `limit` is, each scenario says.
pub(crate) fn against_limit(record: &Record) -> Option<Target> {
    let target = match (record.scenario.as_str(), record.metric.as_str()) {
        ("hot-2m" | "hot-8m" | "hot-2m-players", RUN_GIB) => Target::AtMost(1.10),
        (
            "hot-16k" | "hot-64k" | "hot-256k" | "hot-64k-players" | "tls-64k" | "tls-256k" | "tls-2m",
            RUN_GIB | RUN_REQUEST,
        ) => Target::AtMost(1.15),
        ("cold-16" | "cold-64" | "cold-256", "bytes_per_second") => Target::AtLeast(0.9),
        ("latency-beside-storm", "p99_micros") => Target::AtMost(1.0),
        ("one-block", _) => Target::AtMost(1.0),
        ("workers", RUN_REQUEST) => Target::AtMost(1.05),
        ("idle" | "idle-tls" | "start", _) => Target::AtMost(1.0),
        (scenario, "gap_closed") if scenario.starts_with("working-set") => Target::AtLeast(1.0),
        _ => return None,
    };
    Some(target)
}

/// The target of a scenario against a peer.
pub(crate) fn against_peer(record: &Record) -> Option<Target> {
    let target = match (record.scenario.as_str(), record.metric.as_str(), record.peer.as_str()) {
        ("hot-2m" | "hot-8m" | "hot-2m-players", RUN_GIB, "nginx") => Target::AtMost(1.0),
        ("hot-16k" | "hot-64k" | "hot-256k" | "hot-64k-players", RUN_GIB | RUN_REQUEST, "nginx") => {
            Target::AtMost(0.9)
        }
        ("tls-2m" | "tls-256k", RUN_GIB, "nginx") => Target::AtMost(0.40),
        ("tls-64k", RUN_REQUEST, "nginx") => Target::AtMost(0.45),
        ("cold-16" | "cold-64" | "cold-256", "bytes_per_second", "nginx aio") => Target::AtLeast(1.3),
        ("cold-16" | "cold-64" | "cold-256", "p99_micros", "nginx aio") => Target::AtMost(1.0),
        ("latency-beside-storm", "p99_micros", "nginx aio") => Target::AtMost(0.2),
        ("idle" | "idle-tls", _, "nginx") => Target::AtMost(1.0),
        _ => return None,
    };
    Some(target)
}

/// Whether a ratio is within a target.
pub(crate) fn judge(target: Target, ratio: f64, interval: Option<Interval>) -> Verdict {
    let Interval { low, high } = interval.unwrap_or(Interval { low: ratio, high: ratio });
    let (all_within, none_within) = match target {
        Target::AtMost(bound) => (high <= bound, low > bound),
        Target::AtLeast(bound) => (low >= bound, high < bound),
    };
    match (all_within, none_within) {
        (true, _) => Verdict::Reached,
        (_, true) => Verdict::Missed,
        _ => Verdict::Open,
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::AtMost(bound) => write!(f, "≤ {bound:.2}"),
            Target::AtLeast(bound) => write!(f, "≥ {bound:.2}"),
        }
    }
}

impl Verdict {
    /// In one word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Verdict::Reached => "reached",
            Verdict::Missed => "missed",
            Verdict::Open => "open",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(low: f64, high: f64) -> Option<Interval> {
        Some(Interval { low, high })
    }

    #[test]
    fn a_verdict_needs_all_of_the_interval() {
        assert_eq!(judge(Target::AtMost(1.1), 1.0, interval(0.9, 1.1)), Verdict::Reached);
        assert_eq!(judge(Target::AtMost(1.1), 1.0, interval(0.9, 1.2)), Verdict::Open);
        assert_eq!(judge(Target::AtMost(1.1), 1.3, interval(1.2, 1.4)), Verdict::Missed);
        assert_eq!(judge(Target::AtLeast(0.9), 1.0, interval(0.9, 1.1)), Verdict::Reached);
        assert_eq!(judge(Target::AtLeast(0.9), 0.9, interval(0.8, 1.1)), Verdict::Open);
        assert_eq!(judge(Target::AtLeast(0.9), 0.7, interval(0.6, 0.8)), Verdict::Missed);
    }

    #[test]
    fn without_an_interval_the_median_decides() {
        assert_eq!(judge(Target::AtMost(1.0), 1.0, None), Verdict::Reached);
        assert_eq!(judge(Target::AtMost(1.0), 1.01, None), Verdict::Missed);
    }
}
