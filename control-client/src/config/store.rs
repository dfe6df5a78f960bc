use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::problem::Problems;
use crate::limits;
use crate::units::ByteCount;

/// `[store]`: where bundles live, and what is kept of them in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// Directories, one per disk, each initialised by `oca init`.
    pub volumes: Vec<VolumeConfig>,
    /// Verified footers kept on the heap.
    pub footer_cache: ByteCount,
    /// Bundle files kept open at once.
    pub open_bundles: u32,
    /// Bundle openings that may wait, per volume.
    pub open_queue: u32,
    /// Read errors in one minute that isolate a volume.
    pub volume_errors: u32,
}

/// One volume: a directory on a disk of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeConfig {
    /// The directory.
    pub path: PathBuf,
    /// Whether the directory must be a mount point, so that an unmounted disk cannot fill the root file system.
    #[serde(default = "mount_required_default")]
    pub mount_required: bool,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            volumes: vec![VolumeConfig {
                path: PathBuf::from("/srv/oca/volume0"),
                mount_required: mount_required_default(),
            }],
            footer_cache: ByteCount::mib(256),
            open_bundles: 4096,
            open_queue: 256,
            volume_errors: 8,
        }
    }
}

impl StoreConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        self.check_volumes(problems);
        problems.check_range(
            "store.footer_cache",
            self.footer_cache,
            &limits::FOOTER_CACHE,
            "about 100 bytes for every object in use is enough",
        );
        problems.check_range(
            "store.open_bundles",
            self.open_bundles,
            &limits::OPEN_BUNDLES,
            "each takes a file descriptor; the default is 4096",
        );
        problems.check_range(
            "store.open_queue",
            self.open_queue,
            &limits::OPEN_QUEUE,
            "each holds a waiting connection; the default is 256",
        );
        problems.check_range(
            "store.volume_errors",
            self.volume_errors,
            &limits::VOLUME_ERRORS,
            "a healthy disk gives no error at all; the default is 8",
        );
    }

    fn check_volumes(&self, problems: &mut Problems) {
        problems.check_count("store.volumes", self.volumes.len(), 1..=limits::VOLUMES_MAX);
        for (index, volume) in self.volumes.iter().enumerate() {
            let key = format!("store.volumes[{index}].path");
            problems.check_path(&key, &volume.path);
            for (other, earlier) in self.volumes.iter().take(index).enumerate() {
                if volume.path.starts_with(&earlier.path) || earlier.path.starts_with(&volume.path) {
                    problems.add(
                        &key,
                        format!(
                            "{:?} lies in the same directory as store.volumes[{other}]",
                            volume.path.display()
                        ),
                        "give every volume a directory of its own, on a disk of its own",
                    );
                }
            }
        }
    }
}

fn mount_required_default() -> bool {
    true
}
