//! The bundles of a run, several at once, in the order of the plan; those that wait for their sources stand aside.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};

use super::Run;
use crate::bundle::{Outcome, Work, attempt};
use crate::limits::BUNDLES_AT_ONCE;

/// A bundle, and its place in the plan.
type Placed = (usize, Work);

/// Ends when each bundle is published or given up.
pub(super) async fn bring_in_all(run: &Arc<Run>, works: Vec<Work>) {
    let mut fresh: VecDeque<Placed> = works.into_iter().enumerate().collect();
    let mut waiting: Vec<(Duration, Placed)> = Vec::new();
    let mut active: JoinSet<(Placed, Outcome)> = JoinSet::new();
    loop {
        while active.len() < BUNDLES_AT_ONCE {
            let Some((place, mut work)) = next(run, &mut fresh, &mut waiting) else { break };
            let run = Arc::clone(run);
            active.spawn(async move {
                let outcome = attempt(&run, &mut work).await;
                ((place, work), outcome)
            });
        }
        let wake = waiting.iter().map(|(until, _)| run.agent.pace.instant(*until)).min();
        tokio::select! {
            Some(ended) = active.join_next() => take_in(run, ended, &mut waiting),
            () = sleep_until(wake), if active.len() < BUNDLES_AT_ONCE && wake.is_some() => {}
            else => return,
        }
    }
}

/// The best bundle that can be worked on: one that has waited long enough comes before those that have not begun, for it
/// is better ranked than they are.
fn next(run: &Run, fresh: &mut VecDeque<Placed>, waiting: &mut Vec<(Duration, Placed)>) -> Option<Placed> {
    let now = run.agent.pace.now();
    let due = waiting.iter().enumerate().filter(|(_, (until, _))| *until <= now);
    let best = due.min_by_key(|(_, (_, (place, _)))| *place).map(|(index, _)| index);
    best.map(|index| waiting.swap_remove(index).1).or_else(|| fresh.pop_front())
}

fn take_in(run: &Run, ended: Result<(Placed, Outcome), JoinError>, waiting: &mut Vec<(Duration, Placed)>) {
    let ((place, work), outcome) = match ended {
        Ok(ended) => ended,
        Err(error) => {
            tracing::error!(%error, "the work on a bundle ended in a panic; please report it with the log");
            return;
        }
    };
    match outcome {
        Outcome::Published => {
            run.record.publish(work.entry.bytes);
            run.agent.progress.publish(work.key(), work.entry.bytes);
        }
        Outcome::Wait(until) => {
            run.agent.progress.suspend_bundle(work.key());
            waiting.push((until, (place, work)));
        }
        Outcome::Failed(reason, detail) => {
            tracing::warn!(bundle = %work.key(), %reason, detail, "a bundle was given up for this run");
            run.agent.progress.give_up(work.key());
            run.record.fail(work.planned.key.clone(), reason, detail);
        }
    }
}

async fn sleep_until(wake: Option<std::time::Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}
