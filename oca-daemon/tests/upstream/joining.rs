//! Who comes on board of what is under way already, and what a flight leaves behind for the next.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::sleep;
use std::time::Duration;

use http::Method;

use crate::MIB;
use crate::edge::{Edge, upstreams};
use crate::origin::{Asked, Origin, bytes, send, send_file};
use crate::scripts::{FRESH, Gate, file};

/// Long enough for what goes on by itself to stop, and for whoever waits for nothing to have left.
const A_WHILE: Duration = Duration::from_millis(300);

#[test]
fn who_wants_what_is_further_on_does_not_wait_for_one_who_takes_nothing() {
    let body = bytes(40, 12 * MIB);
    let origin = file("a", FRESH, body.clone());
    let edge = Edge::of(&[origin.url()]);
    let mut slow = edge.begin("/a.mp4");
    slow.take_until(1);
    // It has run ahead as far as it does for the slow one, which is four blocks and a little.
    sleep(A_WHILE);
    let range = format!("bytes={}-{}", 5 * MIB, 5 * MIB + 9);
    let answer = edge.ask(Method::GET, "/a.mp4", &[("range", &range)]).finish();
    assert!(answer.whole() == body[5 * MIB..5 * MIB + 10]);
    assert_eq!(origin.count(), 1);
    assert!(slow.finish().whole() == body);
}

#[test]
fn a_range_near_what_is_under_way_is_answered_as_such_though_it_is_far_from_the_beginning() {
    let (gate, body) = (Gate::default(), bytes(41, 70 * MIB));
    let (held_up, sent) = (gate.clone(), body.clone());
    let origin = Origin::start(move |_, stream| {
        let head = format!("HTTP/1.1 200 OK\r\nETag: \"a\"\r\n{FRESH}Content-Length: {}\r\n\r\n", sent.len());
        let (first, last) = sent.split_at(68 * MIB);
        let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(first));
        held_up.wait();
        sent.and_then(|()| stream.write_all(last)).is_ok()
    });
    let edge = Edge::without_disk(upstreams(&[origin.url()]));
    let mut first = edge.begin("/a.mp4");
    first.take_until(66 * MIB);
    let range = format!("bytes={}-{}", 67 * MIB, 67 * MIB + 9);
    let second = edge.ask(Method::GET, "/a.mp4", &[("range", &range)]).finish();
    gate.open();
    assert_eq!(second.status(), 206);
    assert!(second.whole() == body[67 * MIB..67 * MIB + 10]);
    assert!(first.finish().whole() == body);
    assert_eq!(origin.count(), 1);
}

// ---- who is answered from the head ----

/// Sends a head, and after a while a body.
fn slowly(stream: &mut std::net::TcpStream, is_chunked: bool, body: &[u8]) -> bool {
    let framing = match is_chunked {
        true => "Transfer-Encoding: chunked\r\n".to_owned(),
        false => format!("Content-Length: {}\r\n", body.len()),
    };
    stream.write_all(format!("HTTP/1.1 200 OK\r\nETag: \"a\"\r\n{FRESH}{framing}\r\n").as_bytes()).unwrap();
    sleep(A_WHILE);
    for part in body.chunks(50_000) {
        let sent = match is_chunked {
            true => stream
                .write_all(format!("{:x}\r\n", part.len()).as_bytes())
                .and_then(|()| stream.write_all(part))
                .and_then(|()| stream.write_all(b"\r\n")),
            false => stream.write_all(part),
        };
        if sent.is_err() {
            return false;
        }
    }
    !is_chunked || stream.write_all(b"0\r\n\r\n").is_ok()
}

#[test]
fn what_was_asked_for_on_a_condition_is_there_for_the_next() {
    for is_chunked in [false, true] {
        for (name, value, status) in [
            ("if-none-match", "\"a\"", 304),
            ("if-match", "\"b\"", 412),
            // What comes in chunks is of no known length, and has no ranges.
            ("range", "bytes=1000000-", if is_chunked { 200 } else { 416 }),
        ] {
            let body = bytes(42, 300_000);
            let sent = body.clone();
            let origin = Origin::start(move |_, stream| slowly(stream, is_chunked, &sent));
            let edge = Edge::of(&[origin.url()]);
            assert_eq!(edge.get_with("/a.m4s", &[(name, value)]).status(), status, "{name} {is_chunked}");
            assert!(edge.get("/a.m4s").whole() == body);
            assert_eq!(origin.count(), 1, "{name} {is_chunked}");
        }
    }
}

#[test]
fn of_what_is_long_and_was_asked_for_on_a_condition_the_first_block_is_there() {
    let body = bytes(43, 30 * MIB);
    let sent = body.clone();
    let origin = Origin::start(move |asked, stream| match asked.field("range") {
        Some(_) => send_file(asked, stream, "a", FRESH, &sent),
        None => slowly(stream, false, &sent),
    });
    let edge = Edge::of(&[origin.url()]);
    assert_eq!(edge.get_with("/a.mp4", &[("if-none-match", "\"a\"")]).status(), 304);
    assert!(edge.get_range("/a.mp4", "bytes=0-1048575").whole() == body[..MIB]);
    assert_eq!(origin.count(), 1);
    let last = format!("bytes={}-", 29 * MIB);
    assert!(edge.get_range("/a.mp4", &last).whole() == body[29 * MIB..]);
    assert_eq!(origin.count(), 2, "no more than that was fetched for nobody");
}

// ---- missing parts ----

/// What an origin does, after it has answered the first requests as it ought to.
fn later(
    body: &[u8],
    then: impl Fn(&Asked, &mut std::net::TcpStream, &[u8]) -> bool + Send + Sync + 'static,
) -> (Origin, Arc<AtomicBool>) {
    let (is_later, body) = (Arc::new(AtomicBool::new(false)), body.to_vec());
    let switch = Arc::clone(&is_later);
    let origin = Origin::start(move |asked, stream| match is_later.load(SeqCst) {
        true => then(asked, stream, &body),
        false => send_file(asked, stream, "a", FRESH, &body),
    });
    (origin, switch)
}

#[test]
fn an_upstream_that_begins_to_ignore_ranges_makes_nobody_lose_what_is_held() {
    let body = bytes(44, 70 * MIB);
    let (origin, is_later) =
        later(&body, |_, stream, body| send(stream, "200 OK", &format!("ETag: \"a\"\r\n{FRESH}"), body));
    let edge = Edge::of(&[origin.url()]);
    assert!(edge.get_range("/a.mp4", "bytes=0-9").whole() == body[..10]);
    is_later.store(true, SeqCst);
    // Far away: its own request brings all of it.
    let far = edge.get_range("/a.mp4", &format!("bytes={}-{}", 67 * MIB, 67 * MIB + 9));
    assert_eq!(far.status(), 200);
    assert!(!far.cache_status().contains("stored"), "{}", far.cache_status());
    assert!(far.whole() == body);
    let count = origin.count();
    let near = edge.get_range("/a.mp4", "bytes=0-9");
    assert!(near.cache_status().starts_with(";hit"), "{}", near.cache_status());
    assert_eq!(origin.count(), count);
    // Who has read what is held is given the rest.
    assert!(edge.get("/a.mp4").whole() == body);
}

#[test]
fn who_has_read_much_is_given_the_rest_by_an_upstream_that_sends_all_again() {
    let body = bytes(45, 70 * MIB);
    let (origin, is_later) =
        later(&body, |_, stream, body| send(stream, "200 OK", &format!("ETag: \"a\"\r\n{FRESH}"), body));
    let edge = Edge::of(&[origin.url()]);
    let held = format!("bytes=0-{}", 67 * MIB - 1);
    assert!(edge.get_range("/a.mp4", &held).whole() == body[..67 * MIB]);
    is_later.store(true, SeqCst);
    assert!(edge.get("/a.mp4").whole() == body);
    let count = origin.count();
    assert!(edge.get("/a.mp4").whole() == body);
    assert_eq!(origin.count(), count);
}

#[test]
fn what_upstream_tells_one_who_says_who_asks_takes_nothing_from_the_others() {
    let body = bytes(46, 3 * MIB);
    let (origin, is_later) =
        later(&body, |asked, stream, body| match asked.field("cookie").or(asked.field("authorization")) {
            Some("gone") => send(stream, "404 Not Found", "", b"not for you"),
            Some("other") => send_file(asked, stream, "b", FRESH, &bytes(47, 3 * MIB)),
            Some("page") => send(stream, "200 OK", "", b"log in"),
            _ => match asked.field("accept") {
                Some("text/html") => send(stream, "200 OK", "ETag: \"page\"\r\n", b"a page"),
                _ => send_file(asked, stream, "a", FRESH, body),
            },
        });
    for first in [&[][..], &[("cookie", "x")]] {
        for lies in [
            ("cookie", "gone"),
            ("cookie", "other"),
            ("cookie", "page"),
            ("authorization", "gone"),
            ("accept", "text/html"),
        ] {
            is_later.store(false, SeqCst);
            let target = format!("/{}/{}/{}.mp4", first.len(), lies.0, lies.1.len());
            let edge = Edge::of(&[origin.url()]);
            let held = edge.get_with(&target, &[first, &[("range", "bytes=0-9")]].concat());
            assert!(held.whole() == body[..10]);
            is_later.store(true, SeqCst);
            edge.get_with(&target, &[lies, ("range", "bytes=2097152-2097161")]);
            let count = origin.count();
            assert!(edge.get_range(&target, "bytes=0-9").whole() == body[..10], "{first:?} {lies:?}");
            assert_eq!(origin.count(), count, "{first:?} {lies:?}");
        }
    }
}
