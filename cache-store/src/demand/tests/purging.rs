use std::fs;

use rustix::io::Errno;

use super::*;
use crate::demand::Selector;
use crate::demand::files::faults;
use crate::limits::DEMAND_PURGES_BYTES_MAX;

/// What a restart finds after a kill.
fn after_a_kill(site: &Site, log: DemandLog) -> DemandLog {
    drop(log);
    site.log()
}

#[test]
fn what_was_purged_is_gone_at_once_and_stays_gone() {
    let site = Site::new(SMALL);
    let mut log = site.log();
    for key in ["/a/1", "/a/2", "/ab", "/b"] {
        add(&log, key, b"text");
    }
    assert_eq!(log.purge(Selector::Prefix(b"/a/")).unwrap(), 2);
    assert_eq!(log.purge(Selector::Exact(b"/b")).unwrap(), 1);
    assert_eq!(log.purge(Selector::Exact(b"/b")).unwrap(), 0);
    for _ in 0..3 {
        for key in ["/a/1", "/a/2", "/b"] {
            assert_eq!(view(&log, key), None, "{key}");
        }
        assert!(fetch(&log, "/ab").is_some());
        log = after_a_kill(&site, log);
    }
}

#[test]
fn what_is_stored_after_a_purge_is_not_purged() {
    let site = Site::new(SMALL);
    let log = site.log();
    add(&log, "/a", b"old");
    log.purge(Selector::Prefix(b"")).unwrap();
    add(&log, "/a", b"new");
    assert_eq!(fetch(&after_a_kill(&site, log), "/a").unwrap(), b"new");
}

#[test]
fn an_answer_that_was_asked_for_before_a_purge_is_not_stored_after_it() {
    let site = Site::new(SMALL);
    let log = site.log();
    let asked = log.mark();
    let id = add(&log, "/a", b"text");
    log.purge(Selector::Exact(b"/a")).unwrap();
    let late = |key| {
        let entry = NewEntry { key, secondary: b"", metadata: b"", total_bytes: None };
        log.append_head(&entry, asked)
    };
    assert!(matches!(late(b"/a"), Err(AppendError::Gone)));
    assert!(late(b"/b").is_ok());
    assert!(matches!(append_block(&log, id, 1, b"more"), Err(AppendError::Gone)));
    assert!(matches!(update_head(&log, id, b"304", None), Err(AppendError::Gone)));
    let log = after_a_kill(&site, log);
    assert!(view(&log, "/a").is_none() && view(&log, "/b").is_some());
}

/// Found in review: the entry in which other parts of the object are was begun after the purge, and took what had been asked for before.
#[test]
fn an_entry_that_was_begun_after_a_purge_takes_nothing_that_was_asked_for_before() {
    let site = Site::new(SMALL);
    let log = site.log();
    let asked = log.mark();
    log.purge(Selector::Prefix(b"/a")).unwrap();
    let id = add(&log, "/a", b"text");
    let other = add(&log, "/b", b"text");
    assert!(matches!(log.append_block(id, 1, b"old", asked), Err(AppendError::Gone)));
    assert!(matches!(log.update_head(id, b"old", None, asked), Err(AppendError::Gone)));
    assert!(log.append_block(other, 1, b"more", asked).is_ok());
    assert!(log.update_head(other, b"304", None, asked).is_ok());
    let log = after_a_kill(&site, log);
    assert_eq!((held(&log, "/a"), held(&log, "/b")), (vec![0], vec![0, 1]));
    assert_eq!(&*view(&log, "/a").unwrap().metadata, b"/a");
}

#[test]
fn a_purge_holds_however_often_the_log_turns_and_its_own_record_leaves() {
    let site = Site::new(SMALL);
    let log = site.log();
    add(&log, "/hot", &bytes(5000, 0));
    for number in 0..100 {
        fetch(&log, "/hot");
        add(&log, &format!("/{number}"), &bytes(5000, number));
        log.purge(Selector::Exact(format!("/{number}").as_bytes())).unwrap();
    }
    assert_eq!(log.purge(Selector::Exact(b"/hot")).unwrap(), 1);
    for number in 0..100 {
        add(&log, &format!("/new/{number}"), &bytes(5000, number));
    }
    let log = after_a_kill(&site, log);
    assert!((0..100).all(|number| view(&log, &format!("/{number}")).is_none()));
    assert!(view(&log, "/hot").is_none() && fetch(&log, "/new/99").is_some());
}

#[test]
fn the_list_of_purges_does_not_grow_for_ever() {
    let site = Site::new(SMALL);
    let log = site.log();
    for number in 0..3000 {
        log.purge(Selector::Exact(format!("/{}", number % 7).as_bytes())).unwrap();
    }
    assert!(fs::metadata(site.purges()).unwrap().len() < 70 << 10);
    assert!(log.stats().index_bytes < 1000);
}

#[test]
fn a_damaged_or_missing_list_of_purges_drops_everything_for_good() {
    for damage in 0..4 {
        let site = Site::new(SMALL);
        let log = site.log();
        add(&log, "/a", b"text");
        log.purge(Selector::Exact(b"/a")).unwrap();
        add(&log, "/b", b"text");
        drop(log);
        let kept: Vec<_> = site.segments().into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect();
        let purges = fs::read(site.purges()).unwrap();
        match damage {
            0 => fs::remove_file(site.purges()).unwrap(),
            // Cut where a record ends: that there was one more is known from what was stored after it.
            1 => fs::write(site.purges(), &purges[..56]).unwrap(),
            2 => fs::write(site.purges(), b"").unwrap(),
            _ => flip(&site.purges(), purges.len() - 1),
        }
        let (log, recovery) = site.open();
        assert!(recovery.purges_lost && recovery.entries == 0, "{recovery:?}");
        add(&log, "/c", b"text");
        drop(log);
        // As if the removal had not reached the disk.
        for (bytes, path) in kept {
            fs::write(path, bytes).unwrap();
        }
        let (log, recovery) = site.open();
        assert!(!recovery.purges_lost && recovery.discarded_segments == 1, "{recovery:?}");
        assert!(view(&log, "/a").is_none() && view(&log, "/b").is_none() && view(&log, "/c").is_some());
    }
}

/// Found in review: the process had been killed while it wrote a purge, and all that the volume held was dropped.
#[test]
fn a_purge_that_was_never_acknowledged_is_cut_off_and_drops_nothing() {
    let site = Site::new(SMALL);
    let log = site.log();
    add(&log, "/a", b"text");
    add(&log, "/b", b"text");
    log.purge(Selector::Exact(b"/a")).unwrap();
    let acknowledged = fs::read(site.purges()).unwrap();
    log.purge(Selector::Exact(b"/b")).unwrap();
    drop(log);
    let whole = fs::read(site.purges()).unwrap();
    for length in acknowledged.len() + 1..whole.len() {
        fs::write(site.purges(), &whole[..length]).unwrap();
        let (log, recovery) = site.open();
        assert!(!recovery.purges_lost, "{length} bytes");
        assert!(view(&log, "/a").is_none() && view(&log, "/b").is_some());
        log.purge(Selector::Exact(b"/c")).unwrap();
        drop(log);
        assert!(view(&site.log(), "/b").is_some(), "{length} bytes");
    }
}

/// Found in review: the length of the file had reached the disk, the bytes of the last purge had not.
#[test]
fn zeroes_at_the_end_of_the_list_of_purges_are_cut_off_and_drop_nothing() {
    let site = Site::new(SMALL);
    let log = site.log();
    add(&log, "/a", b"text");
    add(&log, "/b", b"text");
    log.purge(Selector::Exact(b"/a")).unwrap();
    drop(log);
    let acknowledged = fs::read(site.purges()).unwrap();
    fs::write(site.purges(), [&acknowledged[..], &[0; 500]].concat()).unwrap();
    let (log, recovery) = site.open();
    assert!(!recovery.purges_lost);
    assert!(view(&log, "/a").is_none() && view(&log, "/b").is_some());
    log.purge(Selector::Exact(b"/c")).unwrap();
    drop(log);
    let (log, recovery) = site.open();
    assert!(!recovery.purges_lost && view(&log, "/b").is_some());
}

#[test]
fn a_list_of_purges_that_cannot_be_read_drops_everything_and_the_log_goes_on() {
    for is_too_long in [false, true] {
        let site = Site::new(SMALL);
        let log = site.log();
        add(&log, "/a", b"text");
        drop(log);
        if is_too_long {
            let file = fs::File::options().write(true).open(site.purges()).unwrap();
            file.set_len(DEMAND_PURGES_BYTES_MAX + 1).unwrap();
        } else {
            faults::refuse_reading_purges(Some(Errno::IO));
        }
        let (log, recovery) = site.open();
        faults::refuse_reading_purges(None);
        assert!(recovery.purges_lost && recovery.entries == 0, "{recovery:?}");
        assert_eq!(log.stats().purges_lost, 1);
        add(&log, "/b", b"text");
        let log = after_a_kill(&site, log);
        assert!(view(&log, "/a").is_none() && view(&log, "/b").is_some());
        assert_eq!(log.stats().purges_lost, 0);
    }
}
