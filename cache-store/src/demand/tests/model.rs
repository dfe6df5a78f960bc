mod answers;

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::demand::Selector;
use answers::Model;

const KEYS: [&str; 6] = ["/a", "/a/1", "/a/2", "/ab", "/b/1", "/b/1?c"];
const PREFIXES: [&str; 4] = ["/a/", "/a", "/b/1", ""];
const SECONDARIES: [&str; 2] = ["", "gzip"];

/// Which object: a key and a secondary key.
type Slot = (usize, usize);

#[derive(Clone, Debug)]
enum Step {
    /// A new response, with that many blocks of so many bytes.
    Store(Slot, u32, usize),
    /// One more block of the response that is held, from an answer that was asked for just now.
    Block(Slot, u32),
    Update(Slot),
    /// Upstream is asked.
    Ask(Slot),
    /// It has answered with a block: to be stored with those that are held, or by itself.
    Arrive(Slot, u32),
    Read(Slot),
    Forget(Slot),
    PurgeExact(usize),
    PurgePrefix(usize),
    /// A kill in the middle of a purge, of which so much has reached the disk.
    TearPurge(usize, usize),
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
        4 => slot.clone().prop_map(Step::Ask),
        4 => (slot.clone(), 0..8_u32).prop_map(|(slot, number)| Step::Arrive(slot, number)),
        8 => slot.clone().prop_map(Step::Read),
        1 => slot.prop_map(Step::Forget),
        2 => (0..KEYS.len()).prop_map(Step::PurgeExact),
        1 => (0..PREFIXES.len()).prop_map(Step::PurgePrefix),
        1 => (0..KEYS.len(), any::<usize>()).prop_map(|(key, cut)| Step::TearPurge(key, cut)),
        1 => Just(Step::Restart),
        1 => Just(Step::Kill),
        1 => (file, at, 0..8_u8).prop_map(|(file, at, bit)| Step::Flip { file, at, bit }),
        1 => (file, at).prop_map(|(file, at)| Step::Cut { file, at }),
        1 => any::<usize>().prop_map(|page| Step::Lose { page }),
    ]
}

impl Model {
    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Store(slot, blocks, length) => self.store(slot, blocks, length),
            Step::Block(slot, number) => {
                if let Some((_, _, id)) = self.newest.get(&slot).copied() {
                    let answer = self.answer(1000);
                    self.append(id, answer, number, self.log().mark());
                }
            }
            Step::Ask(slot) => {
                let asked = (self.answer(2000), self.log().mark());
                self.under_way.insert(slot, asked);
            }
            Step::Arrive(slot, number) => self.arrive(slot, number),
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
            Step::TearPurge(key, cut) => self.tear_purge(key, cut),
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

    /// The purge has reached the disk in part, and nobody was told that it was made: nothing is lost for it.
    fn tear_purge(&mut self, key: usize, cut: usize) {
        let held = self.read_all();
        let before = fs::read(self.site.purges()).unwrap();
        self.log().purge(Selector::Exact(KEYS[key].as_bytes())).unwrap();
        let after = fs::read(self.site.purges()).unwrap();
        let Some(record) = after.strip_prefix(&before[..]) else {
            // It was written as a new file, which is there whole or not at all.
            self.purge(Selector::Exact(KEYS[key].as_bytes()), |other| other == KEYS[key]);
            return;
        };
        let torn = [&before, &record[..cut % record.len()]].concat();
        self.reopen(|site| {
            fs::write(site.purges(), &torn).unwrap();
            false
        });
        if !self.is_damaged && !self.has_dropped() {
            let found = self.read_all();
            for (slot, held) in held {
                assert_eq!(found.get(&slot), Some(&held), "{slot:?}");
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
        // Whoever had asked is gone.
        self.under_way.clear();
        let after = self.read_all();
        if !self.is_damaged && !self.has_dropped() {
            for (slot, held) in before {
                assert_eq!(after.get(&slot), Some(&held), "{slot:?}");
            }
        }
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
