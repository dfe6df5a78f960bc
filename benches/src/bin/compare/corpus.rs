//! What is served: directories of objects that all have one length, in a tree that nginx serves as it is, that Varnish fetches from nginx, and
//! that is imported into our store.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cache_store::Volume;
use cache_store::import::import;
use control_client::content::BundlePath;
use control_client::units::ByteCount;
use demo::failure::{Failure, Step};
use demo::random::Random;

/// What random bytes follow from.
const SEED: u64 = 1;

/// Objects in one directory, which is one bundle.
const OBJECTS_PER_DIRECTORY: usize = 64;

/// How much is written: objects are made of pieces of this, so that making 8 GiB takes no longer than writing them.
const PATTERN_BYTES: usize = 8 << 20;

/// The tree.
pub(crate) struct Corpus {
    /// Its root.
    pub(crate) root: PathBuf,
    /// The volume's directory.
    pub(crate) volume: PathBuf,
    opened: Arc<Volume>,
    pattern: Vec<u8>,
}

/// Objects of one length.
#[derive(Clone, Debug)]
pub(crate) struct ObjectSet {
    /// What each is long.
    pub(crate) object_bytes: u64,
    /// What to ask for, such as `/hot-64k/000/00001.m4s`.
    pub(crate) targets: Vec<String>,
}

impl Corpus {
    /// An empty one, and an empty volume at `volume`.
    pub(crate) fn new(root: PathBuf, volume: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(&root).step("making the folder of what is served")?;
        fs::create_dir_all(volume).step("making the volume")?;
        Volume::init(volume).step("making the volume")?;
        let opened = Arc::new(Volume::open(volume, false).step("opening the volume")?);
        Ok(Self {
            root,
            volume: volume.to_owned(),
            opened,
            pattern: Random::of(SEED, "corpus").bytes(PATTERN_BYTES * 2),
        })
    }

    /// Writes a set, and imports it. No daemon may use the volume.
    pub(crate) fn add(&self, name: &str, objects: usize, object_bytes: u64) -> Result<ObjectSet, Failure> {
        let mut random = Random::of(SEED, name);
        let mut targets = Vec::with_capacity(objects);
        let directory = self.root.join(name);
        for number in 0..objects {
            let bundle = format!("{:03}", number / OBJECTS_PER_DIRECTORY);
            let folder = directory.join(&bundle);
            fs::create_dir_all(&folder).step("making a folder of what is served")?;
            let object = format!("{:05}.m4s", number % OBJECTS_PER_DIRECTORY);
            self.write(&folder.join(&object), object_bytes, &mut random).step("writing an object")?;
            targets.push(format!("/{name}/{bundle}/{object}"));
        }
        let path = BundlePath::parse(&format!("/{name}")).step("the set's path")?;
        let report = import(&directory, &path, &self.opened);
        if let Some((path, error)) = report.failed.first() {
            return Err(Failure::new(format!("importing {}: {error}", path.display())));
        }
        report.adoption.map_err(|why| Failure::new(format!("what was imported is not adopted: {why}")))?;
        // Or the kernel writes it back while something is measured.
        rustix::fs::sync();
        Ok(ObjectSet { object_bytes, targets })
    }

    /// The bytes of an object, as they were written.
    pub(crate) fn read(&self, target: &str) -> Result<Vec<u8>, Failure> {
        fs::read(self.file(target)).step("reading an object")
    }

    /// Where an object's file is.
    fn file(&self, target: &str) -> PathBuf {
        self.root.join(target.trim_start_matches('/'))
    }

    /// Each piece begins at its own place of the pattern, so that no two objects are the same.
    fn write(&self, path: &Path, bytes: u64, random: &mut Random) -> std::io::Result<()> {
        use std::io::Write;
        let mut file = fs::File::create(path)?;
        let mut left = bytes;
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(PATTERN_BYTES);
            let start = (random.next() % PATTERN_BYTES as u64) as usize;
            file.write_all(&self.pattern[start..start + length])?;
            left -= length as u64;
        }
        Ok(())
    }
}

impl ObjectSet {
    /// In words.
    pub(crate) fn described(&self) -> String {
        format!("{} objects of {}", self.targets.len(), ByteCount::new(self.object_bytes))
    }
}
