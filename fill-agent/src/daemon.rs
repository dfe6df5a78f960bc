//! The daemon on this machine, by its admin socket: what it holds, what it is told.
//!
//! It may be restarting: what only waits for it is patient, within a bound.

use std::path::PathBuf;
use std::time::Instant;

use control_client::admin::{Adopt, Adopted, Retire};
use control_client::admin_client::{AdminAddress, AdminClient, AdminError};
use control_client::content::BundleKey;
use control_client::inventory::{BundleState, Inventory};
use control_client::wire::DocumentVersion;

use crate::limits::{ADOPT_TIMEOUT, DAEMON_RETRY, DAEMON_TIMEOUT, DAEMON_WAIT, RETIRE_WAIT};
use crate::random::jitter;

/// The daemon.
#[derive(Clone, Debug)]
pub struct Daemon {
    questions: AdminClient,
    adoptions: AdminClient,
    retirements: AdminClient,
}

/// What became of a bundle that was to be retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retired {
    /// Its space has returned: so many bytes.
    Gone(u64),
    /// It serves no longer, and its last readers still hold its space.
    Leaving,
    /// There was no such bundle.
    Absent,
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
            retirements: client(RETIRE_WAIT),
        }
    }

    /// For questions and directives: each exchange has a short timeout.
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

    /// Has it serve a bundle that was published. Waits for a daemon that is not there.
    pub async fn adopt(&self, volume: String, file: String) -> Result<Adopted, AdminError> {
        patiently(|| {
            let adopt = Adopt { version: DocumentVersion, volume: volume.clone(), file: file.clone() };
            let client = self.adoptions.clone();
            async move { client.adopt(adopt).await }
        })
        .await
    }

    /// Takes a bundle out of service, and waits a while for its space.
    pub async fn retire(&self, key: &BundleKey) -> Result<Retired, AdminError> {
        let retire =
            Retire { version: DocumentVersion, path: key.path.clone(), generation: Some(key.generation) };
        match self.retirements.retire(retire).await {
            Ok(retired) => Ok(Retired::Gone(retired.freed_bytes)),
            Err(AdminError::TimedOut { .. } | AdminError::Refused { status: 504, .. }) => {
                Ok(Retired::Leaving)
            }
            // On its way out already.
            Err(AdminError::Refused { status: 409, .. }) => Ok(Retired::Leaving),
            Err(AdminError::Refused { status: 404, .. }) => Ok(Retired::Absent),
            Err(error) => Err(error),
        }
    }
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
