use std::path::{Path, PathBuf};
use std::sync::Arc;

use cache_store::{BundleId, Purge, Store};

use crate::hang::Hang;
use crate::support::{Site, id, one, path, publish, read_path, reconcile, set_version, wait_until};

/// Publishes, and has nobody adopt it.
fn leave(site: &Site, volume: usize, bundle: &str, generation: u64) -> PathBuf {
    publish(&site.volumes[volume], bundle, generation, &one(generation as u8)).unwrap();
    site.file(volume, bundle, generation)
}

/// What was purged, sorted.
fn purged(purge: &Purge) -> Vec<(&str, u64)> {
    let mut purged: Vec<_> =
        purge.keys.iter().map(|key| (key.path.as_str(), key.generation.number())).collect();
    purged.sort_unstable();
    purged
}

/// A store that is opened again, and has looked at everything.
fn reopen(site: &Site, store: Arc<Store>) -> Arc<Store> {
    store.close();
    drop(store);
    let store = site.open();
    reconcile(&store);
    store
}

fn bytes(file: &Path) -> u64 {
    file.metadata().unwrap().len()
}

/// Found in review: such files served after the next start, though the purge had been acknowledged.
#[test]
fn a_purge_removes_what_was_published_and_never_adopted() {
    let site = Site::new(2);
    let store = site.open();
    site.add(&store, 0, "/a", 2, &one(2));
    let (older, newer) = (leave(&site, 0, "/a", 1), leave(&site, 1, "/a", 3));
    let (below, beside) = (leave(&site, 0, "/a/b", 1), leave(&site, 1, "/ab", 1));
    let file_bytes = bytes(&older) + bytes(&newer) + bytes(&site.file(0, "/a", 2));
    let purge = store.purge(&path("/a"), false).unwrap();
    assert_eq!(purged(&purge), [("/a", 1), ("/a", 2), ("/a", 3)]);
    assert_eq!((purge.file_bytes, purge.not_reached.len()), (file_bytes, 0));
    assert!(!older.exists() && !newer.exists() && below.exists() && beside.exists());
    assert!(store.purge(&path("/a"), false).unwrap().keys.is_empty());
    let store = reopen(&site, store);
    assert!(store.lookup("/a").is_none());
    assert!(store.lookup("/a/b").is_some() && store.lookup("/ab").is_some());
}

#[test]
fn a_purge_of_a_directory_removes_what_was_published_below_it_on_any_volume() {
    let site = Site::new(2);
    let store = site.open();
    site.add(&store, 0, "/film/served", 1, &one(9));
    let below: Vec<PathBuf> =
        (0..20).map(|number| leave(&site, number % 2, &format!("/film/{number}"), 1)).collect();
    let itself = leave(&site, 1, "/film", 4);
    let other = leave(&site, 0, "/film-2/0", 1);
    let purge = store.purge(&path("/film"), true).unwrap();
    assert_eq!((purge.keys.len(), purge.not_reached.len()), (22, 0));
    assert!(!itself.exists() && !below.iter().any(|file| file.exists()));
    assert!(other.exists());
    let store = reopen(&site, store);
    let served: Vec<_> = store.inventory().iter().map(|entry| entry.bundle.key().path.to_string()).collect();
    assert_eq!(served, ["/film-2/0"]);
}

/// A path below `/a` whose file is in the same directory under `bundles/` as another's.
fn path_beside(other: BundleId) -> String {
    let mut paths = (0..).map(|number| format!("/a/{number}"));
    paths.find(|path| id(path, 1).path_hash[0] == other.path_hash[0]).unwrap()
}

#[test]
fn what_a_reconciliation_adopts_while_it_is_purged_is_purged() {
    let site = Site::new(2);
    // Both are found at once, and the one is adopted only after the other, which is no bundle, was turned away.
    let no_bundle = id("/no-bundle", 1);
    let beside = path_beside(no_bundle);
    let file = leave(&site, 0, &beside, 1);
    std::fs::write(site.file(0, "/no-bundle", 1), [0; 8192]).unwrap();
    let store = site.open();
    site.add(&store, 1, "/a/served", 1, &one(2));
    let hang = Hang::at(site.volumes[0].path(), &no_bundle.file_name());
    store.start_reconciling();
    wait_until("the keeper hangs", || !store.volumes()[0].quarantined.is_empty());
    let purging = {
        let store = Arc::clone(&store);
        std::thread::spawn(move || store.purge(&path("/a"), true).unwrap())
    };
    wait_until("the purge has begun", || store.lookup("/a/served").is_none());
    assert!(file.exists() && !purging.is_finished());
    drop(hang);
    let purge = purging.join().unwrap();
    assert_eq!(purged(&purge), [(beside.as_str(), 1), ("/a/served", 1)]);
    assert!(store.lookup(&beside).is_none() && !file.exists());
    assert_eq!(store.counters().adopted, 2, "it served for a moment");
    assert!(reopen(&site, store).inventory().is_empty());
}

#[test]
fn a_purge_tells_of_the_volume_on_which_nobody_knows_what_a_file_is() {
    let site = Site::new(2);
    let store = site.open();
    let meant = [leave(&site, 0, "/a/0", 1), leave(&site, 1, "/a/1", 1)];
    let unknown = leave(&site, 1, "/a/unknown", 1);
    set_version(&unknown, 2);
    let purge = store.purge(&path("/a"), true).unwrap();
    assert_eq!(purged(&purge), [("/a/0", 1), ("/a/1", 1)]);
    assert_eq!(purge.not_reached, [site.volumes[1].path().to_owned()]);
    assert!(unknown.exists() && !meant.iter().any(|file| file.exists()));
    // The release that knows it finds it, and purges again.
    set_version(&unknown, 1);
    let purge = store.purge(&path("/a"), true).unwrap();
    assert_eq!((purged(&purge), purge.not_reached.len()), (vec![("/a/unknown", 1)], 0));
    assert!(reopen(&site, store).inventory().is_empty());
}

#[test]
fn a_file_that_nobody_can_read_goes_where_its_name_says_that_it_is_meant() {
    let site = Site::new(1);
    let store = site.open();
    let (unknown, torn) = (leave(&site, 0, "/a", 1), leave(&site, 0, "/a", 2));
    set_version(&unknown, 2);
    std::fs::write(&torn, [0; 8192]).unwrap();
    let purge = store.purge(&path("/a"), false).unwrap();
    assert_eq!((purged(&purge), purge.not_reached.len()), (vec![("/a", 1), ("/a", 2)], 0));
    assert!(!unknown.exists() && !torn.exists());
}

#[test]
fn a_file_that_is_no_bundle_goes_into_quarantine_when_a_purge_finds_it() {
    let site = Site::new(1);
    let store = site.open();
    std::fs::write(site.file(0, "/elsewhere", 1), [0; 8192]).unwrap();
    // No file, and so no bundle either.
    std::fs::create_dir(site.file(0, "/directory", 1)).unwrap();
    let purge = store.purge(&path("/a"), true).unwrap();
    assert_eq!((purge.keys.len(), purge.not_reached.len()), (0, 0));
    let quarantine = site.volumes[0].path().join("quarantine");
    assert!(quarantine.join(format!("{}.trailer", id("/elsewhere", 1).file_name())).exists());
    assert!(!site.file(0, "/elsewhere", 1).exists() && site.file(0, "/directory", 1).exists());
}

#[test]
fn a_purge_tells_of_the_volume_of_which_a_directory_cannot_be_listed() {
    let site = Site::new(2);
    let store = site.open();
    let meant = leave(&site, 0, "/a", 1);
    let directory = site.file(0, "/b", 1).parent().unwrap().to_owned();
    assert!(!meant.starts_with(&directory), "another one");
    std::fs::remove_dir(&directory).unwrap();
    std::fs::write(&directory, b"").unwrap();
    for (bundle, prefix, reached) in [("/a", false, true), ("/b", false, false), ("/a", true, false)] {
        let purge = store.purge(&path(bundle), prefix).unwrap();
        assert_eq!(purge.not_reached.is_empty(), reached, "{bundle} {prefix}: {purge:?}");
        assert!(purge.not_reached.iter().all(|volume| volume == site.volumes[0].path()));
    }
    assert!(!meant.exists());
}

#[test]
fn what_is_published_after_a_purge_is_adopted_as_ever() {
    let site = Site::new(1);
    let store = site.open();
    leave(&site, 0, "/a", 1);
    assert_eq!(store.purge(&path("/a"), false).unwrap().keys.len(), 1);
    site.add(&store, 0, "/a", 1, &one(7));
    let store = reopen(&site, store);
    assert_eq!(read_path(&store, "/a", "1.m4s"), one(7)[0].1);
}
