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
use super::player;
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
        let bytes = Counts::of(&self.metrics(runtime)?, "oca_body_bytes_total");
        if bytes.sum() == 0.0 {
            return Err(Failure::new("the daemon does not count what it serves"));
        }
        Ok(format!("bodies from {}", bytes.shares()))
    }

    /// Looks whether it has taken all of what players said in so many requests, of which wrk has the answers, and has sent to them as fast as
    /// the connections can; and whether it tells a player that fetches an object how its connection does (CMSD).
    pub(crate) fn look_at_players(
        &self,
        runtime: &Runtime,
        target: &str,
        requests: u64,
    ) -> Result<String, Failure> {
        let answer = Client::connect(self.http)?.get_with(target, &player::FIELDS)?;
        let told = answer.field("cmsd-dynamic");
        let told = told.ok_or_else(|| Failure::new("the daemon tells players nothing (CMSD-Dynamic)"))?;
        let metrics = self.metrics(runtime)?;
        let heard = Counts::of(&metrics, "oca_cmcd_requests_total");
        let ignored = Counts::of(&metrics, "oca_cmcd_ignored_values_total");
        let paces = Counts::of(&metrics, "oca_paced_responses_total");
        let next = Counts::of(&metrics, "oca_cmcd_next_objects_total");
        let said = format!(
            "took what players said in {} requests, of which wrk has {requests} answers, and left {} values out; paces: {}; next objects: {}",
            heard.sum(),
            // A sum of nothing is a negative zero.
            ignored.sum().abs(),
            paces.shares(),
            next.shares()
        );
        let is_all_heard = heard.sum() >= requests as f64 && ignored.sum() == 0.0;
        if is_all_heard && paces.count("urgent") >= requests as f64 {
            Ok(format!("{said}; tells them {told}"))
        } else {
            Err(Failure::new(format!("the daemon {said}")))
        }
    }

    fn metrics(&self, runtime: &Runtime) -> Result<String, Failure> {
        runtime.block_on(self.premises.admin().metrics()).step("asking for metrics")
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

/// A metric's counts, each with the value of the metric's one label; those of zero are left out.
#[derive(Debug, PartialEq)]
struct Counts(Vec<(String, f64)>);

impl Counts {
    fn of(metrics: &str, name: &str) -> Self {
        let count = |line: &str| {
            let (label, count) = line.strip_prefix(name)?.strip_prefix('{')?.split_once("\"} ")?;
            let (_, value) = label.split_once("=\"")?;
            Some((value.to_owned(), count.parse().ok()?))
        };
        Self(metrics.lines().filter_map(count).filter(|(_, count)| *count > 0.0).collect())
    }

    fn sum(&self) -> f64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    fn count(&self, value: &str) -> f64 {
        self.0.iter().find(|(of, _)| of == value).map_or(0.0, |(_, count)| *count)
    }

    fn shares(&self) -> String {
        let sum = self.sum();
        let shares = self.0.iter().map(|(value, count)| format!("{value} {:.1} %", count / sum * 100.0));
        shares.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_zero_and_of_other_metrics_are_left_out() {
        let metrics = "# HELP oca_body_bytes_total x\noca_body_bytes_total{outcome=\"hit_ram\"} 300\n\
                       oca_body_bytes_total{outcome=\"hit_disk\"} 0\noca_requests_total{outcome=\"hit_ram\"} 3\n";
        assert_eq!(Counts::of(metrics, "oca_body_bytes_total"), Counts(vec![("hit_ram".to_owned(), 300.0)]));
        assert_eq!(Counts::of(metrics, "oca_body_bytes"), Counts(Vec::new()));
    }

    #[test]
    fn shares_are_of_the_sum() {
        let counts = Counts(vec![("urgent".to_owned(), 3.0), ("bitrate".to_owned(), 1.0)]);
        assert_eq!((counts.sum(), counts.count("urgent"), counts.count("off")), (4.0, 3.0, 0.0));
        assert_eq!(counts.shares(), "urgent 75.0 %, bitrate 25.0 %");
    }
}
