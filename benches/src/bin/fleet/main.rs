//! How large a fleet one control plane bears: steering decisions on one core, plans, and reports through the HTTP
//! API into SQLite.
//!
//! `cargo run --release -p benches --bin fleet`: 10,000 appliances with 40,000 bundles each are steered
//! among, and 10,000 appliances report. With `-- --quick` the fleet is small and each part takes a second,
//! which is what CI does: that it runs, never how fast. Everything runs in this process, clients of the HTTP
//! API too, so what is printed is a lower bound. The last line is all figures as JSON.

mod memory;
mod planning;
mod random;
mod reports;
mod steering;
mod table;

use std::error::Error;
use std::time::Duration;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Sites at the edge; a tenth as many stand behind them.
    pub(crate) sites: usize,
    /// Appliances of each site.
    pub(crate) appliances_per_site: usize,
    /// Bundles in the catalogue. Every appliance holds three eighths of them, each others.
    pub(crate) bundles: u32,
    /// How long each part runs.
    pub(crate) duration: Duration,
}

const FULL: Scale =
    Scale { sites: 909, appliances_per_site: 10, bundles: 106_667, duration: Duration::from_secs(10) };
const QUICK: Scale =
    Scale { sites: 9, appliances_per_site: 4, bundles: 2_000, duration: Duration::from_secs(1) };

fn main() -> Result<(), Box<dyn Error>> {
    let mut scale = FULL;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--quick" => scale = QUICK,
            other => return Err(format!("unknown argument {other:?}: the only one is --quick").into()),
        }
    }
    let steering = steering::measure(&scale)?;
    steering.print();
    let planning = planning::measure(&scale)?;
    planning.print();
    let reports = reports::measure(&scale)?;
    reports.print();
    println!(
        "{}",
        serde_json::json!({ "steering": steering.to_json(), "planning": planning.to_json(), "reports": reports.to_json() })
    );
    Ok(())
}
