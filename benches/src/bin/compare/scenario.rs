//! The scenarios, and what each of them is.

mod cold;
mod hot;
mod idle;
mod latency;
mod one_block;
mod slow;
mod start;
mod workers;
mod working_set;

use clap::ValueEnum;
use demo::failure::Failure;

use super::bench::Bench;
use super::record::Record;

/// One scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    #[value(name = "hot-16k")]
    Hot16k,
    #[value(name = "hot-64k")]
    Hot64k,
    #[value(name = "hot-256k")]
    Hot256k,
    #[value(name = "hot-2m")]
    Hot2m,
    #[value(name = "hot-8m")]
    Hot8m,
    #[value(name = "hot-64k-players")]
    Hot64kPlayers,
    #[value(name = "hot-2m-players")]
    Hot2mPlayers,
    #[value(name = "tls-64k")]
    Tls64k,
    #[value(name = "tls-256k")]
    Tls256k,
    #[value(name = "tls-2m")]
    Tls2m,
    /// At 16, 64 and 256 connections.
    Cold,
    /// Hot requests at a fixed rate, alone and beside a cold storm.
    Latency,
    /// One cold block, a thousand viewers.
    OneBlock,
    /// Eight times the RAM tier, at three exponents.
    WorkingSet,
    /// Idle connections, in cleartext and TLS.
    Idle,
    /// Slow connections.
    Slow,
    /// The cost of a request with one and with two workers.
    Workers,
    /// Start-up at scale.
    Start,
}

/// What came of a scenario.
pub(crate) enum Ran {
    Measured(Vec<Record>),
    /// It cannot be run here, and why.
    Missing(String),
}

impl Scenario {
    /// Its name.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether a record is its: the name of such a record's scenario is this one's, or begins with it and with no longer one.
    pub(crate) fn owns(self, scenario: &str) -> bool {
        let begins_with = |of: &Scenario| {
            scenario.strip_prefix(&of.name()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let owner =
            Scenario::value_variants().iter().filter(|of| begins_with(of)).max_by_key(|of| of.name().len());
        owner == Some(&self)
    }

    /// How long it takes in full on two cores with a disk of 2 GB/s, in seconds, estimated from single turns; what it has to write beforehand included.
    pub(crate) fn expected_seconds(self) -> f64 {
        match self {
            Scenario::Hot16k
            | Scenario::Hot64k
            | Scenario::Hot256k
            | Scenario::Hot2m
            | Scenario::Hot8m
            | Scenario::Hot64kPlayers
            | Scenario::Hot2mPlayers => 90.0,
            Scenario::Tls64k | Scenario::Tls256k | Scenario::Tls2m => 65.0,
            Scenario::Cold => 440.0,
            Scenario::Latency => 375.0,
            Scenario::OneBlock => 15.0,
            Scenario::WorkingSet => 350.0,
            Scenario::Idle => 140.0,
            Scenario::Slow => 150.0,
            Scenario::Workers => 160.0,
            Scenario::Start => 150.0,
        }
    }

    /// Runs it.
    pub(crate) fn run(self, bench: &Bench) -> Result<Ran, Failure> {
        const KIB: u64 = 1 << 10;
        const MIB: u64 = 1 << 20;
        let hot = |name, object_bytes, is_tls| {
            hot::run(bench, &hot::Hot { name, object_bytes, is_tls, is_of_players: false })
        };
        let players = |name, object_bytes| {
            hot::run(bench, &hot::Hot { name, object_bytes, is_tls: false, is_of_players: true })
        };
        match self {
            Scenario::Hot16k => hot("hot-16k", 16 * KIB, false),
            Scenario::Hot64k => hot("hot-64k", 64 * KIB, false),
            Scenario::Hot256k => hot("hot-256k", 256 * KIB, false),
            Scenario::Hot2m => hot("hot-2m", 2 * MIB, false),
            Scenario::Hot8m => hot("hot-8m", 8 * MIB, false),
            Scenario::Hot64kPlayers => players("hot-64k-players", 64 * KIB),
            Scenario::Hot2mPlayers => players("hot-2m-players", 2 * MIB),
            Scenario::Tls64k => hot("tls-64k", 64 * KIB, true),
            Scenario::Tls256k => hot("tls-256k", 256 * KIB, true),
            Scenario::Tls2m => hot("tls-2m", 2 * MIB, true),
            Scenario::Cold => cold::run(bench),
            Scenario::Latency => latency::run(bench),
            Scenario::OneBlock => one_block::run(bench),
            Scenario::WorkingSet => working_set::run(bench),
            Scenario::Idle => idle::run(bench),
            Scenario::Slow => slow::run(bench),
            Scenario::Workers => workers::run(bench),
            Scenario::Start => start::run(bench),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_belongs_to_one_scenario() {
        let of = |name: &str| -> Vec<Scenario> {
            Scenario::value_variants().iter().copied().filter(|scenario| scenario.owns(name)).collect()
        };
        assert_eq!(of("hot-2m"), [Scenario::Hot2m]);
        assert_eq!(of("hot-256k"), [Scenario::Hot256k]);
        assert_eq!(of("hot-64k"), [Scenario::Hot64k]);
        assert_eq!(of("hot-64k-players"), [Scenario::Hot64kPlayers]);
        assert_eq!(of("cold-16"), [Scenario::Cold]);
        assert_eq!(of("idle-tls"), [Scenario::Idle]);
        assert_eq!(of("latency-beside-storm"), [Scenario::Latency]);
        assert_eq!(of("working-set-0.8"), [Scenario::WorkingSet]);
        assert_eq!(of("colder"), []);
    }
}
