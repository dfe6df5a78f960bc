//! What no bundle holds, from the worker's side: a real worker and real sockets, and a script where the pull service is.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

#[path = "pulling/client.rs"]
mod client;
#[path = "pulling/worker.rs"]
mod worker;

use std::io::{ErrorKind, Read};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use bytes::Bytes;
use client::Client;
use oca_daemon::outcome::Outcome;
use oca_daemon::pull::pipe::{Gone, Writer};
use oca_daemon::pull::{PullFailure, PullRequest};
use rustix::net::sockopt::set_socket_linger;
use rustls::version::{TLS12, TLS13};
use support::{eventually, tls};
use worker::{HELD, HELD_BYTES, ScriptedWorker, head};

const EVERYTHING: &str = "rules = [{ prefix = \"/\", on_miss = \"pull\" }]\n";

/// The bytes of every body: no two places of it look alike.
fn noise(length: usize) -> Vec<u8> {
    tls::noise(length)
}

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
            assert!(answer.field("date").is_some() && answer.field("connection").is_none());
        }
    }
    assert_eq!(worker.asked(), 12);
    worker.counts(Outcome::DemandMiss, 12);
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

async fn fail_at_once(request: PullRequest, writer: Writer) {
    match request.path() {
        "/unreachable" => writer.fail(PullFailure::Unreachable),
        "/late" => writer.fail(PullFailure::TimedOut),
        "/invalid" => writer.fail(PullFailure::Invalid),
        "/loop" => writer.fail(PullFailure::Loop),
        "/busy" => writer.fail(PullFailure::Busy),
        "/not-held" => writer.fail(PullFailure::NotHeld),
        "/no-head" => writer.end(),
        _ => drop(writer),
    }
}

#[test]
fn what_fails_before_the_head_is_answered_with_its_cause_and_the_connection_goes_on() {
    let worker = ScriptedWorker::start(EVERYTHING, fail_at_once);
    let mut client = Client::connect(worker.http);
    for (path, status, word, outcome) in [
        ("/unreachable", 502, "upstream_unreachable", Outcome::RefusedUpstreamUnreachable),
        ("/late", 504, "upstream_timeout", Outcome::RefusedUpstreamTimeout),
        ("/invalid", 502, "upstream_invalid", Outcome::RefusedUpstreamInvalid),
        ("/loop", 508, "upstream_loop", Outcome::RefusedUpstreamLoop),
        ("/busy", 503, "upstream_busy", Outcome::RefusedUpstreamBusy),
        ("/not-held", 504, "only_if_cached", Outcome::ClientErrorOnlyIfCached),
        ("/no-head", 502, "upstream_defect", Outcome::RefusedUpstreamDefect),
        ("/dropped", 502, "upstream_defect", Outcome::RefusedUpstreamDefect),
    ] {
        let before = worker.ended(outcome);
        let answer = client.ask("GET", path, "").unwrap();
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.body.starts_with(word.as_bytes()), "{path}");
        assert_eq!(answer.field("cache-status"), Some(format!("oca-1;detail={word}").as_str()));
        assert_eq!(answer.field("cache-control"), Some("no-store"));
        assert_eq!(answer.field("retry-after").is_some(), status == 503);
        worker.counts(outcome, before + 1);
    }
    assert_eq!(client.ask("HEAD", "/late", "").unwrap().status, 504);
}

async fn break_off(request: PullRequest, mut writer: Writer) {
    let length = if request.path().starts_with("/length") { Some(100_000) } else { None };
    let _ = writer.head(head(200, length)).await;
    let _ = writer.chunk(Bytes::from(noise(50_000))).await;
    if request.path().ends_with("later") {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    match request.path().rsplit('/').next().unwrap() {
        "short" => writer.end(),
        "long" => {
            let _ = writer.chunk(Bytes::from(noise(50_001))).await;
            writer.end();
        }
        "dropped" => drop(writer),
        _ => writer.fail(PullFailure::TimedOut),
    }
}

#[test]
fn what_fails_after_the_head_ends_in_a_reset_and_never_looks_complete() {
    let worker = ScriptedWorker::start(EVERYTHING, break_off);
    for path in [
        "/length/failed",
        "/length/later",
        "/length/dropped",
        "/length/short",
        "/length/long",
        "/chunked/failed",
        "/chunked/later",
        "/chunked/dropped",
    ] {
        let mut client = Client::connect(worker.http);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        let (bytes, end) = client.read_to_end();
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset, "{path}");
        assert!(bytes.len() < 100_000 && !bytes.ends_with(b"\r\n0\r\n\r\n"), "{path}");
    }
    // Where only the end of the connection says that the body is whole, a reset must say that it is not.
    let mut client = Client::connect(worker.http);
    client.send(b"GET /chunked/later HTTP/1.0\r\n\r\n");
    assert_eq!(client.read_to_end().1.unwrap_err().kind(), ErrorKind::ConnectionReset);
    worker.counts(Outcome::AbortedUpstreamTimeout, 5);
    worker.counts(Outcome::AbortedUpstreamInvalid, 4);
}

/// Bytes that the endless body has taken to its pipe, and how many of its writers have learned that their client is gone.
static ENDLESS_BYTES: AtomicU64 = AtomicU64::new(0);
static LEFT: AtomicU64 = AtomicU64::new(0);

async fn endless(request: PullRequest, mut writer: Writer) {
    if request.path() == "/silent" {
        writer.gone().await;
        LEFT.fetch_add(1, SeqCst);
        return;
    }
    let _ = writer.head(head(200, None)).await;
    if request.path() == "/stalled" {
        let _ = writer.chunk(Bytes::from_static(b"a")).await;
        writer.gone().await;
        LEFT.fetch_add(1, SeqCst);
        return;
    }
    let chunk = Bytes::from(noise(100_000));
    while writer.chunk(chunk.clone()).await != Err(Gone) {
        ENDLESS_BYTES.fetch_add(chunk.len() as u64, SeqCst);
    }
    LEFT.fetch_add(1, SeqCst);
}

#[test]
fn a_client_that_takes_nothing_slows_upstream_down_and_one_that_leaves_is_told_of() {
    let worker = ScriptedWorker::start(EVERYTHING, endless);
    let mut client = Client::connect(worker.http);
    client.send(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
    client.read_head().unwrap();
    // The kernel takes some MiB on both sides; then it stands still.
    let mut before = u64::MAX;
    eventually("the body stands still", || {
        std::thread::sleep(Duration::from_millis(200));
        std::mem::replace(&mut before, ENDLESS_BYTES.load(SeqCst)) == ENDLESS_BYTES.load(SeqCst)
    });
    assert!(before > 0 && before < 32 << 20, "{before}");
    let mut some = vec![0; 8 << 20];
    client.socket().try_clone().unwrap().read_exact(&mut some).unwrap();
    eventually("it goes on", || ENDLESS_BYTES.load(SeqCst) > before);
    drop(client);
    eventually("its writer has learned it", || LEFT.load(SeqCst) == 1);

    // Where nothing is sent, a reset is noticed all the same.
    for path in ["/silent", "/stalled"] {
        let left = LEFT.load(SeqCst);
        let mut client = Client::connect(worker.http);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        if path == "/stalled" {
            client.read_head().unwrap();
        }
        std::thread::sleep(Duration::from_millis(100));
        set_socket_linger(client.socket(), Some(Duration::ZERO)).unwrap();
        drop(client);
        eventually("its writer has learned it", || LEFT.load(SeqCst) == left + 1);
    }
    worker.counts(Outcome::AbortedClientGone, 3);
}

async fn never(_: PullRequest, writer: Writer) {
    writer.gone().await;
}

#[test]
fn beyond_the_bound_requests_are_refused_and_a_place_is_free_again_when_its_answer_is_done() {
    let worker = ScriptedWorker::start(&format!("{EVERYTHING}requests = 1\n"), never);
    let mut first = Client::connect(worker.http);
    first.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("it is asked", || worker.asked() == 1);
    let mut second = Client::connect(worker.http);
    let answer = second.ask("GET", "/b", "").unwrap();
    assert_eq!((answer.status, answer.field("retry-after")), (503, Some("5")));
    worker.counts(Outcome::RefusedUpstreamBusy, 1);
    set_socket_linger(first.socket(), Some(Duration::ZERO)).unwrap();
    drop(first);
    second.socket().set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    eventually("the place is free", || {
        let answer = second.ask("GET", "/c", "");
        answer.is_err() || worker.asked() > 1
    });
    assert_eq!(worker.asked(), 2);
}

#[test]
fn a_service_that_is_silent_is_waited_for_within_a_bound_and_a_stop_ends_the_wait() {
    let worker = ScriptedWorker::start(EVERYTHING, never);
    let mut client = Client::connect(worker.http);
    client.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("it is asked", || worker.asked() == 1);
    let mut worker = worker;
    let began = Instant::now();
    worker.tell_to_stop(Duration::from_millis(300));
    let (bytes, end) = client.read_to_end();
    assert!(bytes.is_empty() && end.unwrap_err().kind() == ErrorKind::ConnectionReset);
    worker.join();
    assert!(began.elapsed() < Duration::from_secs(5));
    worker.counts(Outcome::AbortedShutdown, 1);
}

#[test]
fn an_answer_under_way_is_finished_when_the_worker_stops() {
    let mut worker = ScriptedWorker::start(EVERYTHING, |_, mut writer: Writer| async move {
        let _ = writer.head(head(200, None)).await;
        let _ = writer.chunk(Bytes::from_static(b"first")).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let _ = writer.chunk(Bytes::from_static(b" last")).await;
        writer.end();
    });
    let mut client = Client::connect(worker.http);
    client.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("it is asked", || worker.asked() == 1);
    worker.tell_to_stop(Duration::from_secs(10));
    assert_eq!(client.read(false).unwrap().body, b"first last");
    worker.join();
}

async fn echo(request: PullRequest, mut writer: Writer) {
    let cookies: Vec<&str> =
        request.fields.get_all("x-many").iter().map(|value| value.to_str().unwrap()).collect();
    let text = format!(
        "{} {} {} {} {cookies:?} {}",
        request.method,
        request.target,
        request.authority,
        request.key(),
        String::from_utf8_lossy(&request.content)
    );
    let _ = writer.head(head(200, Some(text.len() as u64))).await;
    let _ = writer.chunk(Bytes::from(text)).await;
    writer.end();
}

#[test]
fn the_whole_request_is_handed_over() {
    let worker = ScriptedWorker::start(EVERYTHING, echo);
    let mut client = Client::connect(worker.http);
    for (target, fields, expected) in [
        ("/a/./b/?c=%2f", "X-Many: 1\r\nx-many: 2\r\n", "GET /a/b/?c=%2f test /a/b/?c=%2f [\"1\", \"2\"] "),
        ("/a?CMCD=br%3D1&b", "", "GET /a?CMCD=br%3D1&b test /a?b [] "),
        ("http://other:81/x", "", "GET /x other:81 /x [] "),
        ("/a%2Fb", "Content-Length: 3\r\n\r\nabc", "GET /a%2Fb test /a%2Fb [] "),
    ] {
        let fields =
            fields.strip_suffix("\r\n\r\nabc").map_or(fields.to_owned(), |fields| format!("{fields}\r\n"));
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n").as_bytes());
        if fields.contains("Content-Length") {
            client.send(b"abc");
        }
        let answer = client.read(false).unwrap();
        assert_eq!(String::from_utf8(answer.body).unwrap(), expected, "{target}");
    }
}

#[test]
fn content_of_unsafe_methods_is_passed_within_a_bound_where_the_operator_allows_it() {
    let worker = ScriptedWorker::start(&format!("{EVERYTHING}unsafe_methods = \"pass\"\n"), echo);
    let mut client = Client::connect(worker.http);
    let text = |answer: client::Answer| String::from_utf8(answer.body).unwrap();
    client.send(b"POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(text(client.read(false).unwrap()), "POST /a test /a [] hello");
    client.send(b"M-SEARCH /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n");
    std::thread::sleep(Duration::from_millis(50));
    client.send(b"3\r\nllo\r\n0\r\n\r\nDELETE /b HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(text(client.read(false).unwrap()), "M-SEARCH /a test /a [] hello");
    assert_eq!(text(client.read(false).unwrap()), "DELETE /b test /b [] ");
    client.send(b"POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.read(false).unwrap().status, 417);
    let mut client = Client::connect(worker.http);
    client.send(b"POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 65537\r\n\r\n");
    assert_eq!(client.read(false).unwrap().status, 413);
    assert_eq!(worker.asked(), 3);
}

#[test]
fn unsafe_methods_are_refused_by_default() {
    let worker = ScriptedWorker::start(EVERYTHING, echo);
    let mut client = Client::connect(worker.http);
    client.send(b"POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.read(false).unwrap().status, 405);
    assert_eq!(client.ask("OPTIONS", "/a", "").unwrap().status, 204);
    assert_eq!(worker.asked(), 0);
}

#[test]
fn rules_send_elsewhere_and_reject_by_prefix() {
    let rules = "rules = [{ prefix = \"/\", on_miss = \"reject\" }, { prefix = \"/away/\", on_miss = \"redirect\", \
        redirect_to = \"https://cdn.example/x/\" }, { prefix = \"/away/here/\", on_miss = \"pull\" }]\n";
    let worker = ScriptedWorker::start(rules, echo);
    let mut client = Client::connect(worker.http);
    assert_eq!(client.ask("GET", "/a", "").unwrap().status, 404);
    let answer = client.ask("GET", "/away/b%20c?d", "").unwrap();
    assert_eq!(answer.status, 307);
    assert_eq!(answer.field("location"), Some("https://cdn.example/x/away/b%20c?d"));
    assert_eq!(answer.field("access-control-allow-origin"), Some("*"));
    assert_eq!(client.ask("GET", "/away/here/b", "").unwrap().status, 200);
    assert_eq!(worker.asked(), 1);
    worker.counts(Outcome::Redirected, 1);
    let fill = format!("User-Agent: {}1\r\n", control_client::demand::FILL_AGENT_PREFIX);
    assert_eq!(
        client.ask("GET", "/away/here/b", &fill).unwrap().status,
        404,
        "a peer that fills has sources of its own"
    );
}
