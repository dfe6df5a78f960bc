//! For whom an answer is: what one client says in its request never makes the answer of another.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use http::Method;

use crate::MIB;
use crate::edge::Edge;
use crate::origin::{Asked, Origin, bytes, send, send_file};
use crate::scripts::{A_WHILE, FRESH, halved, numbered};

// ---- credentials ----

/// An origin that confirms, after a while, for those who say who they are, and has nothing for others.
fn guarded(cache_control: &'static str) -> Origin {
    Origin::start(move |asked, stream| {
        let is_known = asked.field("authorization").or(asked.field("cookie")).is_some();
        sleep(A_WHILE);
        match is_known {
            true => send_file(asked, stream, "a", &format!("Cache-Control: {cache_control}\r\n"), b"secret"),
            false => send(stream, "403 Forbidden", "", b"who?"),
        }
    })
}

#[test]
fn who_has_no_credentials_gets_nothing_that_was_confirmed_or_sent_to_one_who_has() {
    for credentials in [("authorization", "Bearer x"), ("cookie", "session=x")] {
        let origin = guarded("public, no-cache");
        let edge = Edge::of(&[origin.url()]);
        // The first time it is sent, the second time it is confirmed.
        for _ in 0..2 {
            let known = edge.ask(Method::GET, "/a.m4s", &[credentials]);
            sleep(A_WHILE / 3);
            let unknown = edge.begin("/a.m4s");
            let other = edge.ask(Method::GET, "/a.m4s", &[("cookie", "session=y")]);
            assert_eq!(known.finish().whole(), b"secret");
            assert_eq!(unknown.finish().status(), 403, "{credentials:?}");
            assert_eq!(other.finish().whole(), b"secret");
            edge.settle();
        }
        assert_eq!(origin.count(), 6);
    }
}

#[test]
fn what_must_be_asked_about_each_time_is_asked_about_for_who_comes_later() {
    let origin = numbered("200 OK", "Cache-Control: no-cache\r\nETag: \"a\"\r\n".to_owned());
    let edge = Edge::of(&[origin.url()]);
    let first = edge.begin("/a.m4s");
    sleep(A_WHILE / 3);
    let second = edge.begin("/a.m4s");
    assert_eq!((first.finish().whole(), second.finish().whole()), (b"0".to_vec(), b"1".to_vec()));

    let origin = Origin::start(|asked, stream| {
        sleep(A_WHILE);
        send_file(asked, stream, "a", "Cache-Control: no-cache\r\n", b"a")
    });
    let edge = Edge::of(&[origin.url()]);
    edge.get("/a.m4s");
    let first = edge.begin("/a.m4s");
    sleep(A_WHILE / 3);
    let second = edge.begin("/a.m4s");
    assert_eq!((first.finish().whole(), second.finish().whole()), (b"a".to_vec(), b"a".to_vec()));
    assert_eq!(origin.count(), 3);
}

#[test]
fn what_is_confirmed_to_one_alone_does_not_change_what_is_held_for_all() {
    let origin = Origin::start(|asked, stream| {
        let fields = match asked.field("authorization") {
            Some(user) => format!("Cache-Control: max-age=600\r\nX-User: {user}\r\n"),
            None => "Cache-Control: max-age=0\r\n".to_owned(),
        };
        send_file(asked, stream, "a", &fields, b"a")
    });
    let edge = Edge::of(&[origin.url()]);
    edge.get("/a.m4s");
    assert_eq!(edge.get_with("/a.m4s", &[("authorization", "bob")]).field("x-user"), "bob");
    let answer = edge.get("/a.m4s");
    assert_eq!(answer.field("x-user"), "");
    assert_eq!(origin.count(), 3);
}

#[test]
fn without_a_word_of_upstream_an_answer_to_a_cookie_is_kept_for_nobody() {
    for (credentials, said, count) in [
        (("cookie", "session=x"), "", 2),
        (("authorization", "x"), "", 2),
        (("authorization", "x"), "Cache-Control: must-revalidate\r\n", 2),
        (("cookie", "session=x"), "Cache-Control: max-age=600\r\n", 1),
        (("cookie", "session=x"), "Cache-Control: public\r\n", 1),
    ] {
        let fields = format!("Content-Type: video/mp4\r\nETag: \"a\"\r\n{said}");
        let origin = Origin::start(move |_, stream| send(stream, "200 OK", &fields, b"a"));
        let edge = Edge::of(&[origin.url()]);
        edge.get_with("/a.m4s", &[credentials]);
        assert_eq!(edge.get("/a.m4s").whole(), b"a");
        assert_eq!(origin.count(), count, "{credentials:?} {said}");
    }
}

#[test]
fn a_page_at_a_segments_path_is_no_segment() {
    let origin = Origin::start(|_, stream| {
        send(stream, "200 OK", "Content-Type: text/html; charset=utf-8\r\nETag: \"a\"\r\n", b"not found")
    });
    let edge = Edge::of(&[origin.url()]);
    edge.get("/a.m4s");
    edge.get("/a.m4s");
    assert_eq!(origin.count(), 2);
}

// ---- habits ----

#[test]
fn one_request_with_a_range_or_a_cookie_does_not_end_the_sharing_of_all_others() {
    let answers = |asked: &Asked, stream: &mut std::net::TcpStream| {
        sleep(A_WHILE);
        if asked.field("cookie").is_some() {
            return send(stream, "200 OK", "Cache-Control: private\r\n", b"personal");
        }
        match asked.field("range") {
            // Of what, nobody can tell.
            Some(_) => send(stream, "206 Partial Content", "Content-Range: bytes 0-4/10\r\n", b"01234"),
            None => send(stream, "200 OK", FRESH, b"0123456789"),
        }
    };
    for fields in [("range", "bytes=0-4"), ("cookie", "session=x")] {
        let origin = Origin::start(answers);
        let edge = Edge::of(&[origin.url()]);
        assert!(!edge.get_with("/a.m4s", &[fields]).whole().is_empty());
        let count = origin.count();
        assert!(edge.at_once(20, "/a.m4s", &[]).into_iter().all(|answer| answer.whole() == b"0123456789"));
        assert_eq!(origin.count() - count, 1, "{fields:?}");
    }
}

// ---- what is said of an answer ----

#[test]
fn who_joins_is_told_the_age_of_what_was_asked_for_by_another() {
    let (origin, gate) = halved(&bytes(30, 300_000));
    let edge = Edge::of(&[origin.url()]);
    let mut first = edge.begin("/a.m4s");
    first.take_until(150_000);
    sleep(Duration::from_millis(1100));
    let mut second = edge.begin("/a.m4s");
    second.take_until(150_000);
    gate.open();
    assert_eq!((first.finish().field("age"), second.finish().field("age")), ("", "1"));
    assert_eq!(origin.count(), 1);
}

#[test]
fn parts_of_what_changed_within_the_second_it_was_sent_are_not_put_together() {
    let made = httpdate::fmt_http_date(SystemTime::now());
    let fields = format!("Cache-Control: max-age=600\r\nDate: {made}\r\nLast-Modified: {made}\r\n");
    let version = AtomicUsize::new(0);
    let origin = Origin::start(move |asked, stream| {
        let body = vec![version.fetch_add(1, SeqCst) as u8; 3 * MIB];
        match asked.range(body.len()) {
            Some((start, end)) => {
                let range = format!("{fields}Content-Range: bytes {start}-{}/{}\r\n", end - 1, body.len());
                send(stream, "206 Partial Content", &range, &body[start..end])
            }
            None => send(stream, "200 OK", &fields, &body),
        }
    });
    let edge = Edge::of(&[origin.url()]);
    assert_eq!(edge.get_range("/a.m4s", "bytes=0-9").whole().len(), 10);
    let body = edge.get("/a.m4s").whole();
    assert!(body.iter().all(|byte| *byte == body[0]), "bytes of two versions");
}
