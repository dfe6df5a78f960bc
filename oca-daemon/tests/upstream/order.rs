//! Which upstream is asked after which, and which is left alone.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use control_client::breaker::FAILURES_TO_OPEN;
use control_client::config::PullConfig;
use oca_daemon::pull::{PullFailure, UpstreamResult};
use rustix::net::{AddressFamily, SocketType};

use crate::edge::{Coming, Edge, upstreams};
use crate::origin::{Origin, bytes, send};
use crate::scripts::{FRESH, Gate, file, sleeping};

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

/// An address that is nobody else's, and where nobody listens yet.
fn closed_door() -> TcpListener {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    TcpListener::from(socket)
}

/// Listens there from now on, and hands what comes on to an origin.
fn open_door(door: TcpListener, origin: SocketAddr) {
    rustix::net::listen(&door, 16).unwrap();
    thread::spawn(move || {
        for client in door.incoming().flatten() {
            let server = TcpStream::connect(origin).unwrap();
            let questions = (client.try_clone().unwrap(), server.try_clone().unwrap());
            for (mut from, mut to) in [questions, (server, client)] {
                thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
        }
    });
}

/// Asks for one name after another until the first upstream is asked again, which was not asked yet: the request that waits for it.
fn probe(edge: &Edge, first: &Origin, next: &Origin) -> Coming {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let before = next.count();
        let coming = edge.begin(&format!("/later/{before}"));
        while (first.count(), next.count()) == (0, before) {
            assert!(Instant::now() < deadline, "nobody is asked");
            sleep(Duration::from_millis(1));
        }
        if first.count() > 0 {
            return coming;
        }
        assert!(Instant::now() < deadline, "it is not asked again");
        assert_eq!(coming.finish().whole(), b"next");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn while_one_is_left_alone_the_next_is_asked_at_once_and_the_success_of_one_probe_ends_that() {
    let gate = Gate::default();
    let held_up = gate.clone();
    let first = Origin::start(move |_, stream| {
        held_up.wait();
        send(stream, "200 OK", FRESH, b"first")
    });
    let next = Origin::start(|_, stream| send(stream, "200 OK", FRESH, b"next"));
    let door = closed_door();
    let urls = [format!("http://{}", door.local_addr().unwrap()), next.url()];
    // Longer than anything is looked at here: the probe does not fail meanwhile.
    let first_byte_timeout = Duration::from_secs(60);
    let edge = Edge::start(PullConfig { first_byte_timeout, ..upstreams(&urls) });
    let is_open = || edge.stats.upstreams[0].is_open();
    for number in 0..FAILURES_TO_OPEN {
        assert!(!is_open());
        assert_eq!(edge.get(&format!("/failing/{number}")).whole(), b"next");
    }
    assert!(is_open());
    open_door(door, first.address);
    assert_eq!(edge.get("/early").whole(), b"next");
    assert_eq!(first.count(), 0, "it is there again, and its time has not come");

    let probe = probe(&edge, &first, &next);
    assert!(is_open());
    assert_eq!(edge.begin("/meanwhile").finish().whole(), b"next");
    assert_eq!(first.count(), 1);
    gate.open();
    assert_eq!(probe.finish().whole(), b"first");
    assert!(!is_open());
    for number in 0..3 {
        assert_eq!(edge.get(&format!("/mended/{number}")).whole(), b"first");
    }
    assert_eq!(first.count(), 1 + 3);
}

/// One that nobody can connect to, since as many wait to be accepted as may: who comes later gets no answer. With those who wait.
fn deaf() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let (address, mut waiting) = (listener.local_addr().unwrap(), Vec::new());
    let error = loop {
        match TcpStream::connect_timeout(&address, Duration::from_millis(500)) {
            Ok(stream) => waiting.push(stream),
            Err(error) => break error,
        }
        assert!(waiting.len() < 100, "there is room for any number");
    };
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    (listener, waiting)
}

#[test]
fn one_that_does_not_answer_a_connection_is_not_there_and_the_next_is_asked() {
    let body = bytes(25, 1000);
    let (deaf, _waiting) = deaf();
    let (deaf, next) = (format!("http://{}", deaf.local_addr().unwrap()), file("a", FRESH, body.clone()));
    // So that it cannot be this one that ends the waiting.
    let first_byte_timeout = Duration::from_secs(60);
    let config = |urls: &[String]| PullConfig { first_byte_timeout, ..upstreams(urls) };
    let edge = Edge::start(config(&[deaf.clone(), next.url()]));
    assert!(edge.get("/a.m4s").whole() == body);
    assert_eq!(edge.stats.upstreams[0].results[UpstreamResult::Unreachable as usize].get(), 1);
    let edge = Edge::start(config(&[deaf]));
    assert_eq!(edge.get("/a.m4s").failure, Some(PullFailure::Unreachable));
}
