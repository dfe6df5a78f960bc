use std::cell::RefCell;
use std::fs;

use super::*;

const VOLUME: VolumeId = VolumeId::new([1; 16]);
const PATH: &str = "/srv/oca/volume0";

fn file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("missed")
}

fn load(folder: &tempfile::TempDir) -> MissedPurges {
    MissedPurges::load(Some(file(folder)))
}

fn path(path: &str) -> PurgeSelector {
    PurgeSelector::Path(path.to_owned())
}

/// What is made up for when a volume is opened.
fn made_up_by(missed: &MissedPurges, volume: VolumeId) -> Vec<PurgeSelector> {
    let made = RefCell::new(Vec::new());
    let purge = |(): &(), selector: &PurgeSelector| {
        made.borrow_mut().push(selector.clone());
        Ok(0)
    };
    missed.make_up(volume, Path::new(PATH), (), purge, |()| ()).unwrap();
    made.into_inner()
}

fn made_up(missed: &MissedPurges) -> Vec<PurgeSelector> {
    made_up_by(missed, VOLUME)
}

/// A folder with the file of a process to which the volume was known.
fn known() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(made_up(&load(&folder)), [PurgeSelector::everything()]);
    folder
}

/// Purges while no volume is served.
fn purge(missed: &MissedPurges, selectors: &[PurgeSelector]) -> io::Result<()> {
    missed.begin(selectors);
    missed.save()
}

#[test]
fn what_was_missed_outlives_a_restart_and_is_made_once() {
    let folder = known();
    purge(&load(&folder), &[path("/a"), path("/b")]).unwrap();
    assert_eq!(made_up(&load(&folder)), [path("/a"), path("/b")]);
    assert!(made_up(&load(&folder)).is_empty());
}

#[test]
fn a_volume_that_is_not_known_has_missed_everything() {
    let (folder, other) = (known(), VolumeId::new([2; 16]));
    assert_eq!(made_up_by(&load(&folder), other), [PurgeSelector::everything()]);
    let missed = load(&folder);
    assert!(made_up_by(&missed, other).is_empty());
    assert_eq!(made_up_by(&missed, other), [PurgeSelector::everything()], "a copy of it");
    assert_eq!(made_up(&MissedPurges::load(None)), [PurgeSelector::everything()]);
}

#[test]
fn a_volume_that_is_served_misses_only_what_it_has_not_confirmed() {
    let folder = known();
    let missed = load(&folder);
    made_up(&missed);
    let first = missed.begin(&[path("/a"), path("/b")]);
    let second = missed.begin(&[path("/b")]);
    missed.add(VOLUME, &[path("/a"), path("/b")], first);
    missed.add(VOLUME, &[path("/b")], second);
    missed.confirm(VOLUME, &[path("/a"), path("/b")], first);
    missed.save().unwrap();
    assert_eq!(
        made_up(&load(&folder)),
        [path("/b")],
        "the second may come after what was stored since the first"
    );
    let missed = load(&folder);
    made_up(&missed);
    missed.add(VOLUME, &[path("/c")], missed.begin(&[path("/c")]));
    missed.save().unwrap();
    let again = missed.begin(&[path("/c")]);
    missed.confirm(VOLUME, &[path("/c")], again);
    missed.save().unwrap();
    assert!(made_up(&load(&folder)).is_empty());
}

#[test]
fn a_purge_that_cannot_be_made_up_for_leaves_the_volume_unserved_and_is_missed_still() {
    let folder = known();
    let missed = load(&folder);
    purge(&missed, &[path("/a")]).unwrap();
    let sick = |(): &(), _: &PurgeSelector| Err(io::Error::other("sick"));
    let made = missed.make_up(VOLUME, Path::new(PATH), (), sick, |()| panic!("it must not serve"));
    assert_eq!(made.unwrap_err().to_string(), "sick");
    assert_eq!(made_up(&load(&folder)), [path("/a")]);
}

#[test]
fn what_is_missed_while_others_are_made_up_for_is_made_before_it_serves() {
    let folder = known();
    let missed = load(&folder);
    purge(&missed, &[path("/a")]).unwrap();
    let made = RefCell::new(Vec::new());
    let purging = |(): &(), selector: &PurgeSelector| {
        if made.borrow().is_empty() {
            purge(&missed, &[path("/late")]).unwrap();
        }
        made.borrow_mut().push(selector.clone());
        Ok(0)
    };
    let serve = |()| assert_eq!(made.borrow().len(), 2);
    missed.make_up(VOLUME, Path::new(PATH), (), purging, serve).unwrap();
    assert_eq!(*made.borrow(), [path("/a"), path("/late")]);
}

#[test]
fn where_the_file_is_damaged_everything_was_missed() {
    let folder = known();
    for damaged in ["", "{", "{\"version\":1,\"volumes\":{}}"] {
        fs::write(file(&folder), damaged).unwrap();
        assert_eq!(made_up(&load(&folder)), [PurgeSelector::everything()], "{damaged}");
    }
}

/// Found in review: what was purged while the file could not be read was acknowledged, and not in it when it could.
#[test]
fn what_is_purged_while_the_file_cannot_be_read_is_written_or_an_error() {
    let folder = known();
    let good = fs::read(file(&folder)).unwrap();
    fs::remove_file(file(&folder)).unwrap();
    fs::create_dir(file(&folder)).unwrap();
    let missed = load(&folder);
    for _ in 0..2 {
        purge(&missed, &[path("/a")]).unwrap_err();
    }
    fs::remove_dir(file(&folder)).unwrap();
    fs::write(file(&folder), good).unwrap();
    purge(&missed, &[path("/a")]).unwrap();
    assert_eq!(made_up(&load(&folder)), [PurgeSelector::everything()]);
}

#[test]
fn a_purge_that_cannot_be_written_down_is_an_error_each_time() {
    let folder = known();
    let missed = load(&folder);
    fs::create_dir(folder.path().join("missed.new")).unwrap();
    for _ in 0..2 {
        purge(&missed, &[path("/a")]).unwrap_err();
    }
    assert_eq!(made_up(&missed), [path("/a")], "while the process lives it is remembered all the same");
    missed.begin(&[path("/a")]);
    missed.confirm(VOLUME, &[path("/a")], missed.begin(&[]));
    fs::remove_dir(folder.path().join("missed.new")).unwrap();
    missed.save().unwrap();
    assert!(made_up(&load(&folder)).is_empty());
}

#[test]
fn volumes_that_are_away_for_very_long_or_too_many_are_forgotten_and_none_that_is_served() {
    let of = |number: usize, seen: u64, is_served: bool| {
        let mut record = Record::served(PATH.to_owned(), seen);
        record.is_served = is_served;
        (format!("{number:04}"), record)
    };
    let year = VOLUME_FORGOTTEN_AFTER.as_secs();
    let mut volumes: Volumes = [of(0, 10, true), of(1, 10, false), of(2, 11, false)].into();
    assert!(forget(&mut volumes, year + 11));
    assert_eq!(volumes.keys().collect::<Vec<_>>(), ["0000", "0002"]);
    let mut volumes: Volumes =
        (0..KNOWN_VOLUMES_MAX + 2).map(|number| of(number, number as u64, number == 0)).collect();
    assert!(forget(&mut volumes, year));
    assert_eq!((volumes.len(), volumes.contains_key("0000")), (KNOWN_VOLUMES_MAX, true));
    assert!(!volumes.contains_key("0001") && !volumes.contains_key("0002"));
    assert!(!forget(&mut volumes, year));
}
