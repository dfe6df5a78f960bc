//! The disks of a simulated machine, and the daemon's inventory of them.

use control_client::content::BundleKey;
use fill_agent::plan::{Held, Partial, VolumeRoom};

pub(crate) struct SimulatedDisk {
    pub(crate) volumes: Vec<VolumeRoom>,
    pub(crate) held: Vec<Held>,
    pub(crate) partial: Vec<Partial>,
    keep_free: u64,
}

impl SimulatedDisk {
    pub(crate) fn new(volumes: Vec<VolumeRoom>, held: Vec<Held>, keep_free: u64) -> Self {
        Self { volumes, held, partial: Vec::new(), keep_free }
    }

    /// A volume's index is its place.
    pub(crate) fn volume(&mut self, index: u8) -> &mut VolumeRoom {
        &mut self.volumes[usize::from(index)]
    }

    pub(crate) fn serves(&self, index: u8) -> bool {
        self.volumes[usize::from(index)].is_serving
    }

    pub(crate) fn has(&self, key: &BundleKey) -> bool {
        self.held.iter().any(|held| held.key == *key && self.serves(held.volume))
    }

    /// Whether it was there.
    pub(crate) fn retire(&mut self, key: &BundleKey) -> bool {
        let Some(place) = self.held.iter().position(|held| held.key == *key) else { return false };
        let held = self.held.remove(place);
        self.volume(held.volume).free_bytes += held.file_bytes;
        true
    }

    pub(crate) fn discard(&mut self, key: &BundleKey, volume: u8) {
        let is_it = |file: &Partial| file.key == *key && file.volume == volume;
        let place = self.partial.iter().position(is_it).expect("only what is there is discarded");
        let file = self.partial.remove(place);
        self.volume(volume).free_bytes += file.file_bytes;
    }

    /// `None` where there is no room. Room that is to be kept free is used only by somebody else.
    pub(crate) fn begin(&mut self, key: &BundleKey, volume: u8, file_bytes: u64) -> Option<u64> {
        if let Some(file) = self.partial_file(key, volume) {
            return Some(file.done_bytes);
        }
        let keep_free = self.keep_free;
        let room = self.volume(volume);
        let left = room.free_bytes.checked_sub(file_bytes).filter(|left| *left >= keep_free)?;
        room.free_bytes = left;
        self.partial.push(Partial { key: key.clone(), volume, file_bytes, done_bytes: 0 });
        Some(0)
    }

    pub(crate) fn partial_file(&mut self, key: &BundleKey, volume: u8) -> Option<&mut Partial> {
        self.partial.iter_mut().find(|file| file.key == *key && file.volume == volume)
    }

    pub(crate) fn publish(&mut self, key: &BundleKey, volume: u8, expires_at: Option<u64>) {
        let is_it = |file: &Partial| file.key == *key && file.volume == volume;
        let place = self.partial.iter().position(is_it).expect("only what was begun is published");
        let file = self.partial.remove(place);
        assert!(!self.held.iter().any(|held| held.key == *key && held.volume == volume), "published twice");
        self.held.push(Held { key: file.key, volume, file_bytes: file.file_bytes, expires_at });
    }
}
