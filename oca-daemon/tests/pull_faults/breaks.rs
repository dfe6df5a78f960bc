//! Upstreams that break off, and flights that end before what their passengers want.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::sleep;
use std::time::{Duration, Instant};

use control_client::config::PullConfig;
use control_client::units::ByteCount;
use http::Method;
use oca_daemon::pull::PullFailure;

use super::MIB;
use super::edge::{Edge, finish_together, upstreams};
use super::origin::{Origin, bytes, send_file};
use super::scripts::{FRESH, Gate, TAGGED, break_off, head};

/// One that has a file under every path, and sends nothing of it until the gate is opened.
fn held_up_file(body: Vec<u8>) -> (Origin, Gate) {
    let gate = Gate::default();
    let held_up = gate.clone();
    let origin = Origin::start(move |asked, stream| {
        held_up.wait();
        send_file(asked, stream, "a", FRESH, &body)
    });
    (origin, gate)
}

#[test]
fn an_answer_whose_upstream_breaks_off_goes_on_with_a_request_for_the_rest() {
    for (broken_at, rest) in [
        (2 * MIB + 10, "bytes=2097152-6291455"),
        // Nothing is stored yet.
        (100_000, "bytes=0-6291455"),
    ] {
        let body = bytes(1, 6 * MIB);
        let sent = body.clone();
        let origin = Origin::start(move |asked, stream| match asked.field("range") {
            Some(_) => send_file(asked, stream, "a", FRESH, &sent),
            None => break_off(stream, TAGGED, &sent, broken_at),
        });
        let edge = Edge::of(&[origin.url()]);
        assert!(edge.get("/a.m4s").whole() == body);
        assert_eq!(origin.ranges(), ["", rest]);
        assert!(edge.get("/a.m4s").whole() == body, "it is held");
        assert_eq!(origin.count(), 2);
    }
}

#[test]
fn those_who_travelled_together_go_on_with_one_request() {
    let body = bytes(2, 6 * MIB);
    for edge in super::WITH_DISK_AND_WITHOUT {
        let sent = body.clone();
        let gate = Gate::default();
        let held_up = gate.clone();
        let origin = Origin::start(move |asked, stream| {
            if asked.field("range").is_some() {
                sleep(Duration::from_millis(200));
                return send_file(asked, stream, "a", FRESH, &sent);
            }
            stream.write_all(head(TAGGED, sent.len()).as_bytes()).unwrap();
            held_up.wait();
            let _ = stream.write_all(&sent[..700_000]);
            false
        });
        let edge = edge(&[origin.url()]);
        let coming = (0..20).map(|_| edge.begin("/a.m4s")).collect();
        edge.wait_until_joined(19);
        gate.open();
        finish_together(coming, |answer| assert!(answer.whole() == body));
        assert_eq!(origin.count(), 2);
    }
}

#[test]
fn an_upstream_that_breaks_off_again_and_again_is_given_up() {
    let body = bytes(3, 6 * MIB);
    let sent = body.clone();
    let origin = Origin::start(move |_, stream| break_off(stream, TAGGED, &sent, 500));
    let edge = Edge::of(&[origin.url()]);
    let answer = edge.get("/a.m4s");
    assert_eq!(answer.failure, Some(PullFailure::Invalid));
    assert!(answer.body == body[..500]);
    assert!((2..=5).contains(&origin.count()), "{}", origin.count());
}

#[test]
fn an_upstream_that_is_away_for_a_moment_in_the_middle_of_a_body_is_waited_for() {
    let body = bytes(4, 3 * MIB);
    let (sent, number) = (body.clone(), AtomicUsize::new(0));
    let origin = Origin::start(move |asked, stream| match number.fetch_add(1, SeqCst) {
        0 => break_off(stream, TAGGED, &sent, 2 * MIB),
        // It closes the connection without a word.
        1 => false,
        _ => send_file(asked, stream, "a", FRESH, &sent),
    });
    let edge = Edge::of(&[origin.url()]);
    assert!(edge.get("/a.m4s").whole() == body);
}

#[test]
fn the_rest_of_another_version_is_never_sent_after_a_break() {
    for broken_at in [500, 2 * MIB] {
        let (old, new) = (bytes(5, 6 * MIB), bytes(6, 6 * MIB));
        let number = AtomicUsize::new(0);
        let (first, later) = (old.clone(), new.clone());
        let origin = Origin::start(move |asked, stream| match number.fetch_add(1, SeqCst) {
            0 => break_off(stream, TAGGED, &first, broken_at),
            _ => send_file(asked, stream, "b", FRESH, &later),
        });
        let edge = Edge::of(&[origin.url()]);
        let answer = edge.get("/a.m4s");
        assert_eq!(answer.failure, Some(PullFailure::Invalid));
        assert!(answer.body == old[..broken_at]);
        assert!(edge.get("/a.m4s").whole() == new);
    }
}

#[test]
fn what_cannot_be_told_to_belong_together_is_cut() {
    for fields in [FRESH, "ETag: W/\"a\"\r\nCache-Control: max-age=600\r\n"] {
        let body = bytes(7, 3 * MIB);
        let origin = Origin::start(move |_, stream| break_off(stream, fields, &body, 2 * MIB));
        let edge = Edge::of(&[origin.url()]);
        assert_eq!(edge.get("/a.m4s").failure, Some(PullFailure::Invalid), "{fields}");
        assert_eq!(origin.count(), 1);
    }
}

#[test]
fn who_boards_a_narrower_flight_gets_the_rest_although_nothing_is_stored() {
    for wider in ["bytes=0-5000000", "bytes=1000-", ""] {
        let body = bytes(8, 6 * MIB);
        let (origin, gate) = held_up_file(body.clone());
        let edge = Edge::without_disk(upstreams(&[origin.url()]));
        let narrow = edge.ask(Method::GET, "/a.mp4", &[("range", "bytes=0-9")]);
        let began = Instant::now();
        while origin.count() == 0 && began.elapsed() < Duration::from_secs(5) {
            sleep(Duration::from_millis(1));
        }
        let fields = [("range", wider)];
        let fields: &[(&str, &str)] = if wider.is_empty() { &[] } else { &fields };
        let wide = edge.ask(Method::GET, "/a.mp4", fields);
        sleep(Duration::from_millis(50));
        gate.open();
        assert!(narrow.finish().whole() == body[..10]);
        let expected = match wider {
            "bytes=0-5000000" => &body[..5_000_001],
            "bytes=1000-" => &body[1000..],
            _ => &body,
        };
        assert!(wide.finish().whole() == expected, "{wider}");
    }
}

#[test]
fn who_was_left_behind_by_a_flight_that_is_not_stored_goes_on_alone() {
    let body = bytes(9, 40 * MIB);
    let (origin, gate) = held_up_file(body.clone());
    let edge =
        Edge::without_disk(PullConfig { fetch_memory: ByteCount::mib(4), ..upstreams(&[origin.url()]) });
    let (slow, quick) = (edge.begin("/a.mp4"), edge.begin("/a.mp4"));
    sleep(Duration::from_millis(200));
    gate.open();
    // The slow one holds up the other for a while, and then no more.
    assert!(quick.finish().whole() == body);
    assert!(slow.finish().whole() == body);
    assert_eq!(origin.count(), 2);
}
