//! What clients ask for, as the control plane will hear of it: `GET /demand` of a real daemon with several workers.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use control_client::demand::Demand;
use support::{Daemon, ask, eventually, runtime};

const WORKERS: usize = 4;
const CLIENTS: usize = 8;
const ROUNDS: usize = 40;
const SEGMENT_BYTES: usize = 200_000;
const BIG_BYTES: usize = 16 << 20;

/// Requests, bytes and requests without a bundle, by path.
type Counts = BTreeMap<String, (u64, u64, u64)>;

fn start() -> Daemon {
    let (segment, big) = (vec![7; SEGMENT_BYTES], vec![9; BIG_BYTES]);
    let objects: [(&str, &[u8]); 4] = [
        ("/a/1080p/1.m4s", &segment),
        ("/a/1080p/2.m4s", &segment[..70_000]),
        ("/b/360p/1.m4s", &segment[..1000]),
        ("/c/2160p/1.m4s", &big),
    ];
    let sections = "[control]\nappliance = \"oca-7\"\n";
    let daemon = Daemon::start_with(&objects, &format!("workers = {WORKERS}\n"), sections);
    // Every bundle is taken up before anything is counted; HEAD brings no bytes, and is subtracted below.
    for (path, _) in objects {
        eventually(path, || head_of(daemon.http(), path) == 200);
    }
    daemon
}

fn head_of(address: SocketAddr, path: &str) -> u16 {
    ask(&mut TcpStream::connect(address).unwrap(), "HEAD", path, "").unwrap().status
}

fn demand(daemon: &Daemon) -> Demand {
    runtime().block_on(daemon.admin().demand()).unwrap()
}

fn counts(demand: &Demand) -> Counts {
    let entries = demand.paths.iter();
    let counts: Counts =
        entries.map(|of| (of.path.as_str().to_owned(), (of.requests, of.bytes, of.absent))).collect();
    assert_eq!(counts.len(), demand.paths.len(), "no path stands twice");
    counts
}

/// What was counted since `before`.
fn since(before: &Counts, after: &Counts) -> Counts {
    let difference = after.iter().map(|(path, now)| {
        let then = before.get(path).copied().unwrap_or_default();
        (path.clone(), (now.0 - then.0, now.1 - then.1, now.2 - then.2))
    });
    difference.filter(|(_, counts)| *counts != (0, 0, 0)).collect()
}

fn add(counts: &mut Counts, path: &str, bytes: usize, is_absent: bool) {
    let entry = counts.entry(path.to_owned()).or_default();
    *entry = (entry.0 + 1, entry.1 + bytes as u64, entry.2 + u64::from(is_absent));
}

/// One round of everything that a client can ask, over one connection; says what of it is demand.
fn play_round(address: SocketAddr, client: usize, round: usize, expected: &mut Counts) {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut ask = |method, target: &str, fields, status| {
        let answer = ask(&mut stream, method, target, fields).unwrap();
        assert_eq!(answer.status, status, "{method} {target} {fields}");
        answer.body.len()
    };
    let whole = ask("GET", "/a/1080p/1.m4s", "", 200);
    assert_eq!(whole, SEGMENT_BYTES);
    add(expected, "/a/1080p", whole, false);
    let part = ask("GET", "/a/1080p/1.m4s", "Range: bytes=100-70099\r\n", 206);
    assert_eq!(part, 70_000);
    add(expected, "/a/1080p", part, false);
    let parts = ask("GET", "/a/1080p/2.m4s", "Range: bytes=0-9,1000-1009\r\n", 206);
    assert!(parts > 20);
    add(expected, "/a/1080p", parts, false);
    // The second spelling of a path is the same directory.
    add(expected, "/b/360p", ask("GET", "/b/x/../%3360p/1.m4s?session=1", "", 200), false);
    ask("HEAD", "/b/360p/1.m4s", "", 200);
    add(expected, "/b/360p", 0, false);
    ask("GET", "/b/360p/1.m4s", "If-None-Match: *\r\n", 304);
    add(expected, "/b/360p", 0, false);
    ask("GET", "/b/360p/1.m4s", "Range: bytes=1000-\r\n", 416);
    add(expected, "/b/360p", 0, false);
    // No demand: an object that its bundle does not have, and what asks for no object.
    ask("GET", "/b/360p/none.m4s", "", 404);
    ask("OPTIONS", "/b/360p/1.m4s", "", 204);
    ask("DELETE", "/b/360p/1.m4s", "", 405);
    // No viewer: a peer fills.
    ask("GET", "/b/360p/1.m4s", "User-Agent: oca-fill-agent/0.1.0\r\n", 200);
    ask("GET", "/none/1080p/1.m4s", "user-agent: oca-fill-agent/0.1.0\r\n", 404);
    // No bundle: names that all clients share, and one of this round alone.
    for absent in ["/none/1080p".to_owned(), "/a".to_owned(), format!("/none/{client}/{round}")] {
        ask("GET", &format!("{absent}/1.m4s"), "", 404);
        add(expected, &absent, 0, true);
    }
}

#[test]
fn requests_bytes_and_absent_directories_are_counted_exactly_whoever_asks_meanwhile() {
    let daemon = start();
    let before = counts(&demand(&daemon));
    let is_over = AtomicBool::new(false);
    let expected = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let (runtime, client) = (runtime(), daemon.admin());
                    let (mut last, mut answers) = (Counts::new(), 0);
                    while !is_over.load(Relaxed) {
                        let now = counts(&runtime.block_on(client.demand()).unwrap());
                        for (path, then) in &last {
                            let now = now[path];
                            assert!(
                                now.0 >= then.0 && now.1 >= then.1 && now.2 >= then.2,
                                "{path} went back"
                            );
                        }
                        (last, answers) = (now, answers + 1);
                    }
                    answers
                })
            })
            .collect();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let address = daemon.http();
                scope.spawn(move || {
                    let mut expected = Counts::new();
                    (0..ROUNDS).for_each(|round| play_round(address, client, round, &mut expected));
                    expected
                })
            })
            .collect();
        let mut expected = Counts::new();
        for (path, (requests, bytes, absent)) in clients.into_iter().flat_map(|client| client.join().unwrap())
        {
            let entry = expected.entry(path).or_default();
            *entry = (entry.0 + requests, entry.1 + bytes, entry.2 + absent);
        }
        is_over.store(true, Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 10, "demand was read while it grew");
        }
        expected
    });
    let after = demand(&daemon);
    assert_eq!(since(&before, &counts(&after)), expected);
    assert_eq!(after.other_absent_requests, 0);
    assert_eq!(daemon.metric("oca_demand_directories", "\"absent\""), 2 + (CLIENTS * ROUNDS) as u64);
    assert_eq!(daemon.metric("oca_demand_directories", "\"held\""), 3);
    assert_eq!(daemon.metric("oca_demand_late_answers_total", ""), 0);
    assert_eq!(daemon.metric("oca_demand_uncounted_total", ""), 0);
}

#[test]
fn a_request_counts_once_at_its_end_with_the_bytes_that_were_sent_even_if_the_client_leaves() {
    let daemon = start();
    let before = counts(&demand(&daemon));
    let sent_before = daemon.metric("oca_body_bytes_total", "");
    let leaving: Vec<TcpStream> = (0..9)
        .map(|_| {
            let mut stream = TcpStream::connect(daemon.http()).unwrap();
            stream.write_all(b"GET /c/2160p/1.m4s HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
            stream.read_exact(&mut [0; 100_000]).unwrap();
            stream
        })
        .collect();
    assert_eq!(since(&before, &counts(&demand(&daemon))), Counts::new(), "none has ended");
    drop(leaving);
    let mut staying = TcpStream::connect(daemon.http()).unwrap();
    assert_eq!(ask(&mut staying, "GET", "/c/2160p/1.m4s", "").unwrap().body.len(), BIG_BYTES);
    eventually("all have ended", || {
        since(&before, &counts(&demand(&daemon))).get("/c/2160p").is_some_and(|counts| counts.0 == 10)
    });
    let counted = since(&before, &counts(&demand(&daemon)));
    let (requests, bytes, absent) = counted["/c/2160p"];
    assert_eq!((counted.len(), requests, absent), (1, 10, 0));
    assert_eq!(bytes, daemon.metric("oca_body_bytes_total", "") - sent_before);
    assert!(bytes > BIG_BYTES as u64 && bytes < 10 * BIG_BYTES as u64, "{bytes}");
}

#[test]
fn each_start_of_the_daemon_is_another_instance_and_health_has_the_appliances_name() {
    let (one, other) = (start(), start());
    let instances = [demand(&one).instance, demand(&one).instance, demand(&other).instance];
    assert_eq!(instances[0], instances[1]);
    assert_ne!(instances[0], instances[2]);
    assert_eq!(runtime().block_on(one.admin().health()).unwrap().appliance.as_deref(), Some("oca-7"));
}

#[test]
fn the_load_follows_what_clients_take() {
    let daemon = start();
    let load = || runtime().block_on(daemon.admin().load()).unwrap();
    eventually("a load of some time", || load().interval_millis > 0);
    let mut stream = TcpStream::connect(daemon.http()).unwrap();
    let mut busiest = load();
    let deadline = Instant::now() + Duration::from_secs(20);
    while busiest.requests_per_second == 0 || busiest.reads_per_second == 0 {
        assert!(Instant::now() < deadline, "{busiest:?}");
        for _ in 0..20 {
            ask(&mut stream, "GET", "/a/1080p/1.m4s", "").unwrap();
        }
        busiest = load();
    }
    assert_eq!(busiest.connections, 1);
    assert!(busiest.egress_bits_per_second > busiest.requests_per_second * 8 * 1000, "{busiest:?}");
    assert!(busiest.read_latency_p50_micros > 0, "{busiest:?}");
    assert!(busiest.read_latency_p99_micros >= busiest.read_latency_p50_micros, "{busiest:?}");
    drop(stream);
    eventually("nothing is left of it after some seconds", || {
        let load = load();
        load.interval_millis >= 5000 && load.connections == 0 && load.requests_per_second == 0
    });
}
