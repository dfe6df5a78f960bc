//! Which bundle serves a path. Read by the workers without a lock; written by keepers and warden, a shard at
//! a time.
//!
//! 256 shards, each a map behind an `ArcSwap`: a writer copies the shard's map (for 40,000 bundles some 160
//! entries), changes the copy and swaps it in. The maps hold nothing but pointers to bundles.

#![expect(
    clippy::mutable_key_type,
    reason = "the path, by which bundles are hashed and compared, never changes"
)]

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::bundle::{Bundle, VolumeIndex};

const SHARDS: usize = 256;

#[derive(Debug)]
pub(crate) struct Index {
    hasher: RandomState,
    shards: Box<[Shard]>,
}

/// What became of a bundle that was offered.
#[derive(Debug)]
pub(crate) enum Offer {
    /// It serves; nothing served before.
    Serves,
    /// It serves in the place of one with a lower generation.
    Supersedes(Arc<Bundle>),
    /// One with the same or a higher generation serves.
    Superseded,
    /// Its volume is not used any more.
    Refused,
}

#[derive(Debug)]
struct Shard {
    map: ArcSwap<Map>,
    writing: Mutex<()>,
}

type Map = HashSet<ByPath, RandomState>;

#[derive(Clone, Debug)]
struct ByPath(Arc<Bundle>);

impl Index {
    pub(crate) fn new() -> Self {
        let hasher = RandomState::new();
        let shard = || Shard {
            map: ArcSwap::from_pointee(HashSet::with_hasher(hasher.clone())),
            writing: Mutex::new(()),
        };
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), hasher }
    }

    /// The bundle that serves a path. Lock-free.
    pub(crate) fn get(&self, path: &str) -> Option<Arc<Bundle>> {
        self.shard(path).map.load().get(path).map(|entry| Arc::clone(&entry.0))
    }

    /// Lets bundles serve, each where it has the highest generation of its path. `is_usable` is asked under
    /// the shard's lock: together with [`Index::remove_volume`] that keeps an isolated volume out.
    pub(crate) fn offer(
        &self,
        bundles: impl IntoIterator<Item = Arc<Bundle>>,
        is_usable: impl Fn() -> bool,
    ) -> Vec<(Arc<Bundle>, Offer)> {
        let mut by_shard: Vec<Vec<Arc<Bundle>>> = (0..SHARDS).map(|_| Vec::new()).collect();
        for bundle in bundles {
            by_shard[self.shard_number(bundle.key().path.as_str())].push(bundle);
        }
        let mut offers = Vec::new();
        for (shard, bundles) in self.shards.iter().zip(by_shard).filter(|(_, bundles)| !bundles.is_empty()) {
            shard.change(|map| {
                for bundle in bundles {
                    let offer = if is_usable() { offer_to(map, &bundle) } else { Offer::Refused };
                    offers.push((bundle, offer));
                }
            });
        }
        offers
    }

    /// Takes that bundle out, if it is the one that serves its path.
    pub(crate) fn remove(&self, bundle: &Arc<Bundle>) {
        let path = bundle.key().path.as_str();
        self.shard(path).change(|map| {
            if map.get(path).is_some_and(|entry| Arc::ptr_eq(&entry.0, bundle)) {
                map.remove(path);
            }
        });
    }

    /// Takes out all bundles of a volume.
    pub(crate) fn remove_volume(&self, volume: VolumeIndex) {
        for shard in &self.shards {
            shard.change(|map| map.retain(|entry| entry.0.volume() != volume));
        }
    }

    /// All bundles that serve, in no order.
    pub(crate) fn bundles(&self) -> Vec<Arc<Bundle>> {
        let mut bundles = Vec::new();
        for shard in &self.shards {
            bundles.extend(shard.map.load().iter().map(|entry| Arc::clone(&entry.0)));
        }
        bundles
    }

    fn shard(&self, path: &str) -> &Shard {
        &self.shards[self.shard_number(path)]
    }

    fn shard_number(&self, path: &str) -> usize {
        // From the middle of the hash: the maps use both of its ends.
        (self.hasher.hash_one(path) >> 32) as usize % SHARDS
    }
}

impl Shard {
    fn change(&self, change: impl FnOnce(&mut Map)) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut map = Map::clone(&self.map.load());
        change(&mut map);
        self.map.store(Arc::new(map));
    }
}

fn offer_to(map: &mut Map, bundle: &Arc<Bundle>) -> Offer {
    let serving = map.get(bundle.key().path.as_str()).map(|entry| Arc::clone(&entry.0));
    match serving {
        // It is only to be removed yet.
        Some(leaving) if leaving.is_leaving() => {
            map.replace(ByPath(Arc::clone(bundle)));
            Offer::Serves
        }
        Some(serving) if serving.key().generation >= bundle.key().generation => Offer::Superseded,
        Some(lower) => {
            map.replace(ByPath(Arc::clone(bundle)));
            Offer::Supersedes(lower)
        }
        None => {
            map.insert(ByPath(Arc::clone(bundle)));
            Offer::Serves
        }
    }
}

impl Borrow<str> for ByPath {
    fn borrow(&self) -> &str {
        self.0.key().path.as_str()
    }
}

impl Hash for ByPath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key().path.as_str().hash(state);
    }
}

impl PartialEq for ByPath {
    fn eq(&self, other: &Self) -> bool {
        self.0.key().path == other.0.key().path
    }
}

impl Eq for ByPath {}
