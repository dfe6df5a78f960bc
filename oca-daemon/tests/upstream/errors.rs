//! Errors and absences: whose they are, and for how long.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use http::Method;

use crate::edge::Edge;
use crate::origin::{Origin, send};
use crate::scripts::{A_WHILE, FRESH, numbered};

#[test]
fn an_error_that_is_for_one_client_is_not_shared() {
    for (said, credentials) in [
        ("Cache-Control: private\r\n", None),
        ("Cache-Control: no-store\r\n", None),
        ("Set-Cookie: a=b\r\n", None),
        ("Vary: *\r\n", None),
        ("", Some(("authorization", "x"))),
        ("", Some(("cookie", "x"))),
    ] {
        let origin = numbered("503 Service Unavailable", said.to_owned());
        let edge = Edge::of(&[origin.url()]);
        let answers = edge.at_once(4, "/a.m4s", credentials.as_slice());
        let bodies: HashSet<_> = answers.into_iter().map(|answer| answer.body).collect();
        assert_eq!((bodies.len(), origin.count()), (4, 4), "{said:?} {credentials:?}");
    }
}

#[test]
fn an_error_that_varies_is_shared_by_those_who_say_the_same() {
    let origin = Origin::start(|asked, stream| {
        sleep(A_WHILE);
        let language = asked.field("accept-language").unwrap_or("none");
        send(stream, "503 Service Unavailable", "Vary: Accept-Language\r\n", language.as_bytes())
    });
    let edge = Edge::of(&[origin.url()]);
    let coming: Vec<_> = ["de", "en"]
        .into_iter()
        .cycle()
        .take(20)
        .map(|language| (language, edge.ask(Method::GET, "/a", &[("accept-language", language)])))
        .collect();
    for (language, one) in coming {
        assert_eq!(one.finish().body, language.as_bytes());
    }
    assert!(origin.count() <= 12, "{}", origin.count());
}

#[test]
fn a_cookie_that_comes_with_a_shared_error_is_for_the_one_who_asked() {
    let origin = numbered(
        "503 Service Unavailable",
        "Cache-Control: public\r\nSet-Cookie: a=b\r\nRetry-After: 1\r\n".to_owned(),
    );
    let edge = Edge::of(&[origin.url()]);
    let answers = edge.at_once(5, "/a.m4s", &[]);
    assert_eq!(origin.count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.field("set-cookie") == "a=b").count(), 1);
    assert!(answers.iter().all(|answer| answer.field("retry-after") == "1"));
}

#[test]
fn a_segment_that_was_asked_for_early_is_there_a_second_later() {
    let number = AtomicUsize::new(0);
    let origin = Origin::start(move |_, stream| match number.fetch_add(1, SeqCst) {
        0 => send(stream, "404 Not Found", "", b"not yet"),
        _ => send(stream, "200 OK", FRESH, b"segment"),
    });
    let edge = Edge::of(&[origin.url()]);
    assert_eq!(edge.get("/live/17.m4s").status(), 404);
    assert_eq!(edge.get("/live/17.m4s").status(), 404);
    assert_eq!(origin.count(), 1);
    sleep(Duration::from_millis(1100));
    assert_eq!(edge.get("/live/17.m4s").whole(), b"segment");
}

#[test]
fn an_absence_that_is_too_old_to_keep_is_shared_by_those_who_wait() {
    let made = httpdate::fmt_http_date(SystemTime::now() - Duration::from_secs(30));
    let origin = numbered("404 Not Found", format!("Date: {made}\r\n"));
    let edge = Edge::of(&[origin.url()]);
    assert!(edge.at_once(20, "/a.m4s", &[]).iter().all(|answer| answer.status() == 404));
    assert_eq!(origin.count(), 1);
}
