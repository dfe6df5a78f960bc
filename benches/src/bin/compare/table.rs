//! The records for people: one table.

use super::record::Record;
use super::statistics::Interval;
use super::target::{Target, against_limit, against_peer, judge};

/// Prints them.
pub(crate) fn print(records: &[Record]) {
    println!(
        "\n{:<18} {:<38} {:>12} {:>12} {:<24} {:<8} {:<16} {:>12} {:<24} {:<8} verdict",
        "scenario",
        "metric",
        "ours",
        "limit",
        "ratio to limit (95 %)",
        "target",
        "peer",
        "its value",
        "ratio to peer (95 %)",
        "target"
    );
    for record in records {
        let (limit, peer) = (against_limit(record), against_peer(record));
        println!(
            "{:<18} {:<38} {:>12} {:>12} {:<24} {:<8} {:<16} {:>12} {:<24} {:<8} {}",
            record.scenario,
            record.metric,
            shown(record.ours),
            record.limit.map_or_else(String::new, shown),
            ratio(record.ratio_limit, record.interval_limit),
            target(limit),
            record.peer,
            record.peer_value.map_or_else(String::new, shown),
            ratio(record.ratio_peer, record.ratio_peer.and(record.interval)),
            target(peer),
            verdicts(record),
        );
    }
}

/// First against the limit, then against the peer; nothing where there is no target.
pub(crate) fn verdicts(record: &Record) -> String {
    let limit = against_limit(record).zip(record.ratio_limit);
    let peer = against_peer(record).zip(record.ratio_peer);
    let words = [
        limit.map(|(target, ratio)| ("limit", judge(target, ratio, record.interval_limit))),
        peer.map(|(target, ratio)| ("peer", judge(target, ratio, record.interval))),
    ];
    let words: Vec<String> =
        words.into_iter().flatten().map(|(of, verdict)| format!("{of} {}", verdict.word())).collect();
    words.join(", ")
}

/// Nothing, where there is none.
pub(crate) fn target(target: Option<Target>) -> String {
    target.map_or_else(String::new, |target| target.to_string())
}

/// With its interval, where there is one.
pub(crate) fn ratio(ratio: Option<f64>, interval: Option<Interval>) -> String {
    match (ratio, interval) {
        (None, _) => String::new(),
        (Some(ratio), None) => format!("{ratio:.3}"),
        (Some(ratio), Some(Interval { low, high })) => format!("{ratio:.3} ({low:.3} to {high:.3})"),
    }
}

/// As many digits as mean something.
pub(crate) fn shown(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{:.1} M", value / 1e6),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Series, compare};

    #[test]
    fn both_targets_of_a_row_have_their_verdicts() {
        let peers = [Series { name: "nginx", values: vec![1.0; 9] }];
        let records = compare("hot-2m", "cpu_seconds_per_gib", &[1.05; 9], &peers, Some(&[1.0; 9]));
        assert_eq!(verdicts(&records[0]), "limit reached, peer missed");
        let unknown = compare("slow", "cpu_seconds_per_gib", &[1.05; 9], &peers, None);
        assert_eq!(verdicts(&unknown[0]), "");
    }

    #[test]
    fn values_keep_their_digits() {
        assert_eq!(shown(0.0712), "0.0712");
        assert_eq!(shown(12.34), "12.34");
        assert_eq!(shown(4096.4), "4096");
        assert_eq!(shown(2.5e9), "2500.0 M");
    }
}
