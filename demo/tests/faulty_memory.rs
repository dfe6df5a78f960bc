//! A disk that hangs or gives errors while blocks of it are brought into memory, or are served from there: what is in memory is
//! served, what is on its way holds up nobody else, and what has left service is not served from memory either.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support {
    pub(crate) mod faulty_volume;
    pub(crate) mod http;
    pub(crate) mod reading;
    pub(crate) mod site;
}

use std::fs;
use std::time::Duration;

use control_client::health::VolumeState;

use support::faulty_volume::{Fault, FaultyVolume, Submission};
use support::http::Connection;
use support::reading::{End, read_carefully, read_right, samples, wait_until_serving};
use support::site::{Daemon, PATIENCE, Sample, Site, eventually};

/// Longer than any of these tests takes.
const HANG: Duration = Duration::from_secs(300);

/// A site whose second volume is a disk that fails on command; `None` where FUSE cannot be used.
fn site_with_faulty_disk() -> Option<(Site, FaultyVolume)> {
    let mut site = Site::new(1);
    let (backing, mount) = (site.folder.path().join("behind"), site.folder.path().join("disk"));
    fs::create_dir(&backing).unwrap();
    fs::create_dir(&mount).unwrap();
    let disk = FaultyVolume::mount_or_skip(&backing, &mount, Submission::Queued)?;
    disk.cache_pages();
    site.add_volume("disk");
    site.premises.set("serve", "disk_timeout = \"2 s\"");
    Some((site, disk))
}

/// Asks until so many blocks are in memory.
fn bring_into_memory(site: &Site, daemon: &Daemon<'_>, sample: &Sample, blocks: f64) {
    eventually("it is in memory", || {
        read_right(&mut Connection::open(daemon.http()).unwrap(), sample, "0");
        site.metric("oca_ram_tier_blocks", &[]) >= blocks
    });
}

/// Has its footer read, and none of its bytes.
fn open_bundle(daemon: &Daemon<'_>, sample: &Sample) {
    let mut connection = Connection::open(daemon.http()).unwrap();
    assert_eq!(connection.head(&sample.request_path("0")).unwrap().status, 200);
}

fn from_memory(site: &Site) -> f64 {
    // A request is counted when its answer is with the kernel: a moment after the client may have it.
    eventually("every answer is counted", || site.metric("oca_requests_in_flight", &[]) == 0.0);
    site.metric("oca_requests_total", &["\"hit_ram\""])
}

#[test]
fn what_is_in_memory_is_served_while_its_disk_hangs() {
    let Some((site, disk)) = site_with_faulty_disk() else { return };
    let sample = Sample::new("/title", 1, 1, 200_000);
    sample.publish(site.volume(1));
    let daemon = site.start();
    wait_until_serving(&site, 1);
    bring_into_memory(&site, &daemon, &sample, 1.0);
    disk.fail(Fault::HungReads(HANG), ".bundle");
    let before = from_memory(&site);
    for _ in 0..20 {
        read_right(&mut Connection::open(daemon.http()).unwrap(), &sample, "0");
    }
    assert_eq!(from_memory(&site) - before, 20.0);
    assert_eq!(disk.hung_count(), 0, "nobody asked the disk");
    assert!(daemon.stop().success());
}

#[test]
fn a_block_whose_disk_hangs_on_its_way_into_memory_arrives_when_the_disk_answers() {
    let Some((site, disk)) = site_with_faulty_disk() else { return };
    let (here, hung) = (Sample::new("/here", 1, 1, 200_000), Sample::new("/hung", 1, 1, 200_000));
    here.publish(site.volume(0));
    hung.publish(site.volume(1));
    let daemon = site.start();
    wait_until_serving(&site, 2);
    open_bundle(&daemon, &hung);
    disk.fail(Fault::HungReads(HANG), ".bundle");
    let loading = || site.metric("oca_ram_tier_bytes", &["\"loading\""]);
    eventually("it is on its way", || {
        assert_eq!(read_carefully(daemon.http(), &hung, "0"), End::Refused(503));
        loading() > 0.0
    });
    bring_into_memory(&site, &daemon, &here, 1.0);
    let before = from_memory(&site);
    read_right(&mut Connection::open(daemon.http()).unwrap(), &here, "0");
    assert_eq!(from_memory(&site) - before, 1.0);
    assert!(disk.wait_for_hung(1, PATIENCE) && loading() > 0.0);
    disk.heal();
    eventually("it is in memory, too", || site.metric("oca_ram_tier_blocks", &[]) == 2.0);
    read_right(&mut Connection::open(daemon.http()).unwrap(), &hung, "0");
    assert_eq!(from_memory(&site) - before, 2.0);
    assert_eq!(site.metric("oca_bundles_quarantined_total", &[]), 0.0);
    assert!(daemon.stop().success());
}

/// Such a bundle leaves service, to be filled again.
#[test]
fn a_block_that_could_not_be_read_leaves_nothing_behind_and_what_is_filled_in_its_place_comes_into_memory() {
    let Some((site, disk)) = site_with_faulty_disk() else { return };
    // Much of a block: the first who wants it has it loaded.
    let (sample, anew) = (Sample::new("/title", 1, 1, 600_000), Sample::new("/title", 2, 1, 600_000));
    sample.publish(site.volume(1));
    let daemon = site.start();
    wait_until_serving(&site, 1);
    open_bundle(&daemon, &sample);
    disk.fail(Fault::FailedReads, ".bundle");
    assert_ne!(read_carefully(daemon.http(), &sample, "0"), End::Right);
    eventually("the load has failed", || {
        site.metric("oca_ram_tier_loads_total", &["\"read_error\""]) >= 1.0
            && site.metric("oca_ram_tier_bytes", &["\"loading\""]) == 0.0
    });
    assert_eq!(site.metric("oca_ram_tier_blocks", &[]), 0.0);
    assert_eq!(site.metric("oca_bundles_quarantined_total", &["\"unreadable\""]), 1.0);
    disk.heal();
    anew.publish(site.volume(1));
    site.adopt(1, &anew).unwrap();
    bring_into_memory(&site, &daemon, &anew, 1.0);
    let before = from_memory(&site);
    read_right(&mut Connection::open(daemon.http()).unwrap(), &anew, "0");
    assert_eq!(from_memory(&site) - before, 1.0);
    assert!(daemon.stop().success());
}

/// What hangs on its way takes room of the budget that the policy does not know of. A tier of one block keeps no room beside what the
/// policy fills: three of these fit.
#[test]
fn a_full_memory_goes_on_to_change_while_a_load_hangs() {
    let Some((mut site, disk)) = site_with_faulty_disk() else { return };
    site.premises.set("serve", "ram_tier = \"2 MiB\"");
    let hung = Sample::new("/hung", 1, 1, 600_000);
    hung.publish(site.volume(1));
    let here: Vec<Sample> =
        (0..16).map(|title| Sample::new(&format!("/here/{title}"), 1, 1, 600_000)).collect();
    here.iter().for_each(|sample| sample.publish(site.volume(0)));
    let daemon = site.start();
    wait_until_serving(&site, 17);
    open_bundle(&daemon, &hung);
    disk.fail(Fault::HungReads(HANG), ".bundle");
    eventually("it is on its way", || {
        assert_eq!(read_carefully(daemon.http(), &hung, "0"), End::Refused(503));
        site.metric("oca_ram_tier_bytes", &["\"loading\""]) > 0.0
    });
    for sample in &here {
        // Asked for so often that it is worth more than what was there before it.
        eventually("it has come into memory", || {
            let before = from_memory(&site);
            read_right(&mut Connection::open(daemon.http()).unwrap(), sample, "0");
            from_memory(&site) > before
        });
    }
    assert!(site.metric("oca_ram_tier_bytes", &["\"loading\""]) > 0.0, "the disk had stopped hanging");
    disk.heal();
    assert!(daemon.stop().success());
}

/// A command that a disk has lost does not come back; the next one may.
#[test]
fn who_waits_for_a_read_that_hangs_is_answered_from_memory_when_the_block_has_come_there() {
    let Some((mut site, disk)) = site_with_faulty_disk() else { return };
    site.premises.set("serve", "disk_timeout = \"8 s\"");
    let sample = Sample::new("/title", 1, 1, 200_000);
    sample.publish(site.volume(1));
    let daemon = site.start();
    wait_until_serving(&site, 1);
    open_bundle(&daemon, &sample);
    disk.fail(Fault::HungReads(HANG), ".bundle");
    // Too little for the tier to load a block for it.
    let ask =
        || Connection::open(daemon.http()).unwrap().get_range(&sample.request_path("0"), 0..100).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(ask);
        assert!(disk.wait_for_hung(1, PATIENCE));
        disk.relent();
        scope.spawn(ask);
        eventually("the block is in memory", || site.metric("oca_ram_tier_blocks", &[]) == 1.0);
        let answer = waiting.join().unwrap();
        assert_eq!(answer.head.status, 206);
        assert!(answer.body == sample.bytes("0")[..100]);
    });
    assert!(disk.hung_count() > 0, "the disk has answered");
    disk.heal();
    assert!(daemon.stop().success());
}

#[test]
fn the_blocks_of_a_volume_that_is_isolated_leave_memory_and_those_of_others_stay() {
    let Some((mut site, disk)) = site_with_faulty_disk() else { return };
    site.premises.set("store", "volume_errors = 4");
    let (here, there) = (Sample::new("/here", 1, 1, 200_000), Sample::new("/there", 1, 1, 200_000));
    here.publish(site.volume(0));
    there.publish(site.volume(1));
    let failing = samples("/failing", 8, 200_000);
    failing.iter().for_each(|sample| sample.publish(site.volume(1)));
    let daemon = site.start();
    wait_until_serving(&site, 2 + failing.len());
    bring_into_memory(&site, &daemon, &there, 1.0);
    bring_into_memory(&site, &daemon, &here, 2.0);
    disk.fail(Fault::FailedReads, ".bundle");
    for sample in &failing {
        assert_ne!(read_carefully(daemon.http(), sample, "0"), End::Right);
    }
    eventually("the volume is isolated", || site.health().volumes[1].state != VolumeState::Serving);
    eventually("its block has left memory", || site.metric("oca_ram_tier_blocks", &[]) == 1.0);
    assert_ne!(read_carefully(daemon.http(), &there, "0"), End::Right);
    let before = from_memory(&site);
    read_right(&mut Connection::open(daemon.http()).unwrap(), &here, "0");
    assert_eq!(from_memory(&site) - before, 1.0);
    assert!(daemon.stop().success());
}
