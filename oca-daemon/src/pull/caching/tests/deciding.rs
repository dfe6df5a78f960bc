use std::time::Duration;

use http::{HeaderMap, Method};

use super::{POLICY, after, fields, get, stored};
use crate::pull::Forwarded;
use crate::pull::caching::{Decision, RequestHead, Selecting, StoredHead, decide, may_serve_stale_on_error};

const TAG: (&str, &str) = ("etag", "\"a\"");

/// What is decided for a plain GET `age` seconds after the response arrived.
fn at(age: u64, lines: &[(&str, &str)]) -> Decision {
    decide(&get("/a", &HeaderMap::new()), &[stored(200, lines)], after(age), &POLICY)
}

fn revalidate(conditions: &[(&str, &str)]) -> Decision {
    Decision::Revalidate { index: 0, conditions: fields(conditions), reason: Forwarded::Stale }
}

fn serve(age: u64, ttl: i64) -> Decision {
    Decision::Serve { index: 0, age: Duration::from_secs(age), ttl }
}

#[test]
fn what_is_fresh_is_served_and_what_is_stale_is_asked_about() {
    const FETCH: Decision = Decision::Fetch { reason: Forwarded::Stale };
    const LAST_MODIFIED: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    const SINCE: (&str, &str) = ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT");
    for (age, lines, expected) in [
        (59, &[("cache-control", "max-age=60")][..], serve(59, 1)),
        (60, &[("cache-control", "max-age=60")], FETCH), // §4.2: fresh while the lifetime is greater
        (60, &[("cache-control", "max-age=60"), TAG], revalidate(&[("if-none-match", "\"a\"")])),
        (60, &[("cache-control", "max-age=60"), LAST_MODIFIED], revalidate(&[SINCE])),
        (
            60,
            &[("cache-control", "max-age=60"), LAST_MODIFIED, TAG],
            revalidate(&[("if-none-match", "\"a\""), SINCE]),
        ),
        (60, &[("cache-control", "max-age=60"), ("etag", "a")], revalidate(&[("if-none-match", "a")])),
        (1, &[("cache-control", "max-age=60, no-cache"), TAG], revalidate(&[("if-none-match", "\"a\"")])),
        (1, &[("cache-control", "max-age=60, no-cache=\"x\""), TAG], serve(1, 59)),
        (1, &[("cache-control", "max-age=60, must-revalidate, proxy-revalidate")], serve(1, 59)),
        // What a 304 may have brought since it was stored.
        (1, &[("cache-control", "max-age=60, private"), TAG], revalidate(&[("if-none-match", "\"a\"")])),
        (1, &[("cache-control", "max-age=60, no-store"), TAG], revalidate(&[("if-none-match", "\"a\"")])),
        (1, &[("cache-control", "max-age=60, no-store, must-understand")], serve(1, 59)),
    ] {
        assert_eq!(at(age, lines), expected, "{age} {lines:?}");
    }
}

#[test]
fn a_stale_response_is_served_within_its_window_while_upstream_is_asked() {
    for (cache_control, age, expected) in [
        ("max-age=60, stale-while-revalidate=30", 59, false),
        ("max-age=60, stale-while-revalidate=30", 60, true),
        ("max-age=60, stale-while-revalidate=30", 89, true),
        ("max-age=60, stale-while-revalidate=30", 90, false),
        ("max-age=60, stale-while-revalidate=x", 60, false),
        ("max-age=60, stale-while-revalidate=30, must-revalidate", 60, false),
        ("max-age=60, stale-while-revalidate=30, proxy-revalidate", 60, false),
        ("max-age=60, stale-while-revalidate=30, no-cache", 60, false),
        ("s-maxage=60, stale-while-revalidate=30", 60, true),
        ("max-age=60", 60, false),
    ] {
        let served = Decision::ServeStaleWhileRevalidating {
            index: 0,
            age: Duration::from_secs(age),
            ttl: 60 - i64::try_from(age).unwrap(),
            conditions: fields(&[("if-none-match", "\"a\"")]),
        };
        assert_eq!(
            at(age, &[("cache-control", cache_control), TAG]) == served,
            expected,
            "{cache_control} {age}"
        );
    }
}

#[test]
fn what_is_held_stands_in_for_an_upstream_that_fails_unless_that_is_forbidden() {
    for (status, cache_control, age, expected) in [
        (200, "max-age=60", 60, true),
        (200, "max-age=60", 159, true), // the operator's 100 s
        (200, "max-age=60", 160, false),
        (200, "max-age=60, stale-if-error=10", 69, true), // RFC 5861 §4
        (200, "max-age=60, stale-if-error=10", 70, false),
        (200, "max-age=60, stale-if-error=1000", 1059, true),
        (200, "max-age=60, must-revalidate", 61, false), // §4.2.4
        (200, "max-age=60, proxy-revalidate", 61, false),
        (200, "max-age=60, must-revalidate, stale-if-error=10", 61, false),
        (200, "s-maxage=60", 61, false), // §5.2.2.10
        (200, "s-maxage=60, stale-if-error=10", 61, true),
        (200, "max-age=60, no-cache", 1, false),
        (302, "max-age=60", 61, true),
        (404, "max-age=60", 61, false),
        (503, "max-age=5", 6, false),
    ] {
        let head = stored(status, &[("cache-control", cache_control)]);
        let may = may_serve_stale_on_error(&head, "/a", after(age), &POLICY);
        assert_eq!(may, expected, "{status} {cache_control} {age}");
    }
}

#[test]
fn of_what_is_held_the_last_to_arrive_that_fits_is_served() {
    let variant = |value: &str, arrived: u64| {
        let mut head = stored(200, &[("cache-control", "max-age=60"), ("vary", "a")]);
        head.selecting = Selecting::of(&fields(&[("a", value)]), &head.fields).unwrap();
        head.response_time = after(arrived);
        head
    };
    let held = [variant("1", 0), variant("1", 5), variant("2", 9), variant("1", 3)];
    let decide_for = |value: &str| decide(&get("/a", &fields(&[("a", value)])), &held, after(10), &POLICY);
    for (value, expected) in [("1", 1), ("2", 2)] {
        assert!(matches!(decide_for(value), Decision::Serve { index, .. } if index == expected), "{value}");
    }
    assert_eq!(decide_for("3"), Decision::Fetch { reason: Forwarded::VaryMiss });
}

#[test]
fn a_client_that_wants_only_what_is_held_gets_it_or_504() {
    let request = fields(&[("cache-control", "only-if-cached")]);
    let decide_at = |held: &[StoredHead], age: u64| decide(&get("/a", &request), held, after(age), &POLICY);
    let held = [stored(200, &[("cache-control", "max-age=60, stale-while-revalidate=5"), TAG])];
    assert_eq!(decide_at(&[], 0), Decision::GatewayTimeout);
    assert_eq!(decide_at(&held, 1), serve(1, 59));
    assert!(matches!(decide_at(&held, 62), Decision::ServeStaleWhileRevalidating { .. }));
    assert_eq!(decide_at(&held, 66), Decision::GatewayTimeout);
}

#[test]
fn no_other_directive_of_a_client_gets_a_request_past_the_cache() {
    let held = [stored(200, &[("cache-control", "max-age=60")])];
    for line in [
        ("cache-control", "no-cache"),
        ("cache-control", "no-store"),
        ("cache-control", "max-age=0"),
        ("cache-control", "min-fresh=1000"),
        ("pragma", "no-cache"),
    ] {
        assert_eq!(decide(&get("/a", &fields(&[line])), &held, after(1), &POLICY), serve(1, 59), "{line:?}");
    }
    let stale = decide(&get("/a", &fields(&[("cache-control", "max-stale")])), &held, after(61), &POLICY);
    assert_eq!(stale, Decision::Fetch { reason: Forwarded::Stale });
}

#[test]
fn get_and_head_are_answered_from_what_is_held_and_nothing_else() {
    let (none, held) = (HeaderMap::new(), [stored(200, &[("cache-control", "max-age=60")])]);
    for (method, expected) in [
        (Method::GET, serve(1, 59)),
        (Method::HEAD, serve(1, 59)),
        (Method::POST, Decision::Fetch { reason: Forwarded::Method }),
        (Method::OPTIONS, Decision::Fetch { reason: Forwarded::Method }),
    ] {
        let request = RequestHead { method: &method, ..get("/a", &none) };
        assert_eq!(decide(&request, &held, after(1), &POLICY), expected, "{method}");
    }
    assert_eq!(
        decide(&get("/a", &none), &[] as &[StoredHead], after(1), &POLICY),
        Decision::Fetch { reason: Forwarded::UriMiss }
    );
}
