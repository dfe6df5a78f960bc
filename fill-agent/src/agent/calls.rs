//! What one part of the agent tells another.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, watch};

/// What one part of the agent tells another.
#[derive(Debug, Default)]
pub struct Calls {
    /// Somebody wants a run, whatever the window says.
    pub run: Notify,
    /// There is something to report.
    pub report: Notify,
    /// A manifest came, and may say that a licence has ended.
    pub licences: Notify,
    is_running: watch::Sender<bool>,
    turns: AtomicU64,
}

impl Calls {
    /// Whether a run is under way.
    pub fn is_running(&self) -> bool {
        *self.is_running.borrow()
    }

    pub(crate) fn set_running(&self, is_running: bool) {
        self.is_running.send_replace(is_running);
    }

    /// Waits until a run is under way.
    pub(crate) async fn running(&self) {
        let _ = self.is_running.subscribe().wait_for(|is_running| *is_running).await;
    }

    /// How often the reporter got on: what the service manager's watchdog is fed by.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    pub(crate) fn turn(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }
}
