use std::io;

use cache_store::{QuarantineReason, VolumeState};

use crate::support::{
    Site, adopt, id, one, open, open_path, publish, read, read_path, reconcile, wait_until,
};

fn disk_error() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())
}

#[test]
fn a_corrupt_bundle_is_out_of_service_when_the_report_returns() {
    let site = Site::new(1);
    let store = site.open();
    site.add(&store, 0, "/a", 1, &one(1));
    let reader = open_path(&store, "/a");
    let bundle = store.lookup("/a").unwrap();
    store.report_corrupt(&bundle, QuarantineReason::Data);
    store.report_corrupt(&bundle, QuarantineReason::Data);
    assert!(store.lookup("/a").is_none());
    let quarantined =
        site.volumes[0].path().join("quarantine").join(format!("{}.data", id("/a", 1).file_name()));
    wait_until("the file is in quarantine", || quarantined.exists() && !site.file(0, "/a", 1).exists());
    assert_eq!(store.counters().quarantined[QuarantineReason::Data as usize], 1);
    assert!(open(&store, &bundle).is_err());
    assert_eq!(read(&reader, "1.m4s"), one(1)[0].1);
}

#[test]
fn a_quarantined_bundle_stays_out_until_it_is_published_again() {
    let site = Site::new(1);
    let store = site.open();
    site.add(&store, 0, "/a", 1, &one(1));
    store.report_corrupt(&store.lookup("/a").unwrap(), QuarantineReason::Data);
    wait_until("the file is in quarantine", || !site.file(0, "/a", 1).exists());
    store.close();
    drop(store);
    let store = site.open();
    reconcile(&store);
    assert!(store.lookup("/a").is_none());
    publish(&site.volumes[0], "/a", 1, &one(1)).unwrap();
    adopt(&store, &site.volumes[0], id("/a", 1));
    assert_eq!(read_path(&store, "/a", "1.m4s"), one(1)[0].1);
}

#[test]
fn the_newest_sixteen_quarantined_files_are_kept() {
    let site = Site::new(1);
    let store = site.open();
    for number in 0..20 {
        site.add(&store, 0, &format!("/{number}"), 1, &one(number));
    }
    for number in 0..20 {
        let bundle = format!("/{number}");
        store.report_corrupt(&store.lookup(&bundle).unwrap(), QuarantineReason::Data);
        wait_until("the file is in quarantine", || !site.file(0, &bundle, 1).exists());
    }
    let quarantine = site.volumes[0].path().join("quarantine");
    wait_until("it is trimmed", || quarantine.read_dir().unwrap().count() == 16);
    assert!(!quarantine.join(format!("{}.data", id("/0", 1).file_name())).exists());
    assert!(quarantine.join(format!("{}.data", id("/19", 1).file_name())).exists());
    assert_eq!(store.volumes()[0].quarantined.len(), 16);
}

#[test]
fn a_volume_with_too_many_errors_is_isolated_and_the_others_do_not_notice() {
    let site = Site::new(2);
    let store = site.open();
    for number in 0..12 {
        site.add(&store, usize::from(number) % 2, &format!("/{number}"), 1, &one(number));
    }
    for number in [0, 2, 4, 6] {
        assert_eq!(store.volumes()[0].state, VolumeState::Serving);
        store.report_read_error(&store.lookup(&format!("/{number}")).unwrap(), &disk_error());
    }
    wait_until("the volume is isolated", || store.volumes()[0].state.as_str() == "failed");
    wait_until("its bundles are out of the index", || store.inventory().len() == 6);
    let status = store.volumes().remove(0);
    assert!(status.state.reason().unwrap().contains("4 read errors within a minute"), "{}", status.state);
    assert_eq!((status.read_errors, status.bundles), (4, 0));
    assert_eq!(store.counters().volumes_isolated, 1);
    for number in [1, 3, 5, 7, 9, 11] {
        assert_eq!(read_path(&store, &format!("/{number}"), "1.m4s"), one(number)[0].1);
    }
    let volume = site.volumes[0].path().to_str().unwrap();
    publish(&site.volumes[0], "/new", 1, &one(1)).unwrap();
    let refused = store.adopt(volume, &id("/new", 1).file_name()).unwrap_err();
    assert_eq!(refused.code(), "volume_failed");
}

#[test]
fn an_isolated_volume_stays_isolated_after_a_restart_until_it_is_readmitted() {
    let site = Site::new(1);
    let store = site.open();
    for number in 0..6 {
        site.add(&store, 0, &format!("/{number}"), 1, &one(number));
    }
    for number in 0..4 {
        store.report_read_error(&store.lookup(&format!("/{number}")).unwrap(), &disk_error());
    }
    wait_until("it is remembered", || site.volumes[0].isolation().unwrap().is_some());
    store.close();
    drop(store);
    let store = site.open();
    assert!(store.volumes()[0].state.reason().unwrap().contains("oca init --readmit"));
    assert!(store.inventory().is_empty());
    store.close();
    drop(store);
    assert!(site.volumes[0].readmit().unwrap());
    assert!(!site.volumes[0].readmit().unwrap());
    let store = site.open();
    assert_eq!(store.volumes()[0].state, VolumeState::Serving);
    assert_eq!(read_path(&store, "/5", "1.m4s"), one(5)[0].1);
}

#[test]
fn a_read_that_times_out_counts_and_a_lack_of_descriptors_does_not() {
    let site = Site::new(1);
    let store = site.open();
    site.add(&store, 0, "/a", 1, &one(1));
    let bundle = store.lookup("/a").unwrap();
    store.report_read_error(&bundle, &io::ErrorKind::TimedOut.into());
    for _ in 0..20 {
        let no_descriptor = rustix::io::Errno::MFILE;
        store.report_read_error(&bundle, &io::Error::from_raw_os_error(no_descriptor.raw_os_error()));
    }
    assert_eq!(store.volumes()[0].read_errors, 1);
    assert!(store.lookup("/a").is_some());
    store.report_read_error(&bundle, &io::ErrorKind::UnexpectedEof.into());
    assert!(store.lookup("/a").is_none());
    wait_until("it is counted", || store.counters().quarantined[QuarantineReason::Truncated as usize] == 1);
}

/// Found in review: a controller that reset itself had every bundle that was being read put into quarantine,
/// of which the newest sixteen were kept.
#[test]
fn a_controller_that_fails_for_a_moment_costs_no_bundle_its_file() {
    let site = Site::new(1);
    let paths: Vec<String> = (0..40).map(|number| format!("/title/{number}")).collect();
    {
        let store = site.open();
        for title in &paths {
            site.add(&store, 0, title, 1, &one(1));
        }
        let bundles: Vec<_> = paths.iter().map(|title| store.lookup(title).unwrap()).collect();
        for bundle in &bundles {
            store.report_read_error(bundle, &disk_error());
        }
        wait_until("nothing serves", || paths.iter().all(|title| store.lookup(title).is_none()));
        store.close();
    }
    site.volumes[0].readmit().unwrap();
    let store = site.open();
    wait_until("everything serves again", || paths.iter().all(|title| store.lookup(title).is_some()));
}
