//! Which blocks are in memory. Read by every worker, for every send, without a lock and without writing anything that is
//! shared; written by the tier's thread alone.
//!
//! Shards, each a map behind an `ArcSwap`: the writer copies the shard's map, changes the copy, and swaps it in. A reader borrows
//! the block for the length of one send, and counts no reference: a block that left the table is in nobody's hands as soon as
//! those sends have ended. The tier keeps it until then, so that it is never unmapped on a worker.
//!
//! Beside it stands which blocks are on their way into memory, and of which volumes one may ask for more: whoever wants such a
//! block waits for it, and does not read it, too.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use cache_store::VolumeIndex;

use super::block::{Block, BlockKey};
use crate::key_hasher::KeyHasher;

type Keys = HashSet<BlockKey, BuildHasherDefault<KeyHasher>>;
type Map = HashMap<BlockKey, Arc<Block>, BuildHasherDefault<KeyHasher>>;

/// With 50,000 blocks a copied map has some 200 entries.
const SHARDS: usize = 256;

/// The table of resident blocks.
pub struct Residency {
    shards: Box<[ArcSwap<Map>]>,
    /// Few: a loader has a bounded queue.
    loading: ArcSwap<Keys>,
    /// By volume.
    is_open: Box<[AtomicBool]>,
    is_stalled: Box<[AtomicBool]>,
}

impl Residency {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| ArcSwap::from_pointee(Map::default())).collect(),
            loading: ArcSwap::default(),
            is_open: flags(),
            is_stalled: flags(),
        }
    }

    /// Whether the block is on its way into memory.
    pub fn is_loading(&self, key: BlockKey) -> bool {
        self.loading.load().contains(&key)
    }

    /// Whether the tier would have a block of the volume loaded soon, should it want it. Asked before [`Self::is_loading`]: the block
    /// that makes it answer no is on its way by then.
    pub fn is_open(&self, volume: VolumeIndex) -> bool {
        self.is_open[usize::from(volume.0)].load(Ordering::Acquire)
    }

    /// Whether what is on its way from the volume is not to be waited for.
    pub fn is_stalled(&self, volume: VolumeIndex) -> bool {
        self.is_stalled[usize::from(volume.0)].load(Ordering::Relaxed)
    }

    pub(super) fn set_loading(&self, key: BlockKey, is_loading: bool) {
        let mut keys = Keys::clone(&self.loading.load());
        let has_changed = if is_loading { keys.insert(key) } else { keys.remove(&key) };
        if has_changed {
            self.loading.store(Arc::new(keys));
        }
    }

    pub(super) fn set_open(&self, volume: VolumeIndex, is_open: bool) {
        set(&self.is_open[usize::from(volume.0)], is_open);
    }

    pub(super) fn set_stalled(&self, volume: VolumeIndex, is_stalled: bool) {
        set(&self.is_stalled[usize::from(volume.0)], is_stalled);
    }

    /// Lends the block to `with`, if it is in memory and nothing is wrong with it. Not for long: it stays in memory meanwhile.
    pub fn with<R>(&self, key: BlockKey, with: impl FnOnce(&Block) -> R) -> Option<R> {
        self.shard(key).load().get(&key).filter(|block| !block.is_broken()).map(|block| with(block))
    }

    /// Whether the block is in memory now.
    pub fn has(&self, key: BlockKey) -> bool {
        self.shard(key).load().get(&key).is_some_and(|block| !block.is_broken())
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

/// One for each volume that may be.
fn flags() -> Box<[AtomicBool]> {
    (0..=u8::MAX).map(|_| AtomicBool::new(false)).collect()
}

/// Read by all workers: not written to without need.
fn set(shared: &AtomicBool, value: bool) {
    if shared.load(Ordering::Relaxed) != value {
        shared.store(value, Ordering::Release);
    }
}
