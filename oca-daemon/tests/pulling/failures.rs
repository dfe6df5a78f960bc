//! What upstream fails to give: an error before the head, a reset after it.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use oca_daemon::outcome::Outcome;
use oca_daemon::pull::pipe::Writer;
use oca_daemon::pull::{PullFailure, PullRequest};

use crate::client::Client;
use crate::worker::{ScriptedWorker, head};
use crate::{EVERYTHING, noise};

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
