use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::time::Duration;

use cache_store::inventory::{Leaving, Record, append, encode};
use cache_store::{Cause, VolumeState};
use rustix::fs::{CWD, FileType, Mode};

use crate::support::{Site, adopt, id, one, open, path, publish, read_path, reconcile, wait_until};

fn make_pipe(path: &Path) {
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

fn journal(site: &Site) -> std::path::PathBuf {
    site.volumes[0].path().join("inventory/journal")
}

#[test]
fn what_was_adopted_serves_after_a_restart_before_any_bundle_is_opened() {
    let site = Site::new(2);
    let store = site.open();
    for number in 0..20 {
        site.add(&store, usize::from(number) % 2, &format!("/{number}"), 1, &one(number));
    }
    store.close();
    drop(store);
    let store = site.open();
    assert_eq!(store.inventory().len(), 20);
    assert_eq!(store.counters().opens, 0);
    for number in 0..20 {
        assert_eq!(read_path(&store, &format!("/{number}"), "1.m4s"), one(number)[0].1);
    }
}

#[test]
fn what_was_published_and_never_adopted_is_found_in_the_directory() {
    let site = Site::new(1);
    for number in 0..5 {
        publish(&site.volumes[0], &format!("/{number}"), 1, &one(number)).unwrap();
    }
    let store = site.open();
    assert!(store.inventory().is_empty());
    let report = reconcile(&store)[0].reconciled.clone().unwrap();
    assert_eq!((report.adopted, report.errors), (5, 0));
    assert_eq!(read_path(&store, "/3", "1.m4s"), one(3)[0].1);
    store.close();
    drop(store);
    assert_eq!(site.open().inventory().len(), 5);
}

#[test]
fn missing_truncated_and_overlong_files_are_quarantined_by_name() {
    let site = Site::new(1);
    let store = site.open();
    for number in 0..4 {
        site.add(&store, 0, &format!("/{number}"), 1, &one(number));
    }
    store.close();
    drop(store);
    std::fs::remove_file(site.file(0, "/0", 1)).unwrap();
    let truncated = std::fs::OpenOptions::new().write(true).open(site.file(0, "/1", 1)).unwrap();
    truncated.set_len(4096).unwrap();
    let overlong = std::fs::OpenOptions::new().write(true).open(site.file(0, "/2", 1)).unwrap();
    overlong.set_len(1 << 20).unwrap();
    let store = site.open();
    let report = reconcile(&store)[0].reconciled.clone().unwrap();
    assert_eq!((report.missing, report.truncated, report.overlong), (1, 1, 1));
    wait_until("they are out of the index", || store.inventory().len() == 1);
    let mut reasons: Vec<_> =
        store.volumes()[0].quarantined.iter().map(|bundle| bundle.reason.as_str()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["missing", "overlong", "truncated"]);
    assert_eq!(read_path(&store, "/3", "1.m4s"), one(3)[0].1);
}

#[test]
fn a_truncated_file_is_quarantined_when_it_is_opened_before_reconciliation() {
    let site = Site::new(1);
    let store = site.open();
    site.add(&store, 0, "/a", 1, &one(1));
    let file = std::fs::OpenOptions::new().write(true).open(site.file(0, "/a", 1)).unwrap();
    file.set_len(8192).unwrap();
    let bundle = store.lookup("/a").unwrap();
    assert_eq!(open(&store, &bundle).unwrap_err().to_string(), "the bundle was quarantined: truncated");
    assert!(store.lookup("/a").is_none());
}

#[test]
fn abandoned_files_are_removed_and_those_being_written_are_not() {
    let site = Site::new(1);
    let store = site.open();
    let incoming = site.volumes[0].path().join("incoming");
    std::fs::write(incoming.join("abandoned.incoming"), b"half").unwrap();
    let mut writer = crate::support::writer(&site.volumes[0], "/a", 1, &one(1)).unwrap();
    let report = reconcile(&store)[0].reconciled.clone().unwrap();
    assert_eq!(report.abandoned, 1);
    writer.write(&one(1)[0].1).unwrap();
    writer.end_object().unwrap();
    writer.finish().unwrap();
}

#[test]
fn what_is_no_file_under_incoming_keeps_no_abandoned_file_from_being_removed() {
    let site = Site::new(1);
    let store = site.open();
    let incoming = site.volumes[0].path().join("incoming");
    std::fs::create_dir(incoming.join("directory")).unwrap();
    make_pipe(&incoming.join("pipe"));
    symlink("/etc/passwd", incoming.join("link")).unwrap();
    for number in 0..50 {
        std::fs::write(incoming.join(format!("{number}.incoming")), b"half").unwrap();
    }
    let report = reconcile(&store)[0].reconciled.clone().unwrap();
    assert_eq!((report.abandoned, report.errors), (50, 3));
    assert!(report.last_error.unwrap().contains("incoming/"));
    assert_eq!(incoming.read_dir().unwrap().count(), 3);
}

#[test]
fn a_pipe_in_the_place_of_a_bundle_is_turned_away_and_has_nobody_wait() {
    let site = Site::new(1);
    let store = site.open();
    site.add(&store, 0, "/a", 1, &one(1));
    std::fs::remove_file(site.file(0, "/a", 1)).unwrap();
    make_pipe(&site.file(0, "/a", 1));
    open(&store, &store.lookup("/a").unwrap()).unwrap_err();
    make_pipe(&site.file(0, "/b", 1));
    let volume = site.volumes[0].path().to_str().unwrap();
    store.adopt(volume, &id("/b", 1).file_name()).unwrap_err();
    assert!(store.lookup("/b").is_none());
    publish(&site.volumes[0], "/c", 1, &one(3)).unwrap();
    adopt(&store, &site.volumes[0], id("/c", 1));
    assert_eq!(read_path(&store, "/c", "1.m4s"), one(3)[0].1);
}

#[test]
fn files_that_are_no_bundles_are_reported_and_left_alone() {
    let site = Site::new(1);
    let store = site.open();
    let foreign = site.volumes[0].path().join("bundles/00/notes.txt");
    std::fs::write(&foreign, b"mine").unwrap();
    std::fs::create_dir(site.volumes[0].path().join("bundles/01").join(id("/a", 1).file_name())).unwrap();
    let report = reconcile(&store)[0].reconciled.clone().unwrap();
    assert_eq!((report.foreign, report.adopted, report.refused), (2, 0, 0));
    assert!(foreign.exists());
}

#[test]
fn a_file_under_another_bundles_name_is_refused() {
    let site = Site::new(1);
    publish(&site.volumes[0], "/a", 1, &one(1)).unwrap();
    std::fs::create_dir_all(site.file(0, "/b", 1).parent().unwrap()).unwrap();
    std::fs::rename(site.file(0, "/a", 1), site.file(0, "/b", 1)).unwrap();
    let store = site.open();
    let volumes = reconcile(&store);
    assert_eq!(volumes[0].reconciled.as_ref().unwrap().refused, 1);
    assert_eq!(volumes[0].quarantined[0].reason.as_str(), "identity");
    assert!(store.inventory().is_empty());
}

#[test]
fn a_torn_end_of_the_journal_costs_nothing() {
    let site = Site::new(1);
    let store = site.open();
    for number in 0..4 {
        site.add(&store, 0, &format!("/{number}"), 1, &one(number));
    }
    store.close();
    drop(store);
    let whole = std::fs::read(journal(&site)).unwrap();
    for torn in [whole.len() - 1, whole.len() - 30] {
        std::fs::write(journal(&site), &whole[..torn]).unwrap();
        let store = site.open();
        assert_eq!(store.counters().journals_cut, 1);
        assert_eq!(store.volumes()[0].state, VolumeState::Serving);
        assert_eq!(store.inventory().len(), 3);
        reconcile(&store);
        for number in 0..4 {
            assert_eq!(read_path(&store, &format!("/{number}"), "1.m4s"), one(number)[0].1);
        }
        store.close();
    }
}

#[test]
fn a_flipped_bit_in_the_journal_makes_the_inventory_anew_from_the_bundles() {
    let site = Site::new(1);
    let store = site.open();
    for number in 0..4 {
        site.add(&store, 0, &format!("/{number}"), 1, &one(number));
    }
    store.retire(&path("/0"), None).unwrap();
    store.close();
    drop(store);
    let whole = std::fs::read(journal(&site)).unwrap();
    for at in [0, 20, 40, 90, 150] {
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        std::fs::write(journal(&site), &flipped).unwrap();
        let store = site.open();
        assert_eq!(store.counters().journals_rebuilt, 1, "byte {at}");
        wait_until("it is made anew", || store.volumes()[0].state == VolumeState::Serving);
        assert_eq!(store.inventory().len(), 3);
        for number in 1..4 {
            assert_eq!(read_path(&store, &format!("/{number}"), "1.m4s"), one(number)[0].1);
        }
        assert_eq!(std::fs::read(journal(&site).with_file_name("journal.damaged")).unwrap(), flipped);
        store.close();
    }
}

#[test]
fn a_journal_of_another_volume_is_not_believed() {
    let site = Site::new(2);
    let store = site.open();
    site.add(&store, 0, "/a", 1, &one(1));
    store.close();
    drop(store);
    std::fs::copy(journal(&site), site.volumes[1].path().join("inventory/journal")).unwrap();
    let store = site.open();
    assert_eq!(store.counters().journals_rebuilt, 1);
    assert_eq!(store.inventory().len(), 1);
}

#[test]
fn a_damaged_journal_keeps_its_departures_until_the_new_one_has_them() {
    let site = Site::new(1);
    let published = publish(&site.volumes[0], "/purged", 1, &one(1)).unwrap();
    let volume_id = site.volumes[0].id();
    let (mut bytes, mut chain) = encode(&[Record::Adopted(published.record)], volume_id);
    chain = append(
        &mut bytes,
        chain,
        &[Record::Leaving(published.id, Leaving { cause: Cause::Purged, written: None })],
        volume_id,
    );
    let intact = bytes.len();
    for number in 0..2 {
        chain = append(&mut bytes, chain, &[Record::Gone(id("/other", number))], volume_id);
    }
    bytes[intact + 30] ^= 1;
    std::fs::write(journal(&site), &bytes).unwrap();
    // The new one cannot be written, as on a full disk; then, as after a crash, nobody has finished.
    let in_the_way = journal(&site).with_file_name("journal.new");
    std::fs::create_dir(&in_the_way).unwrap();
    let store = site.open();
    assert_eq!(store.volumes()[0].state.as_str(), "failed");
    store.close();
    drop(store);
    assert_eq!(std::fs::read(journal(&site)).unwrap(), bytes);
    std::fs::remove_dir(&in_the_way).unwrap();
    let store = site.open();
    assert_eq!(store.counters().journals_rebuilt, 1);
    wait_until("the file is gone", || !site.file(0, "/purged", 1).exists());
    wait_until("it is made anew", || store.volumes()[0].state == VolumeState::Serving);
    assert!(store.lookup("/purged").is_none());
    assert_eq!(std::fs::read(journal(&site).with_file_name("journal.damaged")).unwrap(), bytes);
}

#[test]
fn a_journal_that_cannot_be_read_is_left_as_it_is_and_its_volume_says_why_it_has_failed() {
    let site = Site::new(1);
    let store = site.open();
    site.add(&store, 0, "/a", 1, &one(1));
    store.close();
    drop(store);
    let aside = journal(&site).with_file_name("aside");
    std::fs::rename(journal(&site), &aside).unwrap();
    make_pipe(&journal(&site));
    let store = site.open();
    let state = store.volumes()[0].state.clone();
    assert!(state.to_string().contains("inventory/journal cannot be read: not a regular file"), "{state}");
    assert_eq!(store.counters().journals_rebuilt, 0);
    store.close();
    drop(store);
    std::fs::rename(&aside, journal(&site)).unwrap();
    assert_eq!(read_path(&site.open(), "/a", "1.m4s"), one(1)[0].1);
}

#[test]
fn a_rebuild_that_was_not_finished_goes_on_after_a_restart_until_every_directory_was_read() {
    let site = Site::new(1);
    let store = site.open();
    for number in 0..4 {
        site.add(&store, 0, &format!("/{number}"), 1, &one(number));
    }
    store.close();
    drop(store);
    let mut bytes = std::fs::read(journal(&site)).unwrap();
    bytes[90] ^= 4;
    std::fs::write(journal(&site), &bytes).unwrap();
    let unread = site.file(0, "/2", 1).parent().unwrap().to_owned();
    let aside = unread.with_file_name("aside");
    std::fs::rename(&unread, &aside).unwrap();
    std::fs::write(&unread, b"in its place").unwrap();
    let is_waiting =
        |state: &VolumeState| state.reason().is_some_and(|reason| reason.contains("tried again"));
    for rebuilt in ["the journal is damaged", "an earlier recovery was not finished"] {
        let store = site.open();
        assert_eq!(store.counters().journals_rebuilt, 1, "{rebuilt}");
        wait_until("the rest was read", || is_waiting(&store.volumes()[0].state));
        assert_eq!(store.inventory().len(), 3);
        store.close();
    }
    let store = site.open();
    wait_until("the rest was read", || is_waiting(&store.volumes()[0].state));
    std::fs::remove_file(&unread).unwrap();
    std::fs::rename(&aside, &unread).unwrap();
    wait_until("all was read", || store.volumes()[0].state == VolumeState::Serving);
    assert_eq!(read_path(&store, "/2", "1.m4s"), one(2)[0].1);
    store.close();
    drop(store);
    let store = site.open();
    assert_eq!((store.counters().journals_rebuilt, store.inventory().len()), (0, 4));
}

#[test]
fn a_departure_that_a_crash_cut_short_is_finished_at_the_next_start() {
    let site = Site::new(1);
    let store = site.open();
    site.add(&store, 0, "/a", 1, &one(1));
    let kept = site.path().join("kept");
    std::fs::hard_link(site.file(0, "/a", 1), &kept).unwrap();
    let adopted = std::fs::metadata(journal(&site)).unwrap().len();
    store.retire(&path("/a"), None).unwrap();
    store.close();
    drop(store);
    // As after a crash between the first record of the departure and the unlinking.
    std::fs::rename(kept, site.file(0, "/a", 1)).unwrap();
    let leaving = adopted + 20 + 2 + 34;
    let file = std::fs::OpenOptions::new().write(true).open(journal(&site)).unwrap();
    file.set_len(leaving).unwrap();
    let store = site.open();
    assert!(store.lookup("/a").is_none());
    wait_until("the file is gone", || !site.file(0, "/a", 1).exists());
    reconcile(&store);
    assert!(store.lookup("/a").is_none());
}

/// Found in review: after a crash between the unlinking and its record, the next start removed whatever had the name.
#[test]
fn what_was_published_again_after_a_crash_is_not_taken_for_the_file_that_left() {
    let site = Site::new(1);
    let volume = &site.volumes[0];
    let published = publish(volume, "/a", 1, &one(1)).unwrap();
    let metadata = std::fs::metadata(site.file(0, "/a", 1)).unwrap();
    let written = Some(metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec());
    let leaving = Record::Leaving(published.id, Leaving { cause: Cause::Purged, written });
    let (bytes, _) = encode(&[Record::Adopted(published.record), leaving], volume.id());
    std::fs::write(journal(&site), bytes).unwrap();
    std::fs::remove_file(site.file(0, "/a", 1)).unwrap();
    publish(volume, "/a", 1, &one(2)).unwrap();
    for _ in 0..2 {
        let store = site.open();
        reconcile(&store);
        assert_eq!(read_path(&store, "/a", "1.m4s"), one(2)[0].1);
        store.close();
    }
}

#[test]
fn of_two_generations_in_the_journal_only_the_higher_serves() {
    let site = Site::new(2);
    for (volume, generation) in [(0, 1), (1, 2)] {
        publish(&site.volumes[volume], "/a", generation, &one(generation as u8)).unwrap();
        let alone = cache_store::StoreOptions {
            volumes: vec![site.options().volumes[volume].clone()],
            ..site.options()
        };
        let store = cache_store::Store::open(alone).unwrap();
        reconcile(&store);
        store.close();
    }
    let store = site.open();
    assert_eq!(read_path(&store, "/a", "1.m4s"), one(2)[0].1);
    wait_until("the lower one is unlinked", || !site.file(0, "/a", 1).exists());
}

#[test]
fn the_journal_is_compacted_before_garbage_outgrows_what_lives() {
    let site = Site::new(1);
    let store = site.open();
    site.add(&store, 0, "/kept", 1, &one(1));
    let small = [("1", vec![1])];
    let long_path = format!("/{}", "again".repeat(200));
    for round in 0..80 {
        site.add(&store, 0, &long_path, round, &small);
    }
    wait_until("it is compacted", || store.counters().journal_compactions > 0);
    store.close();
    drop(store);
    assert!(std::fs::metadata(journal(&site)).unwrap().len() < 80 << 10);
    let store = site.open();
    assert_eq!(store.inventory().len(), 2);
    assert_eq!(read_path(&store, "/kept", "1.m4s"), one(1)[0].1);
}

#[test]
fn a_volume_that_an_import_holds_for_a_moment_serves_when_it_is_free() {
    let site = Site::new(1);
    let lock = site.volumes[0].lock().unwrap();
    let import = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        drop(lock);
    });
    let store = site.open();
    wait_until("it serves", || store.volumes()[0].state == VolumeState::Serving);
    import.join().unwrap();
}

#[test]
fn a_volume_in_use_is_not_opened_a_second_time() {
    let site = Site::new(1);
    let _store = site.open();
    let second = site.open();
    wait_until("it has given up", || second.volumes()[0].state.as_str() == "failed");
    let state = second.volumes()[0].state.clone();
    for text in ["another process uses the volume", "store.volumes names it twice"] {
        assert!(state.to_string().contains(text), "{state}");
    }
}

#[test]
fn a_directory_without_a_marker_is_no_volume_and_the_others_serve() {
    let site = Site::new(2);
    let store = site.open();
    site.add(&store, 1, "/a", 1, &one(1));
    store.close();
    drop(store);
    std::fs::remove_file(site.volumes[0].path().join("oca-volume.json")).unwrap();
    let store = site.open();
    assert!(store.volumes()[0].state.to_string().contains("not a volume"));
    assert_eq!(read_path(&store, "/a", "1.m4s"), one(1)[0].1);
}

#[test]
fn a_volume_that_has_to_be_a_mounted_disk_and_is_not_is_refused() {
    let site = Site::new(1);
    let mut options = site.options();
    options.volumes[0].mount_required = true;
    let store = cache_store::Store::open(options).unwrap();
    assert!(store.volumes()[0].state.to_string().contains("no disk is mounted there"));
}

#[test]
fn bytes_that_change_in_a_footer_or_trailer_are_found_before_anything_is_served() {
    let site = Site::new(1);
    let store = site.open();
    for (number, back) in [(0_u8, 10), (1, 4000)] {
        let bundle = format!("/{number}");
        site.add(&store, 0, &bundle, 1, &one(number));
        let name = site.file(0, &bundle, 1);
        let file = std::fs::OpenOptions::new().read(true).write(true).open(&name).unwrap();
        let at = file.metadata().unwrap().len() - back;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        file.sync_all().unwrap();
        let bundle = store.lookup(&bundle).unwrap();
        let reason = open(&store, &bundle).unwrap_err().to_string();
        assert_eq!(
            reason,
            format!("the bundle was quarantined: {}", ["trailer", "footer"][usize::from(number)])
        );
    }
}
