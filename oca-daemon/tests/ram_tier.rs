//! The RAM tier of a real daemon: what is asked for comes into memory once, is served from there byte for byte, and leaves with
//! its bundle; and no wrong byte is sent when memory, files or limits are not what they should be.
//!
//! Objects are small enough for a tier of 8 MiB: as much may be locked where nobody has raised the limit.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

#[path = "ram_tier/damaged.rs"]
mod damaged;
#[path = "ram_tier/locking.rs"]
mod locking;
mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileExt;

use control_client::admin::{Purge, Retire};
use control_client::content::BundlePath;
use control_client::wire::DocumentVersion;
use support::{Answer, Daemon, ask, eventually, runtime};

const OBJECT: &str = "/title/1.m4s";

/// Bytes of which no two windows are alike for long.
fn bytes(length: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let words = std::iter::from_fn(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some(state.to_le_bytes())
    });
    words.flatten().take(length).collect()
}

/// A client that reads nothing by itself: far less than a block is on its way to it.
fn connect_slowly(address: SocketAddr) -> TcpStream {
    support::connect_slowly(address, 64 << 10)
}

fn get(address: SocketAddr, target: &str, fields: &str) -> Answer {
    ask(&mut TcpStream::connect(address).unwrap(), "GET", target, fields).unwrap()
}

/// Waits until the daemon serves the object, without having it read.
fn wait_until_adopted(daemon: &Daemon, target: &str) {
    eventually("the bundle is served", || {
        ask(&mut TcpStream::connect(daemon.http()).unwrap(), "HEAD", target, "").unwrap().status == 200
    });
}

/// Asks until all of the object is in memory.
fn bring_into_memory(daemon: &Daemon, target: &str, length: usize) {
    wait_until_adopted(daemon, target);
    eventually("the object is in memory", || {
        get(daemon.http(), target, "");
        daemon.metric("oca_ram_tier_bytes", "resident") >= length as u64
    });
}

/// So that no load takes longer than a viewer waits for it, however busy the disk is.
fn bring_into_page_cache(daemon: &Daemon) {
    std::io::copy(&mut daemon.bundle_file("title"), &mut std::io::sink()).unwrap();
}

#[test]
fn what_is_asked_for_again_is_served_from_memory_byte_for_byte() {
    let object = bytes(5 << 20);
    let daemon = Daemon::start(&[(OBJECT, &object), ("/title/2.m4s", &object[..1000])]);
    bring_into_memory(&daemon, OBJECT, object.len());
    let reads = daemon.metric("oca_volume_read_bytes_total", "");
    let mut stream = TcpStream::connect(daemon.http()).unwrap();
    for _ in 0..3 {
        assert!(ask(&mut stream, "GET", OBJECT, "").unwrap().body == object);
    }
    // Within a block, over the border of two, over three, the last byte, several at once.
    for (first, last) in [(0, 0), (70_000, 70_100), ((2 << 20) - 10, (2 << 20) + 10), (100, (5 << 20) - 100)]
    {
        let answer = ask(&mut stream, "GET", OBJECT, &format!("Range: bytes={first}-{last}\r\n")).unwrap();
        assert!(answer.status == 206 && answer.body == object[first..=last], "{first}-{last}");
    }
    let answer = ask(&mut stream, "GET", OBJECT, "Range: bytes=0-9,3000000-3000009,-5\r\n").unwrap();
    assert!(answer.status == 206 && answer.head.contains("multipart/byteranges"), "{}", answer.head);
    let holds = |part: &[u8]| answer.body.windows(part.len()).any(|window| window == part);
    assert!(
        holds(&object[..10]) && holds(&object[3_000_000..3_000_010]) && holds(&object[object.len() - 5..])
    );
    assert_eq!(daemon.metric("oca_volume_read_bytes_total", ""), reads, "nothing was read from disk");
    eventually("the last is counted", || daemon.metric("oca_requests_total", "hit_ram") >= 8);
    assert!(daemon.metric("oca_requests_total", "hit_disk") >= 1);
}

#[test]
fn what_is_asked_for_once_is_loaded_where_there_is_room_and_its_viewer_reads_nothing_beside() {
    let object = bytes(3 << 20);
    let daemon = Daemon::start(&[(OBJECT, &object)]);
    wait_until_adopted(&daemon, OBJECT);
    bring_into_page_cache(&daemon);
    assert!(get(daemon.http(), OBJECT, "").body == object);
    assert_eq!(daemon.metric("oca_ram_tier_loaded_bytes_total", ""), object.len() as u64);
    assert_eq!(daemon.metric("oca_volume_read_bytes_total", ""), 0, "the worker has read it, too");
    eventually("the disk was read for it", || daemon.metric("oca_requests_total", "hit_disk") == 1);
}

#[test]
fn what_is_asked_for_once_displaces_nothing_nor_does_a_little_of_a_block_have_all_of_it_loaded() {
    let object = bytes(2 << 20);
    let names: Vec<String> = (0..8).map(|number| format!("/title/{number}.m4s")).collect();
    let objects: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), object.as_slice())).collect();
    // Room for one block beside the reserve.
    let daemon = Daemon::start_with(&objects, "workers = 1\nram_tier = \"4 MiB\"\n", "");
    wait_until_adopted(&daemon, &names[0]);
    bring_into_page_cache(&daemon);
    let little = get(daemon.http(), &names[0], "Range: bytes=0-99999\r\n");
    assert!(little.body == object[..100_000]);
    eventually("the tier has looked", || daemon.metric("oca_ram_tier_samples_total", "taken") >= 1);
    assert_eq!(daemon.metric("oca_ram_tier_loads_total", ""), 0);
    for name in &names[1..] {
        assert!(get(daemon.http(), name, "").body == object);
    }
    assert_eq!(daemon.metric("oca_ram_tier_loads_total", ""), 1, "the first found room");
    assert_eq!(daemon.metric("oca_ram_tier_departures_total", ""), 0);
    let reads = daemon.metric("oca_volume_read_bytes_total", "");
    assert!(get(daemon.http(), &names[1], "").body == object);
    assert_eq!(daemon.metric("oca_volume_read_bytes_total", ""), reads, "it is still in memory");
}

#[test]
fn without_a_tier_everything_is_served_from_disk() {
    let object = bytes(300_000);
    let daemon = Daemon::start_with(&[(OBJECT, &object)], "workers = 1\nram_tier = \"off\"\n", "");
    wait_until_adopted(&daemon, OBJECT);
    for _ in 0..5 {
        assert!(get(daemon.http(), OBJECT, "").body == object);
    }
    assert_eq!(daemon.metric("oca_ram_tier_budget_bytes", ""), 0);
    assert_eq!(daemon.metric("oca_requests_total", "hit_ram"), 0);
}

#[test]
fn a_tier_that_is_too_small_for_everything_keeps_its_bound_and_serves_the_rest_from_disk() {
    let object = bytes(9 << 20);
    let daemon = Daemon::start_with(&[(OBJECT, &object)], "workers = 1\nram_tier = \"4 MiB\"\n", "");
    wait_until_adopted(&daemon, OBJECT);
    let held = || {
        ["resident", "loading", "leaving"]
            .map(|state| daemon.metric("oca_ram_tier_bytes", state))
            .iter()
            .sum::<u64>()
    };
    for _ in 0..20 {
        assert!(get(daemon.http(), OBJECT, "").body == object);
        assert!(held() <= 4 << 20);
    }
    eventually("something is in memory", || {
        assert!(get(daemon.http(), OBJECT, "").body == object);
        daemon.metric("oca_ram_tier_blocks", "") > 0
    });
    assert_eq!(daemon.metric("oca_requests_total", "hit_ram"), 0, "no response came from memory alone");
}

#[test]
fn a_retired_bundle_leaves_memory_and_its_space_returns_while_a_slow_reader_stays() {
    let object = bytes(5 << 20);
    let daemon = Daemon::start(&[(OBJECT, &object), ("/other/1.m4s", &object[..5000])]);
    bring_into_memory(&daemon, OBJECT, object.len());
    // Stuck in the middle of a response from memory.
    let mut slow = connect_slowly(daemon.http());
    slow.write_all(format!("GET {OBJECT} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).unwrap();
    let mut first = vec![0; 100_000];
    slow.read_exact(&mut first).unwrap();
    let admin = daemon.admin();
    let retire = std::thread::spawn(move || {
        let path = BundlePath::parse("/title").unwrap();
        runtime().block_on(admin.retire(Retire { version: DocumentVersion, path, generation: None }))
    });
    eventually("it has left memory", || daemon.metric("oca_ram_tier_blocks", "") == 0);
    assert_eq!(get(daemon.http(), OBJECT, "").status, 404);
    // The response goes on, from disk, and is whole.
    let (body, is_whole) = read_to_the_end(&mut first.as_slice().chain(&mut slow), object.len());
    assert!(is_whole && body == object);
    assert!(retire.join().unwrap().is_ok(), "the space has returned");
    eventually("its file is closed", || daemon.metric("oca_ram_tier_files", "") == 0);
}

#[test]
fn a_block_whose_bytes_are_wrong_is_not_taken_in_and_its_bundle_is_quarantined() {
    let object = bytes(3 << 20);
    let daemon = Daemon::start(&[(OBJECT, &object), ("/other/1.m4s", &object[..5000])]);
    wait_until_adopted(&daemon, OBJECT);
    // Damage in the part of the block that nobody asks for.
    let file = daemon.bundle_file("title");
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1 << 20).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 1 << 20).unwrap();
    file.sync_all().unwrap();
    eventually("the block was found to be wrong", || {
        let mut stream = TcpStream::connect(daemon.http()).unwrap();
        if let Ok(answer) = ask(&mut stream, "GET", OBJECT, "Range: bytes=0-99999\r\n") {
            assert!(answer.status == 404 || answer.body == object[..100_000], "{}", answer.head);
        }
        daemon.metric("oca_ram_tier_loads_total", "corrupt") == 1
    });
    eventually("the bundle has left", || get(daemon.http(), OBJECT, "").status == 404);
    assert_eq!(daemon.metric("oca_bundles_quarantined_total", "data"), 1);
    assert_eq!(daemon.metric("oca_ram_tier_blocks", ""), 0);
}

/// Reads a response until it ends, and returns what came of its body and whether that was all.
fn read_to_the_end(stream: &mut (impl Read + ?Sized), body_bytes: usize) -> (Vec<u8>, bool) {
    let mut received = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        let head = received.windows(4).position(|window| window == b"\r\n\r\n").map(|end| end + 4);
        if let Some(head) = head.filter(|head| received.len() - head >= body_bytes) {
            return (received.split_off(head), true);
        }
        match stream.read(&mut chunk) {
            Ok(length @ 1..) => received.extend_from_slice(&chunk[..length]),
            _ => return (head.map(|head| received.split_off(head)).unwrap_or_default(), false),
        }
    }
}

#[test]
fn a_bus_error_that_is_none_of_the_tiers_ends_the_process() {
    let mut daemon = Daemon::start(&[(OBJECT, b"bytes")]);
    rustix::process::kill_process(daemon.pid(), rustix::process::Signal::BUS).unwrap();
    eventually("the daemon has ended", || daemon.has_ended_by(7));
}

#[test]
fn all_viewers_of_one_block_cost_one_read_of_the_disk() {
    const VIEWERS: usize = 400;
    let object = bytes(2 << 20);
    let daemon = Daemon::start_with(&[(OBJECT, &object)], "workers = 2\n", "");
    wait_until_adopted(&daemon, OBJECT);
    bring_into_page_cache(&daemon);
    let mut viewers: Vec<TcpStream> = (0..VIEWERS).map(|_| connect_slowly(daemon.http())).collect();
    for viewer in &mut viewers {
        viewer.write_all(format!("GET {OBJECT} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).unwrap();
    }
    for viewer in &mut viewers {
        let (body, is_whole) = read_to_the_end(viewer, object.len());
        assert!(is_whole && body == object);
    }
    assert_eq!(daemon.metric("oca_volume_read_bytes_total", ""), 0, "workers have read");
    assert_eq!(daemon.metric("oca_ram_tier_loaded_bytes_total", ""), object.len() as u64);
    let answered = |outcome| daemon.metric("oca_requests_total", outcome);
    eventually("all are counted", || answered("hit_ram") + answered("hit_disk") == VIEWERS as u64);
}

/// The policy counts so many requests for a block, and no more.
const COUNTED_MAX: usize = 15;

/// Viewers who may read for themselves although the block is on its way: each waits for a quarter of a second, and a busy machine may take
/// longer for a load.
const IMPATIENT_MAX: usize = 8;

#[test]
fn what_is_released_while_memory_is_full_is_in_memory_after_a_few_viewers() {
    let object = bytes(2 << 20);
    let (hot, released) = ("/title/hot.m4s", "/title/released.m4s");
    // Room for one block beside the reserve.
    let daemon =
        Daemon::start_with(&[(hot, &object), (released, &object)], "workers = 1\nram_tier = \"4 MiB\"\n", "");
    wait_until_adopted(&daemon, hot);
    bring_into_page_cache(&daemon);
    let reads = || daemon.metric("oca_volume_read_bytes_total", "");
    let is_from_memory = |target: &str| {
        let before = reads();
        assert!(get(daemon.http(), target, "").body == object);
        reads() == before
    };
    let mut hot_requests = 0;
    eventually("what is hot is in memory", || {
        hot_requests += 1;
        is_from_memory(hot)
    });
    for _ in 0..5 {
        hot_requests += 1;
        assert!(is_from_memory(hot));
    }
    assert!(hot_requests < COUNTED_MAX, "{hot_requests} requests: nothing can be counted more often");
    // A block is taken in when it was asked for once more than what has to go for it: 7 viewers, unless something was slow.
    let viewers_max = hot_requests + 1 + IMPATIENT_MAX;
    let viewers = (1..=viewers_max).find(|_| is_from_memory(released));
    assert!(
        viewers.is_some_and(|viewers| viewers > 1),
        "{viewers:?} of {viewers_max}: as if there had been room, or never"
    );
}

#[test]
fn descriptors_and_mappings_of_the_tier_are_given_back() {
    let object = bytes(300_000);
    let names: Vec<String> = (0..12).map(|number| format!("/title{number}/1.m4s")).collect();
    let objects: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), object.as_slice())).collect();
    let daemon = Daemon::start(&objects);
    for (number, name) in names.iter().enumerate() {
        bring_into_memory(&daemon, name, (number + 1) * object.len());
    }
    assert_eq!(daemon.metric("oca_ram_tier_files", ""), 12);
    let mappings = || {
        let maps = fs::read_to_string(format!("/proc/{}/maps", daemon.process())).unwrap();
        maps.lines().filter(|line| line.contains(".bundle")).count()
    };
    assert_eq!(mappings(), 12);
    let path = BundlePath::parse("/").unwrap();
    runtime().block_on(daemon.admin().purge(Purge { version: DocumentVersion, path, prefix: true })).unwrap();
    let descriptors = || {
        let open = fs::read_dir(format!("/proc/{}/fd", daemon.process())).unwrap();
        let links = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        links.filter(|link| link.to_string_lossy().contains(".bundle")).count()
    };
    eventually("nothing is mapped or open any more", || mappings() == 0 && descriptors() == 0);
    assert_eq!(daemon.metric("oca_ram_tier_bytes", ""), 0);
}
