//! Clients that are slow, that leave, and that have said their last and wait.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread::sleep;
use std::time::Duration;

use bytes::Bytes;
use oca_daemon::outcome::Outcome;
use oca_daemon::pull::PullRequest;
use oca_daemon::pull::pipe::{Gone, Writer};
use rustix::net::sockopt::set_socket_linger;
use rustls::version::{TLS12, TLS13};

use crate::client::Client;
use crate::support::{eventually, tls};
use crate::worker::{HELD, HELD_BYTES, ScriptedWorker, head};
use crate::{EVERYTHING, noise};

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
        sleep(Duration::from_millis(200));
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
        let (left, asked) = (LEFT.load(SeqCst), worker.asked());
        let mut client = Client::connect(worker.http);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        if path == "/stalled" {
            client.read_head().unwrap();
        }
        eventually("it is asked", || worker.asked() > asked);
        sleep(Duration::from_millis(100));
        set_socket_linger(client.socket(), Some(Duration::ZERO)).unwrap();
        drop(client);
        eventually("its writer has learned it", || LEFT.load(SeqCst) == left + 1);
    }
    worker.counts(Outcome::AbortedClientGone, 3);
}

/// Takes its time before the head and within the body; `/length` has a length.
async fn slowly(request: PullRequest, mut writer: Writer) {
    let pause = || tokio::time::sleep(Duration::from_millis(100));
    pause().await;
    let length = request.path().starts_with("/length").then_some(60_000);
    let _ = writer.head(head(200, length)).await;
    for chunk in noise(60_000).chunks(30_000) {
        let _ = writer.chunk(Bytes::copy_from_slice(chunk)).await;
        pause().await;
    }
    writer.end();
}

/// A worker whose bundle is served.
fn start_slowly() -> ScriptedWorker {
    let worker = ScriptedWorker::start(EVERYTHING, slowly);
    let mut client = Client::connect(worker.http);
    eventually("the bundle is adopted", || client.ask("GET", HELD, "").unwrap().body == HELD_BYTES);
    worker
}

#[test]
fn a_client_that_has_ended_its_side_gets_all_of_its_answer() {
    let worker = start_slowly();
    let pulled = noise(60_000);
    for rest in [" HTTP/1.1\r\nHost: a\r\n", " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", " HTTP/1.0\r\n"]
    {
        for (path, body) in [("/length", &pulled[..]), ("/chunked", &pulled), (HELD, HELD_BYTES)] {
            let mut client = Client::connect(worker.http);
            client.send(format!("GET {path}{rest}\r\n").as_bytes());
            client.socket().shutdown(Shutdown::Write).unwrap();
            let answer = client.read(false).unwrap();
            assert!(answer.status == 200 && answer.body == body, "{path}{rest}");
            let (more, end) = client.read_to_end();
            assert!(more.is_empty() && end.is_ok(), "{path}{rest}: {end:?}");
        }
    }
    worker.counts(Outcome::AbortedClientGone, 0);
}

#[test]
fn over_tls_a_client_that_has_ended_its_side_gets_all_of_its_answer() {
    let worker = start_slowly();
    for version in [&TLS12, &TLS13] {
        let settings = tls::client(version, &worker.certificate);
        for (path, body) in
            [("/length", &noise(60_000)[..]), ("/chunked", &noise(60_000)), (HELD, HELD_BYTES)]
        {
            for says_goodbye in [true, false] {
                let mut stream = tls::connect(&settings, worker.https);
                write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
                if says_goodbye {
                    stream.conn.send_close_notify();
                }
                stream.flush().unwrap();
                stream.sock.shutdown(Shutdown::Write).unwrap();
                let answer = Client::new(stream).read(false).unwrap();
                assert!(answer.status == 200 && answer.body == body, "{path}");
            }
        }
    }
    worker.counts(Outcome::AbortedClientGone, 0);
}

#[test]
fn what_it_has_asked_for_before_it_ended_its_side_is_answered_too() {
    let worker = start_slowly();
    let mut client = Client::connect(worker.http);
    client.send(b"GET /length/1 HTTP/1.1\r\nHost: a\r\n\r\n");
    sleep(Duration::from_millis(50));
    client.send(
        format!("GET /chunked/2 HTTP/1.1\r\nHost: a\r\n\r\nGET {HELD} HTTP/1.1\r\nHost: a\r\n\r\n")
            .as_bytes(),
    );
    client.socket().shutdown(Shutdown::Write).unwrap();
    for body in [&noise(60_000)[..], &noise(60_000), HELD_BYTES] {
        assert!(client.read(false).unwrap().body == body);
    }
    assert!(client.read_to_end().1.is_ok());
}

static GONE: AtomicU64 = AtomicU64::new(0);

async fn never_answer(_: PullRequest, writer: Writer) {
    writer.gone().await;
    GONE.fetch_add(1, SeqCst);
}

#[test]
fn one_that_has_ended_its_side_and_leaves_then_is_told_of() {
    let worker = ScriptedWorker::start(EVERYTHING, never_answer);
    let mut client = Client::connect(worker.http);
    client.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    client.socket().shutdown(Shutdown::Write).unwrap();
    eventually("it is asked", || worker.asked() == 1);
    sleep(Duration::from_millis(300));
    assert_eq!(GONE.load(SeqCst), 0, "it waits");
    set_socket_linger(client.socket(), Some(Duration::ZERO)).unwrap();
    drop(client);
    eventually("its writer has learned it", || GONE.load(SeqCst) == 1);
    worker.counts(Outcome::AbortedClientGone, 1);
}

static FORGOTTEN: AtomicU64 = AtomicU64::new(0);

async fn answer_the_first(request: PullRequest, mut writer: Writer) {
    if request.path() == "/first" {
        let _ = writer.head(head(200, Some(0))).await;
        return writer.end();
    }
    writer.gone().await;
    FORGOTTEN.fetch_add(1, SeqCst);
}

/// Of a connection that was watched before, that is told only once.
#[test]
fn one_that_leaves_while_a_bundle_is_opened_for_it_is_not_waited_for_when_upstream_is_asked_then() {
    let worker = ScriptedWorker::start(EVERYTHING, answer_the_first);
    eventually("it is adopted", || worker.is_adopted("/held"));
    let mut client = Client::connect(worker.http);
    assert_eq!(client.ask("GET", "/first", "").unwrap().status, 200);
    worker.counts(Outcome::DemandMiss, 1);
    let holders = worker.hold_openings();
    client.send(b"GET /held/none.m4s HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("it waits for its bundle", || worker.in_flight() == 1);
    sleep(Duration::from_millis(200));
    set_socket_linger(client.socket(), Some(Duration::ZERO)).unwrap();
    drop(client);
    sleep(Duration::from_millis(200));
    assert_eq!(worker.asked(), 1, "the bundle is being opened");
    drop(holders);
    eventually("its writer has learned it", || FORGOTTEN.load(SeqCst) == 1);
    worker.counts(Outcome::AbortedClientGone, 1);
}
