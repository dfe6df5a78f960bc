//! Clients who would have upstreams asked for more than their part: by parts of what is held, by leaving, or by what they say.

use std::thread::sleep;
use std::time::Duration;

use control_client::config::PullConfig;
use http::Method;
use oca_daemon::limits::ABSENCES_MAX;
use oca_daemon::pull::PullFailure;

use crate::MIB;
use crate::edge::{Coming, Edge, upstreams};
use crate::origin::{Origin, bytes, send, send_file};
use crate::scripts::{FRESH, Gate, in_halves};

/// Longer than it takes to ask upstream, and shorter than anybody's patience.
const A_WHILE: Duration = Duration::from_millis(300);

const GREEDY: &str = "192.0.2.1:1";
const OTHER: &str = "192.0.2.2:1";

/// An edge that asks upstream for so much at once, half of it for one client.
fn edge(origin: &Origin, fetches: u32) -> Edge {
    Edge::start(PullConfig { fetches, ..upstreams(&[origin.url()]) })
}

fn ask(edge: &Edge, peer: &str, target: &str) -> Coming {
    edge.ask_from(peer, Method::GET, target, &[])
}

/// An origin that answers what is below `/held-up` when the gate is open.
fn held_up(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |asked, stream| {
        if asked.target.starts_with("/held-up") {
            gate.wait();
        }
        send(stream, "200 OK", FRESH, b"good")
    })
}

#[test]
fn missing_parts_of_what_is_held_are_asked_for_within_the_clients_part_too() {
    let gate = Gate::default();
    let (held_up, body) = (gate.clone(), bytes(30, 16 * MIB));
    let sent = body.clone();
    let origin = Origin::start(move |asked, stream| {
        if asked.target == "/short" {
            return send(stream, "200 OK", FRESH, b"short");
        }
        if asked.range(sent.len()).is_none_or(|(start, _)| start > 0) {
            held_up.wait();
        }
        send_file(asked, stream, "a", FRESH, &sent)
    });
    let edge = edge(&origin, 4);
    assert_eq!(edge.get_range("/film", "bytes=0-9").whole(), body[..10]);
    let ranges = (1..7).map(|n| (2 * n * MIB, 2 * n * MIB + 9));
    let coming: Vec<_> = ranges
        .map(|(first, last)| {
            let range = format!("bytes={first}-{last}");
            let coming = edge.ask_from(GREEDY, Method::GET, "/film", &[("range", &range)]);
            (&body[first..=last], coming)
        })
        .collect();
    origin.wait_for(1 + 2);
    sleep(A_WHILE);
    assert_eq!(origin.count(), 1 + 2);
    assert_eq!(ask(&edge, OTHER, "/short").finish().whole(), b"short");
    gate.open();
    for (part, coming) in coming {
        assert_eq!(coming.finish().whole(), part);
    }
}

#[test]
fn who_asks_and_leaves_has_no_more_under_way_than_who_stays_and_upstream_is_not_asked_any_more() {
    let gate = Gate::default();
    let origin = held_up(&gate);
    let edge = edge(&origin, 1);
    let first = ask(&edge, OTHER, "/held-up");
    origin.wait_for(1);
    for number in 0..20 {
        let coming = ask(&edge, GREEDY, &format!("/left/{number}"));
        sleep(Duration::from_millis(5));
        drop(coming);
    }
    sleep(A_WHILE);
    assert!(edge.fetches_under_way() <= 2, "{}", edge.fetches_under_way());
    gate.open();
    assert_eq!(first.finish().whole(), b"good");
    edge.settle();
    assert_eq!(origin.count(), 1);
    assert_eq!(ask(&edge, GREEDY, "/left/0").finish().whole(), b"good");
}

#[test]
fn who_asks_for_too_many_absent_names_gets_what_is_held_or_wanted_by_others_and_nothing_else() {
    let gate = Gate::default();
    let held_up = gate.clone();
    let origin = Origin::start(move |asked, stream| match asked.target.as_str() {
        "/live.m3u8" => send_file(asked, stream, "a", "Cache-Control: max-age=0\r\n", b"#EXTM3U"),
        "/wanted.m4s" => in_halves(stream, FRESH, b"wanted", &held_up),
        "/private.m4s" => {
            held_up.wait();
            send(stream, "200 OK", "Cache-Control: private\r\n", b"private")
        }
        _ => {
            sleep(Duration::from_millis(20));
            send(stream, "404 Not Found", "", b"")
        }
    });
    let edge = edge(&origin, 256);
    assert_eq!(ask(&edge, OTHER, "/live.m3u8").finish().whole(), b"#EXTM3U");
    let origin_asked = origin.count();
    let batch = 100;
    for start in (0..ABSENCES_MAX as usize).step_by(batch) {
        let coming: Vec<_> =
            (start..start + batch).map(|name| ask(&edge, GREEDY, &format!("/{name}"))).collect();
        origin.wait_for(origin_asked + start + batch);
        // They are counted for who has left, too.
        drop(coming);
    }
    edge.settle();
    assert_eq!(ask(&edge, GREEDY, "/another").finish().failure, Some(PullFailure::Busy));
    assert_eq!(ask(&edge, OTHER, "/another").finish().status(), 404);
    assert_eq!(ask(&edge, GREEDY, "/live.m3u8").finish().whole(), b"#EXTM3U");
    assert_eq!(ask(&edge, GREEDY, "/wanted.m4s").finish().failure, Some(PullFailure::Busy));
    let mut first = ask(&edge, OTHER, "/wanted.m4s");
    first.take_until(1);
    let joined = ask(&edge, GREEDY, "/wanted.m4s");
    edge.wait_until_joined(1);
    let before = origin.count() + 1;
    let private = ask(&edge, OTHER, "/private.m4s");
    origin.wait_for(before);
    let not_for_it = ask(&edge, GREEDY, "/private.m4s");
    sleep(A_WHILE / 3);
    gate.open();
    assert_eq!(not_for_it.finish().failure, Some(PullFailure::Busy), "that would be a request of its own");
    assert_eq!((private.finish().whole(), origin.count()), (b"private".to_vec(), before));
    assert_eq!((first.finish().whole(), joined.finish().whole()), (b"wanted".to_vec(), b"wanted".to_vec()));
}

#[test]
fn who_has_all_of_its_part_is_still_given_what_another_has_asked_for() {
    let gate = Gate::default();
    let (held_up, body) = (gate.clone(), bytes(31, MIB));
    let sent = body.clone();
    let origin = Origin::start(move |asked, stream| {
        if asked.target.starts_with("/hot") {
            return in_halves(stream, FRESH, &sent, &held_up);
        }
        held_up.wait();
        send(stream, "200 OK", FRESH, b"good")
    });
    let edge = edge(&origin, 8);
    let mut first = ask(&edge, OTHER, "/hot/1");
    first.take_until(MIB / 2);
    let _greedy: Vec<_> = (0..4).map(|n| ask(&edge, GREEDY, &format!("/held-up/{n}"))).collect();
    origin.wait_for(5);
    let mut joined = ask(&edge, GREEDY, "/hot/1");
    joined.take_until(MIB / 2);
    // What another asks for later is for who waits, too.
    let mut waiting = ask(&edge, GREEDY, "/hot/2");
    sleep(A_WHILE);
    assert_eq!(origin.count(), 5);
    let second = ask(&edge, OTHER, "/hot/2");
    waiting.take_until(MIB / 2);
    gate.open();
    for coming in [first, joined, waiting, second] {
        assert!(coming.finish().whole() == body);
    }
    assert_eq!(origin.count(), 6);
}

#[test]
fn what_breaks_upstream_in_one_clients_request_is_not_the_answer_to_others() {
    let origin = Origin::start(|asked, stream| {
        asked.field("cookie").is_none() && send(stream, "200 OK", FRESH, b"good")
    });
    // That the last one is not there is no word on what the first could not bear.
    for urls in [vec![origin.url()], vec![origin.url(), "http://127.0.0.1:1".to_owned()]] {
        let (edge, count) = (Edge::of(&urls), origin.count());
        for _ in 0..5 {
            let broken = edge.get_with("/a.m4s", &[("cookie", "broken")]);
            assert_eq!(broken.failure, Some(PullFailure::Invalid));
        }
        let asked = origin.count() - count;
        assert_eq!(edge.get("/a.m4s").whole(), b"good");
        assert!(asked <= 2, "it is remembered for such requests: {asked}");
    }
}
