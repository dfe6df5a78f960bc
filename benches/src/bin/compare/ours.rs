//! Our daemon, with its defaults: log and metrics are on.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use control_client::status::ListenerRole;
use demo::appliance::{DaemonProcess, Premises};
use demo::certificate::CertificateFiles;
use demo::failure::{Failure, Step};
use tokio::runtime::Runtime;

use super::client::Client;
use super::placement::{Side, standing};
use super::process_facts::family;
use super::read_ahead::DefaultReadAhead;

/// How long a line may take to get into the log.
const LOG_PATIENCE: Duration = Duration::from_secs(10);

/// A setting that a scenario needs to differ from the default: its section, and the line.
pub(crate) type Setting = (&'static str, String);

/// A running daemon.
pub(crate) struct Ours {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    premises: Premises,
    daemon: DaemonProcess,
    /// As long as it runs.
    _read_ahead: Option<DefaultReadAhead>,
}

impl Ours {
    /// Starts it over what is in its folder.
    pub(crate) fn start(
        runtime: &Runtime,
        program: &Path,
        folder: &Path,
        certificate: &CertificateFiles,
        settings: &[Setting],
        side: Side,
        read_ahead: Option<DefaultReadAhead>,
    ) -> Result<Self, Failure> {
        let mut premises = Premises::new(folder);
        premises.add_certificate(certificate);
        for (section, line) in settings {
            premises.set(section, line.clone());
        }
        premises.write_config()?;
        let words = File::options()
            .create(true)
            .append(true)
            .open(folder.join("stderr"))
            .step("the daemon's folder")?;
        let daemon =
            standing(side, || runtime.block_on(DaemonProcess::start(&premises, program, Stdio::from(words))))
                .map_err(|failure| {
                    let words = std::fs::read_to_string(folder.join("stderr")).unwrap_or_default();
                    let last: Vec<&str> = words.lines().rev().take(5).collect();
                    Failure::new(format!(
                        "{failure}: {}",
                        last.into_iter().rev().collect::<Vec<_>>().join(" | ")
                    ))
                })?;
        let (http, https) = (daemon.address(ListenerRole::Http)?, daemon.address(ListenerRole::Https)?);
        Ok(Self { http, https, premises, daemon, _read_ahead: read_ahead })
    }

    /// Its process.
    pub(crate) fn processes(&self) -> Vec<u32> {
        family(self.daemon.id())
    }

    /// Fetches an object, and looks whether it is logged and counted.
    pub(crate) fn look(&self, runtime: &Runtime, target: &str) -> Result<String, Failure> {
        Client::connect(self.http)?.get(target)?;
        let deadline = Instant::now() + LOG_PATIENCE;
        while !std::fs::read_to_string(self.premises.access_log()).unwrap_or_default().contains(target) {
            if Instant::now() > deadline {
                return Err(Failure::new("the daemon does not write its access log"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.served_from(runtime).map(|served| format!("logs and counts every request; {served}"))
    }

    /// Where the bodies came from so far, as its metrics say.
    pub(crate) fn served_from(&self, runtime: &Runtime) -> Result<String, Failure> {
        let metrics = runtime.block_on(self.premises.admin().metrics()).step("asking for metrics")?;
        let bytes = body_bytes(&metrics);
        let sum: f64 = bytes.iter().map(|(_, bytes)| bytes).sum();
        if sum == 0.0 {
            return Err(Failure::new("the daemon does not count what it serves"));
        }
        let shares = bytes.iter().map(|(outcome, bytes)| format!("{outcome} {:.1} %", bytes / sum * 100.0));
        Ok(format!("bodies from {}", shares.collect::<Vec<_>>().join(", ")))
    }

    /// Tells it to stop, and waits.
    pub(crate) fn stop(self, runtime: &Runtime) -> Result<(), Failure> {
        let status = runtime.block_on(self.daemon.stop())?;
        if status.success() { Ok(()) } else { Err(Failure::new(format!("the daemon ended with {status}"))) }
    }

    /// Ends it at once.
    pub(crate) fn kill(self) -> Result<(), Failure> {
        self.daemon.kill().map(drop)
    }
}

/// The outcomes that bodies had, with their bytes; those without any are left out.
fn body_bytes(metrics: &str) -> Vec<(String, f64)> {
    let prefix = "oca_body_bytes_total{outcome=\"";
    let lines = metrics.lines().filter_map(|line| line.strip_prefix(prefix)?.split_once("\"} "));
    let outcomes = lines.filter_map(|(outcome, bytes)| Some((outcome.to_owned(), bytes.parse().ok()?)));
    outcomes.filter(|(_, bytes)| *bytes > 0.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_without_bytes_are_left_out() {
        let metrics = "# HELP oca_body_bytes_total x\noca_body_bytes_total{outcome=\"hit_ram\"} 300\n\
                       oca_body_bytes_total{outcome=\"hit_disk\"} 0\noca_requests_total{outcome=\"hit_ram\"} 3\n";
        assert_eq!(body_bytes(metrics), [("hit_ram".to_owned(), 300.0)]);
    }
}
