//! What the tier holds: blocks on their way in, in the table, and on their way out, and the files that they are of. Its
//! thread's own.
//!
//! A block is unmapped here, when it has left the table and no worker sends from it any more. A file is closed by its volume's
//! loader when none of its blocks is left: until then it counts as open, so that a bundle that is retired has returned its space
//! only after its blocks are gone.

use std::collections::HashMap;
use std::sync::Arc;

use cache_store::{Bundle, VolumeIndex};

use super::block::{Block, BlockKey};
use super::residency::Residency;
use super::resident_file::{Damage, ResidentFile};
use super::second_chance::SecondChance;

pub(super) struct Holdings {
    residency: Arc<Residency>,
    /// By the bundle's instance.
    bundles: HashMap<u64, HeldBundle>,
    least_asked: SecondChance,
    loading: HashMap<BlockKey, u64>,
    leaving: Vec<(BlockKey, Arc<Block>)>,
    /// Bundles that may have no block any more.
    emptied: Vec<u64>,
    block_count: usize,
    bytes: HeldBytes,
}

/// Bytes that are held, by where they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HeldBytes {
    pub(super) loading: u64,
    pub(super) resident: u64,
    pub(super) leaving: u64,
}

/// Where a load has ended, and whether the block serves.
pub(super) struct EndedLoad {
    pub(super) volume: VolumeIndex,
    pub(super) serves: bool,
}

struct HeldBundle {
    bundle: Arc<Bundle>,
    /// Known when the first block was loaded.
    file: Option<Arc<ResidentFile>>,
    resident: Vec<BlockKey>,
    /// Blocks on their way in or out.
    passing: usize,
}

impl HeldBytes {
    pub(super) fn sum(self) -> u64 {
        self.loading + self.resident + self.leaving
    }
}

impl Holdings {
    pub(super) fn new(residency: Arc<Residency>) -> Self {
        Self {
            residency,
            bundles: HashMap::new(),
            least_asked: SecondChance::default(),
            loading: HashMap::new(),
            leaving: Vec::new(),
            emptied: Vec::new(),
            block_count: 0,
            bytes: HeldBytes::default(),
        }
    }

    pub(super) fn bytes(&self) -> HeldBytes {
        self.bytes
    }

    /// Bundles that have, or are about to have, an open file.
    pub(super) fn bundle_count(&self) -> usize {
        self.bundles.len()
    }

    pub(super) fn block_count(&self) -> usize {
        self.block_count
    }

    pub(super) fn has_bundle(&self, key: BlockKey) -> bool {
        self.bundles.contains_key(&key.instance())
    }

    pub(super) fn is_loading(&self, key: BlockKey) -> bool {
        self.loading.contains_key(&key)
    }

    /// A block is on its way in, whether anybody has asked for it or not.
    pub(super) fn begin_load(&mut self, key: BlockKey, bundle: &Arc<Bundle>, length_bytes: u64) {
        let held = self.bundles.entry(key.instance()).or_insert_with(|| HeldBundle {
            bundle: Arc::clone(bundle),
            file: None,
            resident: Vec::new(),
            passing: 0,
        });
        self.least_asked.add(key.instance());
        held.passing += 1;
        self.bytes.loading += length_bytes;
        self.loading.insert(key, length_bytes);
    }

    /// A load has ended. A block that is there serves if `is_wanted`, unless its bundle has left.
    pub(super) fn end_load(
        &mut self,
        key: BlockKey,
        block: Option<Arc<Block>>,
        is_wanted: bool,
    ) -> Option<EndedLoad> {
        let length_bytes = self.loading.remove(&key)?;
        self.bytes.loading -= length_bytes;
        let held = self.bundles.get_mut(&key.instance())?;
        held.passing -= 1;
        let volume = held.bundle.volume();
        let Some(block) = block else {
            self.emptied.push(key.instance());
            return Some(EndedLoad { volume, serves: false });
        };
        held.file.get_or_insert_with(|| Arc::clone(block.resident_file()));
        let serves = is_wanted && !held.bundle.is_leaving();
        if serves {
            held.resident.push(key);
            self.block_count += 1;
            self.bytes.resident += length_bytes;
            self.residency.insert(key, block);
        } else {
            held.passing += 1;
            self.bytes.leaving += length_bytes;
            self.leaving.push((key, block));
        }
        Some(EndedLoad { volume, serves })
    }

    /// A block was asked for.
    pub(super) fn touch(&mut self, key: BlockKey) {
        self.least_asked.touch(key.instance());
    }

    /// Looks at the next bundle: its blocks in the table, if it was not asked for since it was last looked at.
    pub(super) fn next_unasked(&mut self) -> Option<Vec<BlockKey>> {
        let bundle = self.least_asked.advance()?;
        self.bundles.get(&bundle).map(|held| held.resident.clone())
    }

    /// The bundles with blocks in the table of whose files nothing is to be sent any more, and those blocks.
    pub(super) fn damaged(&self) -> Vec<(Arc<Bundle>, Damage, Vec<BlockKey>)> {
        let resident = self.bundles.values().filter(|held| !held.resident.is_empty());
        let damaged = resident.filter_map(|held| {
            Some((Arc::clone(&held.bundle), held.file.as_ref()?.damage()?, held.resident.clone()))
        });
        damaged.collect()
    }

    /// Whether the bundle's blocks are on their way out because its file is not what it was.
    pub(super) fn is_broken(&self, key: BlockKey) -> bool {
        let file = self.bundles.get(&key.instance()).and_then(|held| held.file.as_ref());
        file.is_some_and(|file| file.is_broken())
    }

    /// Nothing more is sent from any file.
    pub(super) fn break_all(&self) {
        self.bundles.values().filter_map(|held| held.file.as_ref()).for_each(|file| file.mark_broken());
    }

    /// Takes a block out of the table; `false`: it was not there.
    pub(super) fn put_out(&mut self, key: BlockKey) -> bool {
        let Some(block) = self.residency.remove(key) else { return false };
        let held = self.bundles.get_mut(&key.instance()).expect("a resident block's bundle is held");
        held.resident.retain(|resident| *resident != key);
        held.passing += 1;
        self.block_count -= 1;
        self.bytes.resident -= block.range().len();
        self.bytes.leaving += block.range().len();
        self.leaving.push((key, block));
        true
    }

    /// The resident blocks of bundles for which `has_left` is true.
    pub(super) fn blocks_where(&self, has_left: impl Fn(&Bundle) -> bool) -> Vec<BlockKey> {
        let left = self.bundles.values().filter(|held| !held.resident.is_empty() && has_left(&held.bundle));
        left.flat_map(|held| held.resident.iter().copied()).collect()
    }

    /// Unmaps the blocks that nobody sends from any more, and hands over the files that are to be closed.
    pub(super) fn sweep(&mut self) -> Vec<(VolumeIndex, Arc<ResidentFile>)> {
        let mut still_sent = Vec::new();
        for (key, block) in self.leaving.drain(..) {
            let length_bytes = block.range().len();
            match Arc::try_unwrap(block) {
                Ok(block) => {
                    drop(block);
                    self.bytes.leaving -= length_bytes;
                    if let Some(held) = self.bundles.get_mut(&key.instance()) {
                        held.passing -= 1;
                    }
                    self.emptied.push(key.instance());
                }
                Err(block) => still_sent.push((key, block)),
            }
        }
        self.leaving = still_sent;
        let mut files = Vec::new();
        for instance in self.emptied.drain(..) {
            let is_empty = |held: &HeldBundle| held.resident.is_empty() && held.passing == 0;
            if self.bundles.get(&instance).is_some_and(is_empty)
                && let Some(held) = self.bundles.remove(&instance)
            {
                self.least_asked.remove(instance);
                files.extend(held.file.map(|file| (held.bundle.volume(), file)));
            }
        }
        files
    }
}
