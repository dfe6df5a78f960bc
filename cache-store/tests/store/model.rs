use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cache_store::{BundleState, OpenBundle, QuarantineReason, Store};
use proptest::prelude::*;

use crate::support::{
    Site, adopt, id, one, open_path, path, publish, read, read_path, reconcile, wait_until,
};

const PATHS: [&str; 5] = ["/a", "/a/b", "/a/b/c", "/d", "/"];

#[derive(Clone, Debug)]
enum Step {
    /// Publish on that volume, with that generation, and adopt.
    Adopt(usize, usize, u64),
    /// Publish only: the next reconciliation finds it.
    Publish(usize, usize, u64),
    Retire(usize),
    Purge(usize),
    Corrupt(usize),
    /// Open, and hold it until the end.
    Hold(usize),
    Reconcile,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let path = 0..PATHS.len();
    prop_oneof![
        6 => (path.clone(), 0..2_usize, 1..6_u64).prop_map(|(path, volume, high)| Step::Adopt(path, volume, high)),
        2 => (path.clone(), 0..2_usize, 1..6_u64).prop_map(|(path, volume, high)| Step::Publish(path, volume, high)),
        2 => path.clone().prop_map(Step::Retire),
        1 => path.clone().prop_map(Step::Purge),
        1 => path.clone().prop_map(Step::Corrupt),
        2 => path.prop_map(Step::Hold),
        1 => Just(Step::Reconcile),
        1 => Just(Step::Reopen),
    ]
}

/// What the store has to hold: which generation serves each path; and what waits in the directories.
#[derive(Default)]
struct Model {
    serving: BTreeMap<usize, u64>,
    published: BTreeSet<(usize, usize, u64)>,
    held: Vec<(Arc<OpenBundle>, u8)>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_store_holds_what_a_map_would(steps in prop::collection::vec(step(), 1..40)) {
        let site = Site::new(2);
        let mut store = site.open();
        let mut model = Model::default();
        for step in &steps {
            apply(&site, &mut store, &mut model, step);
            check(&store, &model);
        }
        for (open, seed) in &model.held {
            prop_assert_eq!(&read(open, "1.m4s"), &one(*seed)[0].1);
        }
        model.held.clear();
        wait_until("all space has returned", || store.counters().returning_bytes == 0);
        check_files(&site, &model);
    }
}

fn apply(site: &Site, store: &mut Arc<Store>, model: &mut Model, step: &Step) {
    match *step {
        Step::Adopt(bundle, volume, generation) => {
            let was_published = model.published.remove(&(bundle, volume, generation));
            if !was_published && !publish_one(site, bundle, volume, generation) {
                return;
            }
            adopt(store, &site.volumes[volume], id(PATHS[bundle], generation));
            offer(model, bundle, generation);
        }
        Step::Publish(bundle, volume, generation) => {
            if publish_one(site, bundle, volume, generation) {
                model.published.insert((bundle, volume, generation));
            }
        }
        Step::Retire(bundle) => {
            let wait = std::time::Duration::ZERO;
            let result = store.retire_within(&path(PATHS[bundle]), None, wait);
            if model.serving.remove(&bundle).is_some() {
                result.unwrap();
            }
        }
        Step::Purge(bundle) => {
            let directory = path(PATHS[bundle]);
            store.purge(&directory, true).unwrap();
            model.serving.retain(|other, _| !path(PATHS[*other]).is_within(&directory));
            model.published.retain(|(other, ..)| !path(PATHS[*other]).is_within(&directory));
        }
        Step::Corrupt(bundle) => {
            if let Some(generation) = model.serving.remove(&bundle) {
                let found = store.lookup(PATHS[bundle]).unwrap();
                store.report_corrupt(&found, QuarantineReason::Data);
                let file = site.file(found.volume().as_usize(), PATHS[bundle], generation);
                wait_until("it is in quarantine", || !file.exists());
            }
        }
        Step::Hold(bundle) => {
            if let Some(generation) = model.serving.get(&bundle) {
                model.held.push((open_path(store, PATHS[bundle]), seed(bundle, *generation)));
            }
        }
        Step::Reconcile => {
            reconcile(store);
            for (bundle, _, generation) in std::mem::take(&mut model.published) {
                offer(model, bundle, generation);
            }
        }
        Step::Reopen => {
            store.close();
            *store = site.open();
        }
    }
    // Which files are there decides what can be published next.
    wait_until("all departures are unlinked", || {
        store.departures().iter().all(|departure| departure.state() != cache_store::DepartureState::Leaving)
    });
}

fn publish_one(site: &Site, bundle: usize, volume: usize, generation: u64) -> bool {
    publish(&site.volumes[volume], PATHS[bundle], generation, &one(seed(bundle, generation))).is_ok()
}

fn seed(bundle: usize, generation: u64) -> u8 {
    (bundle * 10) as u8 + generation as u8
}

fn offer(model: &mut Model, bundle: usize, generation: u64) {
    match model.serving.get(&bundle) {
        Some(serving) if *serving >= generation => {}
        _ => {
            model.serving.insert(bundle, generation);
        }
    }
}

fn check(store: &Store, model: &Model) {
    for (number, bundle) in PATHS.into_iter().enumerate() {
        match (store.lookup(bundle), model.serving.get(&number)) {
            (None, None) => {}
            (Some(found), Some(generation)) => {
                assert_eq!(found.key().generation.number(), *generation);
                assert_eq!(read_path(store, bundle, "1.m4s"), one(seed(number, *generation))[0].1);
            }
            (found, expected) => panic!("{bundle}: found {found:?}, expected {expected:?}"),
        }
    }
    let serving = store.inventory().into_iter().filter(|entry| entry.state == BundleState::Serving);
    assert_eq!(serving.count(), model.serving.len());
}

/// No space is lost: the directories hold what serves and what waits to be found, and nothing else.
fn check_files(site: &Site, model: &Model) {
    let mut files = 0;
    for volume in &site.volumes {
        for directory in volume.path().join("bundles").read_dir().unwrap() {
            files += directory.unwrap().path().read_dir().unwrap().count();
        }
        assert_eq!(volume.path().join("incoming").read_dir().unwrap().count(), 0);
    }
    assert_eq!(files, model.serving.len() + model.published.len());
}
