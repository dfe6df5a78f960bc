//! A process that is short of descriptors or memory: nothing is lost for it, and no disk is blamed.

use rustix::io::Errno;

use super::*;
use crate::demand::files::faults;

#[test]
fn what_cannot_be_read_for_want_of_descriptors_is_held_afterwards() {
    let site = Site::new(SMALL);
    let log = site.log();
    let id = add(&log, "/a", &bytes(5000, 1));
    for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
        faults::refuse_opening(Some(errno));
        assert!(log.read_block(id, 0).is_err() && log.entries(b"/a").is_err());
        faults::refuse_opening(None);
        assert!(fetch(&log, "/a") == Some(bytes(5000, 1)), "{errno}");
    }
    assert_eq!((log.stats().read_failures, log.stats().corrupt), (0, 0));
    // The disk's own errors are believed.
    faults::refuse_opening(Some(Errno::IO));
    assert!(log.read_block(id, 0).is_err());
    faults::refuse_opening(None);
    assert_eq!((fetch(&log, "/a"), log.stats().read_failures), (None, 1));
}

#[test]
fn a_log_that_cannot_be_opened_for_want_of_descriptors_is_whole_when_it_can() {
    let site = Site::new(SMALL);
    let log = site.log();
    for number in 0..20 {
        add(&log, &format!("/{number}"), &bytes(5000, number));
    }
    drop(log);
    faults::refuse_opening(Some(Errno::MFILE));
    assert!(DemandLog::open_shaped(&site.volume, site.shape).is_err());
    // From the first file on, the second, …
    for opened in 0..6 {
        faults::refuse_opening_after(opened, Errno::NOMEM);
        assert!(DemandLog::open_shaped(&site.volume, site.shape).is_err(), "{opened}");
    }
    faults::refuse_opening(None);
    let (log, recovery) = site.open();
    assert_eq!((recovery.entries, recovery.discarded_segments, recovery.purges_lost), (20, 0, false));
    assert!((0..20).all(|number| fetch(&log, &format!("/{number}")) == Some(bytes(5000, number))));
}

#[test]
fn appends_that_fail_for_want_of_descriptors_drive_nothing_out() {
    let site = Site::new(SMALL);
    let log = site.log();
    let mut number = 0;
    let mut add_next = || {
        number += 1;
        let (key, block) = (format!("/{number}"), bytes(5000, number));
        let entry = NewEntry { key: key.as_bytes(), secondary: b"", metadata: b"", total_bytes: None };
        log.append_head(&entry, log.mark()).and_then(|id| append_block(&log, id, 0, &block)).is_ok()
    };
    // All of it is hot, and the oldest segment on its way out.
    while log.stats().rewritten == 0 {
        assert!(add_next());
        for key in 1..100 {
            fetch(&log, &format!("/{key}"));
        }
    }
    let before = log.stats();
    faults::refuse_opening(Some(Errno::MFILE));
    // Until the segment that takes appends is full, and on.
    let stored = (0..100).filter(|_| add_next()).count();
    faults::refuse_opening(None);
    let after = log.stats();
    assert!(stored < 50);
    assert_eq!(
        (after.evicted_entries, after.evicted_blocks),
        (before.evicted_entries, before.evicted_blocks)
    );
    assert_eq!((after.write_failures, after.read_failures), (0, 0));
    // And then they go on.
    assert!(add_next());
}
