//! Who asks for names that nobody has.

use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use oca_daemon::limits::{ABSENCES_MAX, ABSENCES_WINDOW, PULL_STATS_INTERVAL};
use rustix::net::{AddressFamily, SocketType};

use super::client::Client;
use super::support::{Daemon, eventually};
use super::{HELD, daemon_of, get, origin, wait_until_it_keeps};

/// A client with an address of its own.
fn connect_from(source: [u8; 4], address: SocketAddr) -> Client<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from((source, 0))).unwrap();
    rustix::net::connect(&socket, &address).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    Client::new(stream)
}

/// Records and bytes of pulled content on the volume, once they stay the same: it is told once a second.
fn kept(daemon: &Daemon) -> (u64, u64) {
    let look = || (daemon.metric("oca_pull_volume_records", ""), daemon.metric("oca_pull_volume_bytes", ""));
    let mut last = look();
    eventually("nothing is on its way to the disk", || {
        sleep(2 * PULL_STATS_INTERVAL);
        let now = look();
        std::mem::replace(&mut last, now) == now
    });
    last
}

#[test]
fn a_scan_of_absent_names_costs_upstream_no_more_than_its_bound_and_takes_neither_disk_nor_memory() {
    const NAMES: usize = 4000;
    let (origin, hot) = (origin(), origin::bytes(3, 300_000));
    let daemon = daemon_of(&[(HELD, &hot)], &origin, "");
    let ask = |target: &str| get(&mut Client::connect(daemon.http()), target);
    let answered = |outcome: &str| daemon.metric("oca_requests_total", outcome);
    wait_until_it_keeps(&daemon);
    eventually("it is served from memory", || ask(HELD).body == hot && answered("\"hit_ram\"") > 0);
    let (kept_before, asked_before) = (kept(&daemon), origin.count());

    let (began, mut absent) = (Instant::now(), 0);
    let mut scanner = connect_from([127, 0, 0, 2], daemon.http());
    for number in 0..NAMES {
        // Below a directory of a bundle, and below one that nobody has.
        let directory = ["/held", "/nowhere"][number % 2];
        match get(&mut scanner, &format!("{directory}/absent-{number}.m4s")).status {
            404 => absent += 1,
            status => assert_eq!(status, 503),
        }
    }
    let windows = began.elapsed().as_secs() / ABSENCES_WINDOW.as_secs() + 1;
    let asked = origin.count() - asked_before;
    assert_eq!(asked, absent, "who is refused costs nothing");
    let bound = windows * u64::from(ABSENCES_MAX);
    assert!(asked >= ABSENCES_MAX as usize && asked as u64 <= bound, "{asked} in {windows}");
    assert_eq!(kept(&daemon), kept_before);

    let (from_memory, from_disk) = (answered("\"hit_ram\""), answered("\"hit_disk\""));
    assert!(ask(HELD).body == hot);
    eventually("it came from memory", || answered("\"hit_ram\"") == from_memory + 1);
    assert_eq!(answered("\"hit_disk\""), from_disk);
    assert_eq!(ask("/films/another.mp4").body, b"/films/another.mp4", "others are pulled for");
}
