//! Answers arrive whole, whatever their length, coding and connection.

use std::time::{Duration, Instant};

use bytes::Bytes;
use oca_daemon::outcome::Outcome;
use oca_daemon::pull::PullRequest;
use oca_daemon::pull::pipe::Writer;
use rustls::version::{TLS12, TLS13};

use crate::client::Client;
use crate::support::{eventually, tls};
use crate::worker::{HELD, HELD_BYTES, ScriptedWorker, head};
use crate::{EVERYTHING, noise};

/// Answers as the path says: `/length/BYTES/CHUNK` with a length, `/chunked/BYTES/CHUNK` without, in chunks of that size.
async fn body_as_the_path_says(request: PullRequest, mut writer: Writer) {
    let parts: Vec<&str> = request.path().split('/').collect();
    let (length, size) = (parts[2].parse().unwrap(), parts[3].parse().unwrap());
    let known = (parts[1] == "length").then_some(length as u64);
    if writer.head(head(200, known)).await.is_err() {
        return;
    }
    if request.is_head() {
        return writer.end();
    }
    for (place, chunk) in noise(length).chunks(size).enumerate() {
        if place % 7 == 3 {
            tokio::task::yield_now().await;
        }
        if writer.chunk(Bytes::copy_from_slice(chunk)).await.is_err() {
            return;
        }
    }
    writer.end();
}

#[test]
fn a_body_arrives_byte_for_byte_with_a_length_and_in_chunks_over_one_connection() {
    let worker = ScriptedWorker::start(EVERYTHING, body_as_the_path_says);
    let mut client = Client::connect(worker.http);
    for (length, size) in
        [(0, 1), (1, 1), (5_000, 7), (65_536, 65_536), (3_000_000, 50_000), (2_000_000, 1_999_999)]
    {
        for kind in ["length", "chunked"] {
            let answer = client.ask("GET", &format!("/{kind}/{length}/{size}"), "").unwrap();
            assert_eq!(answer.status, 200);
            assert!(answer.body == noise(length), "{kind} {length} {size}");
            assert_eq!(answer.field("x-upstream"), Some("yes"));
            assert_eq!(answer.field("cache-status"), Some("oca-1;fwd=uri-miss"));
            assert!(answer.field("server-timing").unwrap().starts_with("upstream;dur="));
            assert!(answer.field("date").is_some() && answer.field("connection").is_none());
        }
    }
    assert_eq!(worker.asked(), 12);
    worker.counts(Outcome::DemandMiss, 12);
}

#[test]
fn a_player_is_told_how_its_connection_does_whoever_has_what_it_gets() {
    let worker = ScriptedWorker::start(EVERYTHING, body_as_the_path_says);
    let mut client = Client::connect(worker.http);
    let silent = client.ask("GET", "/length/500/50", "").unwrap();
    assert_eq!(silent.field("cmsd-dynamic"), None);
    let player = client.ask("GET", "/length/500/50", "CMCD-Session: sid=\"a\"\r\n").unwrap();
    assert!(player.field("cmsd-dynamic").is_some_and(|told| told.contains("oca-1")), "{player:?}");
}

/// What a player says that has 20 s in its buffer and finds so many kbit/s sufficient.
fn calm(kbps: u32) -> String {
    format!("CMCD-Object: br=500,ot=v,tb=500\r\nCMCD-Request: bl=20000\r\nCMCD-Status: rtp={kbps}\r\n")
}

#[test]
fn a_body_of_unknown_length_has_the_pace_of_its_own_request() {
    let worker = ScriptedWorker::start(EVERYTHING, body_as_the_path_says);
    let mut client = Client::connect(worker.http);
    let mut timed = |target: &str, fields: &str| {
        let began = Instant::now();
        assert_eq!(client.ask("GET", target, fields).unwrap().status, 200);
        began.elapsed()
    };
    // 2 MB at 2 Mbit/s would take 8 s.
    for fields in ["CMCD-Request: su\r\n", ""] {
        timed("/length/100/100", &calm(2_000));
        let unpaced = timed("/chunked/2000000/50000", fields);
        assert!(unpaced < Duration::from_secs(4), "{fields:?}: {unpaced:?}");
    }
    // At 16 Mbit/s they take 1 s, less what the steps of the pace and the first burst give.
    let paced = timed("/chunked/2000000/50000", &calm(16_000));
    assert!(paced > Duration::from_millis(600), "{paced:?}");
}

#[test]
fn over_tls_the_bytes_are_the_same() {
    let worker = ScriptedWorker::start(EVERYTHING, body_as_the_path_says);
    for version in [&TLS12, &TLS13] {
        let settings = tls::client(version, &worker.certificate);
        let mut client = Client::new(tls::connect(&settings, worker.https));
        for target in ["/length/3000000/40000", "/chunked/3000000/100000", "/chunked/0/1", "/length/10/1"] {
            let answer = client.ask("GET", target, "").unwrap();
            let length: usize = target.split('/').nth(2).unwrap().parse().unwrap();
            assert!(answer.body == noise(length), "{target}");
        }
    }
}

#[test]
fn many_clients_at_once_each_get_their_own() {
    let worker = ScriptedWorker::start(EVERYTHING, body_as_the_path_says);
    std::thread::scope(|scope| {
        for number in 0..64_usize {
            let address = worker.http;
            scope.spawn(move || {
                let mut client = Client::connect(address);
                for round in 0..4 {
                    let (length, size) = (10_000 * number + round, 1 + 997 * (number + 1));
                    let kind = if (number + round) % 2 == 0 { "length" } else { "chunked" };
                    let answer = client.ask("GET", &format!("/{kind}/{length}/{size}"), "").unwrap();
                    assert!(answer.body == noise(length), "{kind} {length} {size}");
                }
            });
        }
    });
    worker.counts(Outcome::DemandMiss, 64 * 4);
}

#[test]
fn http_1_0_gets_an_unknown_length_up_to_the_end_of_the_connection() {
    let worker = ScriptedWorker::start(EVERYTHING, body_as_the_path_says);
    let mut client = Client::connect(worker.http);
    client.send(b"GET /chunked/200000/3000 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.read(false).unwrap();
    assert!(answer.body == noise(200_000) && answer.field("transfer-encoding").is_none());
    let mut client = Client::connect(worker.http);
    for _ in 0..2 {
        client.send(b"GET /length/2000/300 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let answer = client.read(false).unwrap();
        assert!(answer.body == noise(2_000) && answer.field("connection") == Some("keep-alive"));
    }
}

#[test]
fn head_and_pipelined_requests_are_answered_in_order() {
    let worker = ScriptedWorker::start(EVERYTHING, body_as_the_path_says);
    let mut client = Client::connect(worker.http);
    let held = format!("GET {HELD} HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the bundle is adopted", || client.ask("GET", HELD, "").unwrap().body == HELD_BYTES);
    let asked = worker.asked();
    client.send(
        format!(
            "HEAD /length/500/50 HTTP/1.1\r\nHost: a\r\n\r\n{held}GET /chunked/500/50 HTTP/1.1\r\nHost: a\r\n\r\n\
             GET /length/7/1 HTTP/1.1\r\nHost: a\r\n\r\n{held}"
        )
        .as_bytes(),
    );
    let answer = client.read(true).unwrap();
    assert_eq!((answer.status, answer.field("content-length")), (200, Some("500")));
    assert_eq!(client.read(false).unwrap().body, HELD_BYTES);
    assert!(client.read(false).unwrap().body == noise(500));
    assert!(client.read(false).unwrap().body == noise(7));
    assert_eq!(client.read(false).unwrap().body, HELD_BYTES);
    assert_eq!(worker.asked() - asked, 3, "what a bundle holds is asked of nobody");
    worker.counts(Outcome::Head, 1);
}
