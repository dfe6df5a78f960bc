//! Who else is in the household, and what is measured then.

use clap::ValueEnum;

/// Beside the player, and always beside datagrams of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Small requests: somebody looks at pages.
    Requests,
    /// A download that takes what it gets.
    Download,
}

/// How many metrics a scenario has.
pub(crate) const METRICS: usize = 8;

/// The neighbour's.
const OF_REQUESTS: [&str; 2] = ["neighbour_request_p50_millis", "neighbour_request_p95_millis"];
const OF_DOWNLOAD: [&str; 2] = ["neighbour_bits_per_second", "neighbour_retransmitted_percent"];

/// Everybody's.
const OF_ALL: [&str; METRICS - 2] = [
    "datagram_delay_p50_millis",
    "datagram_delay_p95_millis",
    "datagrams_lost_percent",
    "player_bits_per_second",
    "player_retransmitted_percent",
    "player_stalled_seconds",
];

impl Scenario {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Scenario::Requests => "requests",
            Scenario::Download => "download",
        }
    }

    /// What is measured, unit last.
    pub(crate) fn metrics(self) -> [&'static str; METRICS] {
        let [first, second] = match self {
            Scenario::Requests => OF_REQUESTS,
            Scenario::Download => OF_DOWNLOAD,
        };
        let [a, b, c, d, e, f] = OF_ALL;
        [first, second, a, b, c, d, e, f]
    }
}
