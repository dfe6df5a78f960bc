//! What the service manager is told: ready, stopping, how the fill goes, and that the agent is alive (`sd_notify(3)`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::agent::Agent;
use crate::limits::{REPORTER_TURN_MAX, STOP_TIMEOUT, TICK};

/// The line of status is for people.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// The agent works.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// The agent stops, within a bound.
pub fn stopping() {
    let micros = u32::try_from((STOP_TIMEOUT * 3).as_micros()).unwrap_or(u32::MAX);
    notify(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(micros)]);
}

/// Feeds the watchdog while the reporter gets on: it waits, or its exchanges end within their bounds. Where there is nobody to
/// report to, the turning of this loop has to do. Never ends by itself.
pub async fn feed(agent: Arc<Agent>) {
    let mut ticks = tokio::time::interval(TICK);
    let (mut turns, mut turned_at) = (0, Instant::now());
    let (mut status, mut told_at) = (String::new(), None::<Instant>);
    loop {
        ticks.tick().await;
        let now_turns = agent.calls.turns();
        if now_turns != turns {
            (turns, turned_at) = (now_turns, Instant::now());
        }
        if agent.control_plane.is_none() || turned_at.elapsed() < REPORTER_TURN_MAX {
            notify(&[NotifyState::Watchdog]);
        }
        let line = status_line(&agent);
        if line != status && told_at.is_none_or(|at| at.elapsed() >= STATUS_INTERVAL) {
            notify(&[NotifyState::Status(&line)]);
            (status, told_at) = (line, Some(Instant::now()));
        }
    }
}

fn status_line(agent: &Agent) -> String {
    let progress = agent.progress();
    let so_far = match progress.planned_bundles {
        0 => String::new(),
        planned => format!(", {} of {planned} bundles", progress.done_bundles),
    };
    let detail = if progress.detail.is_empty() { String::new() } else { format!(": {}", progress.detail) };
    format!("{}{so_far}{detail}", progress.state)
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager could not be notified");
    }
}
