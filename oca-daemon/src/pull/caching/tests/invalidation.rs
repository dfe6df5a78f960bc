use http::Method;

use super::{fields, get, response};
use crate::pull::caching::{RequestHead, invalidated};
use crate::request::Scheme;

fn keys(method: &str, status: u16, lines: &[(&str, &str)]) -> Vec<String> {
    let (none, lines) = (fields(&[]), fields(lines));
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let request = RequestHead { method: &method, ..get("/t/a?b", &none) };
    invalidated(&request, Scheme::Http, "edge.example:8080", &response(status, &lines))
}

#[test]
fn an_unsafe_method_that_succeeds_invalidates_its_target() {
    for (method, status, expected) in [
        ("POST", 200, true),
        ("PUT", 201, true),
        ("DELETE", 204, true),
        ("PATCH", 302, true),
        ("M-SEARCH", 200, true),
        ("POST", 404, false),
        ("POST", 500, false),
        ("GET", 200, false),
        ("HEAD", 200, false),
        ("OPTIONS", 200, false),
        ("TRACE", 200, false),
    ] {
        let expected: &[&str] = if expected { &["/t/a?b"] } else { &[] };
        assert_eq!(keys(method, status, &[]), expected, "{method} {status}");
    }
}

#[test]
fn it_invalidates_what_its_answer_names_on_the_same_server() {
    for (location, expected) in [
        ("/x/y?z#f", Some("/x/y?z")),
        ("y", Some("/t/y")),
        ("../y", Some("/y")),
        ("?c", Some("/t/a?c")),
        ("http://edge.example:8080/x", Some("/x")),
        ("//edge.example:8080/x", Some("/x")),
        ("http://EDGE.example:8080/x", Some("/x")),
        ("https://edge.example:8080/x", None), // §4.4: another origin
        ("http://edge.example/x", None),
        ("http://other.example:8080/x", None),
        ("mailto:x", None),
        ("http://[", None),
    ] {
        for name in ["location", "content-location"] {
            let expected: Vec<&str> = ["/t/a?b"].into_iter().chain(expected).collect();
            assert_eq!(keys("POST", 200, &[(name, location)]), expected, "{name}: {location}");
        }
    }
}

#[test]
fn a_client_that_does_not_say_whom_it_asks_invalidates_too() {
    let (none, lines) = (fields(&[]), fields(&[("location", "/x")]));
    let request = RequestHead { method: &Method::POST, ..get("/a", &none) };
    assert_eq!(invalidated(&request, Scheme::Https, "", &response(200, &lines)), ["/a", "/x"]);
    assert_eq!(invalidated(&request, Scheme::Https, "no host", &response(200, &lines)), ["/a"]);
}
