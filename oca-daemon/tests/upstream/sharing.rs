//! Who waits for whom, and who does not.

use std::collections::HashSet;
use std::thread::sleep;
use std::time::Duration;

use control_client::config::PullConfig;
use control_client::units::ByteCount;
use http::Method;

use crate::MIB;
use crate::edge::{Answer, Edge, finish_together, upstreams};
use crate::origin::{Origin, bytes, send};
use crate::scripts::{A_WHILE, FRESH, file, halved, numbered};

#[test]
fn a_thousand_askers_are_one_request_upstream_and_get_every_byte() {
    let body = bytes(1, 300_000);
    let (origin, gate) = halved(&body);
    let edge = Edge::of(&[origin.url()]);
    let coming = (0..1000).map(|_| edge.begin("/a.m4s")).collect();
    edge.wait_until_joined(999);
    gate.open();
    finish_together(coming, |answer| assert!(answer.whole() == body));
    assert_eq!(origin.count(), 1);
}

#[test]
fn who_comes_when_half_has_come_gets_all_of_it_without_another_request() {
    for size in [200_000, 3 * MIB] {
        let body = bytes(2, size);
        let (origin, gate) = halved(&body);
        let edge = Edge::of(&[origin.url()]);
        let mut first = edge.begin("/a.m4s");
        first.take_until(size / 2);
        let mut second = edge.begin("/a.m4s");
        second.take_until(size / 2);
        gate.open();
        assert!(first.finish().whole() == body);
        assert!(second.finish().whole() == body);
        assert_eq!(origin.count(), 1);
    }
}

#[test]
fn the_one_who_asked_first_can_leave_without_ending_it_for_the_others() {
    let body = bytes(3, 20 * MIB);
    let (origin, gate) = halved(&body);
    let edge = Edge::of(&[origin.url()]);
    let mut first = edge.begin("/a.m4s");
    first.take_until(MIB);
    let mut second = edge.begin("/a.m4s");
    second.take_until(MIB);
    drop(first);
    gate.open();
    let answer = second.finish();
    let refused = edge.stats.volumes[0].write_failures.get();
    assert_eq!((answer.failure, refused, answer.body.len()), (None, 0, body.len()));
    assert!(answer.whole() == body);
    assert_eq!(origin.count(), 1);
}

#[test]
fn who_is_slower_than_memory_holds_reads_the_rest_from_the_disk() {
    let body = bytes(4, 24 * MIB);
    let origin = file("a", FRESH, body.clone());
    let edge = Edge::start(PullConfig { fetch_memory: ByteCount::mib(4), ..upstreams(&[origin.url()]) });
    let slow = edge.begin("/a.m4s");
    assert!(edge.get("/a.m4s").whole() == body);
    assert!(slow.finish().whole() == body);
    assert_eq!(origin.ranges(), [""]);
}

#[test]
fn what_is_for_one_client_is_not_given_to_another_who_waits_too() {
    for fields in ["Cache-Control: private\r\n", "Cache-Control: no-store\r\n", "Set-Cookie: a=b\r\n"] {
        let origin = numbered("200 OK", fields.to_owned());
        let edge = Edge::of(&[origin.url()]);
        let answers = edge.at_once(5, "/a.m4s", &[]);
        let bodies: HashSet<_> = answers.into_iter().map(Answer::whole).collect();
        assert_eq!((bodies.len(), origin.count()), (5, 5), "{fields}");
    }
}

#[test]
fn requests_that_differ_in_what_vary_names_get_their_own() {
    let origin = Origin::start(|asked, stream| {
        sleep(Duration::from_millis(50));
        let body = asked.field("accept-language").unwrap_or("none").to_owned();
        send(stream, "200 OK", "Cache-Control: max-age=600\r\nVary: Accept-Language\r\n", body.as_bytes())
    });
    let edge = Edge::of(&[origin.url()]);
    let languages = ["de", "en", "fr"].into_iter().cycle().take(30);
    let coming: Vec<_> = languages
        .map(|language| (language, edge.ask(Method::GET, "/a", &[("accept-language", language)])))
        .collect();
    for (language, one) in coming {
        assert_eq!(one.finish().whole(), language.as_bytes());
    }
    // Once for each, and what the first ones who waited for another's language cost.
    assert!((3..=9).contains(&origin.count()), "{}", origin.count());
    edge.settle();
    let count = origin.count();
    assert_eq!(edge.get_with("/a", &[("accept-language", "en")]).whole(), b"en");
    assert_eq!(origin.count(), count);
}

#[test]
fn an_error_is_shared_by_those_who_wait_and_not_kept() {
    let origin = Origin::start(|_, stream| {
        sleep(A_WHILE);
        send(stream, "503 Service Unavailable", "", b"later")
    });
    let edge = Edge::of(&[origin.url()]);
    for answer in edge.at_once(20, "/a", &[]) {
        assert_eq!((answer.status(), &answer.body[..]), (503, &b"later"[..]));
    }
    assert_eq!(origin.count(), 1);
    assert_eq!(edge.get("/a").status(), 503);
    assert_eq!(origin.count(), 2);
}
