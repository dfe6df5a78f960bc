//! Whether clients should be steered here: a verdict, its reasons, and what is left of everything that can
//! run out.
//!
//! Reading order: [`judge`] decides, from facts alone, and `health/notes.rs` adds what an operator should know. `health/observe.rs` gathers the facts: the workers'
//! heartbeats, the volumes, memory, descriptors. `health/watch.rs` is the thread that does both twice a
//! second, so that no poll makes any work; from the same report it feeds the service manager's watchdog and
//! ends draining.
//!
//! Two decisions:
//! * **Load is not ill health.** How much more fits is told as headroom, for steering to weigh. The verdict
//!   turns only where the appliance cannot do right by another client.
//! * **One volume of several that fails is a reason without a change of verdict.** Its content has left the
//!   inventory, and steering goes by the inventory; everything else is served as before. Without any volume
//!   there is nothing to serve, and the verdict turns.

mod drain;
mod memory;
mod notes;
mod observe;
pub(crate) mod process;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use cache_store::{VolumeState, VolumeStatus};
use control_client::health::{
    self as wire, Headroom, HealthReport, Readiness, Reason, Verdict, VolumeHealth,
};
use control_client::wire::DocumentVersion;

pub use self::memory::MemoryWatch;
pub use self::watch::HealthThread;

/// A worker turns its loop once a second at least; one that did not for five is stuck in a system call or a
/// loop of ours.
pub const HEARTBEAT_AGE_MAX: Duration = Duration::from_secs(5);

/// Accepting resumes as soon as a descriptor is free; a pause this long means that none becomes free.
pub const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Below, the kernel is about to reclaim what we run on, or to kill us.
pub const MEMORY_AVAILABLE_MIN_BYTES: u64 = 64 << 20;

/// Below, the operator should know before the floor is reached.
pub const MEMORY_AVAILABLE_LOW_BYTES: u64 = 256 << 20;

/// Below, the daemon can open neither bundles nor its own log for much longer.
pub const DESCRIPTORS_FREE_MIN: u64 = 32;

/// A verdict older than this says nothing any more: the health thread itself hangs.
pub const REPORT_AGE_MAX: Duration = Duration::from_secs(5);

/// A disk whose answer takes longer than this hangs, as far as viewers are concerned.
pub const VOLUME_BUSY_MAX: Duration = Duration::from_secs(5);

/// How long a read that was not answered in time is remembered as a reason.
pub const READ_TIMEOUT_REMEMBERED: Duration = Duration::from_secs(60);

/// A certificate that expires sooner than this should have been renewed: what renews them by itself does so a month
/// before.
pub const CERTIFICATE_LEFT_MIN: Duration = Duration::from_secs(14 * 86_400);

/// The code of the one reason that a restart can cure.
const WORKER_STALLED: &str = "worker_stalled";

/// The code of a daemon that was told to stop.
const STOPPING: &str = "stopping";

/// The facts that a verdict is judged from.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The appliance's name, where it has one.
    pub appliance: Option<String>,
    /// The step of the daemon's life.
    pub readiness: Readiness,
    /// Whether the daemon was told to stop.
    pub is_stopping: bool,
    /// Since the process started.
    pub uptime: Duration,
    /// Every worker, by its number.
    pub workers: Vec<ObservedWorker>,
    /// Every volume, by its index.
    pub volumes: Vec<ObservedVolume>,
    /// Every certificate of the configuration that is in use.
    pub certificates: Vec<ObservedCertificate>,
    /// Requests that have not ended.
    pub requests_in_flight: u64,
    /// Bundles put aside since the process started, because they were not what they should be.
    pub quarantined: u64,
    /// Inventories made anew since the process started, because their journals were damaged.
    pub inventories_rebuilt: u64,
    /// What is left of everything that can run out.
    pub headroom: Headroom,
}

/// One worker.
#[derive(Clone, Copy, Debug)]
pub struct ObservedWorker {
    /// Since its last turn.
    pub heartbeat_age: Duration,
    /// How long it has not been accepting, for a shortage.
    pub accept_paused: Option<Duration>,
}

/// One volume.
#[derive(Clone, Debug)]
pub struct ObservedVolume {
    /// What the store says of it.
    pub status: VolumeStatus,
    /// Since a read was last given up, where that ever happened.
    pub read_timeout_age: Option<Duration>,
}

/// One certificate.
#[derive(Clone, Debug)]
pub struct ObservedCertificate {
    /// The file of its chain.
    pub chain: PathBuf,
    /// How long it is valid yet; zero where it has expired.
    pub left: Duration,
}

/// The verdict on `observed`. Reasons against health come first, then what an operator should know.
pub fn judge(observed: &Observed) -> HealthReport {
    let mut against = Vec::new();
    against.extend(judge_readiness(observed));
    against.extend(judge_workers(&observed.workers));
    against.extend(judge_store(&observed.volumes));
    against.extend(judge_shortage(&observed.headroom));
    let verdict = if against.is_empty() { Verdict::Healthy } else { Verdict::Unhealthy };

    let mut reasons = against;
    reasons.extend(notes::all(observed));
    HealthReport {
        version: DocumentVersion,
        appliance: observed.appliance.clone(),
        readiness: observed.readiness,
        verdict,
        reasons,
        headroom: observed.headroom.clone(),
        volumes: observed.volumes.iter().map(|volume| volume_health(&volume.status)).collect(),
        uptime_seconds: observed.uptime.as_secs(),
    }
}

/// Whether a restart can cure what the report says. A full disk, a dead volume or a drained appliance is not
/// cured by it, and a restart would only end the viewers' sessions.
pub fn is_cured_by_restart(report: &HealthReport) -> bool {
    report.reasons.iter().any(|reason| reason.code == WORKER_STALLED)
}

/// `report`, with the verdict turned because it is too old to be believed.
pub fn outdated(report: &HealthReport, age: Duration) -> HealthReport {
    let mut report = report.clone();
    report.verdict = Verdict::Unhealthy;
    report.reasons.insert(
        0,
        reason(
            "health_outdated",
            format!(
                "health was last judged {} s ago: its thread hangs, most likely on a file system that does \
                not answer; \
                 look for processes in state D and at the kernel log",
                age.as_secs()
            ),
        ),
    );
    report
}

fn judge_readiness(observed: &Observed) -> Option<Reason> {
    if observed.is_stopping {
        return Some(reason(
            STOPPING,
            "the daemon was told to stop, and finishes what is in flight; start it to serve".into(),
        ));
    }
    let text = match observed.readiness {
        Readiness::Serving => return None,
        Readiness::Starting => "the daemon is starting; wait".into(),
        Readiness::Recovering => "the inventory is being read; wait".into(),
        Readiness::Draining => format!(
            "draining was asked for; {} requests are in flight; wait for drained, or run `oca undrain`",
            observed.requests_in_flight
        ),
        Readiness::Drained if observed.requests_in_flight > 0 => format!(
            "drained, yet {} requests are in flight: somebody still sends clients here; look at the access \
            log",
            observed.requests_in_flight
        ),
        Readiness::Drained => "drained: safe to stop and to unplug; `oca undrain` to serve again".into(),
    };
    Some(reason(observed.readiness.as_str(), text))
}

fn judge_workers(workers: &[ObservedWorker]) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for (number, worker) in workers.iter().enumerate() {
        if worker.heartbeat_age > HEARTBEAT_AGE_MAX {
            reasons.push(reason(
                WORKER_STALLED,
                format!(
                    "worker {number} has shown no sign of life for {} s; systemd restarts the daemon if \
                    this lasts; \
                     if it happens again, report it with the daemon's log",
                    worker.heartbeat_age.as_secs()
                ),
            ));
        }
        if let Some(paused) = worker.accept_paused.filter(|&paused| paused > ACCEPT_PAUSE_MAX) {
            reasons.push(reason(
                "accept_paused",
                format!(
                    "worker {number} has accepted nobody for {} s for want of descriptors or memory; \
                     raise LimitNOFILE of the unit or fs.file-max, or lower serve.connections",
                    paused.as_secs()
                ),
            ));
        }
    }
    reasons
}

fn judge_store(volumes: &[ObservedVolume]) -> Option<Reason> {
    if volumes.iter().any(|volume| is_serving(&volume.status.state)) {
        return None;
    }
    Some(reason(
        "no_volume",
        format!(
            "none of the {} configured volumes serves; see the reason of each, mount or replace the disks, \
            and restart the daemon",
            volumes.len()
        ),
    ))
}

fn judge_shortage(headroom: &Headroom) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if headroom.memory_available_bytes < MEMORY_AVAILABLE_MIN_BYTES {
        reasons.push(reason(
            "memory_short",
            format!(
                "{} MiB of memory are available; below {} the kernel may kill the daemon; \
                 lower serve.read_buffers or store.footer_cache, or see what else runs here",
                headroom.memory_available_bytes >> 20,
                MEMORY_AVAILABLE_MIN_BYTES >> 20
            ),
        ));
    }
    if headroom.descriptors_free < DESCRIPTORS_FREE_MIN {
        reasons.push(reason(
            "descriptors_short",
            format!(
                "{} file descriptors are left; raise LimitNOFILE of the unit, or lower serve.connections or \
                store.open_bundles",
                headroom.descriptors_free
            ),
        ));
    }
    reasons
}

/// A volume that is being recovered serves what was found so far.
fn is_serving(state: &VolumeState) -> bool {
    matches!(state, VolumeState::Serving | VolumeState::Recovering { .. })
}

fn volume_health(status: &VolumeStatus) -> VolumeHealth {
    let reason = match &status.state {
        VolumeState::Opening => Some("its disk has not answered yet; it serves when it does"),
        state => state.reason(),
    };
    VolumeHealth {
        index: status.index.0,
        path: status.path.display().to_string(),
        id: status.id.map(|id| id.to_string()).unwrap_or_default(),
        state: if is_serving(&status.state) { wire::VolumeState::Serving } else { wire::VolumeState::Failed },
        reason: reason.map(str::to_owned),
        errors: status.read_errors,
        bundles: status.bundles,
        free_bytes: status.free_bytes,
    }
}

fn reason(code: &str, text: String) -> Reason {
    Reason { code: code.to_owned(), text }
}

#[cfg(test)]
mod tests;
