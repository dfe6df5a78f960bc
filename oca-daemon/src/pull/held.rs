//! What is held of a key, in memory or on disk, and looking for it.

use std::borrow::Borrow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::blocks::{block_count, first_missing};
use super::caching::StoredHead;
use super::demand_store::{DemandStore, DiskEntry};
use super::flight::Flights;
use super::memory_store::MemoryStore;

/// A stored response.
#[derive(Clone)]
pub(super) struct Held {
    /// Its head.
    pub head: Arc<StoredHead>,
    /// Where its body is.
    pub body: HeldBody,
}

/// Where a stored body is.
#[derive(Clone)]
pub(super) enum HeldBody {
    /// All of it in memory.
    Memory {
        /// It.
        body: Bytes,
        /// Where it is on disk, too, if it is.
        entry: Option<DiskEntry>,
    },
    /// On disk.
    Disk {
        /// Where.
        entry: DiskEntry,
        /// The numbers of the blocks that are there, as ascending runs.
        blocks: Arc<[Range<u32>]>,
    },
}

/// Everything that is held of a key and can be used; no disk is asked where what is in memory is enough.
pub(super) async fn look_up(
    key: &str,
    memory: &MemoryStore,
    demand: &DemandStore,
    flights: &Flights,
    is_enough: impl Fn(&[Held]) -> bool,
) -> Vec<Held> {
    let in_memory = memory.get(key);
    let in_memory = in_memory.iter().flat_map(|objects| objects.iter());
    let mut found: Vec<Held> = in_memory
        .map(|object| {
            let body = HeldBody::Memory { body: object.body.clone(), entry: object.entry };
            Held { head: Arc::clone(&object.head), body }
        })
        .collect();
    if !found.is_empty() && is_enough(&found) {
        return found;
    }
    for (entry, view) in demand.entries(key).await {
        let Ok(mut head) = StoredHead::from_bytes(&view.metadata) else {
            // Written by another version: it is of no use to this one.
            demand.forget(entry);
            continue;
        };
        let Some(total) = view.total_bytes else { continue };
        head.total_length = Some(total);
        let is_whole = u32::try_from(block_count(total)).is_ok_and(|count| view.holds(0..count));
        // What is missing can be asked for only where it can be told to belong to the rest.
        if is_whole || head.is_divisible() || flights.bring(key, entry) {
            let body = HeldBody::Disk { entry, blocks: view.held.into() };
            found.push(Held { head: Arc::new(head), body });
        }
    }
    found
}

impl Borrow<StoredHead> for Held {
    fn borrow(&self) -> &StoredHead {
        &self.head
    }
}

impl Held {
    /// The first byte of a range that is not here.
    pub(super) fn first_missing(&self, range: Range<u64>) -> Option<u64> {
        match &self.body {
            HeldBody::Memory { .. } => None,
            HeldBody::Disk { blocks, .. } => first_missing(range, blocks),
        }
    }
}
