//! What all threads of the daemon share: the store, the counters, the step of its life, the facts about
//! itself.
//!
//! Nothing here is on a request's path except each worker's own [`WorkerStats`] and the store. Everything
//! else is written at start, by the admin API, or by the health thread, and read at leisure.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Instant;

use arc_swap::ArcSwapOption;
use cache_store::Store;
use control_client::config::Config;
use control_client::health::{HealthReport, Readiness};
use control_client::load::Load;
use control_client::status::{Listener, ListenerRole};

use crate::access_log::AccessLog;
use crate::admin::AdminStats;
use crate::demand::DemandCollector;
use crate::load::Measured;
use crate::media::is_in_duress;
use crate::pull::{DormantPurges, PullHandle, PullStats};
use crate::readiness::{IllegalStep, ReadinessState};
use crate::stats::{Totals, WorkerStats};
use crate::tier::Tier;
use crate::tls::{CertificateExpiry, Certificates};

/// The running appliance.
pub struct Appliance {
    /// The configuration in force.
    pub config: Config,
    /// Where it was read from.
    pub configuration_file: Option<PathBuf>,
    /// The bundles.
    pub store: Arc<Store>,
    /// One block of counters for each worker, by the worker's number.
    pub workers: Box<[Arc<WorkerStats>]>,
    /// The access log.
    pub access_log: AccessLog,
    /// What the admin API counts of itself.
    pub admin: AdminStats,
    /// What clients ask for.
    pub demand: DemandCollector,
    /// Where purges are put while nothing is pulled.
    pub dormant_purges: DormantPurges,
    /// When the process started.
    pub started: Instant,
    readiness: ReadinessState,
    is_stopping: AtomicBool,
    listeners: Mutex<Vec<Listener>>,
    health: ArcSwapOption<Judged>,
    duress: Arc<AtomicBool>,
    load: ArcSwapOption<Measured>,
    certificates: OnceLock<Arc<Certificates>>,
    tier: OnceLock<Tier>,
    pulling: OnceLock<Pulling>,
    health_thread: OnceLock<Thread>,
}

/// A verdict and when it was given.
pub struct Judged {
    /// The verdict with its reasons.
    pub report: HealthReport,
    /// When its facts were gathered.
    pub at: Instant,
}

/// The pull service, as seen from outside.
pub struct Pulling {
    /// Where it is asked.
    pub handle: PullHandle,
    /// What it counts.
    pub stats: Arc<PullStats>,
}

/// Why the appliance did not take a step.
#[derive(Debug, PartialEq, Eq)]
pub enum StepRefused {
    /// The daemon's life has no such step.
    Illegal(IllegalStep),
    /// The daemon is stopping, and nothing calls it back.
    Stopping,
}

impl Appliance {
    /// An appliance that is `Starting`, without listeners. `workers` has the counters of every worker.
    pub fn new(
        config: Config,
        configuration_file: Option<PathBuf>,
        store: Arc<Store>,
        workers: Vec<Arc<WorkerStats>>,
        access_log: AccessLog,
    ) -> Arc<Self> {
        Arc::new(Appliance {
            dormant_purges: DormantPurges::new(&config.pull),
            config,
            configuration_file,
            store,
            workers: workers.into(),
            access_log,
            admin: AdminStats::default(),
            demand: DemandCollector::new(),
            started: Instant::now(),
            readiness: ReadinessState::new(),
            is_stopping: AtomicBool::new(false),
            listeners: Mutex::new(Vec::new()),
            health: ArcSwapOption::empty(),
            duress: Arc::new(AtomicBool::new(false)),
            load: ArcSwapOption::empty(),
            certificates: OnceLock::new(),
            tier: OnceLock::new(),
            pulling: OnceLock::new(),
            health_thread: OnceLock::new(),
        })
    }

    /// The step of its life.
    pub fn readiness(&self) -> Readiness {
        self.readiness.current()
    }

    /// The inventory is being read.
    pub fn begin_recovering(&self) -> Result<(), StepRefused> {
        self.step(Readiness::Recovering)
    }

    /// Workers accept, from now on clients may be steered here. Also ends draining.
    pub fn begin_serving(&self) -> Result<(), StepRefused> {
        if self.is_stopping() {
            return Err(StepRefused::Stopping);
        }
        self.step(Readiness::Serving)
    }

    /// Asks for no more clients. Those who come are still served.
    pub fn begin_draining(&self) -> Result<(), StepRefused> {
        self.step(Readiness::Draining)
    }

    /// Nobody has come for a while. Only the health thread knows that.
    pub(crate) fn end_draining(&self) -> Result<(), StepRefused> {
        self.step(Readiness::Drained)
    }

    /// The daemon was told to stop: it is not steered to any more, and nothing calls it back.
    pub fn begin_stopping(&self) {
        self.is_stopping.store(true, Relaxed);
        // Refused where it has never served or is draining already; either way nobody is steered here.
        let _ = self.begin_draining();
        self.wake_health();
    }

    /// Whether the daemon was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Relaxed)
    }

    /// A listener is bound to `address`; `/status` tells it from now on.
    pub fn add_listener(&self, role: ListenerRole, address: impl ToString) {
        let listener = Listener { role, address: address.to_string() };
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        if !listeners.contains(&listener) {
            listeners.push(listener);
        }
    }

    /// Every listener, in the order in which they were added, each once however many workers share it.
    pub fn listeners(&self) -> Vec<Listener> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The latest verdict; `None` until the health thread gave its first.
    pub fn judged(&self) -> Option<Arc<Judged>> {
        self.health.load_full()
    }

    /// Makes `report` the latest verdict.
    pub(crate) fn judge_now(&self, report: HealthReport) {
        self.duress.store(is_in_duress(&report, self.config.serve.connections.into()), Relaxed);
        self.health.store(Some(Arc::new(Judged { report, at: Instant::now() })));
    }

    /// Whether players are told to go elsewhere; it follows the verdict.
    pub(crate) fn duress(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.duress)
    }

    /// The load as it was last measured; `None` until the health thread did.
    pub fn measured(&self) -> Option<Arc<Measured>> {
        self.load.load_full()
    }

    /// Makes `load` the latest.
    pub(crate) fn measure_now(&self, load: Load) {
        self.load.store(Some(Arc::new(Measured { load, at: Instant::now() })));
    }

    /// What TLS listeners show, for health and metrics.
    pub fn set_certificates(&self, certificates: Arc<Certificates>) {
        // Only the first are kept: a reload changes what is in them.
        let _ = self.certificates.set(certificates);
    }

    /// When each configured certificate expires, by its place in the configuration; none without TLS listeners.
    pub fn certificate_expiries(&self) -> Vec<CertificateExpiry> {
        self.certificates.get().map(|certificates| certificates.expiries()).unwrap_or_default()
    }

    /// The RAM tier was started; told once.
    pub fn set_tier(&self, tier: Tier) {
        let _ = self.tier.set(tier);
    }

    /// The RAM tier, once it was started.
    pub fn tier(&self) -> Option<&Tier> {
        self.tier.get()
    }

    /// The pull service was started; told once.
    pub fn set_pulling(&self, pulling: Pulling) {
        let _ = self.pulling.set(pulling);
    }

    /// The pull service, where a rule of the configuration pulls.
    pub fn pulling(&self) -> Option<&Pulling> {
        self.pulling.get()
    }

    /// `thread` judges health; it is woken at every step of the daemon's life.
    pub(crate) fn set_health_thread(&self, thread: Thread) {
        // Only the first is kept: there is one.
        let _ = self.health_thread.set(thread);
    }

    /// The sum of all workers' counters.
    pub fn totals(&self) -> Totals {
        Totals::of(self.workers.iter().map(|worker| &**worker))
    }

    fn wake_health(&self) {
        if let Some(thread) = self.health_thread.get() {
            thread.unpark();
        }
    }

    fn step(&self, to: Readiness) -> Result<(), StepRefused> {
        self.readiness.advance(to).map_err(StepRefused::Illegal)?;
        tracing::info!("the appliance is {to}");
        self.wake_health();
        Ok(())
    }
}

impl std::fmt::Display for StepRefused {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StepRefused::Illegal(step) => step.fmt(formatter),
            StepRefused::Stopping => {
                write!(formatter, "the daemon is stopping; start it again to serve")
            }
        }
    }
}

impl std::error::Error for StepRefused {}
