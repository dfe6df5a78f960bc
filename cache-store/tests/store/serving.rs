use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use cache_store::OpenQueueFull;
use cache_store::limits::OPENERS_PER_VOLUME;
use control_client::units::ByteCount;

use crate::support::{PATIENCE, Site, bytes, one, open, open_path, read, read_path, wait_until};

#[test]
fn an_object_is_found_by_its_name_and_carries_its_facts() {
    let site = Site::new(1);
    let store = site.open();
    site.add(&store, 0, "/a", 1, &[("x.m4s", bytes(3, 5000)), ("y.m4s", bytes(4, 10))]);
    let open = open_path(&store, "/a");
    let object = open.object("y.m4s").unwrap();
    assert_eq!((object.name, object.media_type, object.last_modified), ("y.m4s", "video/mp4", 1_700_000_000));
    assert_eq!((object.range.start, object.range.len()), (8192, 10));
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes(4, 10));
    assert_eq!(object.sha256, digest.as_ref());
    assert!(open.object("z.m4s").is_none());
    assert!(open.object("").is_none());
    assert_eq!(open.data_bytes(), 12_288);
}

#[test]
fn one_opening_serves_all_who_wait_for_it() {
    let site = Site::new(1);
    let store = site.open();
    site.add(&store, 0, "/a", 1, &one(1));
    let bundle = store.lookup("/a").unwrap();
    let (send, receive) = mpsc::channel();
    for _ in 0..100 {
        let send = send.clone();
        store.open_bundle(&bundle, Box::new(move |result| send.send(result.unwrap()).unwrap())).unwrap();
    }
    let opened: Vec<_> = (0..100).map(|_| receive.recv_timeout(PATIENCE).unwrap()).collect();
    assert!(opened.iter().all(|open| open.file().as_raw_fd() == opened[0].file().as_raw_fd()));
    assert_eq!(store.counters().opens, 1);
    assert!(bundle.opened().is_some());
}

#[test]
fn openings_beyond_the_queue_are_refused_at_once() {
    let site = Site::new(1);
    let store =
        cache_store::Store::open(cache_store::StoreOptions { open_queue: 1, ..site.options() }).unwrap();
    for number in 0..OPENERS_PER_VOLUME + 2 {
        site.add(&store, 0, &format!("/{number}"), 1, &one(number as u8));
    }
    // All openers are held up by whom they tell, so that the queue fills.
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(std::sync::Mutex::new(held));
    let holding = Arc::new(AtomicUsize::new(0));
    for number in 0..OPENERS_PER_VOLUME {
        let (held, holding_here) = (Arc::clone(&held), Arc::clone(&holding));
        let bundle = store.lookup(&format!("/{number}")).unwrap();
        let on_opened = Box::new(move |_: Result<_, _>| {
            holding_here.fetch_add(1, Ordering::SeqCst);
            let _ = held.lock().unwrap().recv();
        });
        store.open_bundle(&bundle, on_opened).unwrap();
        wait_until("an opener is held up", || holding.load(Ordering::SeqCst) == number + 1);
    }
    let (send, receive) = mpsc::channel();
    let ask = |number: usize| {
        let send = send.clone();
        let bundle = store.lookup(&format!("/{number}")).unwrap();
        store.open_bundle(&bundle, Box::new(move |result| send.send(result.is_ok()).unwrap()))
    };
    let (next, another) = (OPENERS_PER_VOLUME, OPENERS_PER_VOLUME + 1);
    assert_eq!(ask(next), Ok(()));
    assert_eq!(ask(another), Err(OpenQueueFull));
    assert_eq!(ask(next), Ok(()), "who waits for the same bundle takes no place in the queue");
    assert_eq!(store.counters().open_queue_full, 1);
    assert_eq!((store.volumes()[0].openings_waiting, store.volumes()[0].callers_waiting), (1, 2));
    drop(release);
    assert!(receive.recv_timeout(PATIENCE).unwrap() && receive.recv_timeout(PATIENCE).unwrap());
}

#[test]
fn the_footer_cache_keeps_to_its_count_and_spares_what_is_used() {
    let site = Site::new(1);
    let store =
        cache_store::Store::open(cache_store::StoreOptions { open_bundles: 4, ..site.options() }).unwrap();
    for number in 0..12 {
        site.add(&store, 0, &format!("/{number}"), 1, &one(number));
    }
    let favourite = store.lookup("/0").unwrap();
    drop(open(&store, &favourite).unwrap());
    for number in 1..12 {
        assert!(favourite.opened().is_some(), "what is used between two sweeps stays");
        assert_eq!(read_path(&store, &format!("/{number}"), "1.m4s"), one(number)[0].1);
    }
    let footers = store.counters().footers;
    assert_eq!((footers.bundles, footers.bundles_max), (4, 4));
    assert_eq!(store.counters().footers_evicted, 8);
}

#[test]
fn the_footer_cache_keeps_to_its_bytes() {
    let site = Site::new(1);
    let options = cache_store::StoreOptions { footer_cache: ByteCount::new(2000), ..site.options() };
    let store = cache_store::Store::open(options).unwrap();
    for number in 0..20 {
        site.add(&store, 0, &format!("/{number}"), 1, &one(number));
        assert_eq!(read_path(&store, &format!("/{number}"), "1.m4s"), one(number)[0].1);
        let footers = store.counters().footers;
        assert!(footers.bytes <= footers.bytes_max && footers.bundles >= 1);
    }
}

#[test]
fn a_bundle_that_was_let_go_of_is_read_on_by_whoever_holds_it() {
    let site = Site::new(1);
    let store =
        cache_store::Store::open(cache_store::StoreOptions { open_bundles: 1, ..site.options() }).unwrap();
    site.add(&store, 0, "/a", 1, &one(1));
    site.add(&store, 0, "/b", 1, &one(2));
    let held = open_path(&store, "/a");
    drop(open_path(&store, "/b"));
    assert!(store.lookup("/a").unwrap().opened().is_none());
    assert_eq!(read(&held, "1.m4s"), one(1)[0].1);
}

#[test]
fn files_are_closed_by_the_openers_and_not_by_who_lets_go() {
    let site = Site::new(1);
    let store =
        cache_store::Store::open(cache_store::StoreOptions { open_bundles: 1, ..site.options() }).unwrap();
    let open_files = || {
        let links = std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| entry.ok()?.path().read_link().ok());
        links
            .filter(|target| target.starts_with(site.path()) && target.to_string_lossy().contains(".bundle"))
            .count()
    };
    for number in 0..20 {
        site.add(&store, 0, &format!("/{number}"), 1, &one(number));
        drop(open_path(&store, &format!("/{number}")));
    }
    wait_until("only the one that is cached is open", || open_files() == 1);
}

#[test]
fn flipped_bytes_are_refused_whatever_their_place() {
    let site = Site::new(1);
    let store = site.open();
    let data = bytes(1, 200_000);
    site.add(&store, 0, "/a", 1, &[("1.m4s", data.clone())]);
    let open = open_path(&store, "/a");
    let mut chunks = data;
    chunks.resize(open.data_bytes() as usize, 0);
    assert_eq!(open.verify(0, &chunks), Ok(()));
    assert_eq!(open.verify(1, &chunks[65_536..]), Ok(()));
    for at in [0, 65_535, 65_536, 199_999, chunks.len() - 1] {
        chunks[at] ^= 1;
        assert_eq!(open.verify(0, &chunks).unwrap_err().chunk, at as u64 / 65_536);
        chunks[at] ^= 1;
    }
    assert!(open.verify(0, &chunks[..65_535]).is_err(), "a chunk that is cut short is not a chunk");
    assert!(open.verify(3, &chunks[..65_536]).is_err());
    assert!(open.verify(u64::MAX, &chunks[..65_536]).is_err());
    assert!(open.verify(4, &[]).is_ok(), "no chunk holds no wrong byte");
}
