//! How large the fleet is.

use std::collections::HashSet;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::{Fleet, inventory};

/// How large the fleet is, and what it takes in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FleetSize {
    /// Sites.
    pub sites: usize,
    /// Prefixes of clients.
    pub prefixes: usize,
    /// Appliances.
    pub appliances: usize,
    /// Bundles in the catalogue.
    pub bundles: usize,
    /// Bundles in all inventories together.
    pub held_bundles: u64,
    /// Bytes of memory that inventories take, each that is shared counted once.
    pub inventory_bytes: u64,
}

impl Fleet {
    /// How large the fleet is. Walks all inventories: for metrics and benchmarks.
    pub fn size(&self) -> FleetSize {
        let topology = self.topology.load();
        let mut size = FleetSize {
            sites: topology.sites.len(),
            prefixes: topology.footprint.len(),
            bundles: self.catalogue.len(),
            ..FleetSize::default()
        };
        for site in &topology.sites {
            let members = site.members.load();
            size.appliances += members.len();
            let mut counted: HashSet<*const RoaringBitmap> = HashSet::with_capacity(members.len());
            for member in members.iter() {
                size.held_bundles += member.held.len();
                if counted.insert(Arc::as_ptr(&member.held)) {
                    size.inventory_bytes += inventory::memory_bytes(&member.held);
                }
            }
        }
        size
    }
}
