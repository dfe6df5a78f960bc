//! For whom an answer is: what one client says in its request never makes the answer of another.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use control_client::config::PullConfig;
use http::Method;

use crate::edge::{Answer, Edge, upstreams};
use crate::origin::{Asked, Origin, bytes, send, send_file};
use crate::{FRESH, Gate, MIB, in_halves};

/// How long an origin takes, so that others come meanwhile.
const A_WHILE: Duration = Duration::from_millis(300);

/// An origin that says what it was told in a field.
fn echo(field: &'static str, fields: &'static str) -> Origin {
    Origin::start(move |asked, stream| {
        send(stream, "200 OK", fields, asked.field(field).unwrap_or("nothing").as_bytes())
    })
}

/// An origin that takes a while and numbers its answers.
fn numbered(status: &'static str, fields: String) -> Origin {
    let number = AtomicUsize::new(0);
    Origin::start(move |_, stream| {
        sleep(A_WHILE);
        send(stream, status, &fields, number.fetch_add(1, SeqCst).to_string().as_bytes())
    })
}

/// The answers to so many who ask at the same time.
fn at_once(edge: &Edge, count: usize, fields: &[(&str, &str)]) -> Vec<Answer> {
    let coming: Vec<_> = (0..count).map(|_| edge.ask(Method::GET, "/a.m4s", fields)).collect();
    coming.into_iter().map(|one| one.finish()).collect()
}

// ---- what upstream is told ----

#[test]
fn what_a_client_makes_up_does_not_reach_an_origin_whose_answer_is_for_all() {
    for name in [
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-for",
        "forwarded",
        "x-original-url",
        "x-rewrite-url",
        "x-http-method-override",
        "x-host",
        "origin",
        "referer",
        "content-type",
        "cache-control",
        "x-anything",
    ] {
        let origin = echo(name, FRESH);
        let edge = Edge::of(&[origin.url()]);
        assert_eq!(edge.get_with("/a", &[(name, "evil")]).whole(), b"nothing", "{name}");
        assert_eq!(edge.get("/a").whole(), b"nothing", "{name}");
        assert_eq!(origin.count(), 1);
    }
}

#[test]
fn a_field_that_vary_names_goes_upstream_and_the_next_of_its_kind_are_asked_with_it_at_once() {
    let vary = "Cache-Control: max-age=600\r\nVary: X-Group\r\n";
    let origin = echo("x-group", vary);
    let edge = Edge::of(&[origin.url()]);
    let get = |target: &str, group: &str| edge.get_with(target, &[("x-group", group)]).whole();
    assert_eq!(get("/t/1.m4s", "a"), b"a");
    // Once without the field, and once with it.
    assert_eq!(origin.count(), 2);
    assert_eq!(get("/t/1.m4s", "a"), b"a");
    assert_eq!(edge.get("/t/1.m4s").whole(), b"nothing");
    assert_eq!(origin.count(), 2);
    assert_eq!((get("/t/1.m4s", "b"), get("/t/2.m4s", "a")), (b"b".to_vec(), b"a".to_vec()));
    assert_eq!(origin.count(), 4);
}

#[test]
fn what_went_upstream_because_of_a_neighbour_selects_the_answer_though_it_does_not_vary() {
    let origin = Origin::start(|asked, stream| {
        let vary = if asked.target == "/t/1.m4s" { "Vary: X-Group\r\n" } else { "" };
        let body = asked.field("x-group").unwrap_or("nothing");
        send(stream, "200 OK", &format!("{FRESH}{vary}"), body.as_bytes())
    });
    let edge = Edge::of(&[origin.url()]);
    edge.get_with("/t/1.m4s", &[("x-group", "a")]);
    assert_eq!(edge.get_with("/t/2.m4s", &[("x-group", "evil")]).whole(), b"evil");
    assert_eq!(edge.get("/t/2.m4s").whole(), b"nothing");
    assert_ne!(edge.get_with("/t/2.m4s", &[("x-group", "a")]).whole(), b"evil");
}

#[test]
fn an_origin_is_told_what_the_operator_lets_through() {
    let origin = echo("x-token", FRESH);
    let config = PullConfig { request_fields: vec!["X-Token".to_owned()], ..upstreams(&[origin.url()]) };
    assert_eq!(Edge::start(config).get_with("/a", &[("x-token", "t")]).whole(), b"t");
}

#[test]
fn what_the_edge_itself_says_to_upstream_is_not_for_upstream_to_vary_by() {
    let origin = echo("host", "Cache-Control: max-age=600\r\nVary: Host, Range, If-None-Match\r\n");
    let edge = Edge::of(&[origin.url()]);
    for host in ["edge.example", "evil.example"] {
        let fields = [("host", host), ("range", "bytes=0-"), ("if-none-match", "\"x\"")];
        let answer = edge.get_with("/a", &fields);
        assert_eq!(answer.status(), 206);
        assert_eq!(answer.whole(), origin.address.to_string().as_bytes(), "{host}");
    }
    assert_eq!(origin.count(), 1);
}

#[test]
fn a_request_that_goes_alone_says_no_more_than_one_that_is_for_many() {
    let origin = echo("x-token", "Cache-Control: no-store\r\n");
    let edge = Edge::of(&[origin.url()]);
    for _ in 0..3 {
        assert_eq!(edge.get_with("/a", &[("x-token", "t")]).whole(), b"nothing");
    }
}

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

// ---- errors and absences ----

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
        let answers = at_once(&edge, 4, credentials.as_slice());
        let mut bodies: Vec<_> = answers.into_iter().map(|answer| answer.body).collect();
        bodies.sort();
        bodies.dedup();
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
    let answers = at_once(&edge, 5, &[]);
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
    assert!(at_once(&edge, 20, &[]).iter().all(|answer| answer.status() == 404));
    assert_eq!(origin.count(), 1);
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
        assert!(at_once(&edge, 20, &[]).into_iter().all(|answer| answer.whole() == b"0123456789"));
        assert_eq!(origin.count() - count, 1, "{fields:?}");
    }
}

// ---- what is said of an answer ----

#[test]
fn who_joins_is_told_the_age_of_what_was_asked_for_by_another() {
    let gate = Gate::default();
    let (held_up, body) = (gate.clone(), bytes(30, 300_000));
    let origin = Origin::start(move |_, stream| in_halves(stream, FRESH, &body, &held_up));
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
