//! One worker's table, since it was last handed over.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use cache_store::Bundle;
use control_client::content::BundlePath;

use crate::limits::{DEMAND_ABSENT_MAX, DEMAND_BUNDLES_MAX};

/// What a request asks for.
#[derive(Debug)]
pub enum Asked {
    /// No content, or an object that its bundle does not have.
    Nothing,
    /// An object of this bundle, as far as is known.
    Bundle(Arc<Bundle>),
    /// Something in this directory, which has no bundle.
    Absent(Box<str>),
}

/// Whether a request was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// It was, or asked for nothing.
    Yes,
    /// The table is full of other bundles, because nobody has asked for it for long.
    TableFull,
}

/// What was asked of one worker.
#[derive(Debug, Default)]
pub struct DemandTable {
    /// By the bundle's address, which is its own for as long as the entry holds the bundle.
    held: HashMap<usize, HeldDemand, BuildHasherDefault<AddressHasher>>,
    /// Clients choose these names, so the map's own hash is used, which they cannot foresee.
    absent: HashMap<BundlePath, u64>,
    other_absent_requests: u64,
}

/// What was asked of one bundle.
#[derive(Debug)]
struct HeldDemand {
    bundle: Arc<Bundle>,
    requests: u64,
    bytes: u64,
}

impl DemandTable {
    /// An empty table that takes this many bundles before it grows.
    pub fn with_room_for(bundles: usize) -> Self {
        let held = HashMap::with_capacity_and_hasher(bundles.min(DEMAND_BUNDLES_MAX), Default::default());
        Self { held, ..Self::default() }
    }

    /// Counts a request that has ended, and the bytes of an object that it brought.
    pub fn count(&mut self, asked: &Asked, bytes: u64) -> Counted {
        match asked {
            Asked::Nothing => Counted::Yes,
            Asked::Bundle(bundle) => self.count_held(bundle, bytes),
            Asked::Absent(directory) => {
                self.count_absent(directory);
                Counted::Yes
            }
        }
    }

    fn count_held(&mut self, bundle: &Arc<Bundle>, bytes: u64) -> Counted {
        let address = Arc::as_ptr(bundle).addr();
        if let Some(demand) = self.held.get_mut(&address) {
            demand.requests += 1;
            demand.bytes += bytes;
            return Counted::Yes;
        }
        if self.held.len() >= DEMAND_BUNDLES_MAX {
            return Counted::TableFull;
        }
        self.held.insert(address, HeldDemand { bundle: Arc::clone(bundle), requests: 1, bytes });
        Counted::Yes
    }

    fn count_absent(&mut self, directory: &str) {
        if let Some(requests) = self.absent.get_mut(directory) {
            *requests += 1;
            return;
        }
        // A directory that no bundle could have, because it is too long, has no name here either.
        match BundlePath::parse(directory) {
            Ok(path) if self.absent.len() < DEMAND_ABSENT_MAX => drop(self.absent.insert(path, 1)),
            _ => self.other_absent_requests += 1,
        }
    }

    /// How many bundles were asked for.
    pub fn bundles(&self) -> usize {
        self.held.len()
    }

    /// Every bundle that was asked for, with requests and bytes; a directory may be there once for each generation.
    pub fn held(&self) -> impl Iterator<Item = (&BundlePath, u64, u64)> {
        self.held.values().map(|demand| (&demand.bundle.key().path, demand.requests, demand.bytes))
    }

    /// Directories without a bundle, with requests.
    pub fn absent(&self) -> impl Iterator<Item = (&BundlePath, u64)> {
        self.absent.iter().map(|(path, requests)| (path, *requests))
    }

    /// Requests for directories without a bundle that are not among [`Self::absent`].
    pub fn other_absent_requests(&self) -> u64 {
        self.other_absent_requests
    }
}

/// Addresses differ already, only not in their lowest bits: a multiplication spreads them, at a tenth of the
/// price of the map's own hash. No client chooses an address.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }

    fn write_usize(&mut self, address: usize) {
        // 2^64 divided by the golden ratio (Knuth, volume 3, 6.4).
        let product = (self.0 ^ address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ (product >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache_store::generate::{GenerateOptions, generate};
    use cache_store::{Store, StoreOptions, Volume, VolumeOptions};
    use control_client::units::ByteCount;

    /// A store with bundles `/title/000000`, `/title/000001`, ….
    fn store(folder: &std::path::Path, bundles: u32) -> Arc<Store> {
        let path = folder.join("volume");
        Volume::init(&path).unwrap();
        let volume = Arc::new(Volume::open(&path, false).unwrap());
        let options = GenerateOptions {
            prefix: BundlePath::parse("/title").unwrap(),
            first_bundle: 0,
            bundles,
            objects: 1,
            object_bytes: 1,
            seed: 1,
            is_sparse: true,
        };
        generate(&volume, &options).unwrap();
        Store::open(StoreOptions {
            volumes: vec![VolumeOptions { path, mount_required: false }],
            footer_cache: ByteCount::mib(16),
            open_bundles: 16,
            open_queue: 16,
            volume_errors: 8,
        })
        .unwrap()
    }

    #[test]
    fn every_request_is_counted_with_its_bundle_and_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), 100);
        let mut table = DemandTable::with_room_for(3);
        for number in 0..100u64 {
            for request in 0..=number {
                // Each request looks its bundle up anew.
                let bundle = store.lookup(&format!("/title/{number:06}")).unwrap();
                assert_eq!(table.count(&Asked::Bundle(bundle), 1000 + request), Counted::Yes);
            }
        }
        assert_eq!(table.count(&Asked::Nothing, 7), Counted::Yes);
        let mut held: Vec<_> = table.held().collect();
        held.sort();
        assert_eq!(held.len(), 100);
        for (number, (path, requests, bytes)) in (0u64..).zip(held) {
            assert_eq!(path.as_str(), format!("/title/{number:06}"));
            assert_eq!((requests, bytes), (number + 1, (number + 1) * 1000 + number * (number + 1) / 2));
        }
        assert_eq!((table.absent().count(), table.other_absent_requests()), (0, 0));
        store.close();
    }

    #[test]
    fn directories_beyond_the_bound_are_counted_without_their_names_and_known_ones_go_on() {
        let mut table = DemandTable::default();
        let directory = |number: usize| Asked::Absent(format!("/none/{number}").into());
        for number in 0..DEMAND_ABSENT_MAX + 10 {
            table.count(&directory(number), 0);
        }
        table.count(&directory(0), 0);
        assert_eq!((table.absent().count(), table.other_absent_requests()), (DEMAND_ABSENT_MAX, 10));
        assert_eq!(table.absent().map(|(_, requests)| requests).sum::<u64>(), DEMAND_ABSENT_MAX as u64 + 1);
    }

    #[test]
    fn a_directory_that_no_bundle_could_have_is_counted_without_its_name() {
        let mut table = DemandTable::default();
        table.count(&Asked::Absent(format!("/{}", "a".repeat(BundlePath::BYTES_MAX)).into()), 0);
        assert_eq!((table.absent().count(), table.other_absent_requests()), (0, 1));
    }

    #[test]
    fn neighbouring_addresses_are_spread_over_all_buckets() {
        let hash = |address: usize| {
            let mut hasher = AddressHasher::default();
            hasher.write_usize(address);
            hasher.finish()
        };
        let mut buckets = [0u32; 64];
        for number in 0..6400usize {
            buckets[(hash(0x7f00_0000_1000 + number * 256) % 64) as usize] += 1;
        }
        assert!(buckets.iter().all(|&count| (50..=150).contains(&count)), "{buckets:?}");
    }
}
