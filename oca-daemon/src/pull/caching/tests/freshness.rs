use std::time::Duration;

use http::header::LAST_MODIFIED;

use super::{POLICY, after, date, fields, stored};
use crate::pull::caching::freshness;

fn lifetime(status: u16, target: &str, lines: &[(&str, &str)]) -> u64 {
    stored(status, lines).lifetime(target, &POLICY).as_secs()
}

#[test]
fn what_upstream_says_decides_the_lifetime_in_the_order_of_rfc_9111_4_2_1() {
    let (made, later, earlier) = (&date(0), &date(300), &date(-300));
    for (lines, expected) in [
        (&[("cache-control", "max-age=60")][..], 60),
        (&[("cache-control", "max-age=60, s-maxage=5")], 5),
        (&[("cache-control", "s-maxage=500"), ("cache-control", "max-age=0")], 500),
        (&[("cache-control", "max-age=60"), ("expires", later), ("date", made)], 60),
        (&[("cache-control", "max-age=0"), ("expires", later), ("date", made)], 0),
        (&[("cache-control", "max-age=60"), ("expires", "0")], 60),
        (&[("expires", later), ("date", made)], 300),
        (&[("expires", later)], 300), // counted from its arrival
        (&[("expires", later), ("date", "foo")], 300),
        (&[("expires", later), ("date", earlier)], 600),
        (&[("expires", made), ("date", later)], 0),
        (&[("expires", made), ("date", made)], 0),
        (&[("expires", "0"), ("date", made)], 0), // §5.3
        (&[("expires", "-1")], 0),
        (&[("expires", later), ("expires", later)], 0),
        (&[("cdn-cache-control", "max-age=7"), ("cache-control", "max-age=60")], 7), // RFC 9213 §2.2
        (&[("cdn-cache-control", "foo"), ("expires", later)], 0),
        (&[("surrogate-control", "max-age=60")], 0),
    ] {
        assert_eq!(lifetime(200, "/a", lines), expected, "{lines:?}");
    }
}

#[test]
fn where_upstream_says_nothing_the_operator_does_and_then_a_tenth_of_the_time_unchanged() {
    let (day, year) = (&date(-86_400), &date(-365 * 86_400));
    let modified = ("last-modified", day.as_str());
    for (status, target, lines, expected) in [
        (200, "/t/live.m3u8", &[][..], 2),
        (200, "/t/live.m3u8", &[modified], 2),
        (200, "/t/live.m3u8", &[("cache-control", "max-age=30")], 30),
        (200, "/t/1.m4s", &[], 1_000_000),
        (200, "/t/1.m4s", &[("cache-control", "public")], 1_000_000),
        (200, "/t/1.m4s", &[("cache-control", "max-age=1")], 1),
        (200, "/t/1.m4s", &[("cache-control", "no-cache")], 0),
        (200, "/t/1.m4s", &[("pragma", "no-cache")], 0),
        (200, "/t/1.m4s", &[("expires", "0")], 0),
        (404, "/t/1.m4s", &[], 5),
        (410, "/t/live.m3u8", &[modified], 5),
        (404, "/t/1.m4s", &[("cache-control", "max-age=60")], 60),
        (403, "/t/1.m4s", &[], 0),
        (302, "/t/1.m4s", &[], 0),
        (200, "/a", &[], 0),
        (200, "/a", &[modified], 8640), // §4.2.2
        (200, "/a", &[("last-modified", year)], 86_400),
        (200, "/a", &[("last-modified", &date(60))], 0),
        (200, "/a", &[("last-modified", "yesterday")], 0),
        (203, "/a", &[modified], 8640),
        (204, "/a", &[modified], 8640),
        (301, "/a", &[modified], 8640),
        (405, "/a", &[modified], 8640),
        (414, "/a", &[modified], 8640),
        (501, "/a", &[modified], 10), // capped, as all server errors
        (201, "/a", &[modified], 0),
        (202, "/a", &[modified], 0),
        (403, "/a", &[modified], 0),
        (503, "/a", &[modified], 0),
        (599, "/a", &[modified], 0),
        (599, "/a", &[modified, ("cache-control", "public")], 10),
        (503, "/a", &[("cache-control", "max-age=3600")], 10),
        (503, "/a", &[("cache-control", "max-age=3")], 3),
    ] {
        assert_eq!(lifetime(status, target, lines), expected, "{status} {target} {lines:?}");
    }
}

#[test]
fn the_age_at_arrival_is_what_date_and_age_say_and_the_time_under_way() {
    let ages = |lines: &[(&str, &str)], delay_seconds: u64| {
        let mut head = stored(200, lines);
        head.response_time = after(delay_seconds);
        (freshness::initial_age(&head).as_secs(), head.age(after(delay_seconds + 10)).as_secs())
    };
    for (lines, delay, expected) in [
        (&[][..], 0, 0),
        (&[("date", &*date(0))], 0, 0),
        (&[("date", &date(-7200))], 0, 7200), // §4.2.3, apparent_age
        (&[("date", &date(7200))], 0, 0),
        (&[("age", "30")], 0, 30),
        (&[("age", "30")], 5, 35),
        (&[("date", &date(-20)), ("age", "30")], 5, 35),
        (&[("date", &date(-90)), ("age", "30")], 5, 95),
        (&[("age", "7200, 0")], 0, 7200), // §5.1: the first member
        (&[("age", "0, 7200")], 0, 0),
        (&[("age", "0"), ("age", "7200")], 0, 0),
        (&[("age", "abc")], 0, 0), // §5.1: ignored
        (&[("age", "-5")], 0, 0),
        (&[("age", "7200.0")], 0, 0),
        (&[("age", "7200;foo=bar")], 0, 0),
        (&[("age", "2147483648")], 0, 1 << 31), // §1.2.2
        (&[("age", "99999999999999999999")], 0, 1 << 31),
    ] {
        assert_eq!(ages(lines, delay), (expected, expected + 10), "{lines:?} {delay}");
    }
}

#[test]
fn a_response_of_this_second_has_no_age() {
    let mut head = stored(200, &[("date", &date(0))]);
    head.request_time = after(0) + Duration::from_millis(900);
    head.response_time = head.request_time + Duration::from_millis(50);
    assert_eq!(freshness::initial_age(&head), Duration::from_millis(50));
}

#[test]
fn a_clock_that_was_put_back_makes_nothing_younger_than_it_arrived() {
    let head = stored(200, &[("age", "30")]);
    assert_eq!(head.age(after(0) - Duration::from_secs(3600)), Duration::from_secs(30));
}

#[test]
fn dates_are_understood_in_the_three_forms_of_rfc_9110_5_6_7() {
    for value in [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "SUN, 06 nov 1994 08:49:37 gMT", // RFC 9111 §4.2
        "sunday, 06-NOV-94 08:49:37 gmt",
        "sun nov  6 08:49:37 1994",
    ] {
        assert_eq!(
            freshness::date(&fields(&[("last-modified", value)]), &LAST_MODIFIED),
            Some(after(0)),
            "{value}"
        );
    }
    for value in ["", "0", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 AEST"] {
        assert_eq!(freshness::date(&fields(&[("last-modified", value)]), &LAST_MODIFIED), None, "{value}");
    }
}
