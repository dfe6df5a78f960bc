//! What makes blocks leave memory, beside others that are asked for more.

use std::fs::{self, FileTimes};
use std::os::unix::fs::FileExt;
use std::time::SystemTime;

use super::super::admission::{Admission, Verdict};
use super::super::block::BlockKey;
use super::super::counters::{Departure, LoadEnd, Refusal};
use super::super::open_files::OpenFiles;
use super::site::{Site, eventually};
use super::*;

fn departures(site: &Site, cause: Departure) -> u64 {
    site.tier.totals().departures[cause as usize]
}

#[test]
fn a_file_whose_time_was_set_is_read_anew_and_stays_in_service() {
    let mut site = Site::new(16 * MIB);
    let bundle = site.publish_and_load(0);
    let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
    site.file_of(&bundle).set_times(times).unwrap();
    site.wait_until("it has left memory", |totals| totals.files == 0);
    assert_eq!(departures(&site, Departure::FileBroken), 1);
    site.load(0);
    assert!(!bundle.is_leaving() && site.lookup(0).is_some());
}

/// Of a size that stays the same, so that only its time tells.
#[test]
fn a_bundle_whose_file_is_written_to_leaves_memory_and_does_not_come_back() {
    let mut site = Site::new(16 * MIB);
    let bundle = site.publish_and_load(0);
    site.file_of(&bundle).write_all_at(b"x", 1000).unwrap();
    site.wait_until("it has left memory", |totals| totals.files == 0);
    eventually("it was read anew and found to be wrong", || {
        site.ask(0);
        bundle.is_leaving()
    });
    site.wait_until("it is counted", |totals| totals.loads[LoadEnd::Corrupt as usize] == 1);
    eventually("it is out of service", || site.lookup(0).is_none());
}

#[test]
fn a_file_that_is_cut_short_leaves_service_without_being_asked_for() {
    let mut site = Site::new(16 * MIB);
    let bundle = site.publish_and_load(0);
    site.file_of(&bundle).set_len(1000).unwrap();
    eventually("it is out of service", || site.lookup(0).is_none());
    assert!(bundle.is_leaving());
    site.wait_until("it has left memory", |totals| totals.files == 0);
}

/// Whatever the memory or the file system said of it, the disk has the bytes.
#[test]
fn a_block_that_cannot_be_sent_is_found_by_nobody_and_its_volume_rests() {
    let mut site = Site::new(16 * MIB);
    let bundle = site.publish_and_load(0);
    let (residency, key) = (site.tier.residency().unwrap(), BlockKey::at(&bundle, 0));
    residency.with(key, Block::mark_broken);
    assert!(!residency.has(key) && residency.with(key, |_| ()).is_none());
    site.wait_until("it has left memory", |totals| totals.files == 0);
    assert_eq!(departures(&site, Departure::FileBroken), 1);
    site.ask(0);
    site.ask(0);
    site.wait_until("it is not loaded at once", |totals| totals.refusals[Refusal::Paused as usize] > 0);
    assert!(!bundle.is_leaving(), "nothing is known to be wrong with it");
}

#[test]
fn where_descriptors_are_short_what_nobody_asks_for_makes_room_for_what_somebody_does() {
    let mut site = Site::with(16 * MIB, 1, MemoryWatch::new());
    let cold = site.publish_and_load(0);
    site.publish(1, 1);
    site.load(1);
    assert!(!site.check(&cold, 0));
    assert_eq!(departures(&site, Departure::Files), 1);
    assert_eq!(site.tier.totals().files, 1);
}

#[test]
fn where_memory_is_short_it_is_given_back_and_no_more_is_taken() {
    let group = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(group.path().join(name), text).unwrap();
    write("memory.max", "100000000000\n");
    write("memory.stat", "active_file 0\n");
    write("memory.current", "0\n");
    let mut site = Site::with(16 * MIB, 16, MemoryWatch::of_group(group.path()));
    site.publish_and_load(0);
    site.publish_and_load(1);
    site.publish(2, 1);
    assert!(site.hint(2));
    site.wait_until("it is in memory", |totals| totals.blocks == 3);
    write("memory.current", "99999999999\n");
    site.wait_until("it is given back", |totals| totals.resident_bytes + totals.leaving_bytes == 0);
    assert_eq!((departures(&site, Departure::Memory), departures(&site, Departure::BroughtAhead)), (2, 1));
    site.ask(0);
    site.ask(0);
    site.wait_until("no more is taken", |totals| totals.refusals[Refusal::Memory as usize] > 0);
    assert_eq!(site.tier.totals().blocks, 0);
}

#[test]
fn where_descriptors_are_short_what_a_player_has_only_named_makes_room_first() {
    let mut site = Site::with(16 * MIB, 2, MemoryWatch::new());
    site.publish(1, 1);
    assert!(site.hint(1));
    site.wait_until("it is in memory", |totals| totals.blocks == 1);
    let asked = site.publish_and_load(0);
    site.publish(2, 1);
    site.load(2);
    assert!(site.check(&asked, 0));
    assert_eq!((departures(&site, Departure::Files), departures(&site, Departure::BroughtAhead)), (0, 1));
}

#[test]
fn what_cannot_be_loaded_now_displaces_nothing() {
    let mut admission = Admission::new(8 * 2 * MIB, 100);
    let key = BlockKey::numbered;
    for number in 0..8 {
        while !matches!(admission.ask(key(number), 0, 2 * MIB, false), Verdict::Held) {}
    }
    admission.take_evicted();
    let candidate = (0..1000).filter(|_| admission.decline(key(100), 0)).count();
    admission.settle();
    assert!(candidate > 0 && admission.take_evicted().is_empty());
    assert!((0..8).all(|number| admission.holds(key(number))));
}

#[test]
fn files_whose_first_block_could_not_be_loaded_leave_nothing_behind() {
    let site = Site::new(16 * MIB);
    let files = OpenFiles::new();
    site.publish(0, 1);
    for generation in 2..400 {
        site.publish(0, generation);
        let open = site.open(&site.lookup(0).unwrap());
        assert!(files.of(&open).is_ok());
    }
    assert!(files.count() <= 64, "{}", files.count());
}
