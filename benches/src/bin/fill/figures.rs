//! What was measured, for people and for programs.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use benches::statistics::quantile;
use demo::failure::{Failure, Step};
use serde::Serialize;

/// One figure, and what it is held against.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    /// What went on.
    pub(crate) scenario: String,
    /// What was measured, unit last.
    pub(crate) metric: &'static str,
    /// The system's value, the median of the rounds.
    pub(crate) ours: f64,
    /// What it is held against.
    pub(crate) peer: &'static str,
    /// Its value, the median of the rounds.
    pub(crate) peer_value: f64,
    /// The median of the ratios of each round: what was measured in turn is compared, so that a machine that others use meanwhile
    /// disturbs it less.
    pub(crate) ratio: f64,
}

impl Figure {
    /// Of pairs that were measured in turn: ours, and the peer's.
    pub(crate) fn of_pairs(
        scenario: impl Into<String>,
        metric: &'static str,
        peer: &'static str,
        pairs: &[(f64, f64)],
    ) -> Self {
        Self {
            scenario: scenario.into(),
            metric,
            ours: median(pairs.iter().map(|pair| pair.0)),
            peer,
            peer_value: median(pairs.iter().map(|pair| pair.1)),
            ratio: median(pairs.iter().map(|(ours, peer)| ours / peer)),
        }
    }
}

/// The middle one; of an even number, the lower of the two in the middle.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    quantile(&values.collect::<Vec<_>>(), 0.5)
}

/// One JSON document a line.
pub(crate) fn write(figures: &[Figure], path: &Path) -> Result<(), Failure> {
    let mut file = File::create(path).step("writing the figures")?;
    for figure in figures {
        let line = serde_json::to_string(figure).step("writing the figures")?;
        writeln!(file, "{line}").step("writing the figures")?;
    }
    Ok(())
}

/// Prints them.
pub(crate) fn print(figures: &[Figure]) {
    println!(
        "\n{:<30} {:<28} {:>14}   {:<38} {:>14} {:>7}",
        "scenario", "metric", "ours", "against", "its value", "ratio"
    );
    for figure in figures {
        let Figure { scenario, metric, ours, peer, peer_value, ratio } = figure;
        println!(
            "{scenario:<30} {metric:<28} {:>14}   {peer:<38} {:>14} {ratio:>7.3}",
            shown(*ours),
            shown(*peer_value)
        );
    }
}

fn shown(value: f64) -> String {
    match value {
        1e6.. => format!("{:.1} M", value / 1e6),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}
