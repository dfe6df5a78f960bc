//! What was found: one record for each scenario, metric and peer.

use benches::statistics::{Interval, median, paired_ratio};
use serde::{Deserialize, Serialize};

/// The name under which a record stands that is compared with a limit only.
pub(crate) const NO_PEER: &str = "none";

/// What one contestant showed in each round.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: &'static str,
    pub(crate) values: Vec<f64>,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Begins with the name of the scenario that it is of.
    pub(crate) scenario: String,
    /// What was measured, unit last.
    pub(crate) metric: String,
    /// The median of our rounds.
    pub(crate) ours: f64,
    /// Who it is compared with.
    pub(crate) peer: String,
    /// The median of their rounds.
    pub(crate) peer_value: Option<f64>,
    /// The median of the limit's rounds.
    pub(crate) limit: Option<f64>,
    /// The median of the rounds' ratios.
    pub(crate) ratio_peer: Option<f64>,
    /// The median of the rounds' ratios.
    pub(crate) ratio_limit: Option<f64>,
    /// The 95 % interval of `ratio_peer`, or of `ratio_limit` where there is no peer; none for fewer than six rounds.
    pub(crate) interval: Option<Interval>,
    /// The 95 % interval of `ratio_limit`.
    pub(crate) interval_limit: Option<Interval>,
    /// How many rounds there were.
    pub(crate) rounds: usize,
}

/// One record for each peer; one without a peer where there is none.
pub(crate) fn compare(
    scenario: &str,
    metric: &str,
    ours: &[f64],
    peers: &[Series],
    limit: Option<&[f64]>,
) -> Vec<Record> {
    let against_limit = limit.and_then(|limit| paired_ratio(ours, limit));
    let record = |peer: Option<&Series>| {
        let against_peer = peer.and_then(|peer| paired_ratio(ours, &peer.values));
        let interval = if peer.is_some() { against_peer } else { against_limit };
        Record {
            scenario: scenario.to_owned(),
            metric: metric.to_owned(),
            ours: median(ours),
            peer: peer.map_or(NO_PEER, |peer| peer.name).to_owned(),
            peer_value: peer.map(|peer| median(&peer.values)),
            limit: limit.map(median),
            ratio_peer: against_peer.map(|ratio| ratio.median),
            ratio_limit: against_limit.map(|ratio| ratio.median),
            interval: interval.and_then(|ratio| ratio.interval),
            interval_limit: against_limit.and_then(|ratio| ratio.interval),
            rounds: ours.len(),
        }
    };
    if peers.is_empty() { vec![record(None)] } else { peers.iter().map(|peer| record(Some(peer))).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_has_a_record_and_all_have_the_limit() {
        let peers = [
            Series { name: "nginx", values: vec![2.0, 4.0, 6.0] },
            Series { name: "varnish", values: vec![4.0, 8.0, 12.0] },
        ];
        let records = compare("hot", "seconds", &[1.0, 2.0, 3.0], &peers, Some(&[1.0, 1.0, 1.0]));
        let ratios: Vec<_> = records.iter().map(|record| (record.peer.as_str(), record.ratio_peer)).collect();
        assert_eq!(ratios, [("nginx", Some(0.5)), ("varnish", Some(0.25))]);
        assert!(records.iter().all(|record| record.limit == Some(1.0) && record.ratio_limit == Some(2.0)));
    }

    #[test]
    fn a_record_is_written_with_the_fields_that_readers_know() {
        let six = [1.0; 6];
        let peers = [Series { name: "nginx", values: vec![2.0; 6] }];
        let records = compare("hot", "seconds", &six, &peers, None);
        assert_eq!(
            serde_json::to_string(&records[0]).unwrap(),
            r#"{"scenario":"hot","metric":"seconds","ours":1.0,"peer":"nginx","peer_value":2.0,"limit":null,"ratio_peer":0.5,"ratio_limit":null,"interval":[0.5,0.5],"interval_limit":null,"rounds":6}"#
        );
    }

    #[test]
    fn without_a_peer_the_interval_is_that_of_the_limit() {
        let records = compare("start", "seconds", &[1.0; 9], &[], Some(&[4.0; 9]));
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].peer, NO_PEER);
        assert_eq!(records[0].interval, Some(Interval { low: 0.25, high: 0.25 }));
    }
}
