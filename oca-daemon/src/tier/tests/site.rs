//! A store of one volume and a tier before it, asked as two workers ask.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use cache_store::{
    Bundle, BundleWriter, OpenBundle, OpenError, PlannedObject, Store, StoreOptions, Volume, VolumeOptions,
};
use control_client::content::{BundleKey, BundlePath, Generation, ObjectName, Sha256};
use control_client::units::ByteCount;

use super::super::{BLOCK_BYTES, BlockKey, Budget, Hint, Sample, SampleSender, Tier, TierTotals};
use crate::health::MemoryWatch;
use crate::mailbox::{Message, mailbox};
use crate::stats::WorkerStats;

pub(crate) struct Site {
    pub(crate) store: Arc<Store>,
    pub(crate) tier: Tier,
    /// A worker's each.
    senders: Vec<SampleSender>,
    volume: PathBuf,
    _folder: tempfile::TempDir,
}

impl Site {
    pub(crate) fn new(budget_bytes: u64) -> Self {
        Self::with(budget_bytes, 16, MemoryWatch::new())
    }

    /// Of so many bytes of so many files, on a machine of which `memory` tells what is left.
    pub(super) fn with(budget_bytes: u64, files_max: u64, memory: MemoryWatch) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let volume = folder.path().join("volume");
        Volume::init(&volume).unwrap();
        let store = Store::open(StoreOptions {
            volumes: vec![VolumeOptions { path: volume.clone(), mount_required: false }],
            footer_cache: ByteCount::mib(16),
            open_bundles: 16,
            open_queue: 16,
            volume_errors: 8,
        })
        .unwrap();
        let budget = Budget { bytes: budget_bytes, blocks_max: 1000, files_max, prefetches: true, cut: None };
        let workers = [(); 2].map(|()| Arc::new(WorkerStats::new(1)));
        let (tier, senders) = Tier::start(&store, 1, &workers, budget, memory).unwrap();
        Self { store, tier, senders, volume, _folder: folder }
    }

    pub(super) fn publish(&self, title: usize, generation: u64) {
        let volume = Arc::new(Volume::open(&self.volume, false).unwrap());
        let object = PlannedObject {
            name: ObjectName::parse("1.m4s").unwrap(),
            length: LENGTH as u64,
            media_type: "video/iso.segment".into(),
            last_modified: 1_700_000_000,
            sha256: None,
        };
        let key = BundleKey { path: path(title), generation: Generation::new(generation) };
        let mut writer = BundleWriter::create(&volume, key, Sha256::new([0; 32]), vec![object]).unwrap();
        writer.write(&contents(title, generation)).unwrap();
        writer.end_object().unwrap();
        let published = writer.finish().unwrap();
        self.store.adopt(self.volume.to_str().unwrap(), &published.id.file_name()).unwrap();
    }

    pub(super) fn lookup(&self, title: usize) -> Option<Arc<Bundle>> {
        self.store.lookup(path(title).as_str())
    }

    pub(super) fn open(&self, bundle: &Arc<Bundle>) -> Arc<OpenBundle> {
        self.try_open(bundle).unwrap()
    }

    fn try_open(&self, bundle: &Arc<Bundle>) -> Result<Arc<OpenBundle>, OpenError> {
        let (sender, receiver) = mpsc::channel();
        self.store.open_bundle(bundle, Box::new(move |opened| sender.send(opened).unwrap())).unwrap();
        receiver.recv().unwrap()
    }

    /// What serves a title, and open; `None`: nothing does.
    fn find(&self, title: usize) -> Option<(Arc<Bundle>, Arc<OpenBundle>)> {
        let bundle = self.lookup(title)?;
        match self.try_open(&bundle) {
            // It has left service since it was found.
            Err(OpenError::Leaving) => None,
            opened => Some((bundle, opened.unwrap())),
        }
    }

    /// Asks as a worker does.
    pub(super) fn ask(&mut self, title: usize) {
        self.ask_at_once(title, 1);
    }

    /// So many ask before the tier turns to it.
    pub(super) fn ask_at_once(&mut self, title: usize, times: usize) {
        let Some((bundle, open)) = self.find(title) else { return };
        let offset = open.object("1.m4s").unwrap().range.start;
        let is_resident = self.tier.residency().unwrap().has(BlockKey::at(&bundle, offset));
        for _ in 0..times {
            assert!(self.senders[0].push(Sample::new(&bundle, offset, is_resident)));
        }
    }

    /// Asks as a worker does for somebody who waits for all of the block; whether it is in memory when he is answered.
    pub(super) fn wait_for(&self, worker: usize, title: usize) -> bool {
        let Some((bundle, _open)) = self.find(title) else { return false };
        let key = BlockKey::at(&bundle, 0);
        let (asker, answers) = mailbox().unwrap();
        assert!(self.senders[worker].ask(Sample::new(&bundle, 0, false), BLOCK_BYTES, asker));
        let is_answered = || matches!(answers.next(), Some(Message::BlockSettled(settled)) if settled == key);
        eventually("he is answered", is_answered);
        self.tier.residency().unwrap().has(key)
    }

    /// Says, as a worker does, that a player will ask for it; `false`: the tier is behind.
    pub(super) fn hint(&mut self, title: usize) -> bool {
        let bundle = self.lookup(title).unwrap();
        self.open(&bundle);
        self.hint_of(&bundle)
    }

    pub(super) fn hint_of(&mut self, bundle: &Arc<Bundle>) -> bool {
        self.hint_since(bundle, Instant::now())
    }

    pub(super) fn hint_since(&mut self, bundle: &Arc<Bundle>, since: Instant) -> bool {
        self.senders[0].hint(Hint { key: BlockKey::at(bundle, 0), bundle: Arc::clone(bundle), since })
    }

    pub(crate) fn publish_and_load(&mut self, title: usize) -> Arc<Bundle> {
        self.publish(title, 1);
        self.load(title)
    }

    /// Asks until it is in memory.
    pub(super) fn load(&mut self, title: usize) -> Arc<Bundle> {
        let bundle = self.lookup(title).unwrap();
        eventually("it is in memory", || {
            self.ask(title);
            self.check(&bundle, title)
        });
        bundle
    }

    /// Its file, to damage it behind the store's back.
    pub(crate) fn file_of(&self, bundle: &Bundle) -> File {
        let file = self.volume.join(bundle.id().file_path());
        File::options().write(true).open(file).unwrap()
    }

    /// What is in memory of a bundle, if anything is: has to be its bytes.
    pub(super) fn check(&self, bundle: &Arc<Bundle>, title: usize) -> bool {
        let residency = self.tier.residency().unwrap();
        let found = residency.with(BlockKey::at(bundle, 0), |block| {
            assert_eq!(block.bundle().instance(), bundle.instance());
            let generation = bundle.key().generation.number();
            block.read(block.range(), |bytes| bytes[..LENGTH] == contents(title, generation)).unwrap()
        });
        assert_ne!(found, Some(false), "wrong bytes in memory");
        found.is_some()
    }

    pub(super) fn wait_until(&self, what: &str, is_so: impl Fn(&TierTotals) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !is_so(&self.tier.totals()) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.tier.totals());
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.tier.stop();
        self.store.close();
    }
}

/// Waits until it is so.
pub(super) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

pub(super) const LENGTH: usize = 300_000;

pub(super) fn path(title: usize) -> BundlePath {
    BundlePath::parse(&format!("/title{title}")).unwrap()
}

pub(super) fn contents(title: usize, generation: u64) -> Vec<u8> {
    (0..LENGTH).map(|place| (place as u64 / 100 + 7 * generation + 31 * title as u64) as u8).collect()
}
