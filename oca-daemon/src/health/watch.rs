//! The thread that looks, judges and tells.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use control_client::health::{HealthReport, Readiness};

use super::drain::DrainWatch;
use super::observe::Observer;
use super::{Observed, STOPPING, judge};
use crate::appliance::Appliance;
use crate::load::LoadHistory;
use crate::readiness::STATES;
use crate::stats::Totals;
use crate::watchdog::Watchdog;

/// How often health is judged, beside every step of the daemon's life. A poll answers with the latest
/// verdict, so it is never older than this and the time that looking takes.
const INTERVAL: Duration = Duration::from_millis(500);

/// The running thread.
pub struct HealthThread {
    is_ending: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl HealthThread {
    /// Gives a first verdict, and starts the thread. Start it before the admin API, and before the service
    /// manager is told that the daemon is ready.
    pub fn start(appliance: Arc<Appliance>) -> io::Result<HealthThread> {
        let is_ending = Arc::new(AtomicBool::new(false));
        let mut watch = Watch {
            observer: Observer::new(),
            drain: DrainWatch::default(),
            load: LoadHistory::default(),
            watchdog: Watchdog::from_environment(),
            appliance,
        };
        watch.turn(Instant::now());
        let appliance = Arc::clone(&watch.appliance);
        let ending = Arc::clone(&is_ending);
        let thread = thread::Builder::new().name("oca-health".into()).spawn(move || {
            while !ending.load(Acquire) {
                thread::park_timeout(INTERVAL);
                watch.turn(Instant::now());
            }
        })?;
        appliance.set_health_thread(thread.thread().clone());
        Ok(HealthThread { is_ending, thread })
    }

    /// Ends the thread. Call it last, so that the watchdog is fed while the daemon stops. It is not waited
    /// for: a file system that hangs must not hold up the exit.
    pub fn stop(self) {
        self.is_ending.store(true, Release);
        self.thread.thread().unpark();
    }
}

struct Watch {
    appliance: Arc<Appliance>,
    observer: Observer,
    drain: DrainWatch,
    load: LoadHistory,
    watchdog: Watchdog,
}

impl Watch {
    fn turn(&mut self, now: Instant) {
        let totals = self.appliance.totals();
        self.end_draining(&totals, now);
        if let Some(load) = self.load.observe(&totals, now) {
            self.appliance.measure_now(load);
        }
        let observed = self.observer.observe(&self.appliance, &totals, now);
        let report = judge(&observed);
        self.log_change(&observed, &report);
        self.watchdog.feed(&report, totals.open_connections(), now);
        self.appliance.judge_now(report);
    }

    fn end_draining(&mut self, totals: &Totals, now: Instant) {
        if self.appliance.readiness() != Readiness::Draining {
            self.drain.reset();
            return;
        }
        let requests = totals.outcomes.iter().sum();
        if self.drain.is_drained(totals.requests_in_flight, requests, totals.egress_bytes, now) {
            // Refused when somebody undrained in this very moment; then the next turn begins anew.
            let _ = self.appliance.end_draining();
        }
    }

    /// Says once, when the set of reasons changes, what an operator would otherwise find out by polling. Steps
    /// of the daemon's life are logged when they are taken.
    fn log_change(&self, observed: &Observed, report: &HealthReport) {
        let previous = self.appliance.judged();
        let before = previous.as_ref().map_or(&[][..], |judged| &judged.report.reasons);
        for reason in report.reasons.iter().filter(|reason| !is_step(&reason.code)) {
            if !before.iter().any(|known| known.code == reason.code) {
                let readiness = observed.readiness;
                tracing::warn!(code = reason.code, verdict = %report.verdict, %readiness, "{}", reason.text);
            }
        }
        for reason in before.iter().filter(|reason| !is_step(&reason.code)) {
            if !report.reasons.iter().any(|still| still.code == reason.code) {
                tracing::info!(code = reason.code, verdict = %report.verdict, "no longer: {}", reason.text);
            }
        }
    }
}

fn is_step(code: &str) -> bool {
    code == STOPPING || STATES.iter().any(|state| state.as_str() == code)
}
