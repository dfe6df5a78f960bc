//! What is sent although it is stale.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use control_client::config::PullConfig;
use oca_daemon::limits::FLIGHTS_BOARDED_MAX;
use oca_daemon::pull::PurgeSelector;

use crate::edge::{Answer, Edge, upstreams};
use crate::origin::{Origin, send};
use crate::scripts::Gate;

const HOUR: Duration = Duration::from_secs(3600);

/// How an upstream fails.
#[derive(Clone, Copy, Debug)]
enum Failing {
    /// It says so.
    Aloud(&'static str),
    /// It says nothing for longer than anybody waits.
    Silently,
    /// It is not there any more: connections are refused.
    Gone,
}

/// An origin of what is stale at once, and what breaks it: then it thinks, and has an error below `/error` and not a word elsewhere.
fn breakable(think: impl Fn() + Send + Sync + 'static) -> (Origin, Arc<AtomicBool>) {
    let is_broken = Arc::new(AtomicBool::new(false));
    let breaks = Arc::clone(&is_broken);
    let origin = Origin::start(move |asked, stream| {
        if breaks.load(SeqCst) {
            think();
            return asked.target.contains("error") && send(stream, "502 Bad Gateway", "", b"");
        }
        send(stream, "200 OK", "Cache-Control: max-age=0\r\nETag: \"a\"\r\n", b"good")
    });
    (origin, is_broken)
}

#[test]
fn what_is_stale_stands_in_for_an_upstream_that_fails() {
    let (origin, is_broken) = breakable(|| ());
    let edge = Edge::of(&[origin.url()]);
    for path in ["/error", "/silence"] {
        assert_eq!(edge.get(path).whole(), b"good");
        is_broken.store(true, SeqCst);
        let answer = edge.get(path);
        assert!(answer.cache_status().contains("detail=stale_if_error"), "{}", answer.cache_status());
        assert_eq!(answer.whole(), b"good");
        is_broken.store(false, SeqCst);
    }
    assert_eq!(edge.stats.stale_served.get(), 2);
}

#[test]
fn what_is_stale_stands_in_however_upstream_fails() {
    for failing in [
        Failing::Aloud("500 Internal Server Error"),
        Failing::Aloud("503 Service Unavailable"),
        Failing::Aloud("504 Gateway Timeout"),
        Failing::Gone,
        Failing::Silently,
    ] {
        assert_stands_in(&holding("max-age=0", HOUR, failing), failing);
    }
}

#[test]
fn where_the_operator_lets_nothing_stale_stand_in_only_upstreams_own_word_does() {
    for (failing, status) in [
        (Failing::Aloud("500 Internal Server Error"), 500),
        (Failing::Aloud("503 Service Unavailable"), 503),
        (Failing::Aloud("504 Gateway Timeout"), 504),
        (Failing::Gone, 502),
    ] {
        assert_stands_in(&holding("max-age=0, stale-if-error=600", Duration::ZERO, failing), failing);
        assert_fails(&holding("max-age=0", Duration::ZERO, failing), failing, status);
    }
}

/// What upstream says of its trouble is passed on; where it says nothing, the answer is 502 or 504 (RFC 9111 §5.2.2.2).
#[test]
fn what_must_be_revalidated_never_stands_in_however_upstream_fails() {
    for (failing, status) in [
        (Failing::Aloud("500 Internal Server Error"), 500),
        (Failing::Aloud("503 Service Unavailable"), 503),
        (Failing::Aloud("504 Gateway Timeout"), 504),
        (Failing::Gone, 502),
        (Failing::Silently, 504),
    ] {
        assert_fails(&holding("max-age=0, must-revalidate", HOUR, failing), failing, status);
    }
}

/// An edge that holds what was stale when it came, with that Cache-Control, and whose upstream fails from now on.
fn holding(cache_control: &str, stale_if_error: Duration, failing: Failing) -> Edge {
    let fields = format!("Cache-Control: {cache_control}\r\nETag: \"a\"\r\n");
    let hold = |url: String| {
        let edge = Edge::start(PullConfig { stale_if_error, ..upstreams(&[url]) });
        assert_eq!(edge.get("/a").whole(), b"good");
        edge
    };
    match failing {
        Failing::Aloud(status) => hold(good_once(fields, move |stream| send(stream, status, "", b"trouble"))),
        Failing::Silently => hold(good_once(fields, |_| {
            sleep(Duration::from_secs(60));
            false
        })),
        Failing::Gone => {
            let (url, leaving) = there_once(fields);
            let edge = hold(url);
            leaving.join().unwrap();
            edge
        }
    }
}

/// Where an upstream is that fails from the second request on.
fn good_once(fields: String, fail: impl Fn(&mut TcpStream) -> bool + Send + Sync + 'static) -> String {
    let is_broken = AtomicBool::new(false);
    let origin = Origin::start(move |_, stream| {
        if is_broken.swap(true, SeqCst) { fail(stream) } else { send(stream, "200 OK", &fields, b"good") }
    });
    origin.url()
}

/// Where an upstream is that answers once, and what ends when nobody is there any more.
fn there_once(fields: String) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let leaving = spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().is_empty()), "the head has an end");
        assert!(send(&mut stream, "200 OK", &format!("{fields}Connection: close\r\n"), b"good"));
    });
    (url, leaving)
}

#[track_caller]
fn assert_stands_in(edge: &Edge, failing: Failing) {
    let answer = edge.get("/a");
    assert_eq!(status(&answer), 200, "{failing:?}");
    let cache_status = answer.cache_status();
    assert!(cache_status.contains("detail=stale_if_error"), "{failing:?}: {cache_status}");
    if let Failing::Aloud(trouble) = failing {
        let said = format!("fwd-status={};", &trouble[..3]);
        assert!(cache_status.contains(&said), "{failing:?}: {cache_status}");
    }
    assert_eq!(answer.whole(), b"good", "{failing:?}");
    assert_eq!(edge.stats.stale_served.get(), 1, "{failing:?}");
}

#[track_caller]
fn assert_fails(edge: &Edge, failing: Failing, expected: u16) {
    let answer = edge.get("/a");
    assert_eq!(status(&answer), expected, "{failing:?}");
    assert_ne!(answer.body, b"good", "{failing:?}");
    assert_eq!(edge.stats.stale_served.get(), 0, "{failing:?}");
}

/// What the client is told, of a failure too.
fn status(answer: &Answer) -> u16 {
    answer.failure.map_or_else(|| answer.status(), |failure| failure.status().code())
}

#[test]
fn what_is_stale_is_sent_while_it_is_revalidated_once() {
    let number = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&number);
    let origin = Origin::start(move |_, stream| {
        let number = count.fetch_add(1, SeqCst);
        let seconds = [1, 600][number.min(1)];
        let fields = format!("Cache-Control: max-age={seconds}, stale-while-revalidate=60\r\n");
        send(stream, "200 OK", &fields, number.to_string().as_bytes())
    });
    let edge = Edge::of(&[origin.url()]);
    assert_eq!(edge.get("/a").whole(), b"0");
    sleep(Duration::from_millis(1100));
    for answer in edge.at_once(50, "/a", &[]) {
        let body = answer.whole();
        assert!(body == b"0" || body == b"1");
    }
    edge.settle();
    assert_eq!(edge.get("/a").whole(), b"1");
    assert_eq!(origin.count(), 2);
}

/// Found in review: who had looked in vain as often as may be was given nothing that is held.
#[test]
fn what_is_stale_stands_in_though_nothing_that_came_before_upstream_failed_was_for_this_client() {
    let number = AtomicUsize::new(0);
    let origin = Origin::start(move |_, stream| match number.fetch_add(1, SeqCst) {
        0 => send(stream, "200 OK", "Cache-Control: max-age=0\r\nETag: \"a\"\r\n", b"good"),
        // Each time it varies by something else that it has not been told.
        number @ 1..=FLIGHTS_BOARDED_MAX => {
            let fields = format!("Cache-Control: max-age=0\r\nETag: \"b\"\r\nVary: x-choice-{number}\r\n");
            send(stream, "200 OK", &fields, b"for others")
        }
        _ => false,
    });
    let edge = Edge::of(&[origin.url()]);
    assert_eq!(edge.get("/a.m4s").whole(), b"good");
    let names: Vec<_> = (1..=FLIGHTS_BOARDED_MAX).map(|number| format!("x-choice-{number}")).collect();
    let choices: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let answer = edge.get_with("/a.m4s", &choices);
    assert_eq!(origin.count(), 1 + FLIGHTS_BOARDED_MAX + 1, "the last time for this client alone");
    assert_eq!((answer.failure, answer.status()), (None, 200));
    assert!(answer.cache_status().contains("detail=stale_if_error"), "{}", answer.cache_status());
    assert_eq!(answer.whole(), b"good");
}

/// Found in review: what had been looked up before a purge was sent after it, because upstream failed.
#[test]
fn what_was_purged_meanwhile_does_not_stand_in_for_an_upstream_that_fails() {
    let gate = Gate::default();
    let held_up = gate.clone();
    let (origin, is_broken) = breakable(move || held_up.wait());
    let edge = Edge::of(&[origin.url()]);
    for path in ["/error", "/silence"] {
        assert_eq!(edge.get(path).whole(), b"good");
    }
    is_broken.store(true, SeqCst);
    let before = origin.count();
    let coming = ["/error", "/silence"].map(|path| edge.begin(path));
    origin.wait_for(before + 2);
    for path in ["/error", "/silence"] {
        assert_eq!(edge.purge(PurgeSelector::Exact(path.to_owned())), 1);
    }
    gate.open();
    for coming in coming {
        assert_ne!(coming.finish().body, b"good", "what was purged is sent");
    }
    assert_eq!(edge.stats.stale_served.get(), 0);
}
