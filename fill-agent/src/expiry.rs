//! Licences end, with and without a control plane: what has expired is retired, unless nobody keeps the clock right.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use cache_store::VolumeId;
use control_client::content::BundleKey;
use control_client::inventory::Inventory;

use crate::agent::{Agent, LICENCES, locked};
use crate::clock;
use crate::daemon::{Holdings, Retired};
use crate::limits::EXPIRY_INTERVAL;
use crate::planning::{add_licences, held};
use crate::retiring::retire;
use crate::state::or_warn;

/// What became of the bundles whose licences have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enforced {
    /// None is served.
    Done,
    /// So many are served on, because nothing keeps this machine's clock synchronised.
    ByNoClock(usize),
    /// Some are served on; why.
    NotDone(String),
}

/// Looks at once, whenever a manifest came, and again and again: the clock may have been set, and a volume may have come back.
/// Never ends by itself.
pub async fn keep(agent: Arc<Agent>) {
    let mut before = Enforced::Done;
    loop {
        let enforced = enforce(&agent).await;
        if enforced != before {
            enforced.tell();
            before = enforced;
        }
        tokio::select! {
            () = tokio::time::sleep(EXPIRY_INTERVAL) => {}
            () = agent.calls.licences.notified() => {}
        }
    }
}

/// Retires what has expired. The daemon is asked only where something may have, and for its inventory only where that may be there.
pub async fn enforce(agent: &Arc<Agent>) -> Enforced {
    let now = clock::now();
    if !locked(&agent.licences).has_expired(now) {
        return Enforced::Done;
    }
    let silent = |error| Enforced::NotDone(format!("the daemon does not say what it holds: {error}"));
    match agent.daemon.serving_volumes().await {
        Ok(volumes) => {
            let volumes = volumes.into_values().collect();
            if !locked(&agent.licences).has_expired_on(now, &volumes) {
                return Enforced::Done;
            }
        }
        Err(error) => return silent(error),
    }
    let holdings = match agent.daemon.holdings().await {
        Ok(holdings) => holdings,
        Err(error) => return silent(error),
    };
    let expired = agent.blocking(move |agent| {
        let mut held = held(&holdings.inventory);
        add_licences(agent, &mut held);
        note_volumes(agent, &holdings.inventory, &holdings.volumes);
        if holdings.is_whole {
            forget_others(agent, &holdings);
        }
        held.retain(|held| held.expires_at.is_some_and(|expires_at| expires_at <= now));
        held.into_iter().map(|held| held.key).collect::<Vec<_>>()
    });
    let expired = expired.await;
    if expired.is_empty() {
        return Enforced::Done;
    }
    if !agent.clock.is_synchronised() {
        return Enforced::ByNoClock(expired.len());
    }
    let mut enforced = Enforced::Done;
    for (key, retired) in retire(&agent.daemon, expired, Duration::ZERO).await {
        match retired {
            Ok(Retired::Absent) => {}
            Ok(_) => tracing::info!(bundle = %key, "a bundle was retired: its licence has ended"),
            Err(error) => enforced = Enforced::NotDone(format!("{key} could not be retired: {error}")),
        }
    }
    agent.calls.report.notify_one();
    enforced
}

/// Remembers which volumes bundles are on: licences go with them, and come back with them. Blocks.
pub fn note_volumes(agent: &Agent, inventory: &Inventory, volumes: &HashMap<u8, VolumeId>) {
    let mut licences = locked(&agent.licences);
    let mut has_changed = false;
    for bundle in &inventory.bundles {
        if let Some(volume) = volumes.get(&bundle.volume) {
            let key = BundleKey { path: bundle.path.clone(), generation: bundle.generation };
            has_changed |= licences.note_volume(&key, *volume);
        }
    }
    if has_changed {
        or_warn(agent.state.write(LICENCES, &*licences));
    }
}

/// Of what is neither listed nor held, licences are of no use.
fn forget_others(agent: &Agent, holdings: &Holdings) {
    let bundles = holdings.inventory.bundles.iter();
    let held: HashSet<BundleKey> = bundles
        .map(|bundle| BundleKey { path: bundle.path.clone(), generation: bundle.generation })
        .collect();
    let volumes = holdings.volumes.values().copied().collect();
    let manifest = locked(&agent.manifests).in_force();
    let mut licences = locked(&agent.licences);
    if licences.forget_others(manifest.as_deref(), &volumes, |key| held.contains(key)) {
        or_warn(agent.state.write(LICENCES, &*licences));
    }
}

impl Enforced {
    /// To the operator.
    pub fn tell(&self) {
        match self {
            Self::Done => tracing::info!("nothing is served any more whose licence has ended"),
            Self::ByNoClock(bundles) => tracing::warn!(
                bundles,
                "licences have ended by this machine's clock, which nothing keeps synchronised; they are served until it is"
            ),
            Self::NotDone(why) => {
                tracing::warn!(
                    why,
                    "bundles whose licence has ended may be served; it is tried again every minute"
                );
            }
        }
    }
}
