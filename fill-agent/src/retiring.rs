//! Bundles out of service, several at once: first all of them leave, then their space is waited for.

use std::time::{Duration, Instant};

use control_client::admin_client::AdminError;
use control_client::content::BundleKey;
use futures_util::StreamExt;
use futures_util::stream;

use crate::daemon::{Daemon, Retired};
use crate::limits::RETIRES_AT_ONCE;

/// What became of one bundle. [`Retired::Leaving`]: it serves no longer, and readers held its space to the end of the wait.
pub type Retirement = (BundleKey, Result<Retired, AdminError>);

/// Retires these bundles, and waits for the space of all of them for as long as `wait` in sum; none serves for longer because
/// readers hold another. The answers come in the order of the bundles.
pub async fn retire(daemon: &Daemon, bundles: Vec<BundleKey>, wait: Duration) -> Vec<Retirement> {
    let deadline = Instant::now() + wait;
    let mut retirements = all(daemon, bundles, |_| 0).await;
    let is_leaving = |(_, retired): &Retirement| matches!(retired, Ok(Retired::Leaving));
    let leaving = retirements.iter().filter(|one| is_leaving(one)).map(|(key, _)| key.clone()).collect();
    if wait.is_zero() {
        return retirements;
    }
    let left = |now: Instant| deadline.saturating_duration_since(now).as_secs_f64().ceil() as u64;
    let mut waited_for = all(daemon, leaving, left).await.into_iter();
    for retirement in retirements.iter_mut().filter(|one| is_leaving(one)) {
        match waited_for.next() {
            // It was there a moment ago: so its space has returned meanwhile.
            Some((_, Ok(Retired::Absent))) => retirement.1 = Ok(Retired::Gone),
            Some((_, Ok(retired))) => retirement.1 = Ok(retired),
            // It serves no longer, whatever the daemon says now.
            Some((_, Err(_))) | None => {}
        }
    }
    retirements
}

/// Asks for each, with the seconds that its space may be waited for.
async fn all(daemon: &Daemon, bundles: Vec<BundleKey>, seconds: impl Fn(Instant) -> u64) -> Vec<Retirement> {
    let asking = stream::iter(bundles).map(|key| {
        let seconds = &seconds;
        async move {
            let retired = daemon.retire(&key, seconds(Instant::now())).await;
            (key, retired)
        }
    });
    asking.buffered(RETIRES_AT_ONCE).collect().await
}
