//! What the service manager is told: ready, stopping, a line of status, and that the daemon is alive
//! (`sd_notify(3)`).
//!
//! The watchdog is fed from the same report that `/health` answers with. It goes hungry only for what a
//! restart can cure, a worker that is stuck, or when the health thread itself hangs. A failed disk or a
//! drained appliance is not cured by a restart, which would only cut off the viewers who are still served.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use control_client::health::HealthReport;
use sd_notify::NotifyState;

use crate::health;

/// The line of status is for people; more often than this it only fills the journal's bus.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// A service manager that cannot be told says so once in this time.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// What stopping may take beyond `serve.shutdown_timeout`: closing the store and the access log.
const STOP_MARGIN: Duration = Duration::from_secs(15);

/// Workers accept: the units that wait for the daemon may start.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// The daemon stops, and takes up to `shutdown_timeout` for what is in flight.
pub fn stopping(shutdown_timeout: Duration) {
    let micros = (shutdown_timeout + STOP_MARGIN).as_micros();
    let extension = NotifyState::ExtendTimeoutUsec(u32::try_from(micros).unwrap_or(u32::MAX));
    notify(&[NotifyState::Stopping, extension]);
}

/// Feeds the service manager's watchdog. Without a service manager it does nothing.
pub(crate) struct Watchdog {
    /// Connected at start and kept, because a process that has run out of descriptors is alive and has to be
    /// able to say so; `sd_notify` opens a socket for each message.
    socket: Option<UnixDatagram>,
    status: String,
    status_at: Option<Instant>,
    warned_at: Option<Instant>,
}

impl Watchdog {
    /// Connects to the service manager named in the environment.
    pub(crate) fn from_environment() -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").and_then(|path| match connect(&path) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(%error, "the service manager's socket {path:?} cannot be reached; its \
                    watchdog will restart the daemon");
                None
            }
        });
        Watchdog::of(socket)
    }

    fn of(socket: Option<UnixDatagram>) -> Self {
        Watchdog { socket, status: String::new(), status_at: None, warned_at: None }
    }

    /// Says that the daemon is alive, unless `report` has a reason that a restart can cure; and sums the
    /// report up in a line.
    pub(crate) fn feed(&mut self, report: &HealthReport, open_connections: u64, now: Instant) {
        let Some(socket) = &self.socket else { return };
        let mut message = String::new();
        if !health::is_cured_by_restart(report) {
            message.push_str("WATCHDOG=1\n");
        }
        let status = status_line(report, open_connections);
        let is_due = self.status_at.is_none_or(|at| now.saturating_duration_since(at) >= STATUS_INTERVAL);
        if is_due && status != self.status {
            message.push_str("STATUS=");
            message.push_str(&status);
            message.push('\n');
            self.status = status;
            self.status_at = Some(now);
        }
        if message.is_empty() {
            return;
        }
        if let Err(error) = socket.send(message.as_bytes()) {
            self.on_send_failed(&error, now);
        }
    }

    /// A service manager that was replaced has a new socket under the old name: the next message tries it.
    fn on_send_failed(&mut self, error: &io::Error, now: Instant) {
        if let Some(socket) = env::var_os("NOTIFY_SOCKET").and_then(|path| connect(&path).ok()) {
            self.socket = Some(socket);
        }
        if self.warned_at.is_none_or(|at| now.saturating_duration_since(at) >= WARN_INTERVAL) {
            self.warned_at = Some(now);
            tracing::warn!(%error, "the service manager could not be told that the daemon is alive");
        }
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager could not be notified; check NotifyAccess= and \
            Type=notify of the unit");
    }
}

fn connect(path: &OsStr) -> io::Result<UnixDatagram> {
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // A service manager that does not read must not hold up the verdict.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn status_line(report: &HealthReport, open_connections: u64) -> String {
    let codes: Vec<&str> = report.reasons.iter().map(|reason| reason.code.as_str()).collect();
    let reasons = if codes.is_empty() { String::new() } else { format!(" ({})", codes.join(", ")) };
    format!("{}, {}{reasons}; {open_connections} connections", report.readiness, report.verdict)
}

#[cfg(test)]
mod tests {
    use super::*;
    use control_client::health::{Headroom, Readiness, Reason, Verdict};
    use control_client::wire::DocumentVersion;

    fn report(codes: &[&str]) -> HealthReport {
        HealthReport {
            version: DocumentVersion,
            appliance: None,
            readiness: Readiness::Serving,
            verdict: if codes.is_empty() { Verdict::Healthy } else { Verdict::Unhealthy },
            reasons: codes
                .iter()
                .map(|code| Reason { code: (*code).to_owned(), text: String::new() })
                .collect(),
            headroom: Headroom::default(),
            volumes: Vec::new(),
            uptime_seconds: 0,
        }
    }

    fn fed(report: &HealthReport) -> (Watchdog, UnixDatagram, Instant) {
        let (ours, manager) = UnixDatagram::pair().unwrap();
        manager.set_nonblocking(true).unwrap();
        let mut watchdog = Watchdog::of(Some(ours));
        let now = Instant::now();
        watchdog.feed(report, 3, now);
        (watchdog, manager, now)
    }

    fn message(manager: &UnixDatagram) -> String {
        let mut bytes = [0; 512];
        manager
            .recv(&mut bytes)
            .map_or(String::new(), |count| String::from_utf8_lossy(&bytes[..count]).into())
    }

    #[test]
    fn a_healthy_daemon_feeds_the_watchdog_and_tells_its_status_when_it_changes() {
        let (mut watchdog, manager, now) = fed(&report(&[]));
        assert_eq!(message(&manager), "WATCHDOG=1\nSTATUS=serving, healthy; 3 connections\n");
        watchdog.feed(&report(&[]), 4, now + STATUS_INTERVAL / 2);
        assert_eq!(message(&manager), "WATCHDOG=1\n");
        watchdog.feed(&report(&[]), 4, now + STATUS_INTERVAL);
        assert_eq!(message(&manager), "WATCHDOG=1\nSTATUS=serving, healthy; 4 connections\n");
    }

    #[test]
    fn what_a_restart_cannot_cure_does_not_starve_the_watchdog() {
        let (_, manager, _) = fed(&report(&["no_volume", "memory_low"]));
        assert!(message(&manager).starts_with("WATCHDOG=1\n"));
    }

    #[test]
    fn a_stalled_worker_starves_the_watchdog() {
        let (_, manager, _) = fed(&report(&["worker_stalled"]));
        assert_eq!(message(&manager), "STATUS=serving, unhealthy (worker_stalled); 3 connections\n");
    }

    #[test]
    fn the_service_managers_socket_may_be_a_path_or_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        connect(path.as_os_str()).unwrap().send(b"WATCHDOG=1").unwrap();
        assert_eq!(message(&manager), "WATCHDOG=1");

        let name = format!("oca-watchdog-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        connect(OsStr::new(&format!("@{name}"))).unwrap().send(b"WATCHDOG=1").unwrap();
        assert_eq!(message(&manager), "WATCHDOG=1");
    }
}
