//! What comes late finds nobody: a bundle that opens, or a read that returns, after its request was given up
//! must not answer the connection's next request. Found in review: segment names are the same in all titles,
//! and the late bundle was looked in.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support {
    pub(crate) mod faulty_volume;
    pub(crate) mod http;
    pub(crate) mod site;
    pub(crate) mod tls;
}

use std::time::Duration;

use support::faulty_volume::{Fault, FaultyVolume, Submission};
use support::http::Connection;
use support::site::{PATIENCE, Sample, Site, eventually};

const OBJECT_BYTES: usize = 300_000;

/// Longer than any of these tests takes.
const HANG: Duration = Duration::from_secs(30);

fn sample(path: &str) -> Sample {
    Sample { path: path.to_owned(), generation: 1, objects: vec![("1.m4s".to_owned(), OBJECT_BYTES)] }
}

/// Two titles with objects of the same name on a disk that fails on command.
fn site() -> Option<(Site, FaultyVolume, [Sample; 2])> {
    let mut site = Site::new(1);
    let (backing, mount_point) = (site.folder.path().join("behind-disk"), site.folder.path().join("disk"));
    std::fs::create_dir(&backing).unwrap();
    std::fs::create_dir(&mount_point).unwrap();
    let disk = FaultyVolume::mount_or_skip(&backing, &mount_point, Submission::Queued)?;
    site.add_volume("disk");
    site.premises.set("serve", "disk_timeout = \"3 s\"");
    let samples = [sample("/late"), sample("/next")];
    for sample in &samples {
        sample.publish(site.volume(1));
    }
    Some((site, disk, samples))
}

#[test]
fn a_late_opening_does_not_answer_the_next_request_of_its_connection() {
    answer_late(Fault::HungOpens(HANG));
}

#[test]
fn a_late_read_does_not_answer_the_next_request_of_its_connection() {
    answer_late(Fault::HungReads(HANG));
}

fn answer_late(fault: Fault) {
    let Some((site, disk, [late, next])) = site() else { return };
    let daemon = site.start();
    eventually("both titles serve", || site.serving().len() == 2);
    disk.fail(fault, ".bundle");
    let mut connection = Connection::open(daemon.http()).unwrap();
    let given_up = connection.get(&late.request_path("1.m4s")).unwrap();
    assert_eq!(given_up.head.status, 503);
    assert!(disk.wait_for_hung(1, PATIENCE));
    // The next request of the same connection waits for the same disk, which then answers both.
    let answer = std::thread::scope(|scope| {
        let answer = scope.spawn(|| connection.get(&next.request_path("1.m4s")).unwrap());
        std::thread::sleep(Duration::from_millis(300));
        disk.heal();
        answer.join().unwrap()
    });
    assert_eq!(answer.head.status, 200);
    assert!(answer.body == next.bytes("1.m4s"), "another title's bytes");
    assert!(daemon.stop().success());
}
