//! What no plan can pass, for appliances that are too large to try everything: bundles may be divided, all
//! volumes are one, and room and bytes have prices. Whatever the prices, the sum is a bound (Lagrangian
//! duality); the lowest one is looked for.

use control_client::fill_manifest::FillEntry;
use fill_agent::plan::Plan;

use super::appliance::Appliance;

pub(crate) struct DualBound {
    /// The most that can be on the disks in the end.
    pub(crate) most: f64,
}

struct Item {
    worth: f64,
    room: f64,
    bytes: f64,
}

fn items(appliance: &Appliance) -> Vec<Item> {
    let held = appliance.held.iter().map(|held| {
        let entry = appliance.entry(&held.key.path);
        Item { worth: kept(appliance, entry, held.file_bytes), room: held.file_bytes as f64, bytes: 0.0 }
    });
    let is_held = |entry: &&FillEntry| appliance.held.iter().any(|held| held.key.path == entry.path);
    let wanted = appliance.entries.iter().filter(|entry| !is_held(entry)).map(|entry| Item {
        worth: appliance.value(entry) as f64,
        room: cache_store::Layout::file_bytes_bound(entry.objects, entry.bytes) as f64,
        bytes: entry.bytes as f64,
    });
    held.chain(wanted).collect()
}

fn kept(appliance: &Appliance, entry: Option<&FillEntry>, file_bytes: u64) -> f64 {
    entry.map_or(0.0, |entry| appliance.value(entry) as f64) + file_bytes as f64
}

pub(crate) fn dual_bound(appliance: &Appliance) -> DualBound {
    let items = items(appliance);
    let free = appliance.volumes.iter().map(|room| room.free_bytes - appliance.keep_free_bytes).sum::<u64>();
    let room = free as f64 + appliance.held.iter().map(|held| held.file_bytes as f64).sum::<f64>();
    let night = appliance.night_bytes_left as f64;
    let bound = |room_price: f64, byte_price: f64| {
        let surplus = |item: &Item| (item.worth - item.room * room_price - item.bytes * byte_price).max(0.0);
        room * room_price + night * byte_price + items.iter().map(surplus).sum::<f64>()
    };
    let most = lowest(|room_price| lowest(|byte_price| bound(room_price, byte_price)));
    DualBound { most }
}

/// The lowest value of a convex function of a price, from nothing to more than any bundle is worth per byte.
fn lowest(function: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0_f64, 100.0_f64);
    for _ in 0..40 {
        let (one, other) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if function(one) <= function(other) { high = other } else { low = one }
    }
    function((low + high) / 2.0).min(function(0.0))
}

impl DualBound {
    /// What is on the disks when the plan is carried out.
    pub(crate) fn worth_of(&self, appliance: &Appliance, plan: &Plan) -> f64 {
        let gone = |held: &&fill_agent::plan::Held| !plan.all_retires().any(|retire| retire.key == held.key);
        let staying = appliance.held.iter().filter(gone);
        let staying = staying
            .map(|held| kept(appliance, appliance.entry(&held.key.path), held.file_bytes))
            .sum::<f64>();
        let come = plan.fetches.iter().map(|fetch| appliance.value(&appliance.entries[fetch.entry]) as f64);
        staying + come.sum::<f64>()
    }
}
