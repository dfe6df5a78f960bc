use super::{POLICY, after, fields, get, response, stored};
use crate::pull::caching::{ResponseHead, Selecting, StoredHead, update_after_304};

fn updated(held: &[(&str, &str)], brought: &[(&str, &str)]) -> StoredHead {
    let lines = fields(brought);
    let arrived =
        ResponseHead { request_time: after(100), response_time: after(101), ..response(304, &lines) };
    update_after_304(&stored(200, held), &get("/a", &fields(&[("x", "1")])), &arrived, &POLICY)
}

#[test]
fn a_304_replaces_what_it_brings_and_leaves_the_rest() {
    let head = updated(
        &[("cache-control", "max-age=1"), ("a", "1"), ("a", "2"), ("b", "1"), ("content-type", "text/plain")],
        &[
            ("cache-control", "max-age=60"),
            ("a", "3"),
            ("c", "1"),
            ("c", "2"),
            ("content-type", "video/mp4"),
            ("connection", "d"),
            ("d", "1"),
            ("keep-alive", "timeout=5"),
        ],
    );
    let expected = [
        ("cache-control", "max-age=60"),
        ("a", "3"),
        ("b", "1"),
        ("c", "1"),
        ("c", "2"),
        ("content-type", "video/mp4"),
    ];
    assert_eq!(head.fields, fields(&expected));
    assert_eq!((head.request_time, head.response_time), (after(100), after(101)));
}

#[test]
fn it_does_not_change_what_describes_the_bytes_that_are_held() {
    let held = [
        ("content-encoding", "gzip"),
        ("content-md5", "x"),
        ("repr-digest", "x"),
        ("etag", "\"a\""),
        ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ];
    let brought = [
        ("content-encoding", "br"),
        ("content-md5", "y"),
        ("repr-digest", "y"),
        ("etag", "\"b\""),
        ("content-length", "0"),
        ("content-range", "bytes 0-1/2"),
    ];
    assert_eq!(updated(&held, &brought).fields, fields(&held));
    let later = ("last-modified", "Sun, 06 Nov 1994 08:49:38 GMT");
    assert_eq!(updated(&held[3..], &[later]).fields["last-modified"], later.1);
    assert_eq!(updated(&held[4..], &[later]).fields["last-modified"], held[4].1);
    // A part that is held may have come without.
    assert_eq!(updated(&held, &[("content-digest", "sha-256=:eA==:")]).fields, fields(&held));
}

#[test]
fn what_is_said_of_one_moment_is_not_taken_over() {
    let of_the_moment = [("server-timing", "db;dur=3"), ("cmsd-dynamic", "\"o\";rtt=9")];
    assert_eq!(updated(&[("a", "1")], &of_the_moment).fields, fields(&[("a", "1")]));
}

#[test]
fn what_is_for_one_client_is_not_taken_over() {
    let head = updated(&[("a", "1")], &[("set-cookie", "x"), ("b", "2"), ("cache-control", "private=\"b\"")]);
    assert_eq!(head.fields, fields(&[("a", "1"), ("cache-control", "private=\"b\"")]));
}

#[test]
fn its_age_counts_from_the_304() {
    let head = updated(&[("age", "500"), ("date", "Sun, 06 Nov 1994 08:49:37 GMT")], &[]);
    assert_eq!(head.age(after(105)).as_secs(), 5); // one second under way, four held
    assert_eq!(updated(&[("age", "500")], &[("age", "7")]).age(after(101)).as_secs(), 8);
}

#[test]
fn it_may_change_which_requests_are_answered() {
    let varied = updated(&[], &[("vary", "x")]);
    assert!(varied.matches(&fields(&[("x", "1")])) && !varied.matches(&fields(&[("x", "2")])));
    let star = updated(&[("vary", "y")], &[("vary", "*"), ("a", "1")]);
    assert_eq!(star.fields, fields(&[("vary", "y"), ("a", "1")]));
    assert_eq!(star.selecting, Selecting::default());
}
