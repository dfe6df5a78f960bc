//! The daemon on this machine, by its admin socket: what it holds, what it is told.
//!
//! It may be restarting: what only waits for it is patient, within a bound.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Instant;

use cache_store::VolumeId;
use control_client::admin::{Adopt, Adopted, Purge, Purged, Retire};
use control_client::admin_client::{AdminAddress, AdminClient, AdminError};
use control_client::content::BundleKey;
use control_client::health::{HealthReport, Readiness, VolumeState};
use control_client::inventory::{BundleState, Inventory};
use control_client::wire::DocumentVersion;

use crate::limits::{ADOPT_TIMEOUT, DAEMON_RETRY, DAEMON_TIMEOUT, DAEMON_WAIT, PURGE_TIMEOUT};
use crate::random::jitter;

/// The daemon.
#[derive(Clone, Debug)]
pub struct Daemon {
    questions: AdminClient,
    adoptions: AdminClient,
    purges: AdminClient,
}

/// What became of a bundle that was to be retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retired {
    /// Its space has returned.
    Gone,
    /// It serves no longer, and its last readers still hold its space.
    Leaving,
    /// There was no such bundle.
    Absent,
}

/// What the daemon holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holdings {
    /// Of the volumes that serve.
    pub inventory: Inventory,
    /// The volumes that serve, by their index.
    pub volumes: HashMap<u8, VolumeId>,
    /// Whether nothing else could come back by itself.
    pub is_whole: bool,
}

impl Daemon {
    /// The daemon that listens at that socket.
    pub fn new(socket: PathBuf) -> Self {
        let client = |timeout| {
            let mut client = AdminClient::new(AdminAddress::Socket(socket.clone()));
            (client.read_timeout, client.change_timeout) = (timeout, timeout);
            client
        };
        Self {
            questions: client(DAEMON_TIMEOUT),
            adoptions: client(ADOPT_TIMEOUT),
            purges: client(PURGE_TIMEOUT),
        }
    }

    /// For questions, and for directives that wait for no disk: each exchange has a short timeout.
    pub fn client(&self) -> &AdminClient {
        &self.questions
    }

    /// What it holds. Waits for a daemon that is not there yet.
    pub async fn inventory(&self) -> Result<Inventory, AdminError> {
        patiently(|| {
            let client = self.questions.clone();
            async move { client.inventory().await }
        })
        .await
    }

    /// What it holds, and whether that is all: a volume that does not serve now comes back with what it has, and a daemon that
    /// recovers has not looked at everything.
    pub async fn holdings(&self) -> Result<Holdings, AdminError> {
        let before = self.questions.health().await?;
        let inventory = self.questions.inventory().await?;
        let after = self.questions.health().await?;
        let volumes = serving(&after);
        let is_whole = has_everything(&before) && has_everything(&after) && serving(&before) == volumes;
        Ok(Holdings { inventory, volumes, is_whole })
    }

    /// The volumes that serve, by their index.
    pub async fn serving_volumes(&self) -> Result<HashMap<u8, VolumeId>, AdminError> {
        self.questions.health().await.map(|health| serving(&health))
    }

    /// Has it serve a bundle that was published. Waits for a daemon that is not there.
    pub async fn adopt(&self, volume: String, file: String) -> Result<Adopted, AdminError> {
        patiently(|| {
            let adopt = Adopt { version: DocumentVersion, volume: volume.clone(), file: file.clone() };
            let client = self.adoptions.clone();
            async move { client.adopt(adopt).await }
        })
        .await
    }

    /// Has it stop serving content.
    pub async fn purge(&self, purge: Purge) -> Result<Purged, AdminError> {
        self.purges.purge(purge).await
    }

    /// Takes a bundle out of service, and waits so many seconds for its space. For several there is [`crate::retiring`].
    pub async fn retire(&self, key: &BundleKey, seconds: u64) -> Result<Retired, AdminError> {
        let retire =
            Retire { version: DocumentVersion, path: key.path.clone(), generation: Some(key.generation) };
        match self.questions.retire_within(retire, seconds).await {
            Ok(_) => Ok(Retired::Gone),
            Err(AdminError::Refused { status: 504, .. }) => Ok(Retired::Leaving),
            // On its way out already.
            Err(AdminError::Refused { status: 409, .. }) => Ok(Retired::Leaving),
            Err(AdminError::Refused { status: 404, .. }) => Ok(Retired::Absent),
            Err(error) => Err(error),
        }
    }
}

/// Whether it has found all that its volumes hold.
pub fn is_up(health: &HealthReport) -> bool {
    matches!(health.readiness, Readiness::Serving | Readiness::Draining | Readiness::Drained)
}

/// Whether what it holds is everything that there is.
fn has_everything(health: &HealthReport) -> bool {
    is_up(health) && health.volumes.iter().all(|volume| volume.state == VolumeState::Serving)
}

fn serving(health: &HealthReport) -> HashMap<u8, VolumeId> {
    let serving = health.volumes.iter().filter(|volume| volume.state == VolumeState::Serving);
    serving.filter_map(|volume| Some((volume.index, VolumeId::parse(&volume.id)?))).collect()
}

/// Whether a bundle of that state counts as held.
pub fn serves(state: BundleState) -> bool {
    state == BundleState::Published
}

/// Asks again while nobody answers, for as long as a daemon's restart may take.
async fn patiently<T, F: Future<Output = Result<T, AdminError>>>(
    mut ask: impl FnMut() -> F,
) -> Result<T, AdminError> {
    let deadline = Instant::now() + DAEMON_WAIT;
    let mut attempt = 0;
    loop {
        let error = match ask().await {
            Err(error) if error.is_unreachable() || is_starting(&error) => error,
            answered => return answered,
        };
        let delay = DAEMON_RETRY.delay(attempt, jitter());
        if Instant::now() + delay >= deadline {
            return Err(error);
        }
        if attempt == 0 {
            tracing::warn!(%error, "the daemon does not answer; it is waited for");
        }
        attempt += 1;
        tokio::time::sleep(delay).await;
    }
}

/// 503: its volumes are not open yet, or too much waits.
fn is_starting(error: &AdminError) -> bool {
    matches!(error, AdminError::Refused { status: 503, .. })
}
