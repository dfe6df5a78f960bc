use cache_store::{AdoptionOutcome, PublishError};

use crate::support::{Site, adopt, bytes, id, one, publish, read_path, writer};

#[test]
fn a_published_bundle_serves_once_it_is_adopted() {
    let site = Site::new(1);
    let store = site.open();
    let objects = [("b.m4s", bytes(1, 70_000)), ("a.m4s", bytes(2, 1)), ("c.vtt", Vec::new())];
    let published = publish(&site.volumes[0], "/titles/a/1080p", 7, &objects).unwrap();
    assert!(store.lookup("/titles/a/1080p").is_none());
    assert_eq!(adopt(&store, &site.volumes[0], published.id), AdoptionOutcome::Adopted);
    assert_eq!(adopt(&store, &site.volumes[0], published.id), AdoptionOutcome::AlreadyAdopted);
    for (name, bytes) in &objects {
        assert_eq!(&read_path(&store, "/titles/a/1080p", name), bytes);
    }
    let bundle = store.lookup("/titles/a/1080p").unwrap();
    assert_eq!(bundle.record().object_count, 3);
    assert_eq!(bundle.record().object_bytes, 70_001);
    assert_eq!(bundle.record().file_bytes, site.file(0, "/titles/a/1080p", 7).metadata().unwrap().len());
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing_behind() {
    let site = Site::new(1);
    let mut writer = writer(&site.volumes[0], "/a", 1, &one(1)).unwrap();
    writer.write(&[0; 1000]).unwrap();
    let incoming = site.volumes[0].path().join("incoming");
    assert_eq!(incoming.read_dir().unwrap().count(), 1);
    drop(writer);
    assert_eq!(incoming.read_dir().unwrap().count(), 0);
}

#[test]
fn an_object_of_another_length_than_announced_is_refused() {
    let site = Site::new(1);
    let mut short = writer(&site.volumes[0], "/a", 1, &[("1", vec![0; 10])]).unwrap();
    short.write(&[0; 9]).unwrap();
    assert!(matches!(short.end_object(), Err(PublishError::Length { .. })));
    let mut long = writer(&site.volumes[0], "/a", 1, &[("1", vec![0; 10])]).unwrap();
    assert!(matches!(long.write(&[0; 11]), Err(PublishError::Length { .. })));
    let unfinished = writer(&site.volumes[0], "/a", 1, &[("1", vec![0; 10])]).unwrap();
    assert!(matches!(unfinished.finish(), Err(PublishError::Length { .. })));
}

#[test]
fn an_object_with_another_digest_than_announced_is_refused() {
    let site = Site::new(1);
    let mut planned = crate::support::planned("1", 3);
    planned.sha256 = Some(control_client::content::Sha256::new([9; 32]));
    let key = control_client::content::BundleKey {
        path: crate::support::path("/a"),
        generation: control_client::content::Generation::new(1),
    };
    let zeroes = control_client::content::Sha256::new([0; 32]);
    let mut writer = cache_store::BundleWriter::create(&site.volumes[0], key, zeroes, vec![planned]).unwrap();
    writer.write(b"abc").unwrap();
    assert!(matches!(writer.end_object(), Err(PublishError::Digest { .. })));
}

#[test]
fn a_bundle_that_is_published_already_is_not_replaced() {
    let site = Site::new(1);
    publish(&site.volumes[0], "/a", 1, &one(1)).unwrap();
    let before = std::fs::read(site.file(0, "/a", 1)).unwrap();
    assert!(matches!(publish(&site.volumes[0], "/a", 1, &one(2)), Err(PublishError::Exists(_))));
    assert_eq!(std::fs::read(site.file(0, "/a", 1)).unwrap(), before);
    assert_eq!(site.volumes[0].path().join("incoming").read_dir().unwrap().count(), 0);
}

#[test]
fn on_a_full_disk_a_writer_first_removes_what_dead_writers_have_left() {
    let site = Site::new(1);
    let incoming = site.volumes[0].path().join("incoming");
    std::fs::write(incoming.join("abandoned.incoming"), b"half").unwrap();
    let _alive = writer(&site.volumes[0], "/alive", 1, &one(1)).unwrap();
    assert_eq!(incoming.read_dir().unwrap().count(), 2);
    let key = control_client::content::BundleKey {
        path: crate::support::path("/a"),
        generation: control_client::content::Generation::new(1),
    };
    let zeroes = control_client::content::Sha256::new([0; 32]);
    let huge = vec![crate::support::planned("1", 200 << 30)];
    let result = cache_store::BundleWriter::create(&site.volumes[0], key, zeroes, huge);
    assert!(matches!(result, Err(PublishError::Full { file_bytes }) if file_bytes > 200 << 30));
    assert_eq!(incoming.read_dir().unwrap().count(), 1);
}

#[test]
fn two_objects_of_one_name_and_a_bundle_without_objects_are_refused() {
    let site = Site::new(1);
    let twice = [("1", vec![1]), ("1", vec![2])];
    assert!(matches!(writer(&site.volumes[0], "/a", 1, &twice), Err(PublishError::Contents(_))));
    assert!(matches!(writer(&site.volumes[0], "/a", 1, &[]), Err(PublishError::Contents(_))));
}

#[test]
fn a_bundle_larger_than_the_disk_is_refused_before_a_byte_is_written() {
    let site = Site::new(1);
    let huge = crate::support::planned("1", 200 << 30);
    let space = site.volumes[0].space().unwrap();
    assert!(space.free_bytes < 200 << 30, "this test needs a disk with less than 200 GiB free");
    let key = control_client::content::BundleKey {
        path: crate::support::path("/a"),
        generation: control_client::content::Generation::new(1),
    };
    let zeroes = control_client::content::Sha256::new([0; 32]);
    let result = cache_store::BundleWriter::create(&site.volumes[0], key, zeroes, vec![huge]);
    assert!(matches!(result, Err(PublishError::Full { file_bytes }) if file_bytes > 200 << 30));
    assert_eq!(site.volumes[0].path().join("incoming").read_dir().unwrap().count(), 0);
}

#[test]
fn what_is_adopted_is_named_by_its_file_and_nothing_else() {
    let site = Site::new(1);
    let store = site.open();
    let volume = site.volumes[0].path().to_str().unwrap();
    let code = |volume: &str, file: &str| store.adopt(volume, file).unwrap_err().code();
    assert_eq!(code(volume, "../../../etc/passwd"), "not_a_file_name");
    assert_eq!(code(volume, &id("/a", 1).file_name()), "no_such_file");
    assert_eq!(code("/nowhere", &id("/a", 1).file_name()), "no_such_volume");
    publish(&site.volumes[0], "/a", 1, &one(1)).unwrap();
    let by_identity = site.volumes[0].id().to_string();
    let with_directory = format!("{}/{}", id("/a", 1).directory_name(), id("/a", 1).file_name());
    assert_eq!(store.adopt(&by_identity, &with_directory).unwrap().outcome, AdoptionOutcome::Adopted);
}
