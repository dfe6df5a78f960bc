//! What is served: a film for the player, and for its neighbours small objects and large ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cache_store::Volume;
use cache_store::import::import;
use control_client::content::BundlePath;
use demo::failure::{Failure, Step};
use demo::random::Random;

/// What random bytes follow from.
const SEED: u64 = 1;

/// The film has so many segments, and begins again.
const SEGMENTS: usize = 8;

/// A page's picture, or the like.
const SMALL_BYTES: usize = 30_000;
const SMALL_OBJECTS: usize = 16;

/// A download: seconds of the line.
const LARGE_BYTES: usize = 16 << 20;
const LARGE_OBJECTS: usize = 2;

/// Objects of one length.
#[derive(Clone, Debug)]
pub(crate) struct Objects {
    /// What to ask for.
    pub(crate) targets: Vec<String>,
    /// What each is long.
    pub(crate) bytes: u64,
}

/// All of it.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    tree: PathBuf,
    /// The film's.
    pub(crate) segments: Objects,
    /// Small ones.
    pub(crate) small: Objects,
    /// Large ones.
    pub(crate) large: Objects,
}

impl Content {
    /// Writes it below a folder.
    pub(crate) fn write(tree: PathBuf, segment_bytes: usize) -> Result<Self, Failure> {
        let segments = objects(&tree, "film", SEGMENTS, segment_bytes)?;
        let small = objects(&tree, "small", SMALL_OBJECTS, SMALL_BYTES)?;
        let large = objects(&tree, "large", LARGE_OBJECTS, LARGE_BYTES)?;
        Ok(Self { tree, segments, small, large })
    }

    /// Imports it into a volume that is made for it. No daemon may use the volume yet.
    pub(crate) fn import_into(&self, volume: &Path) -> Result<(), Failure> {
        fs::create_dir_all(volume).step("making the volume")?;
        Volume::init(volume).step("making the volume")?;
        let opened = Arc::new(Volume::open(volume, false).step("opening the volume")?);
        let path = BundlePath::parse("/pacing").step("the content's path")?;
        let report = import(&self.tree, &path, &opened);
        if let Some((path, error)) = report.failed.first() {
            return Err(Failure::new(format!("importing {}: {error}", path.display())));
        }
        report.adoption.step("adopting what was imported")
    }
}

impl Objects {
    /// Each in turn, over and over.
    pub(crate) fn target(&self, number: usize) -> &str {
        &self.targets[number % self.targets.len()]
    }
}

fn objects(tree: &Path, name: &str, count: usize, bytes: usize) -> Result<Objects, Failure> {
    let folder = tree.join(name);
    fs::create_dir_all(&folder).step("making a folder of what is served")?;
    let mut random = Random::of(SEED, name);
    let mut targets = Vec::with_capacity(count);
    for number in 0..count {
        let object = format!("{number:05}.m4s");
        fs::write(folder.join(&object), random.bytes(bytes)).step("writing an object")?;
        targets.push(format!("/pacing/{name}/{object}"));
    }
    Ok(Objects { targets, bytes: bytes as u64 })
}
