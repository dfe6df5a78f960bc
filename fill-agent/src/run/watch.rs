//! What goes on beside the fetching: the window and the budget are watched, viewers are given way to, and what was done is
//! written down.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use control_client::fill::RunOutcome;
use control_client::units::BitRate;
use jiff::Timestamp;
use tokio::sync::watch as signal;

use super::{Occasion, Run};
use crate::agent::{BUDGET, locked};
use crate::clock;
use crate::history;
use crate::limits::{CHECKPOINT_INTERVAL, LOAD_INTERVAL};
use crate::run_record::Checkpoint;
use crate::state::or_warn;
use crate::window::WindowState;
use crate::yielding::Yielding;

/// What ends a run early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    Told,
    WindowClosed,
    BudgetSpent,
}

/// How often the budget is looked at: it is overdrawn by what comes meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Ends when the run has to.
pub(super) async fn until_halt(run: &Run, occasion: Occasion, mut told: signal::Receiver<bool>) -> Halt {
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    let mut kept_at = Instant::now();
    keep_checkpoint(run);
    loop {
        tokio::select! {
            _ = told.wait_for(|told| *told) => return Halt::Told,
            _ = looks.tick() => {}
        }
        if account(run, occasion) == 0 {
            return Halt::BudgetSpent;
        }
        if !occasion.is_by_hand && !is_open(run, occasion) {
            return Halt::WindowClosed;
        }
        if kept_at.elapsed() >= CHECKPOINT_INTERVAL {
            kept_at = Instant::now();
            keep_checkpoint(run);
        }
    }
}

fn is_open(run: &Run, occasion: Occasion) -> bool {
    // The clock is asked each time: it may have been set.
    matches!(run.agent.window.at(Timestamp::now()), WindowState::Open { night, .. } if night == occasion.night)
}

/// Counts what was received since the last call against the night's bytes; what is left of them.
pub(super) fn account(run: &Run, occasion: Occasion) -> u64 {
    let received = run.agent.pace.received_since_last_accounted();
    let mut budget = locked(&run.agent.budget);
    budget.spend(occasion.night, received);
    budget.left(occasion.night, run.agent.config.fill.night_bytes.bytes())
}

/// Writes down how far the run has come.
pub(super) fn keep_checkpoint(run: &Run) {
    let report = run.record.end(clock::now(), RunOutcome::Interrupted, "under way");
    let checkpoint = Checkpoint { run: report, begun: run.agent.progress.begun() };
    history::keep_checkpoint(&checkpoint, &run.agent.state);
    let budget = locked(&run.agent.budget).clone();
    or_warn(run.agent.state.write(BUDGET, &budget));
}

/// Halves the rate while the daemon's reads are slow. Never ends by itself.
pub(super) async fn yield_to_viewers(run: &Run) -> Infallible {
    let fill = &run.agent.config.fill;
    let mut yielding = Yielding::new(fill.rate, fill.yield_latency);
    let mut questions = tokio::time::interval(LOAD_INTERVAL);
    questions.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        questions.tick().await;
        let received = run.agent.progress.sample(run.agent.pace.now(), run.agent.pace.received());
        let load = run.agent.daemon.client().load().await.ok();
        let before = yielding.rate();
        let rate = yielding.observe(load.as_ref(), BitRate::new(received), run.agent.pace.now());
        if rate != before {
            tracing::info!(
                bits_per_second = rate.bits_per_second(),
                "the rate was changed for the daemon's sake"
            );
            run.agent.pace.set_rate(rate);
        }
    }
}
