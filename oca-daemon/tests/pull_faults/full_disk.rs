//! A volume on a file system that is full before a body is.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use super::client::Client;
use super::origin::{Origin, bytes, send_file};
use super::scripts::Gate;
use super::support::{Daemon, eventually};
use super::{MIB, pull_from};

/// Room for three segments of pulled content, which has a part of it that is not there any more when it comes to that.
const VOLUME_BYTES: usize = 96 * MIB;
const BODY_BYTES: usize = 40 * MIB;

/// Takes all that is free where the daemon sees its volume.
fn fill_disk(daemon: &Daemon) -> PathBuf {
    let ballast = daemon.volume().join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    for size in [MIB, 4096] {
        let some = vec![1; size];
        while file.write_all(&some).is_ok() {}
    }
    ballast
}

#[test]
fn when_the_disk_is_full_in_the_middle_of_a_body_clients_get_every_byte_and_no_part_is_served_later() {
    for tag in ["ETag: \"a\"\r\n", ""] {
        let (gate, body) = (Gate::default(), bytes(1, BODY_BYTES));
        let (held_up, sent) = (gate.clone(), body.clone());
        let fields = format!("{tag}Cache-Control: max-age=600\r\n");
        let origin = Origin::start(move |asked, stream| match asked.target.as_str() {
            "/film.mp4" => {
                let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n", sent.len());
                let (first, rest) = sent.split_at(20 * MIB);
                let begun = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(first));
                held_up.wait();
                begun.and_then(|()| stream.write_all(rest)).is_ok()
            }
            _ => send_file(asked, stream, "b", "Cache-Control: max-age=600\r\n", &sent[..MIB + 1]),
        });
        let pull = pull_from(&origin, "volume_percent = 90\n");
        let Some(daemon) = Daemon::start_on_a_small_volume(VOLUME_BYTES, &pull) else {
            // Where everything is to be tested, it must be.
            assert!(std::env::var_os("CI").is_none(), "`unshare -rm` and a mount in it are refused here");
            eprintln!("skipped: this machine lets nobody mount a file system in memory");
            return;
        };
        let mut names = 0;
        eventually("it keeps what it pulls", || {
            names += 1;
            Client::connect(daemon.http()).ask("GET", &format!("/{names}.mp4"), "").unwrap();
            daemon.metric("oca_pull_volume_records", "") > 0
        });
        let get = || Client::connect(daemon.http()).ask("GET", "/film.mp4", "").unwrap();
        let ballast = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..3).map(|_| scope.spawn(get)).collect();
            // One more reads nothing before it is full: what it wants next is on disk alone by then.
            let mut late = Client::connect(daemon.http());
            late.send(b"GET /film.mp4 HTTP/1.1\r\nHost: test\r\n\r\n");
            eventually("half of it is stored", || daemon.metric("oca_pull_volume_records", "") >= 15);
            let ballast = fill_disk(&daemon);
            gate.open();
            // There was room for all of it by the configuration.
            eventually("the disk was full", || {
                daemon.metric("oca_pull_write_failures_total", "")
                    + daemon.metric("oca_pull_evicted_records_total", "")
                    > 0
            });
            let late = late.read(false).unwrap();
            for answer in clients.into_iter().map(|client| client.join().unwrap()).chain([late]) {
                assert!(answer.status == 200 && answer.body == body, "{tag}");
            }
            ballast
        });
        for _ in 0..2 {
            assert!(get().body == body, "{tag}");
        }
        let range = Client::connect(daemon.http())
            .ask("GET", "/film.mp4", &format!("Range: bytes={}-{}\r\n", 30 * MIB, 30 * MIB + 9))
            .unwrap();
        let part = &body[30 * MIB..30 * MIB + 10];
        assert!(range.body == *part || range.body == body, "{tag}");
        // With room it is stored again.
        fs::remove_file(ballast).unwrap();
        eventually("it is held", || {
            let answer = get();
            assert!(answer.body == body, "{tag}");
            answer.field("cache-status").unwrap().starts_with("oca;hit")
        });
    }
}
