//! What viewers on several workers want at once is read once for all of them, also where memory is full of what is asked for more.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use support::{Daemon, ask, connect_slowly, eventually, tls};

/// Objects are blocks, and a tier of 4 MiB has room for one that is asked for, and for one beside it.
const BLOCK_BYTES: usize = 2 << 20;
const HOT: &str = "/title/hot.m4s";
const RELEASED: &str = "/title/released.m4s";
const VIEWERS: usize = 64;

fn blocks(daemon: &Daemon) -> u64 {
    daemon.metric("oca_ram_tier_blocks", "")
}

/// What workers have read for those whom they serve.
fn read_bytes(daemon: &Daemon) -> u64 {
    daemon.metric("oca_volume_read_bytes_total", "")
}

/// What was read into memory.
fn loaded_bytes(daemon: &Daemon) -> u64 {
    daemon.metric("oca_ram_tier_loaded_bytes_total", "")
}

fn get(daemon: &Daemon, target: &str) -> Vec<u8> {
    ask(&mut TcpStream::connect(daemon.http()).unwrap(), "GET", target, "").unwrap().body
}

/// Asks for it so often, in turn after turn of the tier's, that no crowd outweighs it: the policy counts to fifteen.
fn make_hot(daemon: &Daemon, target: &str) {
    eventually("it is in memory", || {
        get(daemon, target);
        blocks(daemon) == 1
    });
    let looked = || daemon.metric("oca_ram_tier_samples_total", "taken");
    for _ in 0..30 {
        let before = looked();
        get(daemon, target);
        eventually("the tier has looked", || looked() > before);
    }
}

/// Viewers who ask for it at once, and read nothing yet: most of it is not on its way to them.
fn crowd(daemon: &Daemon, target: &str) -> Vec<TcpStream> {
    let mut viewers: Vec<TcpStream> = (0..VIEWERS).map(|_| connect_slowly(daemon.http(), 64 << 10)).collect();
    let request = format!("GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    for viewer in &mut viewers {
        viewer.write_all(request.as_bytes()).unwrap();
    }
    viewers
}

/// The body of the answer.
fn receive(viewer: &mut TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    viewer.read_to_end(&mut received).unwrap();
    let head = received.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    received.split_off(head + 4)
}

#[test]
fn a_crowd_on_two_workers_has_a_block_read_once_though_memory_is_full_and_what_is_hot_stays_there() {
    let hot = tls::noise(BLOCK_BYTES);
    let released: Vec<u8> = hot.iter().rev().copied().collect();
    let daemon =
        Daemon::start_with(&[(HOT, &hot), (RELEASED, &released)], "workers = 2\nram_tier = \"4 MiB\"\n", "");
    eventually("the bundle is served, and open", || {
        ask(&mut TcpStream::connect(daemon.http()).unwrap(), "HEAD", HOT, "").unwrap().status == 200
    });
    // So that no load takes longer than a viewer waits for it, however busy the disk is.
    std::io::copy(&mut daemon.bundle_file("title"), &mut std::io::sink()).unwrap();
    make_hot(&daemon, HOT);

    let (read, loaded) = (read_bytes(&daemon), loaded_bytes(&daemon));
    let mut viewers = crowd(&daemon, RELEASED);
    eventually("it is in memory, too", || blocks(&daemon) == 2);
    for viewer in &mut viewers {
        assert!(receive(viewer) == released);
    }
    let (read, loaded) = (read_bytes(&daemon) - read, loaded_bytes(&daemon) - loaded);
    assert_eq!(loaded, BLOCK_BYTES as u64);
    // The first to ask has begun to read it himself, and on a busy machine has ended before it is in memory; nobody else has.
    assert!(read <= BLOCK_BYTES as u64, "{read} bytes were read beside");

    assert_eq!(daemon.metric("oca_ram_tier_departures_total", "displaced"), 0);
    let before = read_bytes(&daemon);
    assert!(get(&daemon, HOT) == hot);
    assert_eq!(read_bytes(&daemon), before, "it was in memory");
}
