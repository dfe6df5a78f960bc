//! Many connections at once: the workers have as many each, idle ones cost memory as promised and no time, slow ones hold no buffers
//! that others need, and those who read from the disk have their turns alike.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support {
    pub(crate) mod crowd;
    pub(crate) mod http;
    pub(crate) mod site;
}

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use support::crowd::{Reader, anonymous_bytes, can_have_descriptors, run_time};
use support::http::{Connection, narrow_socket};
use support::site::{Sample, Site, eventually};

/// One test has the machine's descriptors at a time.
static CROWD: Mutex<()> = Mutex::new(());

const MIB: usize = 1 << 20;

/// A site with one bundle, and a daemon that reads it from the disk each time.
fn cold_site(object_count: usize, object_bytes: usize) -> (Site, Sample) {
    let mut site = Site::new(1);
    let sample = Sample::new("/title", 1, object_count, object_bytes);
    sample.publish(site.volume(0));
    site.premises.set("serve", "ram_tier = \"off\"");
    site.premises.set("store", "open_bundles = 64");
    (site, sample)
}

// ---- idle ----

const IDLE: usize = 16_000;

/// What is promised for each of them.
const IDLE_BYTES_MAX: u64 = 4 << 10;

/// The kernel tosses a coin for each connection (`SO_REUSEPORT`, a hash of the addresses): of two workers' shares of so many, one is
/// below nine tenths of the other once in 10^10 runs, where the coin is fair (6.6 standard deviations).
const LEAST_OF_MOST: f64 = 0.9;

/// How long the daemon is left alone to see what that costs.
const QUIET: Duration = Duration::from_secs(3);

/// How many connections each worker has, of those who have asked once, by the access log.
fn connections_by_worker(site: &Site) -> BTreeMap<u64, usize> {
    let log = fs::read_to_string(site.premises.access_log()).unwrap();
    let mut counts = BTreeMap::new();
    // The last line may be half written.
    for line in log.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        *counts.entry(line["worker"].as_u64().unwrap()).or_default() += 1;
    }
    counts
}

#[test]
fn sixteen_thousand_idle_connections_are_spread_evenly_and_take_at_most_4_kib_each_and_no_time() {
    let _crowd = CROWD.lock().unwrap_or_else(PoisonError::into_inner);
    if !can_have_descriptors(IDLE + 800) {
        return;
    }
    let (mut site, sample) = cold_site(1, 16 << 10);
    for line in ["ram_tier = \"16 MiB\"", "connections = 16000", "idle_timeout = \"10 min\""] {
        site.premises.set("serve", line);
    }
    let daemon = site.start();
    eventually("the title serves", || site.serving().len() == 1);
    let expected = sample.bytes("0");
    let connect = |count: usize| -> Vec<Connection> {
        let one = || {
            let mut connection = Connection::open(daemon.http()).unwrap();
            assert!(connection.get("/title/0").unwrap().body == expected);
            connection
        };
        (0..count).map(|_| one()).collect()
    };
    // What is there for all of them is there before any is counted.
    let mut held = connect(200);
    let (memory, time) = (anonymous_bytes(daemon.id()), run_time(daemon.id()));
    thread::sleep(QUIET);
    let cost_of_few = run_time(daemon.id()) - time;

    let many = IDLE - held.len();
    thread::scope(|scope| {
        let parts: Vec<_> = (0..8).map(|_| scope.spawn(|| connect(many / 8))).collect();
        held.extend(parts.into_iter().flat_map(|part| part.join().unwrap()));
    });
    assert_eq!(held.len(), IDLE);
    eventually("all are counted", || site.metric("oca_connections_open", &[]) >= IDLE as f64);
    let each = anonymous_bytes(daemon.id()).saturating_sub(memory) / IDLE as u64;
    println!("{each} bytes for each of {IDLE} idle connections");
    assert!(each <= IDLE_BYTES_MAX, "{each} bytes for each");

    let time = run_time(daemon.id());
    thread::sleep(QUIET);
    let cost_of_many = run_time(daemon.id()) - time;
    println!(
        "while all were idle for {QUIET:?} the daemon ran for {cost_of_many:?}, with few connections for {cost_of_few:?}"
    );
    // Looking through all of them at every tick of the clock would take longer than that.
    let allowed = cost_of_few * 3 + Duration::from_millis(40);
    assert!(cost_of_many <= allowed, "{cost_of_many:?} for many, {cost_of_few:?} for few");

    eventually("all are logged", || connections_by_worker(&site).values().sum::<usize>() == IDLE);
    let of_workers = connections_by_worker(&site);
    println!("connections of each worker: {of_workers:?}");
    let (least, most) = (of_workers.values().min().unwrap(), of_workers.values().max().unwrap());
    assert!(of_workers.len() == 2 && *least as f64 >= LEAST_OF_MOST * *most as f64, "{of_workers:?}");

    for connection in held.iter_mut().step_by(IDLE / 100) {
        assert!(connection.get("/title/0").unwrap().body == expected, "an idle connection answers no more");
    }
}

// ---- slow ----

const SLOW: usize = 2_000;
const SLOW_BYTES: usize = 3 * MIB;

/// Read buffers of each of the two workers: far fewer than there are slow readers.
const READ_BUFFERS: &str = "read_buffers = \"16 MiB\"";

#[test]
fn two_thousand_readers_who_take_nothing_keep_no_buffer_from_others_and_get_every_byte_later() {
    let _crowd = CROWD.lock().unwrap_or_else(PoisonError::into_inner);
    if !can_have_descriptors(SLOW + 800) {
        return;
    }
    let (mut site, sample) = cold_site(16, 8 * MIB);
    // While they all fill their sockets they wait for buffers; that is not what is looked at.
    for line in [READ_BUFFERS, "send_stall_timeout = \"5 min\"", "disk_timeout = \"2 min\""] {
        site.premises.set("serve", line);
    }
    let daemon = site.start();
    eventually("the title serves", || site.serving().len() == 1);
    let objects: Vec<Vec<u8>> = (0..16).map(|object| sample.bytes(&object.to_string())).collect();

    // Each wants other chunks than those before it, so that none is served by what another one reads.
    let place = |number: usize| (number % 16, number * 7 % 5 * MIB + number / 16 % 16 * (64 << 10));
    let ask = |number: usize| -> Reader {
        let (object, start) = place(number);
        let mut reader = Reader::over(narrow_socket(daemon.http()).unwrap());
        reader.ask(&format!("/title/{object}"), start..start + SLOW_BYTES).unwrap();
        reader
    };
    let mut slow: Vec<Reader> = (0..SLOW).map(ask).collect();
    let in_use = || site.metric("oca_read_buffer_bytes", &["in_use"]);
    let sent = || site.metric("oca_egress_bytes_total", &[]);
    let mut before = -1.0;
    eventually("their sockets are full", || {
        thread::sleep(Duration::from_millis(500));
        let now = sent();
        std::mem::replace(&mut before, now) == now
    });
    println!("{SLOW} readers stand still; {:.0} KiB of buffers are in use", in_use() / 1024.0);

    // Others are served from the disk as if there were none of them.
    let began = Instant::now();
    for (object, expected) in objects.iter().enumerate() {
        let answer = daemon.get(&format!("/title/{object}")).unwrap();
        assert_eq!(answer.head.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        assert!(answer.body == *expected, "object {object}: wrong bytes");
    }
    println!("beside them a reader got {} MiB in {:?}", objects.len() * 8, began.elapsed());
    for outcome in ["refused_buffers", "aborted_buffers"] {
        assert_eq!(site.metric("oca_requests_total", &[outcome]), 0.0, "{outcome}");
    }

    for number in (0..SLOW).step_by(SLOW / 40) {
        let (object, start) = place(number);
        let body = slow[number].finish().unwrap();
        assert!(body == objects[object][start..start + SLOW_BYTES], "reader {number}: wrong bytes");
    }
    drop(slow);
    eventually("every buffer has come back", || in_use() == 0.0);
}

// ---- fair ----

const STORM: usize = 48;
const STORM_BYTES: usize = 12 * MIB;
const SMALL_BYTES: usize = 64 << 10;

/// What each of the storm gets on average while somebody else asks for a little: what of its is under way, and what its sockets hold. It
/// is far less than what each has asked for.
const MEANWHILE_BYTES_MAX: u64 = 4 << 20;

#[test]
fn readers_of_the_disk_have_their_turns_alike_and_a_small_request_does_not_wait_for_large_ones() {
    let _crowd = CROWD.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut site, sample) = cold_site(16, 16 * MIB);
    site.premises.set("serve", "workers = 1");
    let daemon = site.start();
    eventually("the title serves", || site.serving().len() == 1);
    let expected = sample.bytes("15");
    let mut storm: Vec<Reader> = (0..STORM).map(|_| Reader::connect(daemon.http()).unwrap()).collect();
    let mut small = Reader::connect(daemon.http()).unwrap();
    let turn = |storm: &mut Vec<Reader>| {
        for (number, reader) in storm.iter_mut().enumerate() {
            if reader.is_idle() {
                let (object, start) = (number % 15, number / 15 * MIB);
                reader.ask(&format!("/title/{object}"), start..start + STORM_BYTES).unwrap();
            }
            reader.read_some().unwrap();
            reader.take_body();
        }
    };
    let total = |storm: &[Reader]| storm.iter().map(Reader::received_bytes).sum::<u64>();

    let mut most_meanwhile = 0;
    for number in 0..20 {
        let start = number * 2 * SMALL_BYTES;
        small.ask("/title/15", start..start + SMALL_BYTES).unwrap();
        let before = total(&storm);
        while !small.is_idle() {
            small.read_some().unwrap();
            turn(&mut storm);
        }
        // The first ones come while the storm gathers.
        if number >= 4 {
            most_meanwhile = most_meanwhile.max(total(&storm) - before);
        }
        assert!(small.take_body() == expected[start..start + SMALL_BYTES], "wrong bytes");
        let until = total(&storm) + (STORM * MIB) as u64;
        while total(&storm) < until {
            turn(&mut storm);
        }
    }
    let received: Vec<u64> = storm.iter().map(Reader::received_bytes).collect();
    let (least, most) = (*received.iter().min().unwrap(), *received.iter().max().unwrap());
    println!(
        "the storm's readers got {} to {} MiB each; while a small request was answered at most {} KiB each",
        least / MIB as u64,
        most / MIB as u64,
        most_meanwhile / STORM as u64 / 1024
    );
    assert!(most_meanwhile <= STORM as u64 * MEANWHILE_BYTES_MAX, "{most_meanwhile} bytes meanwhile");
    // Each has one turn after the other, and who reads what another has just read is done with his sooner.
    assert!(least * 5 >= most * 2, "{least} and {most} bytes");
}
