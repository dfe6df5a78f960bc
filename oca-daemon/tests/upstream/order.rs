//! Which upstream is asked after which, and which is left alone.

use std::io::Write;

use oca_daemon::pull::PullFailure;

use crate::edge::Edge;
use crate::origin::{Origin, bytes, send};
use crate::scripts::{FRESH, file, sleeping};

#[test]
fn the_next_upstream_is_asked_where_one_is_not_there_or_in_trouble_or_does_not_have_it() {
    let body = bytes(15, 1000);
    let last = file("a", FRESH, body.clone());
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let troubled = Origin::start(|_, stream| send(stream, "500 Internal Server Error", "", b"oops"));
    let without = Origin::start(|_, stream| send(stream, "404 Not Found", "", b""));
    let silent = Origin::start(|_, _| false);
    let urls = [gone, troubled.url(), without.url(), silent.url(), last.url()];
    let edge = Edge::of(&urls);
    assert!(edge.get("/a.m4s").whole() == body);
    assert_eq!((troubled.count(), without.count(), silent.count(), last.count()), (1, 1, 1, 1));
}

#[test]
fn only_the_last_upstream_says_that_something_is_absent() {
    let without = Origin::start(|_, stream| send(stream, "404 Not Found", "", b"tier"));
    let silent = Origin::start(|_, _| false);
    let edge = Edge::of(&[without.url(), silent.url()]);
    assert_eq!(edge.get("/a.m4s").failure, Some(PullFailure::Invalid));
    let last = Origin::start(|_, stream| send(stream, "404 Not Found", "", b"origin"));
    let edge = Edge::of(&[without.url(), last.url()]);
    let answer = edge.get("/a.m4s");
    assert_eq!((answer.status(), &answer.body[..]), (404, &b"origin"[..]));
}

#[test]
fn what_an_upstream_makes_of_one_request_does_not_have_it_left_alone() {
    let origin = Origin::start(|asked, stream| match asked.target.as_bytes() {
        [b'/', b'd', ..] => false,
        [b'/', b'n', ..] => stream.write_all(b"nonsense\r\n\r\n").is_err(),
        _ => send(stream, "200 OK", FRESH, b"good"),
    });
    let edge = Edge::of(&[origin.url()]);
    for number in 0..20 {
        let target = format!("/{}{number}", ["dropped", "nonsense"][number % 2]);
        assert_eq!(edge.get(&target).failure, Some(PullFailure::Invalid), "{target}");
    }
    assert!(!edge.stats.upstreams[0].is_open());
    assert_eq!(edge.get("/a.m4s").whole(), b"good");
}

#[test]
fn an_upstream_that_is_silent_again_and_again_is_left_alone() {
    let origin = sleeping();
    let edge = Edge::impatient(&[origin.url()]);
    for number in 0..5 {
        assert!(!edge.stats.upstreams[0].is_open());
        assert_eq!(edge.get(&format!("/{number}")).failure, Some(PullFailure::TimedOut));
    }
    assert!(edge.stats.upstreams[0].is_open());
    assert_eq!(edge.get("/a.m4s").failure, Some(PullFailure::Unreachable));
    origin.wait_for(5);
    assert_eq!(origin.count(), 5);
}
