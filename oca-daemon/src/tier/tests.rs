//! The tier over a real store: whatever comes and goes, what is found in memory is what the index serves.

mod leaving;
mod prefetching;
mod questions;
pub(crate) mod site;

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;

use cache_store::Bundle;
use control_client::units::ByteRange;
use proptest::prelude::*;

use super::*;
use site::{LENGTH, Site, contents, path};

const MIB: u64 = 1 << 20;
const BUDGET_BYTES: u64 = 4 * MIB;
const TITLES: usize = 8;

#[derive(Clone, Debug)]
enum Step {
    Publish(usize),
    Retire(usize),
    Ask(usize),
    /// Many ask at once.
    Crowd(usize),
    /// Two workers have somebody who waits for it.
    Await(usize),
    Hint(usize),
    Settle,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let title = 0..TITLES;
    let step = prop_oneof![
        2 => title.clone().prop_map(Step::Publish),
        2 => title.clone().prop_map(Step::Retire),
        8 => title.clone().prop_map(Step::Ask),
        3 => title.clone().prop_map(Step::Crowd),
        3 => title.clone().prop_map(Step::Await),
        4 => title.prop_map(Step::Hint),
        2 => Just(Step::Settle),
    ];
    proptest::collection::vec(step, 1..50)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    /// The budget holds six of the eight titles, and one that was brought ahead, so that displacing, retiring and superseding all happen.
    #[test]
    fn what_is_in_memory_is_what_the_index_serves_and_a_retired_bundle_is_gone_from_it(steps in steps()) {
        let mut site = Site::new(BUDGET_BYTES);
        let (mut generation, mut crowded) = (0, None);
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
                Step::Crowd(title) => {
                    crowded = Some(title);
                    site.ask_at_once(title, 20);
                }
                Step::Await(title) => {
                    site.wait_for(0, title);
                    site.wait_for(1, title);
                }
                Step::Hint(title) => {
                    if site.lookup(title).is_some() {
                        site.hint(title);
                    }
                }
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
            prop_assert!(held.resident_bytes + held.loading_bytes + held.leaving_bytes <= BUDGET_BYTES);
        }
        // Whatever has happened, nothing is taken for loaded that is not.
        if let Some(title) = crowded && site.lookup(title).is_some() {
            site.load(title);
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
            assert!(!residency.has(BlockKey::at(&bundle, 0)), "nobody else is to find it");
        });
    }
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
