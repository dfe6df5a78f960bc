//! The tier over a real store: whatever comes and goes, what is found in memory is what the index serves.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use cache_store::{
    Bundle, BundleWriter, OpenBundle, PlannedObject, Store, StoreOptions, Volume, VolumeOptions,
};
use control_client::content::{BundleKey, BundlePath, Generation, ObjectName, Sha256};
use control_client::units::{ByteCount, ByteRange};
use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;
const TITLES: usize = 4;

struct Site {
    store: Arc<Store>,
    tier: Tier,
    samples: SampleSender,
    volume: PathBuf,
    _folder: tempfile::TempDir,
}

impl Site {
    fn new(budget_bytes: u64) -> Self {
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
        let budget = Budget { bytes: budget_bytes, blocks_max: 1000, files_max: 16, cut: None };
        let (tier, mut senders) = Tier::start(&store, 1, 1, budget).unwrap();
        Self { store, tier, samples: senders.remove(0), volume, _folder: folder }
    }

    fn publish(&self, title: usize, generation: u64) {
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

    fn lookup(&self, title: usize) -> Option<Arc<Bundle>> {
        self.store.lookup(path(title).as_str())
    }

    fn open(&self, bundle: &Arc<Bundle>) -> Arc<OpenBundle> {
        let (sender, receiver) = mpsc::channel();
        self.store.open_bundle(bundle, Box::new(move |opened| sender.send(opened).unwrap())).unwrap();
        receiver.recv().unwrap().unwrap()
    }

    /// Asks as a worker does.
    fn ask(&mut self, title: usize) {
        let Some(bundle) = self.lookup(title) else { return };
        let open = self.open(&bundle);
        let offset = open.object("1.m4s").unwrap().range.start;
        let is_resident = self.tier.residency().unwrap().has(BlockKey::at(&bundle, offset));
        assert!(self.samples.push(Sample::new(&bundle, offset, is_resident)));
    }

    fn publish_and_load(&mut self, title: usize) -> Arc<Bundle> {
        self.publish(title, 1);
        let bundle = self.lookup(title).unwrap();
        self.ask(title);
        self.ask(title);
        self.wait_until("it is in memory", |totals| totals.blocks == 1);
        bundle
    }

    /// Its file, to damage it behind the store's back.
    fn file_of(&self, bundle: &Bundle) -> File {
        let file = self.volume.join(bundle.id().file_path());
        File::options().write(true).open(file).unwrap()
    }

    /// What is in memory of a bundle, if anything is: has to be its bytes.
    fn check(&self, bundle: &Arc<Bundle>, title: usize) -> bool {
        let residency = self.tier.residency().unwrap();
        let found = residency.with(BlockKey::at(bundle, 0), |block| {
            assert_eq!(block.bundle().instance(), bundle.instance());
            let generation = bundle.key().generation.number();
            block.read(block.range(), |bytes| bytes[..LENGTH] == contents(title, generation)).unwrap()
        });
        assert_ne!(found, Some(false), "wrong bytes in memory");
        found.is_some()
    }

    fn wait_until(&self, what: &str, is_so: impl Fn(&TierTotals) -> bool) {
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

const LENGTH: usize = 300_000;

fn path(title: usize) -> BundlePath {
    BundlePath::parse(&format!("/title{title}")).unwrap()
}

fn contents(title: usize, generation: u64) -> Vec<u8> {
    (0..LENGTH).map(|place| (place as u64 / 100 + 7 * generation + 31 * title as u64) as u8).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Publish(usize),
    Retire(usize),
    Ask(usize),
    Settle,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let title = 0..TITLES;
    let step = prop_oneof![
        2 => title.clone().prop_map(Step::Publish),
        2 => title.clone().prop_map(Step::Retire),
        8 => title.prop_map(Step::Ask),
        2 => Just(Step::Settle),
    ];
    proptest::collection::vec(step, 1..50)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    /// The budget holds three of the four titles, so that displacing, retiring and superseding all happen.
    #[test]
    fn what_is_in_memory_is_what_the_index_serves_and_a_retired_bundle_is_gone_from_it(steps in steps()) {
        let mut site = Site::new(1 << 20);
        let mut generation = 0;
        let mut retired: Vec<(usize, Arc<Bundle>)> = Vec::new();
        for step in steps {
            match step {
                Step::Publish(title) => {
                    generation += 1;
                    site.publish(title, generation);
                }
                Step::Retire(title) => {
                    let bundle = site.lookup(title);
                    // Acknowledged when the last file is closed: the tier's is one of them.
                    if let Some(bundle) = bundle && site.store.retire(&path(title), None).is_ok() {
                        prop_assert!(!site.check(&bundle, title), "a retired bundle is in memory");
                        retired.push((title, bundle));
                    }
                }
                Step::Ask(title) => site.ask(title),
                Step::Settle => {
                    let before = site.tier.totals().samples;
                    site.wait_until("nothing is being loaded", |totals| {
                        totals.loading_bytes == 0 && totals.samples >= before
                    });
                }
            }
            for title in 0..TITLES {
                if let Some(bundle) = site.lookup(title) {
                    site.check(&bundle, title);
                }
            }
            for (title, bundle) in &retired {
                prop_assert!(!site.check(bundle, *title), "a retired bundle came back");
            }
            let held = site.tier.totals();
            prop_assert!(held.resident_bytes + held.loading_bytes + held.leaving_bytes <= MIB);
        }
    }
}

#[test]
fn a_block_that_is_lent_stays_in_memory_until_it_is_given_back() {
    let mut site = Site::new(16 * MIB);
    let bundle = site.publish_and_load(0);
    let residency = site.tier.residency().unwrap();
    let lent = residency.with(BlockKey::at(&bundle, 0), |block| {
        let store = Arc::clone(&site.store);
        let retire = thread::spawn(move || store.retire(&path(0), None).unwrap());
        site.wait_until("it has left the table", |totals| totals.blocks == 0 && totals.leaving_bytes > 0);
        assert!(!retire.is_finished(), "its file is still open");
        assert!(block.read(block.range(), |bytes| bytes[..LENGTH] == contents(0, 1)).unwrap());
        retire
    });
    assert!(lent.unwrap().join().unwrap().has_returned);
    site.wait_until("it is unmapped", |totals| totals.leaving_bytes == 0 && totals.files == 0);
}

#[test]
fn a_block_whose_file_is_cut_short_is_not_to_be_read_any_more() {
    let all = |block: &Block| block.range();
    // The end of the file lies within this page: its rest is zeroes, of which no signal tells.
    let one_page = |_: &Block| ByteRange { start: 36 * 4096, end: 37 * 4096 };
    for (length, part) in [(150_000, one_page as fn(&Block) -> ByteRange), (150_000, all), (0, all)] {
        let mut site = Site::new(16 * MIB);
        let bundle = site.publish_and_load(0);
        let residency = site.tier.residency().unwrap();
        residency.with(BlockKey::at(&bundle, 0), |block| {
            let touch = |bytes: &[u8]| {
                std::hint::black_box(bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>());
                faults::is_intact()
            };
            assert_eq!(block.read(part(block), touch), Ok(true));
            site.file_of(&bundle).set_len(length).unwrap();
            let mut is_intact = true;
            let result = block.read(part(block), |bytes| is_intact = touch(bytes));
            assert_eq!((is_intact, result), (false, Err(Unreadable)), "cut to {length}");
            assert!(block.is_broken() && faults::is_intact());
        });
    }
}

/// Of a size that stays the same, so that only its time tells.
#[test]
fn a_bundle_whose_file_is_written_to_leaves_memory_and_is_quarantined() {
    let mut site = Site::new(16 * MIB);
    let bundle = site.publish_and_load(0);
    site.file_of(&bundle).write_all_at(b"x", 1000).unwrap();
    site.wait_until("it has left memory", |totals| totals.files == 0);
    assert!(bundle.is_leaving() && site.lookup(0).is_none());
}

/// One worker's samples, of blocks that are and of blocks that are not there, for as long as anybody asks.
#[test]
fn every_block_is_loaded_once_however_often_it_is_asked_for() {
    let mut site = Site::new(64 * MIB);
    for title in 0..TITLES {
        site.publish(title, 1);
    }
    for _ in 0..20 {
        for title in 0..TITLES {
            site.ask(title);
        }
    }
    site.wait_until("all are in memory", |totals| totals.blocks == TITLES as u64);
    site.wait_until("all samples were taken", |totals| totals.samples == 20 * TITLES as u64);
    let loads: HashMap<&str, u64> = LoadEnd::words().zip(site.tier.totals().loads).collect();
    assert_eq!((loads["loaded"], loads.values().sum::<u64>()), (TITLES as u64, TITLES as u64), "{loads:?}");
}
