//! Many connections at once: the workers have as many each, idle ones cost memory as promised and hardly any time, slow ones hold no
//! buffers that others need, and those who read from the disk have their turns alike.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support {
    pub(crate) mod crowd;
    pub(crate) mod http;
    pub(crate) mod site;
}

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cache_store::CHUNK_BYTES;
use oca_daemon::limits::{PIECE_CHUNKS_MAX, PIECES_AHEAD_MAX};

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

/// Each connection has one entry in its worker's wheel of deadlines. The first comes up so long after the connection was accepted
/// (`header_timeout`), each further one 51 s after the one before. Longer than it takes to connect, so that the first ones all come up
/// while the daemon is left alone.
const FIRST_ENTRY: Duration = Duration::from_secs(20);

/// What one entry may cost when it comes up: a constant, however many connections there are.
const ENTRY_TIME_MAX: Duration = Duration::from_micros(30);

/// Between an entry and the next one the daemon is left alone for so long: two looks, if there was one a second.
const QUIET: Duration = Duration::from_secs(2);

/// So often. What disturbs the workers makes one time dearer than the others; what they do by themselves is in each.
const QUIET_TIMES: u32 = 3;

/// What an idle connection may cost in a second between its entries. If all of them were looked through once a second, each would cost
/// more than that: the fetch of a line of its memory that is in no cache any more, and the calls of a daemon that is built for tests.
const LOOK_TIME_MAX: Duration = Duration::from_nanos(50);

/// How long the workers have run. Connections are theirs: no other thread can look at one.
fn worker_run_time(daemon: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{daemon}/task")).unwrap();
    let is_worker = |thread: &PathBuf| {
        fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.starts_with("worker-"))
    };
    let workers: Vec<PathBuf> = threads.map(|thread| thread.unwrap().path()).filter(is_worker).collect();
    assert_eq!(workers.len(), 2, "{workers:?}");
    let nanoseconds = workers.iter().map(|worker| {
        let schedstat = fs::read_to_string(worker.join("schedstat")).unwrap();
        schedstat.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// How long the workers run in a second in which nobody wants anything of them.
fn quiet_second(daemon: u32) -> Duration {
    let times = (0..QUIET_TIMES).map(|_| {
        let (ran, began) = (worker_run_time(daemon), Instant::now());
        thread::sleep(QUIET);
        (worker_run_time(daemon) - ran).div_f64(began.elapsed().as_secs_f64())
    });
    times.min().unwrap()
}

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
    site.premises.set("serve", format!("header_timeout = \"{} s\"", FIRST_ENTRY.as_secs()));
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
    let memory = anonymous_bytes(daemon.id());
    let second_of_few = quiet_second(daemon.id());

    let many = IDLE - held.len();
    thread::scope(|scope| {
        let parts: Vec<_> = (0..8).map(|_| scope.spawn(|| connect(many / 8))).collect();
        held.extend(parts.into_iter().flat_map(|part| part.join().unwrap()));
    });
    let (connected, ran, all_ran) = (Instant::now(), worker_run_time(daemon.id()), run_time(daemon.id()));
    assert_eq!(held.len(), IDLE);
    eventually("all are counted", || site.metric("oca_connections_open", &[]) >= IDLE as f64);
    let each = anonymous_bytes(daemon.id()).saturating_sub(memory) / IDLE as u64;
    println!("{each} bytes for each of {IDLE} idle connections");
    assert!(each <= IDLE_BYTES_MAX, "{each} bytes for each");

    // A second more, for the wheel's grain.
    thread::sleep((FIRST_ENTRY + Duration::from_secs(1)).saturating_sub(connected.elapsed()));
    let each_entry = (worker_run_time(daemon.id()) - ran) / IDLE as u32;
    println!(
        "while the entry of each came up the workers ran for {each_entry:?} for each, the daemon for {:?} in all",
        run_time(daemon.id()).saturating_sub(all_ran)
    );
    assert!(each_entry <= ENTRY_TIME_MAX, "{each_entry:?} for each entry");

    let second_of_many = quiet_second(daemon.id());
    println!(
        "in a quiet second the workers run for {second_of_many:?}, with few connections for {second_of_few:?}"
    );
    // They wake as often for few as for many. A busy machine makes each time dearer; half as much again is not the connections'.
    let each_second = second_of_many.saturating_sub(second_of_few * 3 / 2) / IDLE as u32;
    assert!(each_second <= LOOK_TIME_MAX, "{second_of_many:?} for many, {second_of_few:?} for few");

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

/// When nothing was sent for so long, nobody waits for a buffer any more: whoever takes nothing gives his up after half a second, where
/// others wait.
const STANDSTILL: Duration = Duration::from_secs(2);

/// How long it may take until then.
const FILLING: Duration = Duration::from_secs(60);

/// What another reader may wait beside those who stand still, in all, beyond what a busy machine makes of what he needs alone.
const WAITED_MAX: Duration = Duration::from_secs(20);

/// Waits until the sockets of all who read nothing are full.
fn wait_for_standstill(site: &Site) {
    let deadline = Instant::now() + FILLING;
    let (mut sent, mut since) = (0.0, Instant::now());
    while since.elapsed() < STANDSTILL {
        assert!(Instant::now() < deadline, "not within {FILLING:?}: nothing is sent any more");
        thread::sleep(Duration::from_millis(100));
        let now = site.metric("oca_egress_bytes_total", &[]);
        if now != sent {
            (sent, since) = (now, Instant::now());
        }
    }
}

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
    let in_use = || site.metric("oca_read_buffer_bytes", &["in_use"]);
    let sent = || site.metric("oca_egress_bytes_total", &[]);
    let read_all = || {
        let began = Instant::now();
        for (object, expected) in objects.iter().enumerate() {
            let answer = daemon.get(&format!("/title/{object}")).unwrap();
            assert_eq!(answer.head.status, 200, "{}", String::from_utf8_lossy(&answer.body));
            assert!(answer.body == *expected, "object {object}: wrong bytes");
        }
        began.elapsed()
    };
    let alone = read_all();

    // Each wants other chunks than those before it, so that none is served by what another one reads.
    let place = |number: usize| (number % 16, number * 7 % 5 * MIB + number / 16 % 16 * (64 << 10));
    let ask = |number: usize| -> Reader {
        let (object, start) = place(number);
        let mut reader = Reader::over(narrow_socket(daemon.http()).unwrap());
        reader.ask(&format!("/title/{object}"), start..start + SLOW_BYTES).unwrap();
        reader
    };
    let sent_before = sent();
    let mut slow: Vec<Reader> = (0..SLOW).map(ask).collect();
    wait_for_standstill(&site);
    let given = sent() - sent_before;
    println!(
        "{SLOW} readers stand still with {:.0} MiB; {:.0} KiB of buffers are in use",
        given / MIB as f64,
        in_use() / 1024.0
    );
    // A chunk for each is four times what the buffers hold. Those who came last may have all of them, as long as nobody is short of any;
    // those before them gave theirs up.
    let chunks = given / CHUNK_BYTES as f64;
    assert!(chunks >= SLOW as f64, "{chunks} chunks were sent: their sockets are not full");

    // Others are served from the disk as if there were none of them, and not because they have moved.
    let sent_before = sent();
    let beside = read_all();
    let meanwhile = sent() - sent_before;
    println!("beside them a reader got {} MiB in {beside:?}, alone in {alone:?}", objects.len() * 8);
    assert!(meanwhile < ((objects.len() * 8 + 1) * MIB) as f64, "{meanwhile} bytes: they do not stand still");
    assert!(beside <= alone * 3 + WAITED_MAX, "{beside:?} beside them, {alone:?} alone");
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

// ---- what one of them holds ----

const FEW: usize = 6;
const FEW_BYTES: usize = 24 * MIB;

/// What each of them reads as fast as it comes.
const FAST_BYTES: u64 = 4 << 20;

/// What is read ahead of a client that kept up until it stopped: the pieces that are asked for ahead of what its socket takes, each of
/// the largest size, with half of the pool free. It keeps them until its socket has room, or until somebody is short of buffers.
const AHEAD_BYTES_MAX: usize = PIECES_AHEAD_MAX * PIECE_CHUNKS_MAX * CHUNK_BYTES as usize;

/// What is read ahead of a client that takes a little now and then. Its pieces are halved each time, down to one chunk, and nothing is read
/// ahead of that one. When its socket takes such a piece at once the next is twice as large: a sip is worth two or three chunks, so
/// that it holds up to six.
const SIPPING_BYTES_MAX: usize = 8 * CHUNK_BYTES as usize;

/// Twice as long as a socket has to be full for its client to count as slow (`SLOW` in `sending.rs`).
const SIP: Duration = Duration::from_millis(400);

/// How long it may take until what was read ahead is sipped away: 2 MiB in sips of 64 KiB take 13 s. Nobody has read all of his object by
/// then.
const SIPPING: Duration = Duration::from_secs(60);

#[test]
fn who_stops_holds_what_was_read_ahead_for_him_and_who_reads_slowly_a_quarter_of_it() {
    let (mut site, sample) = cold_site(FEW, FEW_BYTES);
    // Beside what all of them may hold most is free, so that nobody has to give anything up.
    for line in ["read_buffers = \"64 MiB\"", "send_stall_timeout = \"5 min\""] {
        site.premises.set("serve", line);
    }
    let daemon = site.start();
    eventually("the title serves", || site.serving().len() == 1);
    let in_use = || site.metric("oca_read_buffer_bytes", &["in_use"]);
    let ask = |number: usize| -> Reader {
        let mut reader = Reader::over(narrow_socket(daemon.http()).unwrap());
        reader.ask(&format!("/title/{number}"), 0..FEW_BYTES).unwrap();
        reader
    };
    let mut readers: Vec<Reader> = (0..FEW).map(ask).collect();
    eventually("each has got a part as fast as it came", || {
        for _ in 0..64 {
            let behind = readers.iter_mut().filter(|reader| reader.received_bytes() < FAST_BYTES);
            behind.for_each(|reader| reader.read_some().unwrap());
        }
        readers.iter().all(|reader| reader.received_bytes() >= FAST_BYTES)
    });
    wait_for_standstill(&site);
    let stopped = in_use();
    println!("{FEW} readers stand still and hold {:.0} KiB of buffers", stopped / 1024.0);
    assert!(stopped <= (FEW * AHEAD_BYTES_MAX) as f64, "{stopped} bytes of buffers");

    let deadline = Instant::now() + SIPPING;
    while in_use() > (FEW * SIPPING_BYTES_MAX) as f64 {
        assert!(Instant::now() < deadline, "they read slowly and hold {} bytes of buffers", in_use());
        thread::sleep(SIP);
        readers.iter_mut().for_each(|reader| reader.read_some().unwrap());
    }
    for (number, reader) in readers.iter_mut().enumerate() {
        let expected = sample.bytes(&number.to_string());
        assert!(reader.finish().unwrap() == expected, "reader {number}: wrong bytes");
    }
    drop(readers);
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
