//! The volumes of this appliance as the agent sees them: opened beside the daemon, each with a disk thread of its own
//! once something is written to it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cache_store::{BundleId, PartialBundle, Volume, partial_bundles, remove_partial};
use control_client::config::{FillConfig, StoreConfig, VolumeConfig};
use control_client::content::BundleKey;
use control_client::fill_manifest::FillEntry;

use crate::disk::DiskThread;
use crate::limits::{BLOCKS_MAX, BLOCKS_PER_FETCH, VERIFY_READS};
use crate::plan::{Partial, VolumeRoom};

/// All volumes of the configuration.
#[derive(Debug)]
pub struct Volumes {
    configured: Vec<VolumeConfig>,
    blocks: usize,
    keep_free_bytes: u64,
    disks: Mutex<Vec<Option<Arc<DiskThread>>>>,
}

/// One volume that can be written.
#[derive(Clone, Debug)]
pub struct OpenVolume {
    /// Its place in `store.volumes`.
    pub index: u8,
    /// The volume.
    pub volume: Arc<Volume>,
}

impl Volumes {
    /// Those of the configuration. None is opened yet.
    pub fn new(store: &StoreConfig, fill: &FillConfig) -> Self {
        let concurrency = usize::try_from(fill.concurrency).unwrap_or(usize::MAX);
        Self {
            configured: store.volumes.clone(),
            blocks: (concurrency.saturating_mul(BLOCKS_PER_FETCH) + 2 * VERIFY_READS).min(BLOCKS_MAX),
            keep_free_bytes: fill.keep_free.bytes(),
            disks: Mutex::new(store.volumes.iter().map(|_| None).collect()),
        }
    }

    /// Opens those that can be used now. The others are told of in the log. Blocks.
    pub fn open(&self) -> Vec<OpenVolume> {
        let mut opened = Vec::new();
        for (index, configured) in (0..=u8::MAX).zip(&self.configured) {
            match open(configured) {
                Ok(volume) => opened.push(OpenVolume { index, volume: Arc::new(volume) }),
                Err(why) => {
                    tracing::warn!(volume = index, why, "a volume is left out of the fill");
                }
            }
        }
        opened
    }

    /// What is free on all of them beyond `fill.keep_free`. Blocks.
    pub fn free_bytes(&self) -> u64 {
        let opened = self.configured.iter().filter_map(|configured| open(configured).ok());
        let free = opened.filter_map(|volume| volume.space().ok());
        free.map(|space| space.free_bytes.saturating_sub(self.keep_free_bytes)).sum()
    }

    /// The disk thread of a volume.
    pub fn disk(&self, index: u8) -> io::Result<Arc<DiskThread>> {
        let mut disks = self.disks.lock().unwrap_or_else(PoisonError::into_inner);
        let place = disks.get_mut(usize::from(index)).ok_or(io::ErrorKind::NotFound)?;
        match place {
            Some(disk) if disk.is_alive() => Ok(Arc::clone(disk)),
            _ => Ok(Arc::clone(place.insert(Arc::new(DiskThread::start(index, self.blocks)?)))),
        }
    }

    /// After a run: the memory of the blocks goes back to the system.
    pub fn rest(&self) {
        let disks = self.disks.lock().unwrap_or_else(PoisonError::into_inner);
        disks.iter().flatten().for_each(|disk| disk.blocks().release());
    }

    /// Lets the disk threads end what they have begun. Whether all did within that time. Blocks.
    pub fn stop(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let mut disks = self.disks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut have_all_stopped = true;
        for disk in disks.iter_mut().filter_map(Option::take) {
            // Somebody who still works with it has been left behind; so is the thread.
            let left = deadline.saturating_duration_since(Instant::now());
            have_all_stopped &= Arc::into_inner(disk).is_some_and(|disk| disk.stop(left));
        }
        have_all_stopped
    }
}

fn open(configured: &VolumeConfig) -> Result<Volume, String> {
    let volume =
        Volume::open(&configured.path, configured.mount_required).map_err(|error| error.to_string())?;
    match volume.isolation() {
        Ok(None) => Ok(volume),
        Ok(Some(isolation)) => Err(format!("it is isolated: {}", isolation.reason)),
        Err(error) => Err(format!("its isolation cannot be read: {error}")),
    }
}

impl OpenVolume {
    /// Whether it can still be used: its disk may have gone, or been isolated, since it was opened. Blocks.
    pub fn is_lost(&self, configured: &Volumes) -> bool {
        configured.configured.get(usize::from(self.index)).is_none_or(|configured| open(configured).is_err())
    }

    /// Its room, for the plan. Blocks.
    pub fn room(&self) -> VolumeRoom {
        match self.volume.space() {
            Ok(space) => VolumeRoom { index: self.index, free_bytes: space.free_bytes, is_serving: true },
            Err(_) => VolumeRoom { index: self.index, free_bytes: 0, is_serving: false },
        }
    }

    /// What was begun on it. `done` says how much of a bundle was there when that was last written down. Blocks.
    pub fn begun(&self, entries: &[FillEntry], done: impl Fn(&BundleKey) -> u64) -> Begun {
        let mut unwanted = match partial_bundles(&self.volume) {
            Ok(files) => files,
            Err(error) => {
                tracing::warn!(volume = self.index, %error, "what was begun on a volume cannot be listed");
                return Begun::default();
            }
        };
        let mut wanted = Vec::new();
        for entry in entries {
            if unwanted.is_empty() {
                break;
            }
            let key = BundleKey { path: entry.path.clone(), generation: entry.generation };
            let id = BundleId::of(&key);
            let is_meant = |file: &PartialBundle| file.id == id && file.is_of(&entry.descriptor);
            if let Some(place) = unwanted.iter().position(is_meant) {
                let file_bytes = unwanted.swap_remove(place).bytes;
                let done_bytes = done(&key).min(entry.bytes);
                wanted.push(Partial { key, volume: self.index, file_bytes, done_bytes });
            }
        }
        // One of another descriptor of a bundle that was begun is removed when that is opened, by its descriptor.
        unwanted.retain(|file| wanted.iter().all(|wanted| BundleId::of(&wanted.key) != file.id));
        Begun { wanted, unwanted: unwanted.into_iter().map(|file| file.id).collect() }
    }

    /// Removes what was begun and is not wanted. Blocks.
    pub fn remove_begun(&self, id: &BundleId) {
        match remove_partial(&self.volume, id) {
            Ok(is_removed) => {
                tracing::info!(volume = self.index, bundle = %id, is_removed, "what was begun is no longer wanted")
            }
            Err(error) => {
                tracing::warn!(volume = self.index, bundle = %id, %error, "what was begun is no longer wanted, and cannot be removed");
            }
        }
    }
}

/// What was begun on a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Begun {
    /// Of what the manifest lists.
    pub wanted: Vec<Partial>,
    /// The rest.
    pub unwanted: Vec<BundleId>,
}

/// The volume on which a bundle is published already, adopted or not. Blocks.
pub fn find_published(volumes: &[OpenVolume], key: &BundleKey) -> Option<OpenVolume> {
    let has = |volume: &&OpenVolume| matches!(volume.volume.newest_generation(&key.path), Ok(Some(newest)) if newest == key.generation);
    volumes.iter().find(has).cloned()
}
