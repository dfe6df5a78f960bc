//! The instruments of the whole-system tests do what they say: the disk that fails on command, and the tracer.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support {
    pub(crate) mod faulty_volume;
    pub(crate) mod stepper;
    pub(crate) mod tracer;
}

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::faulty_volume::{Fault, FaultyVolume, Submission};
use support::tracer::{Ended, Phase, Traced, Verdict};

/// Far below the time for which reads hang here, far above what an answer takes.
const PROMPT: Duration = Duration::from_secs(2);

const HANG: Duration = Duration::from_secs(10);

fn mounted(folder: &Path) -> Option<FaultyVolume> {
    let (backing, mount_point) = (folder.join("backing"), folder.join("mount"));
    fs::create_dir(&backing).unwrap();
    fs::create_dir(&mount_point).unwrap();
    FaultyVolume::mount_or_skip(&backing, &mount_point, Submission::Queued)
}

#[test]
fn a_healthy_disk_passes_everything_through() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_volume) = mounted(folder.path()) else { return };
    let (backing, mount) = (folder.path().join("backing"), folder.path().join("mount"));
    fs::create_dir(mount.join("inner")).unwrap();
    let file = File::create_new(mount.join("inner/new")).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 8192).unwrap();
    rustix::io::pwrite(&file, b"some bytes", 4096).unwrap();
    file.sync_all().unwrap();
    fs::rename(mount.join("inner/new"), mount.join("renamed")).unwrap();
    File::open(&mount).unwrap().sync_all().unwrap();
    assert_eq!(fs::read(backing.join("renamed")).unwrap()[4096..4106], *b"some bytes");
    assert_eq!(fs::read(mount.join("renamed")).unwrap(), fs::read(backing.join("renamed")).unwrap());
    let mut names: Vec<_> = fs::read_dir(&mount).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["inner", "renamed"]);
    fs::remove_file(mount.join("renamed")).unwrap();
    fs::remove_dir(mount.join("inner")).unwrap();
    assert_eq!(fs::read_dir(&backing).unwrap().count(), 0);
    assert_eq!(
        rustix::io::pread(&file, &mut [0; 1], 0).unwrap(),
        1,
        "an unlinked file can be read while it is open"
    );
}

#[test]
fn a_disk_that_takes_direct_reads_gives_them() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_volume) = mounted(folder.path()) else { return };
    fs::write(folder.path().join("backing/file"), vec![7; 64 * 1024]).unwrap();
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECT;
    let file = rustix::fs::open(folder.path().join("mount/file"), flags, rustix::fs::Mode::empty()).unwrap();
    let mut bytes = vec![0; 64 * 1024];
    assert_eq!(rustix::io::pread(&file, &mut bytes, 0).unwrap(), bytes.len());
    assert!(bytes.iter().all(|byte| *byte == 7));
}

#[test]
fn reads_that_hang_hold_up_nothing_else_and_are_answered_when_the_disk_heals() {
    let folder = tempfile::tempdir().unwrap();
    let Some(volume) = mounted(folder.path()) else { return };
    let mount = folder.path().join("mount");
    fs::write(mount.join("a.slow"), "slow").unwrap();
    fs::write(mount.join("b.fast"), "fast").unwrap();
    volume.fail(Fault::HungReads(HANG), ".slow");
    let readers: Vec<_> = (0..16)
        .map(|_| {
            let path = mount.join("a.slow");
            std::thread::spawn(move || fs::read(path).unwrap())
        })
        .collect();
    assert!(volume.wait_for_hung(16, PROMPT), "{} of 16 reads hang", volume.hung_count());
    let began = Instant::now();
    assert_eq!(fs::read(mount.join("b.fast")).unwrap(), b"fast");
    fs::write(mount.join("c"), "written beside them").unwrap();
    volume.heal();
    for reader in readers {
        assert_eq!(reader.join().unwrap(), b"slow");
    }
    assert!(began.elapsed() < PROMPT, "{:?}", began.elapsed());
}

#[test]
fn every_fault_fails_what_it_names_until_the_disk_heals() {
    let folder = tempfile::tempdir().unwrap();
    let Some(volume) = mounted(folder.path()) else { return };
    let mount = folder.path().join("mount");
    fs::write(mount.join("file"), "0123456789").unwrap();
    let mut file = File::options().read(true).write(true).open(mount.join("file")).unwrap();

    volume.fail(Fault::FailedReads, "file");
    assert_eq!(fs::read(mount.join("file")).unwrap_err().raw_os_error(), Some(libc::EIO));
    volume.heal();
    volume.fail(Fault::FlippedBits, "file");
    let mut bytes = [0; 10];
    file.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, *b"0123446789");
    volume.heal();
    volume.fail(Fault::FailedSyncs, "file");
    assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(libc::EIO));
    volume.heal();
    volume.fail(Fault::FullDisk, "");
    assert_eq!(fs::write(mount.join("other"), "x").unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    volume.heal();
    volume.fail(Fault::HungOpens(Duration::from_millis(200)), "file");
    let began = Instant::now();
    assert_eq!(fs::read(mount.join("file")).unwrap(), b"0123456789");
    assert!(began.elapsed() >= Duration::from_millis(200));
}

#[test]
fn a_disk_whose_reads_hang_is_unmounted_at_once_and_its_readers_get_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let Some(volume) = mounted(folder.path()) else { return };
    fs::write(folder.path().join("backing/file"), "bytes").unwrap();
    volume.fail(Fault::HungReads(HANG), "");
    let path = folder.path().join("mount/file");
    let reader = std::thread::spawn(move || fs::read(path).is_ok());
    assert!(volume.wait_for_hung(1, PROMPT));
    let began = Instant::now();
    drop(volume);
    let _ = reader.join().unwrap();
    assert!(began.elapsed() < PROMPT);
    assert_eq!(fs::read_dir(folder.path().join("mount")).unwrap().count(), 0, "nothing is mounted there");
}

#[test]
fn the_mount_is_seen_by_a_program_that_the_test_starts_and_by_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_volume) = mounted(folder.path()) else { return };
    fs::write(folder.path().join("backing/file"), "bytes").unwrap();
    let read = Command::new("cat").arg(folder.path().join("mount/file")).output().unwrap();
    assert_eq!(read.stdout, b"bytes");
    let mounts = fs::read_to_string(format!("/proc/{}/mounts", std::process::id())).unwrap();
    assert!(
        !mounts.contains(folder.path().to_str().unwrap()),
        "the process at large has the mount:\n{mounts}"
    );
}

/// Writes a file, and renames it.
fn shell(folder: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "echo bytes > one; mv one two; rm two"]).current_dir(folder).stdin(Stdio::null());
    command
}

#[test]
fn the_tracer_sees_the_calls_of_a_program_and_of_its_children_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    let ended = Traced::start(shell(folder.path()))
        .unwrap()
        .follow(|call| {
            if matches!(call.name, "write" | "rename" | "unlink") {
                seen.push(call.clone());
            }
            Verdict::GoOn
        })
        .unwrap();
    assert_eq!(ended, Ended::Exited(0));
    let names: Vec<_> = seen.iter().map(|call| (call.name, call.phase == Phase::Entry)).collect();
    let expected: Vec<_> =
        ["write", "rename", "unlink"].iter().flat_map(|name| [(*name, true), (*name, false)]).collect();
    assert_eq!(names, expected, "{seen:#?}");
    assert_eq!(seen[0].path, folder.path().join("one").to_str().unwrap());
    assert_eq!(seen[1].phase, Phase::Exit(6));
    assert_eq!(seen[2].path, "one two");
    assert_eq!(seen[4].path, "two");
}

#[test]
fn a_program_killed_at_the_entry_of_a_call_has_not_done_it_and_at_its_exit_has() {
    for (kill_at_entry, remains) in [(true, "one"), (false, "two")] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("one"), "bytes").unwrap();
        let mut command = Command::new("mv");
        command.args(["one", "two"]).current_dir(folder.path());
        let ended = Traced::start(command)
            .unwrap()
            .follow(|call| match (call.name, call.phase == Phase::Entry) {
                ("rename", entry) if entry == kill_at_entry => Verdict::Kill,
                _ => Verdict::GoOn,
            })
            .unwrap();
        assert_eq!(ended, Ended::Killed);
        let names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [remains]);
    }
}
