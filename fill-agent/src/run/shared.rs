//! What the bundles of a run share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use control_client::content::BundlePath;
use tokio::sync::watch as signal;

use super::ledger::Ledger;
use super::places::Places;
use super::room::RoomToCome;
use crate::agent::{Agent, locked};
use crate::breakers::Breakers;
use crate::daemon::Retired;
use crate::fetch::{Connections, Fetcher};
use crate::limits::RETIRE_WAIT;
use crate::plan::PlannedRetire;
use crate::planning::Planned;
use crate::retiring;
use crate::run_record::RunRecord;
use crate::volumes::OpenVolume;

/// A run that has its plan.
pub struct Run {
    /// The agent.
    pub agent: Arc<Agent>,
    /// What it has done.
    pub record: Arc<RunRecord>,
    /// Fetches objects.
    pub fetcher: Fetcher,
    /// Which sources are left alone.
    pub breakers: Arc<Breakers>,
    /// When it began, by the pace's clock.
    pub began: Duration,
    /// A place for each object that is fetched at once.
    pub places: Arc<Places>,
    /// Whose room waits for whom.
    pub room: RoomToCome,
    /// The volumes that can be written.
    pub volumes: Vec<OpenVolume>,
    /// Those that were lost since the run began, and why.
    lost: Mutex<HashMap<u8, String>>,
    pub(super) ledger: Arc<Ledger>,
    halted: signal::Sender<Option<Halt>>,
}

/// What ends a run's fetching early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The agent is to stop.
    Told,
    /// The window has closed.
    WindowClosed,
    /// The night's bytes are spent.
    BudgetSpent,
}

impl Run {
    pub(super) fn new(
        agent: &Arc<Agent>,
        record: &Arc<RunRecord>,
        ledger: &Arc<Ledger>,
        planned: &Planned,
    ) -> Self {
        let fill = &agent.config.fill;
        let concurrency = usize::try_from(fill.concurrency).unwrap_or(usize::MAX).max(1);
        let connections = Connections::new(
            Arc::clone(&agent.pace),
            agent.tls.clone(),
            agent.receive_buffer_bytes,
            fill.connect_timeout,
            concurrency,
        );
        Self {
            agent: Arc::clone(agent),
            record: Arc::clone(record),
            fetcher: Fetcher { connections, stall_timeout: fill.stall_timeout },
            breakers: Arc::new(Breakers::new(Arc::clone(&agent.pace))),
            began: agent.pace.now(),
            places: Places::new(concurrency),
            room: RoomToCome::of(planned.plan.fetches.iter()),
            volumes: planned.volumes.clone(),
            lost: Mutex::default(),
            ledger: Arc::clone(ledger),
            halted: signal::Sender::new(None),
        }
    }

    /// From now on nothing is fetched. The first reason stays.
    pub(super) fn halt(&self, why: Halt) {
        self.halted.send_if_modified(|halted| {
            let is_first = halted.is_none();
            halted.get_or_insert(why);
            is_first
        });
    }

    /// Why nothing is fetched any more.
    pub fn halted(&self) -> Option<Halt> {
        *self.halted.borrow()
    }

    /// Ends when nothing is to be fetched any more.
    pub async fn until_halted(&self) {
        let _ = self.halted.subscribe().wait_for(Option::is_some).await;
    }

    /// What comes of it, where it ends before the fetching has to.
    pub async fn unless_halted<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.until_halted() => None,
        }
    }

    /// What comes of it, where that path is not purged before it ends.
    pub async fn unless_purged<T>(&self, path: &BundlePath, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.agent.purges.until_purged(path) => None,
            done = work => Some(done),
        }
    }

    /// The volume of that index, or why it cannot be used.
    pub fn volume(&self, index: u8) -> Result<OpenVolume, String> {
        if let Some(why) = locked(&self.lost).get(&index) {
            return Err(format!("volume {index} was lost in this run: {why}"));
        }
        let found = self.volumes.iter().find(|volume| volume.index == index);
        found.cloned().ok_or_else(|| format!("volume {index} cannot be used"))
    }

    /// From now on, nothing is written to that volume.
    pub fn lose(&self, index: u8, why: &str) {
        tracing::error!(
            volume = index,
            why,
            "a volume was lost; its bundles are planned anew by the next run"
        );
        locked(&self.lost).insert(index, why.to_owned());
    }

    /// Retires these bundles, all at once, and waits a while for their space. Which could not be retired, and why.
    pub async fn retire(&self, retires: &[PlannedRetire]) -> Result<(), String> {
        let keys = retires.iter().map(|retire| retire.key.clone()).collect();
        let answers = retiring::retire(&self.agent.daemon, keys, RETIRE_WAIT).await;
        let mut refused = Vec::new();
        for (retire, (key, retired)) in retires.iter().zip(answers) {
            let is_leaving = match retired {
                Ok(Retired::Absent) => continue,
                Ok(Retired::Gone) => false,
                Ok(Retired::Leaving) => true,
                Err(error) => {
                    refused.push(format!("{key} could not be retired: {error}"));
                    continue;
                }
            };
            if is_leaving {
                self.room.note_leaving(retire.volume);
            }
            tracing::info!(bundle = %key, why = retire.why.as_str(), is_leaving, "a bundle was retired");
            self.record.retire(retire.file_bytes);
        }
        if refused.is_empty() { Ok(()) } else { Err(refused.join("; ")) }
    }
}
