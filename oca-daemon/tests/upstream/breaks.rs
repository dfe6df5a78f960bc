//! Answers that break off, stall, or that nobody waits for any more.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::sleep;
use std::time::Duration;

use control_client::config::PullConfig;
use control_client::units::ByteCount;
use http::Method;
use oca_daemon::pull::PullFailure;

use crate::MIB;
use crate::edge::{Edge, upstreams};
use crate::origin::{Origin, bytes, send, send_file};
use crate::scripts::{FRESH, TAGGED, break_off, file, halved, head, sleeping};

#[test]
fn a_body_that_breaks_off_is_never_taken_for_whole() {
    for size in [1000, 3 * MIB] {
        let is_broken = Arc::new(AtomicBool::new(true));
        let (breaks, body) = (Arc::clone(&is_broken), bytes(16, size));
        let sent = body.clone();
        let origin = Origin::start(move |_, stream| match breaks.load(SeqCst) {
            true => break_off(stream, FRESH, &sent, sent.len() - 1),
            false => send(stream, "200 OK", FRESH, &sent),
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
    let origin = Origin::start(move |asked, stream| match asked.field("range") {
        Some(_) => send_file(asked, stream, "a", FRESH, &sent),
        None => break_off(stream, TAGGED, &sent, 2 * MIB + 10),
    });
    let edge = Edge::of(&[origin.url()]);
    for _ in 0..2 {
        assert!(edge.get("/a.m4s").whole() == body);
    }
    assert_eq!(origin.ranges(), ["", "bytes=2097152-3145727"]);
}

#[test]
fn a_body_that_breaks_off_goes_on_with_the_next_upstream_where_that_has_the_same_and_else_is_cut() {
    let (body, other) = (bytes(23, 3 * MIB), bytes(24, 3 * MIB));
    let broken_at = 2 * MIB + 10;
    // What the first upstream makes of the question for the rest.
    let afterwards: [fn(&mut TcpStream) -> bool; 3] = [
        |_| false,
        |stream| send(stream, "503 Service Unavailable", "", b"busy"),
        |stream| send(stream, "404 Not Found", "", b"gone"),
    ];
    for (tag, has_same) in [("a", true), ("b", false)] {
        for afterwards in afterwards {
            let sent = body.clone();
            let first = Origin::start(move |asked, stream| match asked.field("range") {
                Some(_) => afterwards(stream),
                None => break_off(stream, TAGGED, &sent, broken_at),
            });
            let next = file(tag, FRESH, if has_same { body.clone() } else { other.clone() });
            let edge = Edge::of(&[first.url(), next.url()]);
            let answer = edge.get("/a.m4s");
            assert_eq!(next.ranges(), ["bytes=2097152-3145727"]);
            if has_same {
                assert!(answer.whole() == body);
                assert!(edge.get("/a.m4s").whole() == body, "it is held");
                assert_eq!(next.count(), 1);
            } else {
                assert_eq!(answer.failure, Some(PullFailure::Invalid));
                assert!(answer.body == body[..broken_at], "{} bytes", answer.body.len());
            }
        }
    }
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

/// Says of a body what the fields say, and sends this much of it, so many bytes every 50 ms; then the connection ends.
fn drip(stream: &mut TcpStream, fields: &str, body: &[u8], size: usize) -> bool {
    let mut sent = stream.write_all(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes());
    for drop in body.chunks(size) {
        sent = sent.and_then(|()| stream.write_all(drop));
        sleep(Duration::from_millis(50));
    }
    let _ = sent.and_then(|()| stream.shutdown(Shutdown::Both));
    false
}

#[test]
fn an_upstream_that_trickles_is_given_up_and_what_is_made_while_it_is_sent_is_not() {
    let body = bytes(19, 100_000);
    let sent = body.clone();
    let origin = Origin::start(move |asked, stream| match &*asked.target {
        "/tagged.m4s" if asked.field("range").is_some() => send_file(asked, stream, "a", FRESH, &sent),
        "/tagged.m4s" => drip(stream, &format!("{TAGGED}Content-Length: 100000\r\n"), &sent[..100], 1),
        "/drops.m4s" => drip(stream, &format!("{FRESH}Content-Length: 100000\r\n"), &sent[..100], 1),
        // A live segment of 64 kbit/s, for longer than what trickles is borne.
        "/live.m4s" => {
            let chunk = format!("190\r\n{}\r\n", "a".repeat(400));
            let chunks = format!("{}0\r\n\r\n", chunk.repeat(80));
            drip(stream, &format!("{FRESH}Transfer-Encoding: chunked\r\n"), chunks.as_bytes(), chunk.len())
        }
        // For one client alone.
        _ => drip(stream, "Cache-Control: no-store\r\nContent-Length: 80\r\n", &sent[..80], 1),
    });
    let config = PullConfig { stall_timeout: Duration::from_millis(500), ..upstreams(&[origin.url()]) };
    let edge = Edge::start(config);
    let [tagged, drops, live, passed] =
        ["/tagged.m4s", "/drops.m4s", "/live.m4s", "/passed"].map(|target| edge.begin(target));
    assert_eq!(drops.finish().failure, Some(PullFailure::TimedOut));
    assert!(tagged.finish().whole() == body);
    assert_eq!(live.finish().whole().len(), 80 * 400);
    assert_eq!(passed.finish().whole().len(), 80);
}

#[test]
fn no_answer_in_time_is_a_failure_that_is_remembered_for_a_moment() {
    let origin = sleeping();
    let edge = Edge::impatient(&[origin.url()]);
    for _ in 0..20 {
        assert_eq!(edge.get("/a.m4s").failure, Some(PullFailure::TimedOut));
    }
    assert!(origin.count() <= 2, "{}", origin.count());
}

#[test]
fn a_fetch_that_nobody_waits_for_is_finished_only_where_little_is_left_of_it() {
    for (finish_below, is_finished) in [(ByteCount::mib(64), true), (ByteCount::ZERO, false)] {
        let (origin, gate) = halved(&bytes(18, 20 * MIB));
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

/// A whole answer, to a question that nobody has asked yet.
const UNASKED: &str = "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 4\r\n\r\nevil";

#[test]
fn what_comes_after_the_end_of_an_answer_is_never_taken_for_the_next_one() {
    // One that is longer than what is read at once, too.
    for (method, length) in [(Method::GET, 0), (Method::GET, 5), (Method::GET, 9000), (Method::HEAD, 5)] {
        let body = bytes(22, length);
        let sent = body.clone();
        let origin = Origin::start(move |asked, stream| match &*asked.target {
            "/longer.m4s" => {
                let head = head(FRESH, sent.len());
                let sent = [head.as_bytes(), &sent[..], UNASKED.as_bytes()].concat();
                stream.write_all(&sent).is_ok()
            }
            _ => send(stream, "200 OK", FRESH, b"good"),
        });
        let edge = Edge::of(&[origin.url()]);
        let answer = edge.ask(method.clone(), "/longer.m4s", &[]).finish();
        edge.settle();
        let expected: &[u8] = if method == Method::HEAD { b"" } else { &body };
        assert_eq!((answer.failure, answer.status()), (None, 200), "{method} {length}");
        assert!(answer.body == expected, "{method} {length}");
        assert_eq!(edge.get("/next.m4s").whole(), b"good", "{method} {length}");
        assert_eq!(origin.count(), 2);
    }
}

#[test]
fn an_answer_whose_length_cannot_be_told_is_none_and_is_not_stored() {
    for lengths in [
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Content-Length: 4, 5\r\n",
        "Content-Length: four\r\n",
        "Content-Length: +4\r\n",
        "Content-Length: -4\r\n",
        "Content-Length: 4.0\r\n",
        "Content-Length: \r\n",
        // One more than 64 bits hold.
        "Content-Length: 18446744073709551616\r\n",
    ] {
        let is_mended = Arc::new(AtomicBool::new(false));
        let mended = Arc::clone(&is_mended);
        let origin = Origin::start(move |_, stream| match mended.load(SeqCst) {
            true => send(stream, "200 OK", FRESH, b"good"),
            false => {
                let answer = format!("HTTP/1.1 200 OK\r\n{FRESH}{lengths}\r\nevil");
                stream.write_all(answer.as_bytes()).is_ok()
            }
        });
        // What fails is asked for again at once.
        let edge = Edge::start(PullConfig { error_ttl: Duration::ZERO, ..upstreams(&[origin.url()]) });
        for method in [Method::GET, Method::DELETE] {
            let answer = edge.ask(method, "/a.m4s", &[]).finish();
            assert_eq!(
                (answer.failure, answer.head.is_none()),
                (Some(PullFailure::Invalid), true),
                "{lengths}"
            );
        }
        is_mended.store(true, SeqCst);
        edge.settle();
        assert_eq!(edge.get("/a.m4s").whole(), b"good", "{lengths}");
        assert_eq!(origin.count(), 3);
    }
}
