use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use proptest::prelude::*;

use super::*;
use crate::demand::{AppendError, Selector};

const KEYS: [&str; 6] = ["/a", "/a/1", "/a/2", "/ab", "/b/1", "/b/1?c"];
const PREFIXES: [&str; 4] = ["/a/", "/a", "/b/1", ""];
const SECONDARIES: [&str; 2] = ["", "gzip"];

/// Which object: a key and a secondary key.
type Slot = (usize, usize);

#[derive(Clone, Debug)]
enum Step {
    /// A new response, with that many blocks of so many bytes.
    Store(Slot, u32, usize),
    /// One more block of the response that is held.
    Block(Slot, u32),
    Update(Slot),
    Read(Slot),
    Forget(Slot),
    PurgeExact(usize),
    PurgePrefix(usize),
    Restart,
    Kill,
    /// A kill, after which a bit of one of the files is another one.
    Flip {
        file: usize,
        at: usize,
        bit: u8,
    },
    /// A kill, after which a segment ends earlier.
    Cut {
        file: usize,
        at: usize,
    },
    /// A kill, after which a page of the newest segment never reached the disk.
    Lose {
        page: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let slot = (0..KEYS.len(), 0..SECONDARIES.len());
    let (file, at) = (any::<usize>(), any::<usize>());
    prop_oneof![
        12 => (slot.clone(), 0..4_u32, 0..12_000_usize).prop_map(|(slot, blocks, length)| Step::Store(slot, blocks, length)),
        6 => (slot.clone(), 0..8_u32).prop_map(|(slot, number)| Step::Block(slot, number)),
        4 => slot.clone().prop_map(Step::Update),
        8 => slot.clone().prop_map(Step::Read),
        1 => slot.prop_map(Step::Forget),
        2 => (0..KEYS.len()).prop_map(Step::PurgeExact),
        1 => (0..PREFIXES.len()).prop_map(Step::PurgePrefix),
        1 => Just(Step::Restart),
        1 => Just(Step::Kill),
        1 => (file, at, 0..8_u8).prop_map(|(file, at, bit)| Step::Flip { file, at, bit }),
        1 => (file, at).prop_map(|(file, at)| Step::Cut { file, at }),
        1 => any::<usize>().prop_map(|page| Step::Lose { page }),
    ]
}

/// What may be served: which versions of an object were stored, and which of them were purged.
struct Model {
    site: Site,
    log: Option<DemandLog>,
    /// Counts what was stored; each is a version of its object.
    version: u32,
    /// The bytes of each version's blocks.
    lengths: BTreeMap<u32, usize>,
    /// Heads that were stored: version and revision.
    heads: BTreeSet<(Slot, u32, u32)>,
    /// The version of each object that this process stored or found last.
    newest: BTreeMap<Slot, (u32, u32, EntryId)>,
    /// All versions up to this one of a key have been purged.
    purged: [u32; KEYS.len()],
    /// Some file was damaged at some time: not all that is held can be read.
    is_damaged: bool,
}

/// What a lookup told.
type Held = BTreeMap<Slot, (EntryId, Vec<u32>)>;

fn block(version: u32, number: u32, length: usize) -> Vec<u8> {
    bytes(length, (version * 64 + number) as usize)
}

impl Model {
    fn new(shape: Shape) -> Self {
        let site = Site::new(shape);
        let log = Some(site.log());
        let (lengths, heads, newest) = Default::default();
        Self { site, log, version: 0, lengths, heads, newest, purged: [0; 6], is_damaged: false }
    }

    fn log(&self) -> &DemandLog {
        self.log.as_ref().unwrap()
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Store(slot, blocks, length) => self.store(slot, blocks, length),
            Step::Block(slot, number) => {
                if let Some((version, _, id)) = self.newest.get(&slot).copied() {
                    self.append(id, version, number);
                }
            }
            Step::Update(slot) => self.update(slot),
            Step::Read(slot) => drop(self.read(slot)),
            Step::Forget(slot) => {
                if let Some((_, _, id)) = self.newest.remove(&slot) {
                    self.log().forget(id);
                    assert!(self.read(slot).is_none());
                }
            }
            Step::PurgeExact(key) => {
                self.purge(Selector::Exact(KEYS[key].as_bytes()), |other| other == KEYS[key])
            }
            Step::PurgePrefix(prefix) => {
                let prefix = PREFIXES[prefix];
                self.purge(Selector::Prefix(prefix.as_bytes()), |key| key.starts_with(prefix));
            }
            Step::Restart => {
                self.log().close();
                self.reopen(|_| false);
            }
            Step::Kill => self.reopen(|_| false),
            Step::Flip { file, at, bit } => self.reopen(|site| {
                let mut paths = site.segments();
                paths.push(site.purges());
                let path = &paths[file % paths.len()];
                let mut found = fs::read(path).unwrap();
                let at = at % found.len();
                found[at] ^= 1 << bit;
                fs::write(path, found).unwrap();
                true
            }),
            Step::Cut { file, at } => self.reopen(|site| {
                let paths = site.segments();
                let Some(path) = paths.get(file % paths.len().max(1)) else { return false };
                let found = fs::read(path).unwrap();
                fs::write(path, &found[..at % found.len()]).unwrap();
                true
            }),
            Step::Lose { page } => self.reopen(|site| {
                let Some(path) = site.segments().pop() else { return false };
                let mut found = fs::read(&path).unwrap();
                let at = page % (found.len() / 4096) * 4096;
                found[at..at + 4096].fill(0);
                fs::write(path, found).unwrap();
                true
            }),
        }
        self.check_bounds();
    }

    fn store(&mut self, slot: Slot, blocks: u32, length: usize) {
        self.version += 1;
        let version = self.version;
        let metadata = format!("{} {} {version} 0", slot.0, slot.1);
        let entry = NewEntry {
            key: KEYS[slot.0].as_bytes(),
            secondary: SECONDARIES[slot.1].as_bytes(),
            metadata: metadata.as_bytes(),
            total_bytes: Some(version.into()),
        };
        self.lengths.insert(version, length);
        self.heads.insert((slot, version, 0));
        let id = self.log().append_head(&entry, self.log().mark()).unwrap();
        self.newest.insert(slot, (version, 0, id));
        (0..blocks).for_each(|number| self.append(id, version, number));
    }

    fn append(&self, id: EntryId, version: u32, number: u32) {
        let bytes = block(version, number, self.lengths[&version]);
        match self.log().append_block(id, number, &bytes) {
            Ok(()) => {
                let read = self.log().read_block(id, number).unwrap();
                assert!(self.is_damaged || read.is_some_and(|read| read.as_ref() == bytes));
            }
            Err(AppendError::Gone) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn update(&mut self, slot: Slot) {
        let Some((version, revision, id)) = self.newest.get(&slot).copied() else { return };
        let metadata = format!("{} {} {version} {}", slot.0, slot.1, revision + 1);
        match self.log().update_head(id, metadata.as_bytes(), Some(version.into())) {
            Ok(()) => {
                self.heads.insert((slot, version, revision + 1));
                self.newest.insert(slot, (version, revision + 1, id));
            }
            Err(AppendError::Gone) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn purge(&mut self, selector: Selector<'_>, selects: impl Fn(&str) -> bool) {
        self.log().purge(selector).unwrap();
        for (key, purged) in self.purged.iter_mut().enumerate() {
            if selects(KEYS[key]) {
                *purged = self.version;
                self.newest.retain(|slot, _| slot.0 != key);
            }
        }
    }

    /// Ends the process and starts it again; `damage` says whether it did any.
    fn reopen(&mut self, damage: impl FnOnce(&Site) -> bool) {
        let before = self.read_all();
        self.log = None;
        self.is_damaged |= damage(&self.site);
        self.log = Some(self.site.log());
        // What was replaced by something that is damaged may be back, older, but never purged.
        self.newest.clear();
        let after = self.read_all();
        let has_dropped = self.log().stats().index_bytes > self.site.shape.index_bytes_max / 2;
        if !self.is_damaged && !has_dropped {
            for (slot, held) in before {
                assert_eq!(after.get(&slot), Some(&held), "{slot:?}");
            }
        }
    }

    fn read_all(&mut self) -> Held {
        let slots =
            (0..KEYS.len()).flat_map(|key| (0..SECONDARIES.len()).map(move |secondary| (key, secondary)));
        slots.filter_map(|slot| self.read(slot).map(|held| (slot, held))).collect()
    }

    /// Reads all that is held of an object, and checks that it is what it may be.
    fn read(&mut self, slot: Slot) -> Option<(EntryId, Vec<u32>)> {
        let views = self.log().entries(KEYS[slot.0].as_bytes()).unwrap();
        assert!(views.len() <= SECONDARIES.len());
        let view = views.into_iter().find(|view| &*view.secondary == SECONDARIES[slot.1].as_bytes())?;
        let text = String::from_utf8(view.metadata.into()).unwrap();
        let numbers: Vec<u32> = text.split(' ').map(|number| number.parse().unwrap()).collect();
        let [key, secondary, version, revision] = numbers[..] else { panic!("{text}") };
        assert_eq!((key as usize, secondary as usize), slot);
        assert!(self.heads.contains(&(slot, version, revision)));
        assert_eq!(view.total_bytes, Some(version.into()));
        assert!(version > self.purged[slot.0], "{text} was purged");
        let found = (version, revision, view.id);
        assert_eq!(*self.newest.entry(slot).or_insert(found), found);
        let mut held = Vec::new();
        for number in view.held.into_iter().flatten() {
            match self.log().read_block(view.id, number).unwrap() {
                Some(read) => assert_eq!(read.as_ref(), block(version, number, self.lengths[&version])),
                None => assert!(self.is_damaged),
            }
            held.push(number);
        }
        Some((view.id, held))
    }

    fn check_bounds(&self) {
        let (stats, shape) = (self.log().stats(), self.site.shape);
        assert_eq!(stats.bytes, self.site.segment_bytes());
        assert!(stats.bytes <= shape.capacity_bytes, "{stats:?}");
        assert!(stats.index_bytes <= shape.index_bytes_max, "{stats:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_to_the_disk_every_read_gives_the_right_bytes_or_nothing_and_purged_stays_purged(
        steps in prop::collection::vec(step(), 1..120),
        is_short_of_memory in any::<bool>(),
    ) {
        let index_bytes_max = if is_short_of_memory { 8 << 10 } else { 1 << 20 };
        let mut model = Model::new(Shape { capacity_bytes: 5 * SEGMENT, index_bytes_max, ..SMALL });
        for step in &steps {
            model.apply(step);
        }
        model.read_all();
    }
}
