use std::fs;

use super::*;
use crate::demand::DemandLimits;
use crate::limits::{
    DEMAND_BLOCK_BYTES_MAX, DEMAND_CAPACITY_BYTES_MIN, DEMAND_KEY_BYTES_MAX, DEMAND_METADATA_BYTES_MAX,
};

#[test]
fn what_was_stored_is_read_and_is_there_after_a_restart() {
    let site = Site::new(SMALL);
    let log = site.log();
    let entry = NewEntry { key: b"/a?b", secondary: b"gzip", metadata: b"200 OK", total_bytes: None };
    let id = log.append_head(&entry, log.mark()).unwrap();
    for number in [0, 1, 5] {
        append_block(&log, id, number, &bytes(5000, number as usize)).unwrap();
    }
    update_head(&log, id, b"200 OK, fresh", Some(30_000)).unwrap();
    let check = |log: &DemandLog| {
        let expected = EntryView {
            id,
            secondary: (*b"gzip").into(),
            metadata: (*b"200 OK, fresh").into(),
            total_bytes: Some(30_000),
            held: vec![0..2, 5..6],
        };
        assert_eq!(log.entries(b"/a?b").unwrap(), std::slice::from_ref(&expected));
        assert!(expected.holds(0..2) && expected.holds(3..3) && !expected.holds(1..3));
        for number in [0, 1, 5] {
            let block = log.read_block(id, number).unwrap().unwrap();
            assert_eq!(block.as_ref(), bytes(5000, number as usize));
        }
        assert!(log.read_block(id, 2).unwrap().is_none());
        assert!(log.entries(b"/a").unwrap().is_empty());
    };
    check(&log);
    log.close();
    drop(log);
    let (log, recovery) = site.open();
    let expected = Recovery { segments: 1, entries: 1, blocks: 3, ..Recovery::default() };
    assert_eq!(recovery, expected);
    check(&log);
}

#[test]
fn where_the_file_system_takes_no_direct_access_it_is_the_same() {
    let site = Site::new(SMALL);
    let mut log = site.log();
    log.files.read_through_cache();
    for number in 0..60 {
        add(&log, &format!("/{number}"), &bytes(5000, number));
        assert_eq!(fetch(&log, &format!("/{number}")), Some(bytes(5000, number)));
    }
    log.close();
    drop(log);
    assert_eq!(fetch(&site.log(), "/59"), Some(bytes(5000, 59)));
}

#[test]
fn a_killed_process_loses_nothing_that_had_reached_the_disk() {
    let site = Site::new(SMALL);
    let log = site.log();
    for number in 0..20 {
        add(&log, &format!("/{number}"), &bytes(5000, number));
    }
    drop(log);
    for unsealed_segments in [1, 0] {
        let (log, recovery) = site.open();
        assert_eq!((recovery.entries, recovery.blocks, recovery.corrupt_records), (20, 20, 0));
        assert_eq!(recovery.unsealed_segments, unsealed_segments);
        assert!((0..20).all(|number| fetch(&log, &format!("/{number}")) == Some(bytes(5000, number))));
        assert_eq!(log.stats().bytes, site.segment_bytes());
    }
}

#[test]
fn a_new_response_replaces_the_one_with_the_same_keys_and_takes_none_of_its_blocks() {
    let site = Site::new(SMALL);
    let log = site.log();
    let old = add(&log, "/a", b"old");
    let new = add_head(&log, "/a", "new");
    assert_eq!(&*view(&log, "/a").unwrap().metadata, b"new");
    assert!(log.read_block(new, 0).unwrap().is_none() && log.read_block(old, 0).unwrap().is_none());
    assert!(matches!(append_block(&log, old, 1, b"more"), Err(AppendError::Gone)));
    assert!(matches!(update_head(&log, old, b"304", None), Err(AppendError::Gone)));
    drop(log);
    let log = site.log();
    assert_eq!(view(&log, "/a").unwrap().id, new);
    assert_eq!((log.stats().entries, log.stats().blocks), (1, 0));
}

#[test]
fn a_forgotten_entry_is_gone_and_takes_no_more_blocks() {
    let site = Site::new(SMALL);
    let log = site.log();
    let id = add(&log, "/a", b"text");
    log.forget(id);
    assert_eq!(view(&log, "/a"), None);
    assert!(log.read_block(id, 0).unwrap().is_none());
    assert!(matches!(append_block(&log, id, 1, b"more"), Err(AppendError::Gone)));
}

#[test]
fn no_entry_gets_the_number_of_an_earlier_one_even_where_nothing_of_it_is_left() {
    let site = Site::new(SMALL);
    let first = add_head(&site.log(), "/a", "");
    let second = add_head(&site.log(), "/a", "");
    assert!(second > first);
    for path in site.segments() {
        flip(&path, 40);
        fs::write(&path, &fs::read(&path).unwrap()[..5000]).unwrap();
    }
    let (log, recovery) = site.open();
    assert_eq!((recovery.discarded_segments, recovery.entries), (2, 0));
    assert!(add_head(&log, "/a", "") > second);
}

#[test]
fn what_is_over_its_bound_is_refused() {
    let site = Site::new(SMALL);
    let log = site.log();
    let (long_key, long) = (vec![b'a'; DEMAND_KEY_BYTES_MAX + 1], vec![0; DEMAND_METADATA_BYTES_MAX + 1]);
    let too_large = |key: &[u8], metadata: &[u8]| {
        let entry = NewEntry { key, secondary: b"", metadata, total_bytes: None };
        matches!(log.append_head(&entry, log.mark()), Err(AppendError::TooLarge))
    };
    assert!(too_large(&long_key, b"") && too_large(b"/a", &long));
    // Within its bound, and larger than these segments.
    assert!(too_large(b"/a", &long[1..]));
    let id = add(&log, "/a", b"text");
    assert!(matches!(
        append_block(&log, id, 1, &vec![0; DEMAND_BLOCK_BYTES_MAX + 1]),
        Err(AppendError::TooLarge)
    ));
    assert!(matches!(
        append_block(&log, id, 1, &vec![0; DEMAND_BLOCK_BYTES_MAX]),
        Err(AppendError::TooLarge)
    ));
    assert_eq!(fetch(&log, "/a").unwrap(), b"text");
    assert_eq!(log.stats().evicted_entries, 0);
}

#[test]
fn a_log_of_the_least_capacity_holds_blocks_of_the_largest_size() {
    let site = Site::new(SMALL);
    let limits = DemandLimits { capacity_bytes: DEMAND_CAPACITY_BYTES_MIN, index_bytes_max: 1 << 20 };
    let too_small = DemandLimits { capacity_bytes: DEMAND_CAPACITY_BYTES_MIN - 1, ..limits };
    assert!(DemandLog::open(&site.volume, too_small).is_err());
    let (log, _) = DemandLog::open(&site.volume, limits).unwrap();
    let id = add_head(&log, "/film", "");
    for number in 0..70 {
        append_block(&log, id, number, &bytes(DEMAND_BLOCK_BYTES_MAX, number as usize)).unwrap();
        // Who watches reads the head, too; what is read stays.
        assert!(view(&log, "/film").is_some());
        assert!(site.segment_bytes() <= limits.capacity_bytes);
    }
    let held = view(&log, "/film").unwrap().held;
    assert!(held.iter().map(|run| run.len()).sum::<usize>() >= 40, "{held:?}");
    for number in held.into_iter().flatten() {
        let block = log.read_block(id, number).unwrap().unwrap();
        assert_eq!(block.as_ref(), bytes(DEMAND_BLOCK_BYTES_MAX, number as usize));
    }
}
