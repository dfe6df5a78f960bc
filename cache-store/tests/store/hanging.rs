//! A disk that hangs. No disk can be made to, so threads stop elsewhere, as they would in a system call to a dead
//! disk: an opener in what it is given to call, a keeper in what it logs ([`Hang`]).

use std::io;
use std::sync::{Arc, RwLock, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cache_store::limits::OPENERS_PER_VOLUME;
use cache_store::{OpenQueueFull, Purge, QuarantineReason, Store, StoreOptions};

use crate::hang::Hang;
use crate::support::{PATIENCE, Site, id, one, path, publish, read_path, wait_until};

/// How long a call takes that must not wait for a disk, with much room for a busy machine.
fn at_once<T>(call: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let value = call();
    assert!(started.elapsed() < Duration::from_secs(10), "a call has waited for the disk");
    value
}

#[test]
fn while_a_volume_hangs_the_others_serve_and_no_report_waits() {
    let site = Site::new(2);
    let store = Store::open(StoreOptions { open_queue: 2, ..site.options() }).unwrap();
    // On the first volume, which will hang: one for each opener, two that wait, and one too many. On the other, three.
    let of_hung = (OPENERS_PER_VOLUME + 3) as u8;
    for number in 0..of_hung {
        site.add(&store, 0, &format!("/{number}"), 1, &one(number));
    }
    let others = [100, 101, 102];
    for number in others {
        site.add(&store, 1, &format!("/{number}"), 1, &one(number));
    }
    let gate = Arc::new(RwLock::new(()));
    let hang = gate.write().unwrap();
    let (send, receive) = mpsc::channel();
    let ask = |number: u8| {
        let bundle = store.lookup(&format!("/{number}")).unwrap();
        let (send, gate) = (send.clone(), Arc::clone(&gate));
        let on_opened = move |result: Result<_, _>| {
            drop(gate.read());
            send.send((number, result.is_ok())).unwrap();
        };
        at_once(|| store.open_bundle(&bundle, Box::new(on_opened)))
    };
    let too_many = of_hung - 1;
    for number in 0..too_many - 2 {
        ask(number).unwrap();
        wait_until("an opener hangs", || store.volumes()[0].openings_waiting == 0);
    }
    for number in too_many - 2..too_many {
        ask(number).unwrap();
    }
    assert_eq!(ask(too_many), Err(OpenQueueFull));
    for number in others {
        assert_eq!(at_once(|| read_path(&store, &format!("/{number}"), "1.m4s")), one(number)[0].1);
    }
    at_once(|| site.add(&store, 1, "/new", 1, &one(9)));
    assert_eq!(at_once(|| store.inventory()).len(), usize::from(of_hung) + others.len() + 1);
    at_once(|| store.counters());
    wait_until("the hang is seen", || store.volumes()[0].busy > Duration::from_millis(20));
    assert!(receive.try_recv().is_err(), "nothing of the volume that hangs was opened");
    drop(hang);
    let mut opened: Vec<_> = (0..too_many).map(|_| receive.recv_timeout(PATIENCE).unwrap()).collect();
    opened.sort_unstable();
    assert_eq!(opened, (0..too_many).map(|number| (number, true)).collect::<Vec<_>>());
}

#[test]
fn a_keeper_that_hangs_delays_neither_quarantine_nor_isolation_nor_other_volumes() {
    let site = Site::new(2);
    let store = site.open();
    for number in 0..14 {
        site.add(&store, usize::from(number) % 2, &format!("/{number}"), 1, &one(number));
    }
    std::fs::write(site.file(0, "/hangs", 1), [0; 8192]).unwrap();
    let hang = Hang::at(site.volumes[0].path(), &id("/hangs", 1).file_name());
    let hanging = {
        let (store, volume) = (std::sync::Arc::clone(&store), site.volumes[0].path().to_owned());
        std::thread::spawn(move || {
            store.adopt(volume.to_str().unwrap(), &id("/hangs", 1).file_name()).map_err(|error| error.code())
        })
    };
    wait_until("the keeper hangs", || store.volumes()[0].busy > Duration::from_millis(20));
    at_once(|| store.report_corrupt(&store.lookup("/0").unwrap(), QuarantineReason::Data));
    assert!(store.lookup("/0").is_none());
    let retirement = at_once(|| store.retire_within(&path("/2"), None, Duration::from_millis(50))).unwrap();
    assert!(!retirement.has_returned && store.lookup("/2").is_none());
    assert!(at_once(|| store.retire(&path("/1"), None)).unwrap().has_returned);
    let purging = purge(&store, "/3");
    wait_until("it is purged from the other volume", || !site.file(1, "/3", 1).exists());
    let disk_error = io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error());
    for number in [4, 6, 8, 10] {
        let bundle = store.lookup(&format!("/{number}")).unwrap();
        at_once(|| store.report_read_error(&bundle, &disk_error));
    }
    wait_until("the volume is isolated", || store.volumes()[0].state.as_str() == "failed");
    wait_until("its bundles are out of the index", || store.lookup("/12").is_none());
    assert_eq!(read_path(&store, "/5", "1.m4s"), one(5)[0].1);
    // What may lie unadopted on the volume that hangs cannot serve any more: a purge waits for it no longer.
    let purge = purging.join().unwrap().unwrap();
    assert_eq!((purge.keys.len(), purge.not_reached), (1, vec![site.volumes[0].path().to_owned()]));
    drop(hang);
    assert_eq!(hanging.join().unwrap(), Err("refused"));
    wait_until("the isolation is remembered", || site.volumes[0].isolation().unwrap().is_some());
}

/// A purge of one path that the test does not wait for.
fn purge(store: &Arc<Store>, bundle: &str) -> JoinHandle<Result<Purge, &'static str>> {
    let (store, bundle) = (Arc::clone(store), path(bundle));
    std::thread::spawn(move || store.purge(&bundle, false).map_err(|error| error.code()))
}

/// A keeper that hangs in the adoption of a file that is no bundle, until the hang is dropped; and who asked for it.
fn hang_keeper(site: &Site, store: &Arc<Store>) -> (Hang, JoinHandle<Result<(), &'static str>>) {
    std::fs::write(site.file(0, "/hangs", 1), [0; 8192]).unwrap();
    let hang = Hang::at(site.volumes[0].path(), &id("/hangs", 1).file_name());
    let asking = {
        let (store, volume) = (Arc::clone(store), site.volumes[0].path().to_owned());
        std::thread::spawn(move || {
            let adoption = store.adopt(volume.to_str().unwrap(), &id("/hangs", 1).file_name());
            adoption.map(|_| ()).map_err(|error| error.code())
        })
    };
    wait_until("the keeper hangs", || store.volumes()[0].busy > Duration::from_millis(20));
    (hang, asking)
}

/// Found in review: it was acknowledged, and after a crash the older generation served again.
#[test]
fn a_purge_is_not_acknowledged_while_a_disk_that_hangs_has_an_older_generation() {
    let site = Site::new(2);
    let store = site.open();
    site.add(&store, 0, "/a", 1, &one(1));
    let (hang, asking) = hang_keeper(&site, &store);
    site.add(&store, 1, "/a", 2, &one(2));
    let purging = purge(&store, "/a");
    wait_until("the newer one is unlinked", || !site.file(1, "/a", 2).exists());
    std::thread::sleep(Duration::from_millis(200));
    assert!(!purging.is_finished() && site.file(0, "/a", 1).exists());
    drop(hang);
    assert_eq!(purging.join().unwrap().unwrap().keys.len(), 2);
    assert!(!site.file(0, "/a", 1).exists());
    assert_eq!(asking.join().unwrap(), Err("refused"));
}

#[test]
fn a_purge_that_waits_for_a_disk_that_hangs_ends_when_the_store_is_closed() {
    let site = Site::new(1);
    let store = site.open();
    site.add(&store, 0, "/a", 1, &one(1));
    let (hang, asking) = hang_keeper(&site, &store);
    let purging = purge(&store, "/a");
    wait_until("it is out of service", || store.lookup("/a").is_none());
    store.close();
    assert_eq!(purging.join().unwrap().map(|_| ()), Err("closing"));
    drop(hang);
    assert_eq!(asking.join().unwrap(), Err("refused"));
}

#[test]
fn a_purge_is_not_acknowledged_before_a_disk_that_hangs_has_said_what_was_never_adopted_there() {
    let site = Site::new(2);
    let store = site.open();
    for volume in 0..2 {
        publish(&site.volumes[volume], "/a", volume as u64 + 1, &one(1)).unwrap();
    }
    let (hang, asking) = hang_keeper(&site, &store);
    let purging = purge(&store, "/a");
    wait_until("the other volume has nothing of it", || !site.file(1, "/a", 2).exists());
    std::thread::sleep(Duration::from_millis(200));
    assert!(!purging.is_finished() && site.file(0, "/a", 1).exists());
    drop(hang);
    assert_eq!(purging.join().unwrap().unwrap().keys.len(), 2);
    assert!(!site.file(0, "/a", 1).exists());
    assert_eq!(asking.join().unwrap(), Err("refused"));
}
