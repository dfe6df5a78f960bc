//! Licences end, with and without a control plane: what has expired is retired, unless nobody keeps the clock right.

use std::sync::Arc;
use std::time::Duration;

use crate::agent::{Agent, locked};
use crate::clock;
use crate::daemon::Retired;
use crate::limits::{EXPIRY_INTERVAL, EXPIRY_INTERVAL_MIN};
use crate::planning::held;

/// Looks at once, when the next licence ends, and once a day. Never ends by itself.
pub async fn keep(agent: Arc<Agent>) {
    loop {
        let is_done = enforce(&agent).await;
        let next = locked(&agent.licences).next_expiry(clock::now());
        tokio::time::sleep(pause(is_done, next, clock::now())).await;
    }
}

fn pause(is_done: bool, next_expiry: Option<u64>, now: u64) -> Duration {
    if !is_done {
        return EXPIRY_INTERVAL_MIN;
    }
    let until = next_expiry.map_or(EXPIRY_INTERVAL, |at| Duration::from_secs(at.saturating_sub(now)));
    until.clamp(EXPIRY_INTERVAL_MIN, EXPIRY_INTERVAL)
}

/// Retires what has expired. `false` where something that has is still served.
pub async fn enforce(agent: &Agent) -> bool {
    let Ok(inventory) = agent.daemon.client().inventory().await else { return false };
    let manifest = locked(&agent.manifests).in_force();
    let now = clock::now();
    let mut expired = held(agent, manifest.as_deref(), &inventory);
    expired.retain(|held| held.expires_at.is_some_and(|expires_at| expires_at <= now));
    if expired.is_empty() {
        return true;
    }
    if !agent.clock.is_synchronised() {
        tracing::warn!(
            bundles = expired.len(),
            "licences have ended by this machine's clock, which nothing keeps synchronised; they are served until it is"
        );
        return false;
    }
    let mut is_done = true;
    for held in expired {
        match agent.daemon.retire(&held.key).await {
            Ok(Retired::Absent) => {}
            Ok(_) => {
                tracing::info!(bundle = %held.key, "a bundle was retired: its licence has ended");
                agent.calls.report.notify_one();
            }
            Err(error) => {
                tracing::warn!(bundle = %held.key, %error, "a bundle whose licence has ended could not be retired");
                is_done = false;
            }
        }
    }
    is_done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_look_is_when_the_next_licence_ends_and_once_a_day_at_least() {
        let seconds = Duration::from_secs;
        assert_eq!(pause(true, None, 100), EXPIRY_INTERVAL);
        assert_eq!(pause(true, Some(700), 100), seconds(600));
        assert_eq!(pause(true, Some(101), 100), EXPIRY_INTERVAL_MIN);
        assert_eq!(pause(true, Some(u64::MAX), 100), EXPIRY_INTERVAL);
        assert_eq!(pause(false, None, 100), EXPIRY_INTERVAL_MIN);
    }
}
