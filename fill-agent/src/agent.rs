//! What the parts of the agent share.

mod calls;

use std::fmt;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use control_client::config::Config;
use control_client::control_plane_client::{ControlPlaneClient, ControlPlaneError, ControlPlaneTimeouts};
use control_client::fill::FillProgress;
use control_client::fill_manifest::{ManifestRefused, SignedManifest};
use control_client::outbox::{Outbox, OutboxError};
use control_client::token::{Token, TokenError};
use jiff::Timestamp;
use tokio_rustls::TlsConnector;

pub use calls::Calls;

use crate::clock::ClockTrust;
use crate::daemon::Daemon;
use crate::escalation::Patience;
use crate::fetch;
use crate::history::History;
use crate::licences::Licences;
use crate::manifest::{self, Manifests, NoManifest};
use crate::night_budget::NightBudget;
use crate::progress::Progress;
use crate::purges::Purges;
use crate::shared_pace::{SharedPace, receive_buffer_bytes};
use crate::state::{StateFolder, or_warn};
use crate::volumes::{self, Volumes};
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
    /// What the run under way has to give up.
    pub purges: Arc<Purges>,
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
        let agent = Self {
            clock,
            window,
            daemon: Daemon::new(config.admin.socket.clone()),
            control_plane: control_plane(&config)?,
            manifests: Mutex::new(Manifests::load(&state, control.appliance.clone(), &control.trusted_keys)),
            licences: Mutex::new(state.read(LICENCES).unwrap_or_default()),
            volumes: Volumes::new(&config, volumes::Patience::default()),
            pace: Arc::new(SharedPace::new(fill.rate, fill.concurrency, receive_buffer_bytes)),
            receive_buffer_bytes,
            tls: fetch::connector().map_err(AgentError::Tls)?,
            progress: Progress::default(),
            purges: Arc::default(),
            budget: Mutex::new(state.read(BUDGET).unwrap_or_default()),
            history: Mutex::new(History::load(&state)),
            outbox: Mutex::new(outbox),
            calls: Calls::default(),
            patience: Patience::default(),
            state,
            config,
        };
        agent.take_in_licences();
        Ok(agent)
    }

    /// Asks the control plane for a newer manifest. `true` where one came and is in force now.
    pub async fn renew_manifest(self: &Arc<Self>) -> Result<bool, NoManifest> {
        let Some(control_plane) = &self.control_plane else { return Ok(false) };
        let known = locked(&self.manifests).in_force().map(|manifest| manifest.sequence);
        match control_plane.manifest(known).await {
            Ok(Some(signed)) => self.blocking(|agent| agent.take_manifest(signed)).await,
            Ok(None) => {
                locked(&self.manifests).confirm();
                Ok(false)
            }
            Err(ControlPlaneError::Unintelligible(what)) => {
                let refused = ManifestRefused::Syntax(what).to_string();
                locked(&self.manifests).refuse(refused.clone());
                Err(NoManifest::Refused(refused))
            }
            Err(error) => Err(NoManifest::NotAnswered(error)),
        }
    }

    /// Takes a manifest that came, if it is to be obeyed, and what it says of licences. Blocks.
    pub fn take_manifest(&self, signed: SignedManifest) -> Result<bool, NoManifest> {
        let is_new = manifest::take(&self.manifests, signed, &self.state)?;
        if is_new {
            self.take_in_licences();
            self.calls.licences.notify_one();
        }
        Ok(is_new)
    }

    /// Takes in what the manifest in force says of licences. Blocks.
    fn take_in_licences(&self) {
        let manifest = locked(&self.manifests).in_force();
        let mut licences = locked(&self.licences);
        if manifest.is_some_and(|manifest| licences.take_in(&manifest)) {
            or_warn(self.state.write(LICENCES, &*licences));
        }
    }

    /// Has a run begin, or follow the one under way; if this process ends before it begins, the next one does. Blocks.
    pub fn want_run(&self) {
        or_warn(self.state.write(RUN_WANTED, &true));
        self.calls.run.notify_one();
    }

    /// Whether somebody asked an earlier process for a run that has not begun. Blocks.
    pub fn is_run_wanted(&self) -> bool {
        self.state.read(RUN_WANTED).unwrap_or(false)
    }

    /// A run begins that does what was asked for. Blocks.
    pub fn begin_wanted_run(&self) {
        or_warn(self.state.remove(RUN_WANTED));
    }

    /// Does what blocks on a thread for that.
    pub async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> T {
        let agent = Arc::clone(self);
        match tokio::task::spawn_blocking(move || work(&agent)).await {
            Ok(done) => done,
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            // The runtime ends, and whoever waits with it.
            Err(_) => std::future::pending().await,
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

/// The file that says that a run was asked for.
const RUN_WANTED: &str = "run_wanted.json";

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
