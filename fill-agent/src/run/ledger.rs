//! What a run writes down while it goes, so that an agent that is killed has spent no more than it remembers: how far it came,
//! and the night's bytes.
//!
//! Sockets receive only what is on the disk as spent already: a part of what is left is reserved ahead, and what was reserved and
//! not received is given back when the run ends. A kill costs what was reserved.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;

use crate::agent::{Agent, BUDGET, locked};
use crate::limits::{CHECKPOINT_INTERVAL, RESERVE_BYTES_MIN, RESERVE_PART};
use crate::state::or_warn;

/// The ledger of one run.
#[derive(Debug)]
pub(super) struct Ledger {
    night: Timestamp,
    spending: Mutex<Spending>,
    /// Whether the run has ended: what is written later than its last word is not written. Held while something is.
    is_closed: Arc<Mutex<bool>>,
}

/// Both are counted as the pace counts, in bytes received since the agent started.
#[derive(Debug)]
struct Spending {
    /// The night's budget knows of these.
    accounted: u64,
    /// So many may be received.
    allowed: u64,
}

impl Ledger {
    /// For a run in that night. Nothing can be received before [`Self::account`].
    pub(super) fn open(agent: &Agent, night: Timestamp) -> Self {
        let received = agent.pace.received();
        agent.pace.allow(received);
        let spending = Mutex::new(Spending { accounted: received, allowed: received });
        Self { night, spending, is_closed: Arc::default() }
    }

    /// Counts what was received, and allows more before that is used up. What is left of the night's bytes.
    pub(super) async fn account(&self, agent: &Arc<Agent>) -> u64 {
        let (left, allowed) = self.count(agent);
        let reserve = reserve(left, agent.config.fill.rate.bytes_per_second());
        if allowed >= reserve.div_ceil(2) {
            return left;
        }
        let mut kept = locked(&agent.budget).clone();
        kept.spend(self.night, reserve);
        self.write(agent, move |agent| or_warn(agent.state.write(BUDGET, &kept))).await;
        let mut spending = locked(&self.spending);
        spending.allowed = spending.accounted + reserve;
        agent.pace.allow(spending.allowed);
        left
    }

    /// Writes something down; nothing once the run has ended.
    pub(super) async fn write(&self, agent: &Arc<Agent>, writing: impl FnOnce(&Agent) + Send + 'static) {
        self.enter(agent, false, writing).await;
    }

    /// The run has ended: its last word is written, and what was received in truth.
    pub(super) async fn close(&self, agent: &Arc<Agent>, last: impl FnOnce(&Agent) + Send + 'static) {
        self.count(agent);
        agent.pace.allow(u64::MAX);
        let writing = move |agent: &Agent| {
            last(agent);
            let budget = locked(&agent.budget).clone();
            or_warn(agent.state.write(BUDGET, &budget));
        };
        self.enter(agent, true, writing).await;
    }

    /// On a thread for what blocks. It goes on when nobody waits for it any more.
    async fn enter(&self, agent: &Arc<Agent>, closes: bool, writing: impl FnOnce(&Agent) + Send + 'static) {
        let (agent, is_closed) = (Arc::clone(agent), Arc::clone(&self.is_closed));
        let written = tokio::task::spawn_blocking(move || {
            let mut is_closed = locked(&is_closed);
            if !*is_closed {
                writing(&agent);
                *is_closed = closes;
            }
        });
        let _ = written.await;
    }

    /// What is left of the night's bytes, and how many of them may be received.
    fn count(&self, agent: &Agent) -> (u64, u64) {
        let received = agent.pace.received();
        let mut spending = locked(&self.spending);
        let mut budget = locked(&agent.budget);
        budget.spend(self.night, received - spending.accounted);
        spending.accounted = received;
        let left = budget.left(self.night, agent.config.fill.night_bytes.bytes());
        (left, spending.allowed.saturating_sub(received))
    }
}

/// What may be received before the budget is written again: all that comes until the next checkpoint, but only a part of what is
/// left, so that a few kills do not cost a night.
fn reserve(left: u64, bytes_per_second: u64) -> u64 {
    let until_checkpoint = bytes_per_second.saturating_mul(CHECKPOINT_INTERVAL.as_secs());
    until_checkpoint.min(left / RESERVE_PART).max(RESERVE_BYTES_MIN).min(left)
}
