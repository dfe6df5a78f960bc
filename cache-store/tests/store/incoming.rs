use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cache_store::{
    AdoptionOutcome, BundleWriter, CHUNK_BYTES, ChunkChecksums, IncomingBundle, Isolation, Layout, Opened,
    PlannedObject, PublishError, PublishedBundle, Store, Volume, partial_bundles, remove_partial,
};
use control_client::content::{BundleKey, Generation, Sha256};
use proptest::prelude::*;

use crate::support::{Site, adopt, bytes, id, one, path, planned, publish, read_path, reconcile};

const DESCRIPTOR: Sha256 = Sha256::new([7; 32]);
const FOUR_DAYS: Duration = Duration::from_secs(4 * 24 * 3600);

type Objects = Vec<(String, Vec<u8>)>;

fn sha256(bytes: &[u8]) -> Sha256 {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    Sha256::new(*digest.as_ref().first_chunk().unwrap())
}

fn key(bundle: &str) -> BundleKey {
    BundleKey { path: path(bundle), generation: Generation::new(1) }
}

fn objects() -> Objects {
    let lengths = [70_000, 0, 1, 4096, 200_001, 65_536, 12];
    let object = |(number, length)| (format!("{number}.m4s"), bytes(number as u8, length));
    lengths.into_iter().enumerate().map(object).collect()
}

fn plan(objects: &Objects) -> Vec<PlannedObject> {
    let object = |(name, bytes): &(String, Vec<u8>)| PlannedObject {
        sha256: Some(sha256(bytes)),
        ..planned(name, bytes.len() as u64)
    };
    objects.iter().map(object).collect()
}

fn layout(bundle: &str, objects: &Objects) -> Layout {
    Layout::new(key(bundle), DESCRIPTOR, plan(objects)).unwrap()
}

/// Zeroes at an aligned address, as the file may be open for direct access.
struct Aligned(Vec<u8>);

impl Aligned {
    fn new(length: usize) -> Self {
        Self(vec![0; length + 4096])
    }

    fn bytes(&mut self) -> &mut [u8] {
        let skip = self.0.as_ptr().align_offset(4096);
        let length = self.0.len() - 4096;
        &mut self.0[skip..][..length]
    }
}

fn write(incoming: &IncomingBundle, objects: &Objects, index: usize) {
    let bytes = &objects[index].1;
    let mut block = Aligned::new(bytes.len().next_multiple_of(4096));
    block.bytes()[..bytes.len()].copy_from_slice(bytes);
    let mut offset = incoming.layout().range(index).start;
    let mut left: &[u8] = block.bytes();
    while !left.is_empty() {
        let written = rustix::io::pwrite(incoming.file(), left, offset).unwrap();
        left = &left[written..];
        offset += written as u64;
    }
}

fn read_data(incoming: &IncomingBundle) -> Vec<u8> {
    let mut block = Aligned::new(incoming.layout().data_bytes() as usize);
    let mut filled = 0;
    while filled < block.bytes().len() {
        let read = rustix::io::pread(incoming.file(), &mut block.bytes()[filled..], filled as u64).unwrap();
        assert!(read > 0, "the file is as long as it will be");
        filled += read;
    }
    block.bytes().to_vec()
}

fn digests(incoming: &IncomingBundle, data: &[u8]) -> Vec<Sha256> {
    let layout = incoming.layout();
    let ranges = (0..layout.objects().len()).map(|index| layout.range(index));
    ranges.map(|range| sha256(&data[range.start as usize..range.end as usize])).collect()
}

fn checksums(data: &[u8]) -> Vec<u32> {
    let mut checksums = ChunkChecksums::new();
    checksums.update(data);
    checksums.finish()
}

/// Reads everything back, and publishes it.
fn finish(incoming: IncomingBundle) -> Result<PublishedBundle, PublishError> {
    incoming.sync()?;
    let data = read_data(&incoming);
    let digests = digests(&incoming, &data);
    incoming.publish(digests, checksums(&data))
}

fn write_all(incoming: &IncomingBundle, objects: &Objects) {
    (0..objects.len()).for_each(|index| write(incoming, objects, index));
}

fn open(site: &Site, bundle: &str, objects: &Objects) -> (IncomingBundle, Opened) {
    IncomingBundle::open(&site.volumes[0], layout(bundle, objects)).unwrap()
}

fn refusal(site: &Site, layout: Layout) -> PublishError {
    IncomingBundle::open(&site.volumes[0], layout).unwrap_err()
}

fn incoming_names(volume: &Volume) -> Vec<String> {
    let entries = fs::read_dir(volume.path().join("incoming")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The only file under `incoming/`.
fn only_file(volume: &Volume) -> PathBuf {
    let names = incoming_names(volume);
    assert_eq!(names.len(), 1, "{names:?}");
    volume.path().join("incoming").join(&names[0])
}

fn make_old(file: &std::path::Path) {
    let opened = File::options().write(true).open(file).unwrap();
    opened.set_modified(SystemTime::now() - FOUR_DAYS).unwrap();
}

/// The same bundle as a writer makes it in one go.
fn written_in_one_go(volume: &Arc<Volume>, bundle: &str, objects: &Objects) -> Vec<u8> {
    let mut writer = BundleWriter::create(volume, key(bundle), DESCRIPTOR, plan(objects)).unwrap();
    for (_, bytes) in objects {
        writer.write(bytes).unwrap();
        writer.end_object().unwrap();
    }
    let published = writer.finish().unwrap();
    fs::read(volume.path().join(published.id.file_path())).unwrap()
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize),
    /// A part of an object, or something else in its place: a write that a kill cut short.
    Tear(usize),
    Sync,
    /// The process is killed, and starts again.
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..7_usize).prop_map(Step::Write),
        1 => (0..7_usize).prop_map(Step::Tear),
        1 => Just(Step::Sync),
        2 => Just(Step::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_order_and_wherever_it_is_killed_the_same_bytes_are_published(
        steps in prop::collection::vec(step(), 0..30),
        is_killed_after_publishing_began in any::<bool>(),
    ) {
        let site = Site::new(2);
        let objects = objects();
        let expected = written_in_one_go(&site.volumes[1], "/a", &objects);
        let (mut incoming, opened) = open(&site, "/a", &objects);
        prop_assert_eq!(opened, Opened::New);
        for step in steps {
            match step {
                Step::Write(index) => write(&incoming, &objects, index),
                Step::Tear(index) => {
                    let torn = objects.iter().map(|(name, bytes)| (name.clone(), bytes.iter().map(|byte| !byte).collect()));
                    write(&incoming, &torn.collect(), index);
                }
                Step::Sync => incoming.sync().unwrap(),
                Step::Kill => {
                    drop(incoming);
                    let (again, opened) = open(&site, "/a", &objects);
                    prop_assert_eq!(opened, Opened::Resumed);
                    incoming = again;
                }
            }
        }
        // What is whole is found by hashing it; what is not is written again.
        let found = digests(&incoming, &read_data(&incoming));
        for (index, (_, bytes)) in objects.iter().enumerate() {
            if found[index] != sha256(bytes) {
                write(&incoming, &objects, index);
            }
        }
        if is_killed_after_publishing_began {
            // Footer and trailer are there; the name is not.
            let tail = &expected[incoming.layout().data_bytes() as usize..];
            let mut block = Aligned::new(tail.len());
            block.bytes().copy_from_slice(tail);
            rustix::io::pwrite(incoming.file(), block.bytes(), incoming.layout().data_bytes()).unwrap();
            drop(incoming);
            incoming = open(&site, "/a", &objects).0;
        }
        let published = finish(incoming).unwrap();
        prop_assert_eq!(published.record.object_count, 7);
        let file = fs::read(site.volumes[0].path().join(published.id.file_path())).unwrap();
        prop_assert!(file == expected);
        prop_assert!(incoming_names(&site.volumes[0]).is_empty());
    }
}

#[test]
fn a_bundle_that_was_written_in_parts_is_adopted_and_served() {
    let site = Site::new(1);
    let store = site.open();
    let objects = objects();
    let (incoming, _) = open(&site, "/a", &objects);
    write_all(&incoming, &objects);
    let published = finish(incoming).unwrap();
    assert_eq!(adopt(&store, &site.volumes[0], published.id), AdoptionOutcome::Adopted);
    for (name, bytes) in &objects {
        assert_eq!(&read_path(&store, "/a", name), bytes);
    }
    let length = fs::metadata(site.file(0, "/a", 1)).unwrap().len();
    assert_eq!((published.record.file_bytes, layout("/a", &objects).file_bytes()), (length, length));
}

#[test]
fn all_of_the_space_is_taken_before_the_first_byte_is_written() {
    let site = Site::new(1);
    let (incoming, _) = open(&site, "/a", &objects());
    let found = fs::metadata(only_file(&site.volumes[0])).unwrap();
    assert_eq!(found.len(), incoming.layout().file_bytes());
    assert!(found.blocks() * 512 >= found.len());
    assert_eq!(found.mode() & 0o7777, 0o640);
}

#[test]
fn a_bundle_that_is_discarded_leaves_nothing_and_one_that_is_dropped_its_file() {
    let site = Site::new(1);
    drop(open(&site, "/a", &objects()));
    let partial = partial_bundles(&site.volumes[0]).unwrap();
    assert_eq!(partial.len(), 1);
    assert_eq!((partial[0].id, partial[0].bytes), (id("/a", 1), layout("/a", &objects()).file_bytes()));
    assert!(partial[0].is_of(&DESCRIPTOR) && !partial[0].is_of(&Sha256::new([8; 32])));
    assert_eq!(site.volumes[0].path().join(partial[0].file_path()), only_file(&site.volumes[0]));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert!(partial[0].modified.abs_diff(now) < 60);
    let (incoming, opened) = open(&site, "/a", &objects());
    assert_eq!(opened, Opened::Resumed);
    incoming.discard();
    assert!(incoming_names(&site.volumes[0]).is_empty());
}

#[test]
fn two_agents_cannot_hold_one_partial_file() {
    let site = Site::new(1);
    let (incoming, _) = open(&site, "/a", &objects());
    assert!(
        matches!(refusal(&site, layout("/a", &objects())), PublishError::InUse(in_use) if in_use == key("/a"))
    );
    // As the descriptor that was handed to a ring would.
    let duplicate = incoming.file().try_clone_to_owned().unwrap();
    drop(incoming);
    assert!(matches!(refusal(&site, layout("/a", &objects())), PublishError::InUse(_)));
    assert!(!remove_partial(&site.volumes[0], &id("/a", 1)).unwrap());
    drop(duplicate);
    assert_eq!(open(&site, "/a", &objects()).1, Opened::Resumed);
    assert!(remove_partial(&site.volumes[0], &id("/a", 1)).unwrap());
    assert!(!remove_partial(&site.volumes[0], &id("/a", 1)).unwrap());
    assert!(incoming_names(&site.volumes[0]).is_empty());
}

#[test]
fn a_lock_that_is_held_for_a_moment_is_waited_for() {
    let site = Site::new(1);
    drop(open(&site, "/a", &objects()));
    let held = File::open(only_file(&site.volumes[0])).unwrap();
    held.lock().unwrap();
    let waiting = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        drop(held);
    });
    assert_eq!(open(&site, "/a", &objects()).1, Opened::Resumed);
    waiting.join().unwrap();
}

#[test]
fn a_bundle_that_is_published_already_is_not_begun_and_what_was_begun_of_it_goes() {
    let site = Site::new(1);
    drop(open(&site, "/a", &objects()));
    publish(&site.volumes[0], "/a", 1, &one(1)).unwrap();
    let before = fs::read(site.file(0, "/a", 1)).unwrap();
    assert!(matches!(refusal(&site, layout("/a", &objects())), PublishError::Exists(_)));
    assert!(incoming_names(&site.volumes[0]).is_empty());
    assert_eq!(fs::read(site.file(0, "/a", 1)).unwrap(), before);
}

#[test]
fn a_bundle_that_another_published_meanwhile_is_not_replaced() {
    let site = Site::new(1);
    let objects = objects();
    let (incoming, _) = open(&site, "/a", &objects);
    write_all(&incoming, &objects);
    publish(&site.volumes[0], "/a", 1, &one(1)).unwrap();
    let before = fs::read(site.file(0, "/a", 1)).unwrap();
    assert!(matches!(finish(incoming), Err(PublishError::Exists(_))));
    assert!(incoming_names(&site.volumes[0]).is_empty());
    assert_eq!(fs::read(site.file(0, "/a", 1)).unwrap(), before);
}

#[test]
fn a_layout_without_a_descriptor_cannot_be_written_in_parts() {
    let site = Site::new(1);
    let layout = Layout::new(key("/a"), Sha256::new([0; 32]), plan(&objects())).unwrap();
    assert!(matches!(refusal(&site, layout), PublishError::Contents(_)));
}

#[test]
fn what_was_begun_for_another_descriptor_of_a_bundle_is_removed_unless_it_is_being_written() {
    let site = Site::new(1);
    let other = |first: u8| Layout::new(key("/a"), Sha256::new([first; 32]), plan(&objects())).unwrap();
    drop(open(&site, "/b", &objects()));
    drop(IncomingBundle::open(&site.volumes[0], other(1)).unwrap());
    let (held, opened) = IncomingBundle::open(&site.volumes[0], other(2)).unwrap();
    assert_eq!(opened, Opened::New);
    drop(IncomingBundle::open(&site.volumes[0], other(3)).unwrap());
    let begun = |first: u8| {
        let partial = partial_bundles(&site.volumes[0]).unwrap();
        partial.iter().any(|partial| partial.id == id("/a", 1) && partial.is_of(&Sha256::new([first; 32])))
    };
    assert_eq!((begun(1), begun(2), begun(3)), (false, true, true));
    held.discard();
    assert_eq!(open(&site, "/b", &objects()).1, Opened::Resumed);
}

#[test]
fn a_partial_file_of_another_length_or_with_a_second_name_is_made_anew() {
    let site = Site::new(1);
    let objects = objects();
    for damage in [
        |file: &std::path::Path| File::options().write(true).open(file).unwrap().set_len(4096).unwrap(),
        |file: &std::path::Path| fs::hard_link(file, file.with_extension("elsewhere")).unwrap(),
    ] {
        let (incoming, _) = open(&site, "/a", &objects);
        write_all(&incoming, &objects);
        drop(incoming);
        let file = only_file(&site.volumes[0]);
        damage(&file);
        let (incoming, opened) = open(&site, "/a", &objects);
        assert_eq!(opened, Opened::New);
        assert!(read_data(&incoming).iter().all(|&byte| byte == 0));
        incoming.discard();
        let _ = fs::remove_file(file.with_extension("elsewhere"));
    }
}

#[test]
fn a_digest_other_than_the_descriptors_is_not_published_and_the_next_attempt_finds_the_object() {
    let site = Site::new(1);
    let objects = objects();
    let (incoming, _) = open(&site, "/a", &objects);
    write_all(&incoming, &objects);
    let mut wrong = objects.clone();
    wrong[4].1[100_000] ^= 1;
    write(&incoming, &wrong, 4);
    assert!(matches!(finish(incoming), Err(PublishError::Digest { name, .. }) if name.as_str() == "4.m4s"));
    assert!(!site.file(0, "/a", 1).exists());
    let (incoming, opened) = open(&site, "/a", &objects);
    assert_eq!(opened, Opened::Resumed);
    write(&incoming, &objects, 4);
    finish(incoming).unwrap();
}

#[test]
fn a_wrong_number_of_digests_or_checksums_is_refused_and_costs_nothing() {
    let site = Site::new(1);
    let objects = objects();
    for (more_digests, more_checksums) in [(true, false), (false, true)] {
        let (incoming, _) = open(&site, "/a", &objects);
        write_all(&incoming, &objects);
        let data = read_data(&incoming);
        let (mut digests, mut checksums) = (digests(&incoming, &data), checksums(&data));
        digests.extend(more_digests.then_some(DESCRIPTOR));
        checksums.truncate(checksums.len() - usize::from(more_checksums));
        assert!(matches!(incoming.publish(digests, checksums), Err(PublishError::Contents(_))));
        assert_eq!(incoming_names(&site.volumes[0]).len(), 1);
    }
    assert!(!site.file(0, "/a", 1).exists());
}

#[test]
fn checksums_that_are_not_those_of_the_file_are_never_published() {
    let site = Site::new(1);
    let objects = objects();
    let chunks = layout("/a", &objects).data_bytes().div_ceil(CHUNK_BYTES) as usize;
    assert!(chunks > 3);
    for chunk in 0..chunks {
        let (incoming, opened) = open(&site, "/a", &objects);
        assert_eq!(opened, Opened::New);
        write_all(&incoming, &objects);
        incoming.sync().unwrap();
        let data = read_data(&incoming);
        let (digests, mut checksums) = (digests(&incoming, &data), checksums(&data));
        checksums[chunk] ^= 1;
        let refused = incoming.publish(digests, checksums);
        assert!(matches!(refused, Err(PublishError::ReadBack(_))), "{refused:?}");
        assert!(incoming_names(&site.volumes[0]).is_empty() && !site.file(0, "/a", 1).exists());
    }
}

#[test]
fn a_bundle_larger_than_the_disk_is_refused_and_leaves_nothing() {
    let site = Site::new(1);
    let incoming = site.volumes[0].path().join("incoming");
    let young = open(&site, "/young", &objects()).0;
    drop(young);
    let old = open(&site, "/old", &objects()).0;
    drop(old);
    for partial in partial_bundles(&site.volumes[0]).unwrap() {
        if partial.id == id("/old", 1) {
            make_old(&site.volumes[0].path().join(partial.file_path()));
        }
    }
    fs::write(incoming.join("abandoned.incoming"), b"half").unwrap();
    let huge = Layout::new(key("/a"), DESCRIPTOR, vec![planned("1", 200 << 30)]).unwrap();
    let file_bytes = huge.file_bytes();
    let refused = refusal(&site, huge);
    assert!(matches!(refused, PublishError::Full { file_bytes: needed } if needed == file_bytes));
    // What dead writers left is room; what waits for the next night is not.
    let left: Vec<_> = partial_bundles(&site.volumes[0]).unwrap().iter().map(|partial| partial.id).collect();
    assert_eq!(left, [id("/young", 1)]);
    assert_eq!(incoming_names(&site.volumes[0]).len(), 1);
}

#[test]
fn nothing_is_begun_or_published_on_a_volume_that_is_isolated() {
    let site = Site::new(1);
    let objects = objects();
    let (incoming, _) = open(&site, "/a", &objects);
    write_all(&incoming, &objects);
    site.volumes[0].isolate(&Isolation { reason: "8 read errors".to_owned(), since: 1 }).unwrap();
    let refused = finish(incoming).unwrap_err();
    assert!(matches!(&refused, PublishError::Isolated { reason } if reason == "8 read errors"));
    assert!(refused.to_string().contains("oca init --readmit"));
    assert!(!site.file(0, "/a", 1).exists());
    assert!(matches!(refusal(&site, layout("/a", &objects)), PublishError::Isolated { .. }));
    assert!(matches!(publish(&site.volumes[0], "/b", 1, &one(1)), Err(PublishError::Isolated { .. })));
    site.volumes[0].readmit().unwrap();
    let (incoming, opened) = open(&site, "/a", &objects);
    assert_eq!(opened, Opened::Resumed);
    finish(incoming).unwrap();
}

#[test]
fn a_reconciliation_leaves_partial_files_alone_that_are_young_or_in_use() {
    let site = Site::new(1);
    let (_held, _) = open(&site, "/held", &objects());
    make_old(&only_file(&site.volumes[0]));
    for bundle in ["/young", "/old", "/renamed", "/future"] {
        drop(open(&site, bundle, &objects()));
    }
    let file = |bundle: &str| {
        let partial = partial_bundles(&site.volumes[0]).unwrap();
        let partial = partial.into_iter().find(|partial| partial.id == id(bundle, 1));
        partial.map(|partial| site.volumes[0].path().join(partial.file_path()))
    };
    make_old(&file("/old").unwrap());
    // Killed between the two steps of a rename, on a file system that has none that replaces nothing.
    fs::hard_link(file("/renamed").unwrap(), site.file(0, "/renamed", 1)).unwrap();
    let ahead = File::options().write(true).open(file("/future").unwrap()).unwrap();
    ahead.set_modified(SystemTime::now() + FOUR_DAYS).unwrap();
    let store = site.open();
    let report = reconcile(&store)[0].reconciled.clone().unwrap();
    assert_eq!((report.abandoned, report.errors), (2, 0));
    assert!(file("/old").is_none() && file("/renamed").is_none());
    assert!(file("/held").is_some() && file("/young").is_some() && file("/future").is_some());
    assert_eq!(open(&site, "/young", &objects()).1, Opened::Resumed);
}

/// The daemon and the agent are two users of one group: the agent writes, the daemon removes and serves. Whoever is not
/// root tests it as one user.
#[test]
fn what_the_agent_writes_the_daemon_serves_and_removes_though_they_are_two_users() {
    let site = Site::new(1);
    let is_root = rustix::process::geteuid().is_root();
    let group = 64_001;
    if is_root {
        fs::set_permissions(site.path(), fs::Permissions::from_mode(0o755)).unwrap();
        give_to(&site.volumes[0].path().to_owned(), 64_002, group);
    }
    let as_user = |user: u32, work: &(dyn Fn() + Sync)| {
        std::thread::scope(|scope| {
            let run = || {
                if is_root {
                    become_user(user, group).unwrap();
                }
                work();
            };
            scope.spawn(run).join().unwrap();
        });
    };
    let objects = objects();
    // Root tried it once: the agent may not write what root has made, and makes it anew.
    drop(open(&site, "/a", &objects));
    as_user(64_003, &|| {
        let (incoming, opened) = open(&site, "/a", &objects);
        assert_eq!(opened, if is_root { Opened::New } else { Opened::Resumed });
        write_all(&incoming, &objects);
        finish(incoming).unwrap();
        drop(open(&site, "/old", &objects));
        make_old(&only_file(&site.volumes[0]));
    });
    as_user(64_002, &|| {
        let store: Arc<Store> = site.open();
        let report = reconcile(&store)[0].reconciled.clone().unwrap();
        assert_eq!((report.adopted, report.abandoned, report.errors), (1, 1, 0), "{report:?}");
        assert_eq!(read_path(&store, "/a", "4.m4s"), objects[4].1);
        store.retire(&path("/a"), None).unwrap();
        store.close();
    });
    assert!(incoming_names(&site.volumes[0]).is_empty() && !site.file(0, "/a", 1).exists());
}

fn give_to(directory: &PathBuf, user: u32, group: u32) {
    chown(directory, Some(user), Some(group)).unwrap();
    if directory.is_dir() {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o2770)).unwrap();
        for entry in fs::read_dir(directory).unwrap() {
            give_to(&entry.unwrap().path(), user, group);
        }
    }
}

/// Has the present thread, and those that it starts, be another user.
fn become_user(user: u32, group: u32) -> io::Result<()> {
    let (user, group) = (rustix::fs::Uid::from_raw(user), rustix::fs::Gid::from_raw(group));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(group, group, group)?;
    rustix::thread::set_thread_res_uid(user, user, user)?;
    Ok(())
}
