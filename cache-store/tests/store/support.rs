use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use cache_store::{
    AdoptionOutcome, Bundle, BundleId, BundleWriter, OpenBundle, OpenError, PlannedObject, PublishError,
    PublishedBundle, Store, StoreOptions, Volume, VolumeOptions, VolumeStatus,
};
use control_client::content::{BundleKey, BundlePath, Generation, ObjectName, Sha256};
use control_client::units::ByteCount;
use tempfile::TempDir;

/// Longer than anything here takes; reached only by a test that fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Volumes in a temporary directory.
pub(crate) struct Site {
    directory: TempDir,
    pub(crate) volumes: Vec<Arc<Volume>>,
}

impl Site {
    pub(crate) fn new(volume_count: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let volumes = (0..volume_count).map(|number| {
            let path = directory.path().join(format!("volume{number}"));
            Volume::init(&path).unwrap();
            Arc::new(Volume::open(&path, false).unwrap())
        });
        Self { volumes: volumes.collect(), directory }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn options(&self) -> StoreOptions {
        let volumes = self
            .volumes
            .iter()
            .map(|volume| VolumeOptions { path: volume.path().to_owned(), mount_required: false });
        StoreOptions {
            volumes: volumes.collect(),
            footer_cache: ByteCount::mib(16),
            open_bundles: 64,
            open_queue: 256,
            volume_errors: 3,
        }
    }

    pub(crate) fn open(&self) -> Arc<Store> {
        Store::open(self.options()).unwrap()
    }

    /// Publishes on a volume and has the store adopt it.
    pub(crate) fn add(
        &self,
        store: &Store,
        volume: usize,
        path: &str,
        generation: u64,
        objects: &[(&str, Vec<u8>)],
    ) {
        let published = publish(&self.volumes[volume], path, generation, objects).unwrap();
        let adoption = adopt(store, &self.volumes[volume], published.id);
        assert_eq!(adoption, AdoptionOutcome::Adopted);
    }

    pub(crate) fn file(&self, volume: usize, path: &str, generation: u64) -> PathBuf {
        self.volumes[volume].path().join(id(path, generation).file_path())
    }
}

pub(crate) fn path(text: &str) -> BundlePath {
    BundlePath::parse(text).unwrap()
}

pub(crate) fn id(text: &str, generation: u64) -> BundleId {
    BundleId::new(&path(text), Generation::new(generation))
}

pub(crate) fn planned(name: &str, length: u64) -> PlannedObject {
    PlannedObject {
        name: ObjectName::parse(name).unwrap(),
        length,
        media_type: "video/mp4".into(),
        last_modified: 1_700_000_000,
        sha256: None,
    }
}

pub(crate) fn writer(
    volume: &Arc<Volume>,
    bundle: &str,
    generation: u64,
    objects: &[(&str, Vec<u8>)],
) -> Result<BundleWriter, PublishError> {
    let key = BundleKey { path: path(bundle), generation: Generation::new(generation) };
    let planned = objects.iter().map(|(name, bytes)| planned(name, bytes.len() as u64)).collect();
    BundleWriter::create(volume, key, Sha256::new([0; 32]), planned)
}

pub(crate) fn publish(
    volume: &Arc<Volume>,
    bundle: &str,
    generation: u64,
    objects: &[(&str, Vec<u8>)],
) -> Result<PublishedBundle, PublishError> {
    let mut writer = writer(volume, bundle, generation, objects)?;
    let names: Vec<String> = writer.objects().iter().map(|object| object.name.to_string()).collect();
    for name in names {
        let (_, bytes) = objects.iter().find(|(other, _)| *other == name).unwrap();
        writer.write(bytes)?;
        writer.end_object()?;
    }
    writer.finish()
}

pub(crate) fn adopt(store: &Store, volume: &Volume, id: BundleId) -> AdoptionOutcome {
    store.adopt(volume.path().to_str().unwrap(), &id.file_name()).unwrap().outcome
}

/// One object of some bytes that depend on the seed.
pub(crate) fn one(seed: u8) -> Vec<(&'static str, Vec<u8>)> {
    vec![("1.m4s", bytes(seed, 100_000))]
}

pub(crate) fn bytes(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at as u8).wrapping_mul(31).wrapping_add((at >> 8) as u8) ^ seed).collect()
}

/// Opens a bundle, and waits for it.
pub(crate) fn open(store: &Store, bundle: &Arc<Bundle>) -> Result<Arc<OpenBundle>, OpenError> {
    let (send, receive) = mpsc::channel();
    store.open_bundle(bundle, Box::new(move |result| send.send(result).unwrap())).unwrap();
    receive.recv_timeout(PATIENCE).unwrap()
}

/// Opens what serves a path.
pub(crate) fn open_path(store: &Store, path: &str) -> Arc<OpenBundle> {
    open(store, &store.lookup(path).unwrap()).unwrap()
}

/// Reads an object as the daemon does: whole chunks, verified, then cut.
pub(crate) fn read(open: &OpenBundle, name: &str) -> Vec<u8> {
    let object = open.object(name).unwrap();
    let first_chunk = object.range.start / cache_store::CHUNK_BYTES;
    let start = first_chunk * cache_store::CHUNK_BYTES;
    let end = object.range.end.next_multiple_of(cache_store::CHUNK_BYTES).min(open.data_bytes());
    // Aligned, as the file may be open for direct reads.
    let mut storage = vec![0; (end - start) as usize + 4096];
    let skip = storage.as_ptr().align_offset(4096);
    let chunks = &mut storage[skip..][..(end - start) as usize];
    let mut filled = 0;
    while filled < chunks.len() {
        filled += rustix::io::pread(open.file(), &mut chunks[filled..], start + filled as u64).unwrap();
    }
    open.verify(first_chunk, chunks).unwrap();
    chunks[(object.range.start - start) as usize..][..object.range.len() as usize].to_vec()
}

pub(crate) fn read_path(store: &Store, path: &str, name: &str) -> Vec<u8> {
    read(&open_path(store, path), name)
}

/// Makes an intact trailer say another version.
pub(crate) fn set_version(file: &Path, version: u8) {
    let mut bytes = std::fs::read(file).unwrap();
    let trailer = bytes.len() - 64;
    bytes[trailer + 8] = version;
    let checksum = crc32c::crc32c(&bytes[trailer..trailer + 60]);
    bytes[trailer + 60..].copy_from_slice(&checksum.to_le_bytes());
    std::fs::write(file, bytes).unwrap();
}

/// Waits until something becomes true that other threads do.
pub(crate) fn wait_until(what: &str, is_true: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Reconciles, and waits for the end.
pub(crate) fn reconcile(store: &Store) -> Vec<VolumeStatus> {
    let before: Vec<_> = store.volumes().iter().map(|volume| volume.reconciled.clone()).collect();
    store.start_reconciling();
    wait_until("every volume is reconciled", || {
        store
            .volumes()
            .iter()
            .zip(&before)
            .all(|(now, before)| now.reconciled != *before || now.state.as_str() == "failed")
    });
    store.volumes()
}
