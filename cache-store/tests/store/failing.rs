use std::io;

use cache_store::{QuarantineReason, VolumeState};

use crate::support::{
    Site, adopt, id, one, open, open_path, publish, read, read_path, reconcile, set_version, wait_until,
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
    publish(&site.volumes[0], "/new", 1, &one(1)).unwrap();
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

/// Found in review: four directories named as bundles isolated a healthy volume.
#[test]
fn what_a_client_gets_wrong_isolates_no_volume() {
    let site = Site::new(1);
    let store = site.open();
    site.add(&store, 0, "/good", 1, &one(1));
    for number in 0..8 {
        let id = id(&format!("/{number}"), 1);
        std::fs::create_dir(site.volumes[0].path().join(id.file_path())).unwrap();
        let volume = site.volumes[0].path().to_str().unwrap();
        assert_eq!(store.adopt(volume, &id.file_name()).unwrap_err().code(), "io");
    }
    assert_eq!((store.volumes()[0].read_errors, store.volumes()[0].state.clone()), (0, VolumeState::Serving));
    assert_eq!(read_path(&store, "/good", "1.m4s"), one(1)[0].1);
}

/// Found in review: a directory in quarantine/ had every further quarantine fail, and the volume isolated.
#[test]
fn what_others_put_into_quarantine_is_left_alone_and_costs_nothing() {
    let site = Site::new(1);
    let store = site.open();
    let quarantine = site.volumes[0].path().join("quarantine");
    for name in ["00-looked-at".to_owned(), format!("{}.data", id("/other", 1).file_name())] {
        std::fs::create_dir(quarantine.join(name)).unwrap();
    }
    std::fs::write(quarantine.join("notes.txt"), b"mine").unwrap();
    for number in 0..20 {
        let bundle = format!("/{number}");
        site.add(&store, 0, &bundle, 1, &one(number));
        store.report_corrupt(&store.lookup(&bundle).unwrap(), QuarantineReason::Data);
        wait_until("the file is in quarantine", || !site.file(0, &bundle, 1).exists());
    }
    wait_until("it is trimmed", || quarantine.read_dir().unwrap().count() == 16 + 3);
    assert_eq!((store.volumes()[0].read_errors, store.volumes()[0].state.clone()), (0, VolumeState::Serving));
}

/// Found in review: the release that an upgrade was rolled back to quarantined, and so deleted, what the newer one
/// had written.
#[test]
fn a_bundle_of_another_version_of_the_format_stays_where_it_is_for_the_release_that_knows_it() {
    let site = Site::new(1);
    let store = site.open();
    site.add(&store, 0, "/adopted", 1, &one(1));
    publish(&site.volumes[0], "/found", 1, &one(2)).unwrap();
    publish(&site.volumes[0], "/asked", 1, &one(3)).unwrap();
    let files = ["/adopted", "/found", "/asked"].map(|bundle| site.file(0, bundle, 1));
    files.iter().for_each(|file| set_version(file, 2));
    let bundle = store.lookup("/adopted").unwrap();
    assert_eq!(open(&store, &bundle).unwrap_err().to_string(), "the bundle was quarantined: version");
    let volume = site.volumes[0].path().to_str().unwrap();
    let refused = store.adopt(volume, &id("/asked", 1).file_name()).unwrap_err();
    assert_eq!(refused.code(), "refused");
    assert!(refused.to_string().contains("left where it is"), "{refused}");
    reconcile(&store);
    assert!(store.volumes()[0].quarantined.iter().all(|left| left.reason == QuarantineReason::Version));
    assert!(store.lookup("/adopted").is_none() && store.lookup("/found").is_none());
    store.close();
    drop(store);
    assert!(files.iter().all(|file| file.exists()));
    assert_eq!(site.volumes[0].path().join("quarantine").read_dir().unwrap().count(), 0);
    files.iter().for_each(|file| set_version(file, 1));
    let store = site.open();
    reconcile(&store);
    for (seed, bundle) in [(1, "/adopted"), (2, "/found"), (3, "/asked")] {
        assert_eq!(read_path(&store, bundle, "1.m4s"), one(seed)[0].1);
    }
}
