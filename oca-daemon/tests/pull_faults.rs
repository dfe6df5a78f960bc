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
mod support;
#[path = "pull_faults/versions.rs"]
mod versions;

use edge::Edge;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::sleep;
use std::time::Duration;

const MIB: usize = 1 << 20;
const FRESH: &str = "Cache-Control: max-age=600\r\n";
/// Makers of a service that stores what it pulls, and of one that cannot.
const WITH_DISK_AND_WITHOUT: [fn(&[String]) -> Edge; 2] =
    [Edge::of, |urls| Edge::without_disk(edge::upstreams(urls))];

/// A gate that a script waits at.
#[derive(Clone, Default)]
struct Gate(Arc<AtomicBool>);

impl Gate {
    fn open(&self) {
        self.0.store(true, SeqCst);
    }

    fn wait(&self) {
        while !self.0.load(SeqCst) {
            sleep(Duration::from_millis(1));
        }
    }
}

/// Sends a 200 with the first bytes of a body and no more.
fn break_off(stream: &mut TcpStream, fields: &str, body: &[u8], count: usize) -> bool {
    let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..count]));
    let _ = stream.shutdown(Shutdown::Both);
    false
}

/// The section of a configuration by which everything is pulled from there.
fn pull_from(origin: &origin::Origin, lines: &str) -> String {
    format!(
        "[pull]\nrules = [{{ prefix = \"/\", on_miss = \"pull\" }}]\nupstreams = [{{ name = \"origin\", url = \"{}\" }}]\n{lines}",
        origin.url()
    )
}
