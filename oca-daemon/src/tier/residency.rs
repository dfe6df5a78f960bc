//! Which blocks are in memory. Read by every worker, for every send, without a lock and without writing anything that is
//! shared; written by the tier's thread alone.
//!
//! Shards, each a map behind an `ArcSwap`: the writer copies the shard's map, changes the copy, and swaps it in. A reader borrows
//! the block for the length of one send, and counts no reference: a block that left the table is in nobody's hands as soon as
//! those sends have ended. The tier keeps it until then, so that it is never unmapped on a worker.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::block::{Block, BlockKey};
use crate::key_hasher::KeyHasher;

type Map = HashMap<BlockKey, Arc<Block>, BuildHasherDefault<KeyHasher>>;

/// With 50,000 blocks a copied map has some 200 entries.
const SHARDS: usize = 256;

/// The table of resident blocks.
pub struct Residency {
    shards: Box<[ArcSwap<Map>]>,
}

impl Residency {
    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| ArcSwap::from_pointee(Map::default())).collect() }
    }

    /// Lends the block to `with`, if it is in memory. Not for long: it stays in memory meanwhile.
    pub fn with<R>(&self, key: BlockKey, with: impl FnOnce(&Block) -> R) -> Option<R> {
        self.shard(key).load().get(&key).map(|block| with(block))
    }

    /// Whether the block is in memory now.
    pub fn has(&self, key: BlockKey) -> bool {
        self.shard(key).load().contains_key(&key)
    }

    /// Lets a block be found. Only the tier's thread writes.
    pub(super) fn insert(&self, key: BlockKey, block: Arc<Block>) {
        self.change(key, |map| map.insert(key, block));
    }

    /// Takes a block out; it may still be in a worker's hands.
    pub(super) fn remove(&self, key: BlockKey) -> Option<Arc<Block>> {
        self.change(key, |map| map.remove(&key))
    }

    fn change<R>(&self, key: BlockKey, change: impl FnOnce(&mut Map) -> R) -> R {
        let shard = self.shard(key);
        let mut map = Map::clone(&shard.load());
        let result = change(&mut map);
        shard.store(Arc::new(map));
        result
    }

    fn shard(&self, key: BlockKey) -> &ArcSwap<Map> {
        // From the middle of the hash: the maps use both of its ends.
        &self.shards[(KeyHasher::of(key.bits()) >> 32) as usize % SHARDS]
    }
}
