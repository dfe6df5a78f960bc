//! What is not stored, and goes to one client alone.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use control_client::config::{PullConfig, UnsafeMethods};
use control_client::units::ByteCount;
use http::Method;
use oca_daemon::pull::PullFailure;

use crate::MIB;
use crate::edge::{Edge, finish_together, upstreams};
use crate::origin::{Origin, bytes, send};
use crate::scripts::{FRESH, Gate, file, head};

#[test]
fn a_method_that_changes_something_is_passed_and_drops_what_is_held() {
    let number = AtomicUsize::new(0);
    let origin = Origin::start(move |asked, stream| {
        let body = if asked.method == "GET" { number.load(SeqCst) } else { number.fetch_add(1, SeqCst) };
        send(stream, "200 OK", FRESH, body.to_string().as_bytes())
    });
    let edge = Edge::start(PullConfig { unsafe_methods: UnsafeMethods::Pass, ..upstreams(&[origin.url()]) });
    assert_eq!(edge.get("/a").whole(), b"0");
    assert_eq!(edge.get("/a").whole(), b"0");
    assert_eq!(edge.ask(Method::DELETE, "/a", &[]).finish().whole(), b"0");
    assert_eq!(edge.get("/a").whole(), b"1");
    assert_eq!(origin.count(), 3);
}

#[test]
fn what_cannot_be_stored_is_sent_all_the_same_and_to_all_who_wait() {
    let body = bytes(20, 12 * MIB);
    let sent = body.clone();
    let gate = Gate::default();
    let held_up = gate.clone();
    let origin = Origin::start(move |_, stream| {
        stream.write_all(head(FRESH, sent.len()).as_bytes()).unwrap();
        held_up.wait();
        stream.write_all(&sent).is_ok()
    });
    let edge =
        Edge::without_disk(PullConfig { fetch_memory: ByteCount::mib(4), ..upstreams(&[origin.url()]) });
    let coming = (0..5).map(|_| edge.begin("/a.mp4")).collect();
    edge.wait_until_joined(4);
    gate.open();
    finish_together(coming, |answer| assert!(answer.whole() == body));
    assert_eq!(origin.count(), 1);
    // What is small is held in memory.
    let small = file("a", FRESH, bytes(21, 70_000));
    let edge = Edge::without_disk(upstreams(&[small.url()]));
    for _ in 0..3 {
        assert!(edge.get("/a.m4s").whole() == bytes(21, 70_000));
    }
    assert_eq!(small.count(), 1);
}

#[test]
fn a_request_that_comes_back_is_refused() {
    let origin = Origin::start(|asked, stream| {
        let member = asked.field("cdn-loop").unwrap().to_owned();
        send(stream, "200 OK", "Cache-Control: no-store\r\n", member.as_bytes())
    });
    let edge = Edge::of(&[origin.url()]);
    let member = String::from_utf8(edge.get("/a").whole()).unwrap();
    assert_eq!(edge.get_with("/a", &[("cdn-loop", &member)]).failure, Some(PullFailure::Loop));
    assert_eq!(origin.asked()[0].field("via"), Some("1.1 oca"));
}

/// The target that upstream sees has no CMCD, and the request neither the connection's fields nor what only we are to be told.
#[test]
fn upstream_is_not_told_what_is_for_us() {
    let origin = file("a", FRESH, bytes(19, 10));
    let edge = Edge::of(&[origin.url()]);
    edge.get_with(
        "/a.m4s?t=1&CMCD=sid%3D%22x%22",
        &[
            ("connection", "accept-charset"),
            ("accept-charset", "a"),
            ("x-forwarded-host", "c"),
            ("accept-language", "de"),
        ],
    );
    let asked = &origin.asked()[0];
    assert_eq!(asked.target, "/a.m4s?t=1");
    let told = ["accept-charset", "x-forwarded-host", "accept-language"].map(|name| asked.field(name));
    assert_eq!(told, [None, None, Some("de")]);
}
