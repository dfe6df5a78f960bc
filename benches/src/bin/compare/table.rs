//! The records for people: one table.

use benches::statistics::{Interval, Ratio, shown};

use super::record::Record;
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
    ratio.map_or_else(String::new, |median| Ratio { median, interval }.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Series, compare};

    #[test]
    fn both_targets_of_a_row_have_their_verdicts() {
        let peers = [Series { name: "nginx", values: vec![1.0; 9] }];
        let records = compare("hot-2m", "run_seconds_per_gib", &[1.05; 9], &peers, Some(&[1.0; 9]));
        assert_eq!(verdicts(&records[0]), "limit reached, peer missed");
        let unknown = compare("slow", "run_seconds_per_gib", &[1.05; 9], &peers, None);
        assert_eq!(verdicts(&unknown[0]), "");
    }
}
