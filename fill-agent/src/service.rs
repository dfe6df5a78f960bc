//! The service: keeps the window, and has a run begin when one is due or asked for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use control_client::fill::{FillState, RunOutcome};
use jiff::Timestamp;
use tokio::sync::watch;

use crate::agent::{Agent, locked};
use crate::history;
use crate::limits::{REPLAN_INTERVAL, RERUN_INTERVAL, TICK};
use crate::run::{self, Occasion};
use crate::window::WindowState;

/// The last run in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Last {
    night: Timestamp,
    /// How long ago it ended.
    ago: Duration,
    manifest_sequence: u64,
    /// Whether it left something undone that may be done in the same window.
    is_incomplete: bool,
}

/// Lives until told to stop.
pub async fn keep(agent: Arc<Agent>, mut told: watch::Receiver<bool>) {
    agent.blocking(recover).await;
    if agent.blocking(Agent::is_run_wanted).await {
        agent.calls.run.notify_one();
    }
    let mut last: Option<(Last, Instant)> = None;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let is_by_hand = tokio::select! {
            biased;
            _ = told.wait_for(|told| *told) => return,
            () = agent.calls.run.notified() => true,
            _ = ticks.tick() => false,
        };
        let now = Timestamp::now();
        let window = agent.window.at(now);
        let occasion = if is_by_hand {
            Some(Occasion { night: agent.window.night_of(now), is_by_hand })
        } else {
            let last = last.map(|(last, ended)| Last { ago: ended.elapsed(), ..last });
            due(&agent, window, last).map(|night| Occasion { night, is_by_hand })
        };
        let Some(occasion) = occasion else { continue };
        if is_by_hand {
            agent.blocking(Agent::begin_wanted_run).await;
        }
        let known = locked(&agent.manifests).sequence();
        agent.calls.set_running(true);
        let report = run::run(&agent, occasion, told.clone()).await;
        agent.calls.set_running(false);
        agent.calls.report.notify_one();
        let outcome = report.as_ref().map_or(RunOutcome::Completed, |report| report.outcome);
        let manifest_sequence = used(report.as_ref().map(|report| report.manifest_sequence), known);
        let is_incomplete = outcome != RunOutcome::Completed;
        let this = Last { night: occasion.night, ago: Duration::ZERO, manifest_sequence, is_incomplete };
        last = Some((this, Instant::now()));
    }
}

/// The sequence of the manifest that a run went by, as far as it says so; one that came while it ran is for the next.
fn used(reported: Option<u64>, known_before: u64) -> u64 {
    reported.filter(|sequence| *sequence > 0).unwrap_or(known_before)
}

/// What a process that died had under way is reported. Blocks.
pub fn recover(agent: &Agent) {
    if let Some(interrupted) = history::interrupted(&agent.state)
        && !locked(&agent.history).has(&interrupted.run.run)
    {
        run::keep(agent, &interrupted);
        agent.progress.enter(FillState::Waiting, "");
    }
}

/// The night of the run that is due.
fn due(agent: &Agent, window: WindowState, last: Option<Last>) -> Option<Timestamp> {
    let WindowState::Open { night, .. } = window else { return None };
    if locked(&agent.budget).left(night, agent.config.fill.night_bytes.bytes()) == 0 {
        return None;
    }
    is_due(night, last, locked(&agent.manifests).sequence()).then_some(night)
}

/// Whether to begin a run in a window that is open.
fn is_due(night: Timestamp, last: Option<Last>, manifest_sequence: u64) -> bool {
    let Some(last) = last else { return true };
    let interval = if last.is_incomplete { RERUN_INTERVAL } else { REPLAN_INTERVAL };
    last.night != night || last.manifest_sequence != manifest_sequence || last.ago >= interval
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_due_once_a_night_and_again_when_there_is_something_new_to_do() {
        let night = |second| Timestamp::from_second(second).unwrap();
        let last = |is_incomplete, ago| Last { night: night(1000), ago, manifest_sequence: 5, is_incomplete };
        assert!(is_due(night(1000), None, 5));
        assert!(!is_due(night(1000), Some(last(false, RERUN_INTERVAL)), 5));
        assert!(is_due(night(1000), Some(last(false, REPLAN_INTERVAL)), 5));
        assert!(is_due(night(1000), Some(last(true, RERUN_INTERVAL)), 5));
        assert!(!is_due(night(1000), Some(last(true, RERUN_INTERVAL / 2)), 5));
        assert!(is_due(night(1000), Some(last(false, Duration::ZERO)), 6), "a new manifest");
        let while_it_ran = Last { manifest_sequence: used(Some(5), 4), ..last(false, Duration::ZERO) };
        assert!(is_due(night(1000), Some(while_it_ran), 6), "a manifest that came while the last one ran");
        let without_one = Last { manifest_sequence: used(Some(0), 5), ..last(true, Duration::ZERO) };
        assert!(!is_due(night(1000), Some(without_one), 5), "a run that could not even be planned");
        assert!(is_due(night(87_400), Some(last(false, Duration::ZERO)), 5), "the next night");
    }
}
