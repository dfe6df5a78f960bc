//! Clients beyond the bound on connections, where they are to wait: whichever worker they wait at, they have whatever room there is.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;
use support::{Daemon, ask, eventually};

const OBJECT: &str = "/title/1.m4s";

/// The bound.
const CONNECTIONS: usize = 4;

/// Longer than a client with room waits for its answer.
const PATIENCE: Duration = Duration::from_millis(200);

/// Which of two workers a client is with is for the kernel to choose, and for the access log to say.
struct Client {
    _stream: TcpStream,
    worker: u64,
    answered_at: Instant,
}

impl Client {
    fn connect(daemon: &Daemon) -> TcpStream {
        let stream = TcpStream::connect(daemon.http()).unwrap();
        // One that gives up is not to be answered before others.
        set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        stream
    }

    /// A client, if there is room for it.
    fn within(daemon: &Daemon) -> Option<Self> {
        let stream = Self::connect(daemon);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self::answered(daemon, stream)
    }

    fn answered(daemon: &Daemon, mut stream: TcpStream) -> Option<Self> {
        let answer = ask(&mut stream, "GET", OBJECT, "").ok()?;
        assert!(matches!(answer.status, 200 | 404), "{}", answer.head);
        let answered_at = Instant::now();
        let port = stream.local_addr().unwrap().port();
        let mut worker = None;
        eventually("it is in the log", || {
            let lines = daemon.access_log();
            let line = lines.iter().rev().find(|line| line["port"] == port);
            worker = line.map(|line| line["worker"].as_u64().unwrap());
            worker.is_some()
        });
        worker.map(|worker| Self { _stream: stream, worker, answered_at })
    }
}

/// Fills a daemon with clients of the first worker, and has the second one wait for room.
fn fill_first_worker(daemon: &Daemon) -> Vec<Client> {
    let mut clients = Vec::new();
    while clients.len() < CONNECTIONS {
        clients.extend(Client::within(daemon).filter(|client| client.worker == 0));
        eventually("the others have left", || {
            daemon.metric("oca_connections_open", "") == clients.len() as u64
        });
    }
    // The second worker finds out when it has accepted one more.
    while Client::within(daemon).is_none() {}
    eventually("it has left", || daemon.metric("oca_connections_open", "") == CONNECTIONS as u64);
    clients
}

/// How long a client of the second worker has waited after one of the first worker's had left; `None`: it was with the first.
fn wait_for_room(daemon: &Daemon) -> Option<Duration> {
    let mut clients = fill_first_worker(daemon);
    let stream = Client::connect(daemon);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| Client::answered(daemon, stream));
        thread::sleep(Duration::from_millis(100));
        assert!(!waiting.is_finished(), "there was no room");
        let left_at = Instant::now();
        drop(clients.pop());
        let client = waiting.join().unwrap().unwrap();
        (client.worker == 1).then(|| client.answered_at - left_at)
    })
}

#[test]
fn who_waits_at_one_worker_soon_has_the_room_that_a_client_of_another_worker_leaves() {
    let serve = format!("workers = 2\nconnections = {CONNECTIONS}\nat_capacity = \"pause\"\n");
    let mut waits = Vec::new();
    while waits.len() < 6 {
        let daemon = Daemon::start_with(&[(OBJECT, b"small")], &serve, "");
        waits.extend(wait_for_room(&daemon));
    }
    // An idle worker looks around by itself once in a second, at any moment of it. One of the waits may be the machine's.
    waits.sort();
    assert!(waits[..5].iter().sum::<Duration>() < Duration::from_millis(625), "{waits:?}");
}
