//! What goes on beside the fetching: the window and the budget are watched, viewers are given way to, and what was done is
//! written down.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use control_client::fill::RunOutcome;
use control_client::units::BitRate;
use jiff::Timestamp;
use tokio::sync::watch as signal;

use super::{Halt, Occasion, Run};
use crate::clock;
use crate::history;
use crate::limits::{CHECKPOINT_INTERVAL, LOAD_INTERVAL};
use crate::window::WindowState;
use crate::yielding::Yielding;

/// How often window and budget are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Has the run fetch no more when the window closes or the night's bytes are spent; ends when the agent is told to stop.
pub(super) async fn until_told(run: &Run, occasion: Occasion, mut told: signal::Receiver<bool>) {
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    let mut kept_at = None::<Instant>;
    loop {
        tokio::select! {
            _ = told.wait_for(|told| *told) => return,
            _ = looks.tick() => {}
        }
        if run.ledger.account(&run.agent).await == 0 {
            run.halt(Halt::BudgetSpent);
        }
        if !occasion.is_by_hand && !is_open(run, occasion) {
            run.halt(Halt::WindowClosed);
        }
        if kept_at.is_none_or(|kept_at| kept_at.elapsed() >= CHECKPOINT_INTERVAL) {
            kept_at = Some(Instant::now());
            let checkpoint = run.record.checkpoint(clock::now(), RunOutcome::Interrupted, "under way");
            let writing =
                move |agent: &crate::agent::Agent| history::keep_checkpoint(&checkpoint, &agent.state);
            run.ledger.write(&run.agent, writing).await;
        }
    }
}

fn is_open(run: &Run, occasion: Occasion) -> bool {
    // The clock is asked each time: it may have been set.
    matches!(run.agent.window.at(Timestamp::now()), WindowState::Open { night, .. } if night == occasion.night)
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
