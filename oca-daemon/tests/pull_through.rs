//! A whole daemon that pulls from an origin on a real socket: what viewers get, and what the operator sees of it.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

#[path = "pull_through/buckets.rs"]
mod buckets;
#[path = "pulling/client.rs"]
#[allow(dead_code, reason = "each test program uses its own part")]
mod client;
#[path = "pull_through/https.rs"]
mod https;
#[path = "upstream/origin.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]
mod origin;
#[path = "pull_through/purges.rs"]
mod purges;
#[path = "pull_through/scan.rs"]
mod scan;
#[path = "upstream/scripts.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]
mod scripts;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use client::Client;
use origin::{Origin, send, send_file};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use scripts::{FRESH, Gate, in_halves};
use support::{Daemon, eventually, tls};

const HELD: &str = "/held/1.m4s";
const LARGE: usize = 3_500_000;

/// An origin with small files below `/films/`, and two large ones; a playlist that is not to be kept, and nothing else.
fn origin() -> Origin {
    Origin::start(|asked, stream| {
        let fresh = "Cache-Control: max-age=600\r\nContent-Type: video/mp4\r\n";
        match asked.target.split('?').next().unwrap() {
            "/films/large.mp4" => send_file(asked, stream, "large", fresh, &origin::bytes(1, LARGE)),
            "/films/first.mp4" => send_file(asked, stream, "first", fresh, &origin::bytes(2, 200_000)),
            path if path.starts_with("/films/") => send_file(asked, stream, "small", fresh, path.as_bytes()),
            "/live.m3u8" => send(stream, "200 OK", "Cache-Control: no-store\r\n", b"#EXTM3U\n"),
            _ => send(stream, "404 Not Found", "Cache-Control: max-age=60\r\n", b"no such film\n"),
        }
    })
}

fn daemon(origin: &Origin, lines: &str) -> Daemon {
    daemon_of(&[(HELD, b"of a bundle")], origin, lines)
}

fn daemon_of(objects: &[(&str, &[u8])], origin: &Origin, lines: &str) -> Daemon {
    let pull = format!(
        "[pull]\nrules = [{{ prefix = \"/\", on_miss = \"pull\" }}]\nupstreams = [{{ name = \"origin\", url = \"{}\" }}]\n{lines}",
        origin.url()
    );
    Daemon::start_with(objects, "workers = 2\n", &pull)
}

fn get(client: &mut Client<TcpStream>, target: &str) -> client::Answer {
    client.ask("GET", target, "").unwrap()
}

/// Waits until the volume's log of pulled content is open, which is a moment after the daemon serves: before, nothing goes there, and
/// nothing is found.
fn wait_until_it_keeps(daemon: &Daemon) {
    let mut client = Client::connect(daemon.http());
    let mut number = 0;
    eventually("it keeps what it pulls", || {
        number += 1;
        get(&mut client, &format!("/films/first.mp4?{number}"));
        daemon.metric("oca_pull_volume_records", "") > 0
    });
}

fn cache_status(answer: &client::Answer) -> &str {
    answer.field("cache-status").unwrap()
}

#[test]
fn what_is_pulled_once_is_held_and_the_operator_sees_both() {
    let origin = origin();
    let daemon = daemon(&origin, "");
    let mut client = Client::connect(daemon.http());
    eventually("the bundle is adopted", || get(&mut client, HELD).body == b"of a bundle");
    let asked = origin.count();
    assert_eq!(cache_status(&get(&mut client, HELD)), "oca;hit");
    assert_eq!(origin.count(), asked, "what a bundle holds is asked of nobody");

    let miss = get(&mut client, "/films/a.mp4?CMCD=br%3D800");
    assert_eq!((miss.status, miss.body.as_slice()), (200, b"/films/a.mp4".as_slice()));
    assert!(cache_status(&miss).starts_with("oca;fwd=uri-miss"), "{}", miss.head);
    eventually("it is held", || {
        cache_status(&get(&mut client, "/films/a.mp4?CMCD=br%3D900")).starts_with("oca;hit")
    });
    let hit = get(&mut client, "/films/a.mp4");
    assert_eq!(hit.body, b"/films/a.mp4");
    assert!(hit.field("age").is_some() && hit.field("content-type") == Some("video/mp4"), "{}", hit.head);
    let asked = |target: &str| origin.asked().iter().filter(|asked| asked.target.starts_with(target)).count();
    let before = asked("/films/a.mp4");
    get(&mut client, "/films/a.mp4?CMCD=br%3D700");
    assert_eq!(asked("/films/a.mp4"), before, "what players say of themselves makes no other object");

    let body = origin::bytes(1, LARGE);
    assert!(get(&mut client, "/films/large.mp4").body == body);
    let part = client.ask("GET", "/films/large.mp4", "Range: bytes=1000000-2999999\r\n").unwrap();
    assert!(part.status == 206 && part.body == body[1_000_000..3_000_000]);
    let length = LARGE.to_string();
    let head = client.ask("HEAD", "/films/large.mp4", "").unwrap();
    assert_eq!((head.status, head.field("content-length")), (200, Some(length.as_str())));
    assert_eq!(get(&mut client, "/none").status, 404);
    assert_eq!(get(&mut client, "/live.m3u8").body, b"#EXTM3U\n");

    drop(client);
    eventually("all is in the log", || daemon.access_log().iter().any(|line| line["target"] == "/live.m3u8"));
    let log = daemon.access_log();
    let outcome = |target: &str| log.iter().find(|line| line["target"] == target).unwrap()["outcome"].clone();
    assert_eq!(outcome("/films/a.mp4?CMCD=br%3D800"), "demand_miss");
    assert_eq!(outcome("/films/a.mp4"), "demand_hit");
    assert_eq!(outcome("/none"), "client_error_absent");
    let part = log.iter().find(|line| line["status"] == 206).unwrap();
    assert_eq!((&part["range_start"], &part["range_bytes"]), (&1_000_000.into(), &2_000_000.into()));
    assert!(log.iter().all(|line| line["status"] == 206 || line.get("range_start").is_none()));
    assert!(daemon.metric("oca_requests_total", "\"demand_hit\"") >= 1);
    assert!(daemon.metric("oca_pull_upstream_requests_total", "result=\"answered\"") >= 2);
    assert_eq!(daemon.metric("oca_pull_upstream_requests_total", "result=\"absent\""), 1);
    assert!(daemon.metric("oca_pull_upstream_bytes_total", "upstream=\"origin\"") >= LARGE as u64);
    assert_eq!(daemon.metric("oca_pull_upstream_open", ""), 0);
    assert_eq!(daemon.metric("oca_pull_requests_under_way", ""), 0);
}

#[test]
fn a_thousand_viewers_of_one_object_cost_the_origin_one_request_and_have_what_has_come() {
    const VIEWERS: usize = 1000;
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let (body, gate) = (origin::bytes(1, 300_000), Gate::default());
    let (sent, held_up) = (body.clone(), gate.clone());
    let origin = Origin::start(move |asked, stream| match asked.target.as_str() {
        "/films/premiere.mp4" => in_halves(stream, FRESH, &sent, &held_up),
        _ => send(stream, "200 OK", FRESH, asked.target.as_bytes()),
    });
    let daemon = daemon(&origin, "");
    wait_until_it_keeps(&daemon);
    let before = origin.count();
    let mut viewers: Vec<TcpStream> =
        (0..VIEWERS).map(|_| TcpStream::connect(daemon.http()).unwrap()).collect();
    for viewer in &mut viewers {
        viewer.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        viewer
            .write_all(b"GET /films/premiere.mp4 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            .unwrap();
    }
    let mut received = vec![Vec::new(); VIEWERS];
    for (viewer, received) in viewers.iter_mut().zip(&mut received) {
        while received.len() <= body.len() / 2 {
            let mut some = [0; 16 << 10];
            let count = viewer.read(&mut some).unwrap();
            assert!(count > 0, "it ended after {} bytes", received.len());
            received.extend_from_slice(&some[..count]);
        }
    }
    gate.open();
    for (viewer, received) in viewers.iter_mut().zip(&mut received) {
        viewer.read_to_end(received).unwrap();
        assert!(received.starts_with(b"HTTP/1.1 200 ") && received.ends_with(&body));
    }
    assert_eq!(origin.count(), before + 1);
}

#[test]
fn over_tls_what_is_pulled_is_the_same() {
    let origin = origin();
    let folder = tempfile::tempdir().unwrap();
    let pull = format!(
        "[pull]\nrules = [{{ prefix = \"/\", on_miss = \"pull\" }}]\nupstreams = [{{ name = \"origin\", url = \"{}\" }}]\n",
        origin.url()
    );
    let day = Duration::from_secs(86_400);
    let (daemon, certificate) = tls::start_with(folder.path(), b"of a bundle", day, "", &pull);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let settings = tls::client(version, &certificate);
        let mut client = Client::new(tls::connect(&settings, daemon.https()));
        assert!(client.ask("GET", "/films/large.mp4", "").unwrap().body == origin::bytes(1, LARGE));
        assert_eq!(client.ask("GET", "/films/b.mp4", "").unwrap().body, b"/films/b.mp4");
    }
}

#[test]
fn where_upstream_cannot_be_reached_viewers_learn_it_and_bundles_are_served() {
    // Bound and let go: nobody listens there.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let pull = format!(
        "[pull]\nrules = [{{ prefix = \"/\", on_miss = \"pull\" }}]\nupstreams = [{{ name = \"origin\", url = \"http://{gone}\" }}]\n"
    );
    let daemon = Daemon::start_with(&[(HELD, b"of a bundle")], "workers = 1\n", &pull);
    let mut client = Client::connect(daemon.http());
    let answer = get(&mut client, "/films/a.mp4");
    assert_eq!((answer.status, cache_status(&answer)), (502, "oca;detail=upstream_unreachable"));
    eventually("the bundle is adopted", || get(&mut client, HELD).body == b"of a bundle");
    assert!(daemon.metric("oca_requests_total", "refused_upstream_unreachable") >= 1);
    assert!(daemon.metric("oca_pull_upstream_requests_total", "result=\"unreachable\"") >= 1);
}
