//! What is waited for: a place, a silent service, an end.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use bytes::Bytes;
use oca_daemon::outcome::Outcome;
use oca_daemon::pull::PullRequest;
use oca_daemon::pull::pipe::Writer;
use rustix::net::sockopt::set_socket_linger;

use crate::EVERYTHING;
use crate::client::Client;
use crate::support::eventually;
use crate::worker::{ScriptedWorker, head};

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
    // Who gets the place keeps it.
    let mut others = Vec::new();
    eventually("the place is free", || {
        let mut other = Client::connect(worker.http);
        other.send(b"GET /c HTTP/1.1\r\nHost: a\r\n\r\n");
        others.push(other);
        worker.asked() > 1
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
