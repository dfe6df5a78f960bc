//! The volumes of this appliance as the agent sees them: opened beside the daemon, each with a disk thread of its own
//! once something is written to it, and asked by [`VolumeCalls`], so that one whose disk hangs holds up nobody but itself.

mod calls;
mod reserve;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cache_store::{BundleId, PartialBundle, Volume, partial_bundles, remove_partial};
use control_client::config::{Config, VolumeConfig};
use control_client::content::BundleKey;
use control_client::fill_manifest::FillEntry;
use futures_util::stream::{FuturesUnordered, StreamExt};

pub use calls::{NoAnswer, Patience, VolumeCalls};
use reserve::Left;
pub use reserve::Reserve;

use crate::disk::{DiskError, DiskThread};
use crate::limits::{BLOCKS_MAX, BLOCKS_PER_FETCH, DISK_TIMEOUT, VERIFY_READS};
use crate::plan::{Partial, VolumeRoom};

/// All volumes of the configuration.
#[derive(Debug)]
pub struct Volumes {
    configured: Vec<VolumeConfig>,
    blocks: usize,
    reserve: Reserve,
    disks: Mutex<Vec<Option<Arc<DiskThread>>>>,
    calls: VolumeCalls,
}

/// One volume that can be written.
#[derive(Clone, Debug)]
pub struct OpenVolume {
    /// Its place in `store.volumes`.
    pub index: u8,
    /// The volume.
    pub volume: Arc<Volume>,
    /// Whoever takes room on it has this. What one takes, and gives back because too little is left, is then not missing to another.
    pub(crate) room_turn: Arc<Mutex<()>>,
}

impl Volumes {
    /// Those of the configuration. None is opened yet.
    pub fn new(config: &Config, patience: Patience) -> Self {
        let volumes = &config.store.volumes;
        let concurrency = usize::try_from(config.fill.concurrency).unwrap_or(usize::MAX);
        Self {
            configured: volumes.clone(),
            blocks: (concurrency.saturating_mul(BLOCKS_PER_FETCH) + 2 * VERIFY_READS).min(BLOCKS_MAX),
            reserve: Reserve::new(config),
            disks: Mutex::new(volumes.iter().map(|_| None).collect()),
            calls: VolumeCalls::new(volumes.len(), patience),
        }
    }

    /// What blocks on a volume goes through this.
    pub fn calls(&self) -> &VolumeCalls {
        &self.calls
    }

    /// What of each is not for bundles.
    pub fn reserve(&self) -> &Reserve {
        &self.reserve
    }

    /// Opens those of the wanted ones that can be used now, and looks at each. The others are told of in the log.
    pub async fn look<T: Send + 'static>(
        &self,
        is_wanted: impl Fn(u8) -> bool,
        look: impl Fn(&OpenVolume) -> T + Clone + Send + 'static,
    ) -> Vec<(OpenVolume, T)> {
        let looking = self.each(is_wanted, move |index, configured| {
            open(configured).map(|volume| {
                let volume = OpenVolume { index, volume: Arc::new(volume), room_turn: Arc::default() };
                let seen = look(&volume);
                (volume, seen)
            })
        });
        let mut looked = Vec::new();
        for (index, answer) in looking.await {
            match answer.map_err(|error| error.to_string()).flatten() {
                Ok(_) if self.has_hung_disk(index) => {
                    tracing::warn!(volume = index, "a volume is left out of the fill: its disk hangs");
                }
                Ok(seen) => looked.push(seen),
                Err(why) => tracing::warn!(volume = index, why, "a volume is left out of the fill"),
            }
        }
        looked
    }

    /// What bundles may take on all of them, of which so many bytes are published on each: those, what is free, and what was begun,
    /// beyond `fill.keep_free` and the share of pulled content.
    pub async fn capacity_bytes(&self, published: &BTreeMap<u8, u64>) -> u64 {
        let reserve = self.reserve.clone();
        let rooms = self.each(
            |_| true,
            move |_, configured| {
                let volume = open(configured).ok()?;
                let begun = partial_bundles(&volume).ok()?.iter().map(|file| file.bytes).sum();
                reserve.room_bytes(&volume, begun).ok()
            },
        );
        let rooms = rooms.await.into_iter();
        capacity_bytes(rooms.filter_map(|(index, room)| Some((index, room.ok()??))), published)
    }

    /// Whether a volume cannot be used any more: its disk may have gone, hang, or been isolated, since it was opened.
    pub async fn is_lost(&self, index: u8) -> bool {
        let mut answers = self.each(|other| other == index, |_, configured| open(configured).is_ok()).await;
        !matches!(answers.pop(), Some((_, Ok(true)))) || self.has_hung_disk(index)
    }

    /// The volume on which a bundle is published already, adopted or not.
    pub async fn find_published(&self, volumes: Vec<OpenVolume>, key: &BundleKey) -> Option<OpenVolume> {
        let asking = volumes.into_iter().map(async |volume| {
            let (asked, path) = (Arc::clone(&volume.volume), key.path.clone());
            let newest = self.calls.ask(volume.index, move || asked.newest_generation(&path)).await;
            matches!(newest, Ok(Ok(Some(newest))) if newest == key.generation).then_some(volume)
        });
        let mut asking: FuturesUnordered<_> = asking.collect();
        while let Some(answer) = asking.next().await {
            if answer.is_some() {
                return answer;
            }
        }
        None
    }

    /// Asks the wanted ones, all at once. The answers come in the order of their indexes.
    async fn each<T: Send + 'static>(
        &self,
        is_wanted: impl Fn(u8) -> bool,
        question: impl Fn(u8, &VolumeConfig) -> T + Clone + Send + 'static,
    ) -> Vec<(u8, Result<T, NoAnswer>)> {
        let wanted = (0..=u8::MAX).zip(&self.configured).filter(|(index, _)| is_wanted(*index));
        let asking = wanted.map(|(index, configured)| {
            let (question, configured) = (question.clone(), configured.clone());
            async move { (index, self.calls.ask(index, move || question(index, &configured)).await) }
        });
        futures_util::future::join_all(asking).await
    }

    fn has_hung_disk(&self, index: u8) -> bool {
        let disks = self.disks.lock().unwrap_or_else(PoisonError::into_inner);
        disks.get(usize::from(index)).and_then(Option::as_ref).is_some_and(|disk| disk.is_hung())
    }

    /// The disk thread of a volume; an error of kind `TimedOut` where its disk hangs.
    pub fn disk(&self, index: u8) -> io::Result<Arc<DiskThread>> {
        let mut disks = self.disks.lock().unwrap_or_else(PoisonError::into_inner);
        let place = disks.get_mut(usize::from(index)).ok_or(io::ErrorKind::NotFound)?;
        match place {
            // A second thread would hang beside the first.
            Some(disk) if disk.is_hung() => {
                Err(io::Error::new(io::ErrorKind::TimedOut, DiskError::Hung.to_string()))
            }
            Some(disk) if disk.is_alive() => Ok(Arc::clone(disk)),
            _ => {
                let disk = DiskThread::start(index, self.blocks, DISK_TIMEOUT)?;
                Ok(Arc::clone(place.insert(Arc::new(disk))))
            }
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

/// Of volumes with that room beside what is published on them. One on which bundles stand where they should not has as much less room,
/// and takes none from others.
fn capacity_bytes(rooms: impl Iterator<Item = (u8, i128)>, published: &BTreeMap<u8, u64>) -> u64 {
    let mut capacities: BTreeMap<u8, i128> =
        published.iter().map(|(index, bytes)| (*index, i128::from(*bytes))).collect();
    for (index, room) in rooms {
        *capacities.entry(index).or_default() += room;
    }
    let sum = capacities.into_values().map(|capacity| capacity.max(0)).sum::<i128>();
    u64::try_from(sum).unwrap_or(u64::MAX)
}

/// Blocks.
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
    /// Its room, for the plan. Blocks.
    pub fn room(&self, reserve: &Reserve) -> VolumeRoom {
        let left = reserve.leaves(&self.volume);
        let is_serving = left.is_ok();
        let Left { free_bytes, owed_bytes } = left.unwrap_or_default();
        VolumeRoom { index: self.index, free_bytes, owed_bytes, is_serving }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Found in review: the room of the others was told as less, by all that one lacked.
    #[test]
    fn a_volume_that_lacks_room_takes_none_from_others() {
        let published = BTreeMap::from([(0, 100), (1, 100), (2, 100)]);
        let capacity = |rooms: &[(u8, i128)]| capacity_bytes(rooms.iter().copied(), &published);
        assert_eq!(capacity(&[(0, 10), (1, -40), (3, 5)]), 110 + 60 + 100 + 5);
        assert_eq!(capacity(&[(0, 10), (1, -4000), (2, 0), (3, -5)]), 110 + 100);
    }
}
