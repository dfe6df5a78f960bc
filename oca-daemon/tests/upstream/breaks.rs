//! Answers that break off, stall, or that nobody waits for any more.

use std::io::Write;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::sleep;
use std::time::Duration;

use control_client::config::PullConfig;
use control_client::units::ByteCount;
use http::Method;
use oca_daemon::pull::PullFailure;

use crate::edge::{Edge, upstreams};
use crate::origin::{Origin, bytes, send, send_file};
use crate::{FRESH, Gate, MIB, in_halves};

#[test]
fn a_body_that_breaks_off_is_never_taken_for_whole() {
    for size in [1000, 3 * MIB] {
        let is_broken = Arc::new(AtomicBool::new(true));
        let (breaks, body) = (Arc::clone(&is_broken), bytes(16, size));
        let sent = body.clone();
        let origin = Origin::start(move |_, stream| {
            if !breaks.load(SeqCst) {
                return send(stream, "200 OK", FRESH, &sent);
            }
            let head = format!("HTTP/1.1 200 OK\r\n{FRESH}Content-Length: {}\r\n\r\n", sent.len());
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&sent[..sent.len() - 1]).unwrap();
            stream.shutdown(Shutdown::Both).is_err()
        });
        let edge = Edge::of(&[origin.url()]);
        assert_eq!(edge.get("/a.m4s").failure, Some(PullFailure::Invalid), "{size}");
        is_broken.store(false, SeqCst);
        assert!(edge.get("/a.m4s").whole() == body);
        assert_eq!(origin.count(), 2);
    }
}

#[test]
fn blocks_that_came_before_a_break_are_used_where_they_can_be_told_to_belong_to_the_rest() {
    let body = bytes(17, 3 * MIB);
    let sent = body.clone();
    let origin = Origin::start(move |asked, stream| {
        if asked.field("range").is_some() {
            return send_file(asked, stream, "a", FRESH, &sent);
        }
        let head = format!("HTTP/1.1 200 OK\r\nETag: \"a\"\r\n{FRESH}Content-Length: {}\r\n\r\n", sent.len());
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&sent[..2 * MIB + 10]).unwrap();
        stream.shutdown(Shutdown::Both).is_err()
    });
    let edge = Edge::of(&[origin.url()]);
    for _ in 0..2 {
        assert!(edge.get("/a.m4s").whole() == body);
    }
    assert_eq!(origin.ranges(), ["", "bytes=2097152-3145727"]);
}

#[test]
fn an_upstream_that_stalls_is_broken_off() {
    let origin = Origin::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc").unwrap();
        sleep(Duration::from_secs(5));
        false
    });
    let config = PullConfig { stall_timeout: Duration::from_millis(200), ..upstreams(&[origin.url()]) };
    let edge = Edge::start(config);
    let answer = edge.get("/a.m4s");
    assert_eq!((answer.failure, &answer.body[..]), (Some(PullFailure::TimedOut), &b"abc"[..]));
}

#[test]
fn no_answer_in_time_is_a_failure_that_is_remembered_for_a_moment() {
    let origin = Origin::start(|_, _| {
        sleep(Duration::from_secs(5));
        false
    });
    let config = PullConfig {
        connect_timeout: Duration::from_millis(100),
        first_byte_timeout: Duration::from_millis(100),
        ..upstreams(&[origin.url()])
    };
    let edge = Edge::start(config);
    for _ in 0..20 {
        assert_eq!(edge.get("/a.m4s").failure, Some(PullFailure::TimedOut));
    }
    assert!(origin.count() <= 2, "{}", origin.count());
}

#[test]
fn a_fetch_that_nobody_waits_for_is_finished_only_where_little_is_left_of_it() {
    for (finish_below, is_finished) in [(ByteCount::mib(64), true), (ByteCount::ZERO, false)] {
        let gate = Gate::default();
        let (held_up, sent) = (gate.clone(), bytes(18, 20 * MIB));
        let origin = Origin::start(move |_, stream| in_halves(stream, FRESH, &sent, &held_up));
        let edge = Edge::start(PullConfig { finish_below, ..upstreams(&[origin.url()]) });
        let mut first = edge.begin("/a.m4s");
        first.take_until(10 * MIB);
        // It waits for the other half, which is as much as it took.
        sleep(Duration::from_millis(100));
        drop(first);
        gate.open();
        sleep(Duration::from_millis(1500));
        assert_eq!(edge.get("/a.m4s").whole().len(), 20 * MIB);
        assert_eq!(origin.count() == 1, is_finished);
    }
}

#[test]
fn a_coding_that_was_not_asked_for_is_not_taken_for_content() {
    for (fields, coding) in [
        (FRESH, "gzip"),
        (FRESH, "gzip, chunked"),
        ("Cache-Control: no-store\r\n", "gzip"),
        ("Content-Length: 5\r\n", "gzip"),
    ] {
        // What is sent could be its beginning as well as all of it.
        let origin = Origin::start(move |_, stream| {
            let head = format!("HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: {coding}\r\n\r\n");
            let body = if coding == "gzip" { "coded" } else { "5\r\ncoded\r\n0\r\n\r\n" };
            stream.write_all(format!("{head}{body}").as_bytes()).is_err()
        });
        let edge = Edge::of(&[origin.url()]);
        for _ in 0..2 {
            let answer = edge.get("/a.m4s");
            assert_eq!(
                (answer.failure, answer.head.is_none()),
                (Some(PullFailure::Invalid), true),
                "{coding}"
            );
        }
        let passed = edge.ask(Method::DELETE, "/a.m4s", &[]).finish();
        assert_eq!((passed.failure, passed.head.is_none()), (Some(PullFailure::Invalid), true), "{coding}");
    }
}

#[test]
fn chunks_say_how_long_a_body_is_where_a_length_is_said_too() {
    let origin = Origin::start(move |_, stream| {
        let head =
            format!("HTTP/1.1 200 OK\r\n{FRESH}Content-Length: 3\r\nTransfer-Encoding: Chunked\r\n\r\n");
        stream.write_all(format!("{head}5\r\nwhole\r\n0\r\n\r\n").as_bytes()).is_ok()
    });
    let edge = Edge::of(&[origin.url()]);
    assert_eq!(edge.get("/a.m4s").whole(), b"whole");
    assert_eq!(edge.ask(Method::DELETE, "/a.m4s", &[]).finish().whole(), b"whole");
}
