//! What goes wrong while content is pulled through: upstreams that break off or ignore what they are asked, clients that leave, purges in
//! the middle of it, full disks and kills. Clients get every byte that there is, and never one of another version.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]
#![allow(unreachable_pub, reason = "the modules are of this test only")]

#[path = "pull_faults/breaks.rs"]
mod breaks;
#[path = "pulling/client.rs"]
#[allow(dead_code, reason = "each test program uses its own part")]
mod client;
#[path = "upstream/edge.rs"]
#[allow(dead_code, reason = "each test program uses its own part")]
mod edge;
#[path = "pull_faults/full_disk.rs"]
mod full_disk;
#[path = "pull_faults/ignored_ranges.rs"]
mod ignored_ranges;
#[path = "pull_faults/kills.rs"]
mod kills;
#[path = "pull_faults/leavers.rs"]
mod leavers;
#[path = "upstream/origin.rs"]
#[allow(dead_code, reason = "each test program uses its own part")]
mod origin;
#[path = "pull_faults/purges.rs"]
mod purges;
#[path = "upstream/scripts.rs"]
#[allow(dead_code, reason = "each test program uses its own part")]
mod scripts;
mod support;
#[path = "pull_faults/versions.rs"]
mod versions;

use std::io::Write;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use edge::Edge;
use scripts::{TAGGED, head};

const MIB: usize = 1 << 20;
/// Makers of a service that stores what it pulls, and of one that cannot.
const WITH_DISK_AND_WITHOUT: [fn(&[String]) -> Edge; 2] =
    [Edge::of, |urls| Edge::without_disk(edge::upstreams(urls))];

/// Sends a whole body as slowly as that.
fn send_slowly(stream: &mut TcpStream, body: &[u8], step: usize, pause: Duration) -> bool {
    let mut is_open = stream.write_all(head(TAGGED, body.len()).as_bytes()).is_ok();
    for part in body.chunks(step) {
        is_open = is_open && stream.write_all(part).is_ok();
        sleep(pause);
    }
    is_open
}

/// The section of a configuration by which everything is pulled from there.
fn pull_from(origin: &origin::Origin, lines: &str) -> String {
    format!(
        "[pull]\nrules = [{{ prefix = \"/\", on_miss = \"pull\" }}]\nupstreams = [{{ name = \"origin\", url = \"{}\" }}]\n{lines}",
        origin.url()
    )
}
