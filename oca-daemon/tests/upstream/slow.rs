//! Clients who take little of what they have asked for.

use std::io::Write;
use std::time::Duration;

use control_client::config::PullConfig;
use http::Method;
use oca_daemon::pull::PullFailure;

use crate::MIB;
use crate::edge::{Coming, Edge, upstreams};
use crate::origin::{Origin, bytes, send};

/// An origin that has long bodies, of which it says this, and short ones.
fn origin(fields: &'static str, long_bytes: usize) -> Origin {
    Origin::start(move |asked, stream| {
        if !asked.target.starts_with("/long") {
            return send(stream, "200 OK", "Cache-Control: max-age=600\r\n", b"short");
        }
        let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {long_bytes}\r\n\r\n");
        let body = bytes(1, MIB);
        let mut sent = stream.write_all(head.as_bytes());
        for start in (0..long_bytes).step_by(MIB) {
            sent = sent.and_then(|()| stream.write_all(&body[..MIB.min(long_bytes - start)]));
        }
        sent.is_ok()
    })
}

/// One of many clients.
fn peer(number: usize) -> String {
    format!("192.0.2.{number}:1")
}

/// Asks, and takes no more than the beginning.
fn ask_slowly(edge: &Edge, peer: &str, target: &str) -> Coming {
    let mut coming = edge.ask_from(peer, Method::GET, target, &[]);
    coming.take_until(1);
    coming
}

#[test]
fn clients_who_take_what_is_not_stored_slowly_leave_upstream_to_the_others() {
    let origin = origin("Cache-Control: no-store\r\n", 4 * MIB);
    let edge = Edge::start(PullConfig { fetches: 2, ..upstreams(&[origin.url()]) });
    // The first of them by a flight, the rest each on their own.
    let slow: Vec<_> = (0..6).map(|n| ask_slowly(&edge, &peer(n), "/long")).collect();
    let others: Vec<_> = (6..12).map(|n| ask_slowly(&edge, &peer(n), &format!("/long/{n}"))).collect();
    assert_eq!(edge.begin("/short").finish().whole(), b"short");
    for coming in slow.into_iter().chain(others) {
        assert_eq!(coming.finish().whole().len(), 4 * MIB);
    }
}

#[test]
fn clients_who_take_what_is_in_memory_slowly_leave_upstream_to_the_others() {
    let origin = origin("Cache-Control: max-age=30\r\n", 900_000);
    let edge = Edge::start(PullConfig { fetches: 2, ..upstreams(&[origin.url()]) });
    let slow: Vec<_> = (0..6).map(|n| ask_slowly(&edge, &peer(n), &format!("/long/{n}"))).collect();
    assert_eq!(edge.begin("/short").finish().whole(), b"short");
    for coming in slow {
        assert_eq!(coming.finish().whole().len(), 900_000);
    }
}

#[test]
fn a_fetch_that_waits_for_its_viewer_leaves_upstream_to_the_others() {
    let origin = origin("Cache-Control: max-age=600\r\n", 12 * MIB);
    let first_byte_timeout = Duration::from_secs(15);
    let edge = Edge::start(PullConfig { fetches: 1, first_byte_timeout, ..upstreams(&[origin.url()]) });
    let slow = ask_slowly(&edge, &peer(0), "/long");
    assert_eq!(edge.begin("/short").finish().whole(), b"short");
    assert_eq!(slow.finish().whole().len(), 12 * MIB);
}

#[test]
fn one_client_has_no_more_asked_of_upstreams_at_once_than_its_part() {
    let origin = origin("Cache-Control: no-store\r\n", 4 * MIB);
    let first_byte_timeout = Duration::from_secs(1);
    let edge = Edge::start(PullConfig { fetches: 8, first_byte_timeout, ..upstreams(&[origin.url()]) });
    let ask = |peer: &str, target: &str| edge.ask_from(peer, Method::GET, target, &[]).finish();
    assert_eq!(ask("198.51.100.1:1", "/short/held").failure, None);
    for (client, same, neighbour) in [
        ("192.0.2.1:1", "[::ffff:192.0.2.1]:2", "192.0.2.2:1"),
        ("[2001:db8::1]:1", "[2001:db8::ffff:1]:2", "[2001:db8:0:1::1]:1"),
    ] {
        let mut slow: Vec<_> = (0..4).map(|n| ask_slowly(&edge, client, &format!("/long/{n}"))).collect();
        for target in ["/long/0", "/short"] {
            assert_eq!(ask(same, target).failure, Some(PullFailure::Busy), "{target}");
        }
        let head = edge.ask_from(same, Method::HEAD, "/short", &[]).finish();
        assert_eq!(head.failure, Some(PullFailure::Busy));
        assert_eq!(ask(same, "/short/held").whole(), b"short", "what is held is answered");
        assert_eq!(ask(neighbour, &format!("/short/{client}")).whole(), b"short");
        let waits = edge.ask_from(same, Method::GET, &format!("/short/{same}"), &[]);
        drop(slow.pop());
        assert_eq!(waits.finish().whole(), b"short");
        drop(slow);
        edge.settle();
    }
}
