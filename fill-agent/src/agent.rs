//! What the parts of the agent share.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use control_client::config::Config;
use control_client::control_plane_client::{ControlPlaneClient, ControlPlaneError, ControlPlaneTimeouts};
use control_client::fill::FillProgress;
use control_client::outbox::{Outbox, OutboxError};
use control_client::token::{Token, TokenError};
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;

use crate::clock::ClockTrust;
use crate::daemon::Daemon;
use crate::escalation::Patience;
use crate::fetch;
use crate::history::History;
use crate::licences::Licences;
use crate::manifest::{self, Manifests, NoManifest};
use crate::night_budget::NightBudget;
use crate::progress::Progress;
use crate::shared_pace::{SharedPace, receive_buffer_bytes};
use crate::state::StateFolder;
use crate::volumes::Volumes;
use crate::window::{FillWindow, TimeZoneError, WindowState};

/// The agent of one appliance.
pub struct Agent {
    /// The whole configuration.
    pub config: Config,
    /// Whether what has expired by the clock has expired.
    pub clock: ClockTrust,
    /// What outlives the process.
    pub state: StateFolder,
    /// When to fill.
    pub window: FillWindow,
    /// The daemon on this machine.
    pub daemon: Daemon,
    /// Whom to ask and to tell, where there is anybody.
    pub control_plane: Option<ControlPlaneClient>,
    /// The manifest in force.
    pub manifests: Mutex<Manifests>,
    /// When what is held expires.
    pub licences: Mutex<Licences>,
    /// The volumes.
    pub volumes: Volumes,
    /// What all connections to sources share.
    pub pace: Arc<SharedPace>,
    /// The receive buffer of such a connection.
    pub receive_buffer_bytes: u32,
    /// Whom sources over TLS are believed by.
    pub tls: TlsConnector,
    /// How the fill goes.
    pub progress: Progress,
    /// What was received in the last nights.
    pub budget: Mutex<NightBudget>,
    /// The last runs.
    pub history: Mutex<History>,
    /// What the control plane has not heard yet.
    pub outbox: Mutex<Outbox>,
    /// What one part tells another.
    pub calls: Calls,
    /// How often and how long a source is asked for one bundle.
    pub patience: Patience,
}

/// What one part of the agent tells another.
#[derive(Debug, Default)]
pub struct Calls {
    /// Somebody wants a run, whatever the window says.
    pub run: Notify,
    /// There is something to report.
    pub report: Notify,
    is_running: AtomicBool,
    turns: AtomicU64,
}

/// Why there is no agent: all are for the operator.
#[derive(Debug)]
pub enum AgentError {
    /// The configuration's `fill.time_zone`.
    TimeZone(TimeZoneError),
    /// The configuration's `[control]`.
    ControlPlane(ControlPlaneError),
    /// A control plane is named, and no appliance.
    NoName,
    /// The file of `control.token_file`.
    Token(TokenError),
    /// The outbox in the state folder.
    Outbox(OutboxError),
    /// The TLS library.
    Tls(rustls::Error),
}

impl Agent {
    /// Reads what is known from before.
    pub fn new(config: Config, clock: ClockTrust, state: StateFolder) -> Result<Self, AgentError> {
        let (control, fill) = (&config.control, &config.fill);
        let name = control.appliance.as_ref().map_or("", |name| name.as_str());
        let window =
            FillWindow::new(fill.window, &fill.time_zone, fill.jitter, name).map_err(AgentError::TimeZone)?;
        let outbox = Outbox::open(state.path()).map_err(AgentError::Outbox)?;
        if let Some(damage) = outbox.damage() {
            tracing::error!(damage, "what the control plane had not heard yet is lost");
        }
        let receive_buffer_bytes = receive_buffer_bytes(fill.rate, fill.concurrency);
        warn_of_small_buffers(receive_buffer_bytes);
        Ok(Self {
            clock,
            window,
            daemon: Daemon::new(config.admin.socket.clone()),
            control_plane: control_plane(&config)?,
            manifests: Mutex::new(Manifests::load(&state, control.appliance.clone(), &control.trusted_keys)),
            licences: Mutex::new(state.read(LICENCES).unwrap_or_default()),
            volumes: Volumes::new(&config.store, fill),
            pace: Arc::new(SharedPace::new(fill.rate, fill.concurrency, receive_buffer_bytes)),
            receive_buffer_bytes,
            tls: fetch::connector().map_err(AgentError::Tls)?,
            progress: Progress::default(),
            budget: Mutex::new(state.read(BUDGET).unwrap_or_default()),
            history: Mutex::new(History::load(&state)),
            outbox: Mutex::new(outbox),
            calls: Calls::default(),
            patience: Patience::default(),
            state,
            config,
        })
    }

    /// Asks the control plane for a newer manifest. `true` where one came and is in force now.
    pub async fn renew_manifest(&self) -> Result<bool, NoManifest> {
        match &self.control_plane {
            Some(control_plane) => manifest::renew(&self.manifests, control_plane, &self.state).await,
            None => Ok(false),
        }
    }

    /// How the fill goes, for whoever asks.
    pub fn progress(&self) -> FillProgress {
        let changes_at = match self.window.at(Timestamp::now()) {
            WindowState::Open { until, .. } => until,
            WindowState::Closed { opens_at } => opens_at,
        };
        let manifests = locked(&self.manifests);
        let mut progress =
            self.progress.document(u64::try_from(changes_at.as_second()).ok(), manifests.sequence());
        if let Some(refused) = manifests.refused() {
            let so_far = if progress.detail.is_empty() { "" } else { "; " };
            progress.detail = format!("{}{so_far}{refused}", progress.detail);
        }
        progress
    }
}

impl Calls {
    /// Whether a run is under way.
    pub fn is_running(&self) -> bool {
        self.is_running.load(Ordering::Acquire)
    }

    pub(crate) fn set_running(&self, is_running: bool) {
        self.is_running.store(is_running, Ordering::Release);
    }

    /// Has a run begin, unless one is under way.
    pub fn begin_run(&self) {
        if !self.is_running() {
            self.run.notify_one();
        }
    }

    /// How often the reporter has turned its loop: what the service manager's watchdog is fed by.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    pub(crate) fn turn(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }
}

/// The file with the licences.
pub(crate) const LICENCES: &str = "licences.json";

/// The file with the budget.
pub(crate) const BUDGET: &str = "budget.json";

/// What a mutex guards, whatever became of others who had it: all that is kept so stays whole between any two statements.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The kernel gives no larger receive buffer than its own limit, without a word.
fn warn_of_small_buffers(wanted_bytes: u32) {
    let limit = std::fs::read_to_string("/proc/sys/net/core/rmem_max");
    let limit: Option<u32> = limit.ok().and_then(|text| text.trim().parse().ok());
    if let Some(limit) = limit
        && limit < wanted_bytes
    {
        tracing::warn!(
            limit,
            wanted_bytes,
            "net.core.rmem_max holds receive buffers below what fill.rate needs from afar; raise it with sysctl"
        );
    }
}

fn control_plane(config: &Config) -> Result<Option<ControlPlaneClient>, AgentError> {
    let Some(url) = &config.control.url else { return Ok(None) };
    let name = config.control.appliance.clone().ok_or(AgentError::NoName)?;
    let token = Token::load(&config.control.token_file).map_err(AgentError::Token)?;
    ControlPlaneClient::new(url, name, &token, ControlPlaneTimeouts::default())
        .map(Some)
        .map_err(AgentError::ControlPlane)
}

impl fmt::Display for AgentError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimeZone(error) => write!(formatter, "fill.time_zone: {error}"),
            Self::ControlPlane(error) => error.fmt(formatter),
            Self::NoName => write!(
                formatter,
                "control.url names a control plane, and control.appliance is empty; write this appliance's name"
            ),
            Self::Token(error) => write!(formatter, "control.token_file: {error}"),
            Self::Outbox(error) => error.fmt(formatter),
            Self::Tls(error) => write!(formatter, "TLS cannot be set up: {error}"),
        }
    }
}

impl std::error::Error for AgentError {}
