//! Who wants what a disk is being asked for waits for that one read, also where nothing is kept in memory.

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
use support::site::{Sample, Site, eventually};

const VIEWERS: usize = 200;
/// Less than one read of a worker's.
const OBJECT_BYTES: usize = 300_000;

#[test]
fn without_a_ram_tier_all_viewers_of_one_block_share_one_read_of_their_worker() {
    let mut site = Site::new(1);
    let (backing, mount_point) = (site.folder.path().join("behind-disk"), site.folder.path().join("disk"));
    std::fs::create_dir(&backing).unwrap();
    std::fs::create_dir(&mount_point).unwrap();
    let Some(disk) = FaultyVolume::mount_or_skip(&backing, &mount_point, Submission::Queued) else { return };
    site.add_volume("disk");
    site.premises.set("serve", "workers = 1");
    site.premises.set("serve", "ram_tier = \"off\"");
    let premiere = Sample::new("/premiere", 1, 1, OBJECT_BYTES);
    premiere.publish(site.volume(1));
    let daemon = site.start();
    let target = premiere.request_path("0");
    // What is held up is the read of the object, and not of the bundle's footer.
    eventually("the bundle is open", || {
        Connection::open(daemon.http()).unwrap().head(&target).is_ok_and(|head| head.status == 200)
    });
    assert_eq!(site.metric("oca_volume_read_bytes_total", &[]), 0.0);
    disk.fail(Fault::HungReads(Duration::from_secs(30)), ".bundle");
    let request = format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut viewers: Vec<_> = (0..VIEWERS)
        .map(|_| {
            let mut viewer = Connection::open(daemon.http()).unwrap();
            viewer.send(request.as_bytes()).unwrap();
            viewer
        })
        .collect();
    eventually("all wait", || site.metric("oca_requests_in_flight", &[]) == VIEWERS as f64);
    disk.heal();
    for viewer in &mut viewers {
        let head = viewer.read_head().unwrap();
        assert!(viewer.finish(head).unwrap().body == premiere.bytes("0"));
    }
    let read = site.metric("oca_volume_read_bytes_total", &[]);
    assert!((OBJECT_BYTES..2 * OBJECT_BYTES).contains(&(read as usize)), "{read} bytes were read");
    assert!(daemon.stop().success());
}
