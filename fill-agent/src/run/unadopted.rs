//! What an earlier run has published and no daemon serves, because the agent or the daemon was away at that moment. It is adopted before
//! anything is planned: it takes no bytes of the night, and no room that it has not.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use cache_store::{BundleId, Volume};
use control_client::content::{BundleKey, BundlePath, Generation};
use control_client::fill_manifest::{FillEntry, FillManifest};
use control_client::inventory::Inventory;
use futures_util::future::join_all;

use crate::agent::Agent;
use crate::bundle::have_served;
use crate::clock;
use crate::run_record::RunRecord;

/// Has the daemon serve what is listed and published. How many bundles, and of how many bytes, it did not serve before.
pub(super) async fn adopt(
    agent: &Arc<Agent>,
    record: &RunRecord,
    manifest: &FillManifest,
    inventory: &Inventory,
) -> (u64, u64) {
    let missing = Arc::new(missing(manifest, inventory));
    let mut adopted = (0, 0);
    if missing.is_empty() {
        return adopted;
    }
    let volumes = agent.volumes.look(|_| true, |_| ()).await;
    let looking = volumes.into_iter().map(async |(volume, ())| {
        let (looked_at, missing) = (Arc::clone(&volume.volume), Arc::clone(&missing));
        let found = agent.volumes.calls().work(volume.index, move || find(&looked_at, &missing)).await;
        (volume, found)
    });
    for (volume, found) in join_all(looking).await {
        // What cannot be listed has been told of, or will be where it is written to.
        for place in found.into_iter().flatten().flatten() {
            let entry = &manifest.entries[place];
            let key = key(entry);
            // What is purged is planned like all that is missing, and told of where its turn comes.
            let Some(_publishing) = agent.purges.may_publish(&key.path) else { continue };
            let replaces = |generation: Generation| bytes_of(inventory, &key.path, generation);
            match have_served(agent, record, &volume, &key, entry, replaces).await {
                Ok(()) => {
                    record.publish(&key, entry.bytes);
                    adopted = (adopted.0 + 1, adopted.1 + entry.bytes);
                }
                Err(error) => {
                    tracing::warn!(bundle = %key, volume = volume.index, %error, "a bundle is published and not adopted");
                    if error.is_unreachable() {
                        return adopted;
                    }
                }
            }
        }
    }
    adopted
}

/// What is listed, may be served, and is unknown to the daemon, by its place in the manifest.
fn missing(manifest: &FillManifest, inventory: &Inventory) -> HashMap<BundleId, usize> {
    let known: HashSet<(&BundlePath, Generation)> =
        inventory.bundles.iter().map(|bundle| (&bundle.path, bundle.generation)).collect();
    let now = clock::now();
    let may_serve = |entry: &FillEntry| entry.expires_at.is_none_or(|expires_at| expires_at > now);
    let is_missing = |entry: &FillEntry| !known.contains(&(&entry.path, entry.generation));
    let entries = manifest.entries.iter().enumerate();
    let missing = entries.filter(|(_, entry)| is_missing(entry) && may_serve(entry));
    missing.map(|(place, entry)| (BundleId::of(&key(entry)), place)).collect()
}

/// Those of them that are published on a volume, and no later generation of the same. Blocks.
fn find(volume: &Volume, missing: &HashMap<BundleId, usize>) -> io::Result<Vec<usize>> {
    let mut newest: HashMap<[u8; 16], Generation> = HashMap::new();
    for id in volume.published()? {
        let generation = newest.entry(id.path_hash).or_insert(id.generation);
        *generation = id.generation.max(*generation);
    }
    let ids = newest.into_iter().map(|(path_hash, generation)| BundleId { path_hash, generation });
    Ok(ids.filter_map(|id| missing.get(&id).copied()).collect())
}

fn key(entry: &FillEntry) -> BundleKey {
    BundleKey { path: entry.path.clone(), generation: entry.generation }
}

fn bytes_of(inventory: &Inventory, path: &BundlePath, generation: Generation) -> Option<u64> {
    let found = inventory.bundles.iter().find(|held| held.path == *path && held.generation == generation);
    found.map(|held| held.bytes)
}
