//! Fields of requests: which of them upstream is told, and what of its answers depends on them.

use std::io::Write;
use std::thread::sleep;

use control_client::config::PullConfig;

use crate::edge::{Edge, upstreams};
use crate::origin::{Origin, send};
use crate::scripts::{A_WHILE, FRESH, Gate, head};

const BY_GROUP: &str = "Cache-Control: max-age=600\r\nVary: X-Group\r\n";

/// An origin that says what it was told in a field.
fn echo(field: &'static str, fields: &'static str) -> Origin {
    Origin::start(move |asked, stream| {
        send(stream, "200 OK", fields, asked.field(field).unwrap_or("nothing").as_bytes())
    })
}

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
    let origin = echo("x-group", BY_GROUP);
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
fn an_answer_that_turns_out_to_be_for_others_is_there_for_them() {
    let asked_again = Gate::default();
    let held_up = asked_again.clone();
    let origin = Origin::start(move |asked, stream| {
        if let Some(group) = asked.field("x-group") {
            asked_again.open();
            return send(stream, "200 OK", BY_GROUP, group.as_bytes());
        }
        stream.write_all(head(BY_GROUP, 7).as_bytes()).unwrap();
        // Whoever caused it has seen that it is for others, and has left.
        held_up.wait();
        stream.write_all(b"not").unwrap();
        sleep(A_WHILE);
        stream.write_all(b"hing").is_ok()
    });
    let edge = Edge::of(&[origin.url()]);
    assert_eq!(edge.get_with("/t/1.m4s", &[("x-group", "a")]).whole(), b"a");
    edge.settle();
    assert_eq!(edge.get("/t/1.m4s").whole(), b"nothing");
    assert_eq!(origin.count(), 2);
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
fn what_players_say_of_themselves_is_not_for_upstream_to_vary_by() {
    for name in ["cmcd-object", "cmcd-request", "cmcd-session", "cmcd-status"] {
        let origin = echo(
            name,
            "Cache-Control: s-maxage=600\r\nVary: CMCD-Object, CMCD-Request, CMCD-Session, CMCD-Status\r\n",
        );
        let edge = Edge::of(&[origin.url()]);
        for said in ["sid=\"one\"", "sid=\"other\""] {
            assert_eq!(edge.get_with("/t/1.m4s", &[(name, said)]).whole(), b"nothing", "{name} {said}");
        }
        assert_eq!(origin.count(), 1, "{name}");
        // By now it is known what answers in this directory vary by.
        assert_eq!(edge.get_with("/t/2.m4s", &[(name, "sid=\"one\"")]).whole(), b"nothing", "{name}");
        assert_eq!(origin.count(), 2, "{name}");
    }
}

#[test]
fn a_request_that_goes_alone_says_no_more_than_one_that_is_for_many() {
    let origin = echo("x-token", "Cache-Control: no-store\r\n");
    let edge = Edge::of(&[origin.url()]);
    for _ in 0..3 {
        assert_eq!(edge.get_with("/a", &[("x-token", "t")]).whole(), b"nothing");
    }
}
