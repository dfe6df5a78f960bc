//! Our daemon, with pacing or without; all else that matters is at its default. Both run all the time, and one of them has nothing to do.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use control_client::status::ListenerRole;
use demo::appliance::{DaemonProcess, Premises};
use demo::failure::{Failure, Step};
use tokio::runtime::Runtime;

use super::content::Content;
use super::household::{APPLIANCE, Network};

/// Whether a daemon paces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pacing {
    /// `serve.pacing = "off"`.
    Off,
    /// The default.
    Players,
}

/// A running daemon.
pub(crate) struct Contestant {
    pacing: Pacing,
    premises: Premises,
    daemon: DaemonProcess,
    /// Where it serves.
    pub(crate) address: SocketAddr,
}

impl Contestant {
    /// Starts it in a folder of its own, with all of the content.
    pub(crate) fn start(
        pacing: Pacing,
        runtime: &Runtime,
        network: &Network,
        content: &Content,
        folder: &Path,
    ) -> Result<Self, Failure> {
        let program = std::env::current_exe().step("finding this program")?;
        let folder = folder.join(pacing.word());
        fs::create_dir(&folder).step("making a daemon's folder")?;
        let mut premises = Premises::new(&folder);
        premises.volumes().iter().try_for_each(|volume| content.import_into(volume))?;
        premises.set("serve", format!("listen = [\"{APPLIANCE}:0\"]"));
        premises.set("serve", format!("pacing = {:?}", pacing.word()));
        // What it says else would stand between the figures.
        premises.set("log", "level = \"error\"");
        premises.write_config()?;
        let start = || runtime.block_on(DaemonProcess::start(&premises, &program, Stdio::inherit()));
        let daemon = network.appliance.within(start)??;
        let address = daemon.address(ListenerRole::Http)?;
        Ok(Self { pacing, premises, daemon, address })
    }

    /// What it says of itself: whether it has paced where it should, and not where it should not.
    pub(crate) fn look(&self, runtime: &Runtime) -> Result<(), Failure> {
        let metrics = runtime.block_on(self.premises.admin().metrics()).step("asking for metrics")?;
        let paced = responses(&metrics, &["requested", "bitrate"]);
        let unpaced = responses(&metrics, &["off"]);
        match self.pacing {
            Pacing::Players if paced == 0.0 => Err(Failure::new("the daemon that should pace does not")),
            Pacing::Off if paced > 0.0 || unpaced == 0.0 => {
                Err(Failure::new("the daemon that should not pace does"))
            }
            Pacing::Players | Pacing::Off => Ok(()),
        }
    }

    /// Tells it to stop, and waits.
    pub(crate) fn stop(self, runtime: &Runtime) -> Result<(), Failure> {
        let status = runtime.block_on(self.daemon.stop())?;
        if status.success() { Ok(()) } else { Err(Failure::new(format!("the daemon ended with {status}"))) }
    }
}

impl Pacing {
    /// The value of `serve.pacing`.
    fn word(self) -> &'static str {
        match self {
            Pacing::Off => "off",
            Pacing::Players => "players",
        }
    }
}

/// Responses that were paced, or not, for these causes.
fn responses(metrics: &str, causes: &[&str]) -> f64 {
    let of = |cause: &&str| {
        let name = format!("oca_paced_responses_total{{cause=\"{cause}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse::<f64>().ok())
    };
    causes.iter().filter_map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_counted_by_cause() {
        let metrics = "oca_paced_responses_total{cause=\"requested\"} 2\n\
                       oca_paced_responses_total{cause=\"bitrate\"} 3\noca_paced_responses_total{cause=\"off\"} 7\n";
        assert_eq!(responses(metrics, &["requested", "bitrate"]), 5.0);
        assert_eq!(responses(metrics, &["urgent"]), 0.0);
    }
}
