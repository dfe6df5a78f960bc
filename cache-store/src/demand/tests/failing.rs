use std::fs;
use std::io;

use super::*;
use crate::demand::Selector;
use crate::demand::files::faults;

#[test]
fn on_a_full_disk_the_log_makes_do_with_what_it_has() {
    let site = Site::new(SMALL);
    let log = site.log();
    for number in 0..20 {
        add(&log, &format!("/{number}"), &bytes(5000, number));
    }
    let before = log.stats();
    assert!(before.segments < 8);
    faults::fill_disk(1);
    for number in 20..26 {
        add(&log, &format!("/{number}"), &bytes(5000, number));
    }
    let after = log.stats();
    assert!(after.evicted_entries > 0 && before.evicted_entries == 0, "{after:?}");
    assert_eq!(fetch(&log, "/25"), Some(bytes(5000, 25)));
}

/// Found by clients that were cut off: a body of which nothing could be asked for again lost what they had yet to read to what came
/// after it.
#[test]
fn what_is_read_while_it_comes_makes_no_room_for_its_own_rest_or_for_others_until_it_is_released() {
    for is_disk_full in [true, false] {
        let site = Site::new(SMALL);
        let log = site.log();
        add(&log, "/old", b"text");
        let film = add_head(&log, "/film", "head");
        log.keep(film);
        faults::fill_disk(if is_disk_full { usize::MAX } else { 0 });
        let mut stored = 0;
        let refused = loop {
            match append_block(&log, film, stored, &bytes(5000, stored as usize)) {
                Ok(()) => stored += 1,
                Err(error) => break error,
            }
            assert!(stored < 200, "it is larger than the log");
        };
        let is_full =
            |error| matches!(error, AppendError::Io(error) if error.kind() == io::ErrorKind::StorageFull);
        assert!(stored > 0 && is_full(refused));
        let new = NewEntry { key: b"/new", secondary: b"", metadata: &[1; 5000], total_bytes: None };
        assert!(is_full(log.append_head(&new, log.mark()).unwrap_err()));
        assert!(view(&log, "/film").unwrap().holds(0..stored), "{is_disk_full}");
        for number in 0..stored {
            let block = log.read_block(film, number).unwrap().unwrap();
            assert_eq!(block.as_ref(), bytes(5000, number as usize));
        }
        let stats = log.stats();
        assert!(stats.bytes <= SMALL.capacity_bytes && stats.segments == site.segments().len() as u64);
        assert_eq!((stats.write_failures > 0, stats.evicted_blocks), (is_disk_full, 0));
        log.release(film);
        faults::fill_disk(usize::from(is_disk_full));
        log.append_head(&new, log.mark()).unwrap();
        assert!(view(&log, "/new").is_some() && log.stats().evicted_blocks > 0);
    }
}

#[test]
fn where_the_disk_has_no_room_at_all_an_append_says_so_and_a_later_one_is_taken() {
    let site = Site::new(SMALL);
    let log = site.log();
    faults::fill_disk(usize::MAX);
    let entry = NewEntry { key: b"/a", secondary: b"", metadata: b"", total_bytes: None };
    match log.append_head(&entry, log.mark()) {
        Err(AppendError::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::StorageFull),
        other => panic!("{other:?}"),
    }
    assert_eq!((log.stats().write_failures, log.stats().bytes, site.segments().len()), (1, 0, 0));
    faults::fill_disk(0);
    add(&log, "/a", b"text");
    assert_eq!(fetch(&log, "/a").unwrap(), b"text");
}

#[test]
fn a_write_that_breaks_off_anywhere_is_an_error_and_nothing_of_it_is_served() {
    let site = Site::new(SMALL);
    let mut log = site.log();
    for cut in [0, 1, 63, 64, 4096, 5000, 8191] {
        let key = format!("/{cut}");
        let id = add(&log, &key, &bytes(7000, cut));
        faults::break_writes(Some(cut));
        assert!(matches!(append_block(&log, id, 1, &bytes(7000, 1)), Err(AppendError::Io(_))));
        let entry =
            NewEntry { key: b"/broken", secondary: b"", metadata: &bytes(6000, 1), total_bytes: None };
        assert!(matches!(log.append_head(&entry, log.mark()), Err(AppendError::Io(_))));
        faults::break_writes(None);
        assert_eq!(held(&log, &key), [0]);
        add(&log, &format!("/after/{cut}"), &bytes(7000, cut));
        drop(log);
        log = site.log();
        for key in [key, format!("/after/{cut}")] {
            let found = view(&log, &key).unwrap();
            assert_eq!(fetch(&log, &key), Some(bytes(7000, cut)));
            assert!(log.read_block(found.id, 1).unwrap().is_none(), "{cut}");
        }
        assert!(view(&log, "/broken").is_none(), "{cut}");
    }
}

#[test]
fn a_segment_that_could_not_be_sealed_is_looked_through_when_the_log_is_opened() {
    let site = Site::new(SMALL);
    let log = site.log();
    add(&log, "/a", b"text");
    for cut in [0, 4096] {
        faults::break_writes(Some(cut));
        log.close();
        faults::break_writes(None);
        add(&log, &format!("/{cut}"), b"text");
    }
    assert_eq!(log.stats().write_failures, 2);
    drop(log);
    let (log, recovery) = site.open();
    assert_eq!((recovery.unsealed_segments, recovery.entries), (3, 3));
    assert!(["/a", "/0", "/4096"].iter().all(|key| fetch(&log, key).is_some()));
    drop(log);
    assert_eq!(site.open().1.unsealed_segments, 0);
}

#[test]
fn a_flipped_bit_in_a_block_or_a_head_is_counted_and_never_served() {
    let site = Site::new(SMALL);
    let log = site.log();
    add(&log, "/block", &bytes(5000, 1));
    add(&log, "/head", &bytes(5000, 2));
    // One page of the segment, then a head of one page and a block of two for each entry.
    flip(&site.segments()[0], 2 * 4096 + 3000);
    flip(&site.segments()[0], 4 * 4096 + 66);
    let found = view(&log, "/block").unwrap();
    assert!(found.holds(0..1));
    assert!(log.read_block(found.id, 0).unwrap().is_none());
    assert!(view(&log, "/block").unwrap().held.is_empty());
    assert_eq!(view(&log, "/head"), None);
    assert_eq!((log.stats().corrupt, log.stats().entries, log.stats().blocks), (2, 1, 0));
    // It can be stored again.
    append_block(&log, found.id, 0, &bytes(5000, 1)).unwrap();
    assert_eq!(fetch(&log, "/block"), Some(bytes(5000, 1)));
}

#[test]
fn opening_a_log_that_was_closed_reads_no_record_and_believes_none_of_them() {
    let site = Site::new(SMALL);
    let log = site.log();
    add(&log, "/a", &bytes(5000, 1));
    add(&log, "/b", &bytes(5000, 2));
    log.close();
    drop(log);
    // The headers of the first entry's head and of the second one's block.
    flip(&site.segments()[0], 4096 + 20);
    flip(&site.segments()[0], 5 * 4096 + 20);
    let (log, recovery) = site.open();
    assert_eq!((recovery.entries, recovery.blocks, recovery.corrupt_records), (2, 2, 0));
    assert_eq!(view(&log, "/a"), None);
    assert_eq!(held(&log, "/b"), [0]);
    assert_eq!(fetch(&log, "/b"), None);
    assert_eq!(log.stats().corrupt, 2);
}

#[test]
fn a_segment_that_somebody_removed_is_missed_and_nothing_else_is() {
    let site = Site::new(SMALL);
    let log = site.log();
    for number in 0..12 {
        add(&log, &format!("/{number}"), &bytes(5000, number));
    }
    fs::remove_file(&site.segments()[0]).unwrap();
    assert_eq!(view(&log, "/0"), None);
    assert_eq!(fetch(&log, "/11"), Some(bytes(5000, 11)));
    for number in 12..100 {
        add(&log, &format!("/{number}"), &bytes(5000, number));
    }
    assert_eq!(fetch(&log, "/99"), Some(bytes(5000, 99)));
}

#[test]
fn another_volumes_segments_are_not_believed() {
    let (here, there) = (Site::new(SMALL), Site::new(SMALL));
    add(&there.log(), "/a", b"text");
    drop(here.log());
    let theirs = &there.segments()[0];
    let copy = here.directory.path().join("demand").join(theirs.file_name().unwrap());
    fs::copy(theirs, copy).unwrap();
    let (log, recovery) = here.open();
    assert_eq!((recovery.discarded_segments, recovery.entries), (1, 0));
    assert_eq!(view(&log, "/a"), None);
    assert!(here.segments().is_empty());
}

#[test]
fn a_body_that_looks_like_a_record_is_no_record() {
    let site = Site::new(SMALL);
    let log = site.log();
    let planted = add(&log, "/planted", &bytes(5000, 1));
    let recorded = fs::read(&site.segments()[0]).unwrap();
    // A body that repeats, page by page, what an earlier segment held.
    drop(log);
    let log = site.log();
    log.purge(Selector::Exact(b"/planted")).unwrap();
    let body: Vec<u8> = [&[0; 4096 - 64][..], &recorded[4096..16 << 10]].concat();
    add(&log, "/body", &body);
    // Its own header is damaged, so that its pages are looked through one by one.
    drop(log);
    let unsealed = site.segments().pop().unwrap();
    flip(&unsealed, 2 * 4096 + 8);
    let (log, recovery) = site.open();
    assert_eq!(recovery.corrupt_records, 1);
    assert!(view(&log, "/planted").is_none());
    assert!(log.read_block(planted, 0).unwrap().is_none());
}
