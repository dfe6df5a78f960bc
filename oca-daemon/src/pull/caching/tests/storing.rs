use http::Method;

use super::{POLICY, date, fields, get, response, stored};
use crate::limits::STORED_HEAD_BYTES_MAX;
use crate::pull::caching::{RequestHead, StoredHead, Storing, Unstorable, may_keep, may_store};

fn store(status: u16, lines: &[(&str, &str)]) -> Result<StoredHead, Unstorable> {
    store_for(&[], status, lines)
}

fn store_for(
    request: &[(&str, &str)],
    status: u16,
    lines: &[(&str, &str)],
) -> Result<StoredHead, Unstorable> {
    match may_store(&get("/a", &fields(request)), &response(status, &fields(lines)), &POLICY) {
        Storing::Store(head) => Ok(head),
        Storing::Pass(cause) => Err(cause),
    }
}

#[test]
fn a_response_is_stored_where_rfc_9111_3_allows_it() {
    let (day, tomorrow, yesterday) = (&date(-86_400), &date(86_400), &date(-86_400));
    for (status, lines, expected) in [
        (200, &[("cache-control", "max-age=60")][..], None),
        (200, &[("expires", tomorrow)], None),
        (200, &[("last-modified", day)], None),
        (200, &[("etag", "\"a\"")], None), // never fresh, but it can be revalidated
        (200, &[("cache-control", "max-age=0"), ("etag", "\"a\"")], None),
        (200, &[("cache-control", "no-cache"), ("etag", "\"a\"")], None),
        (200, &[], Some(Unstorable::Unusable)),
        (200, &[("cache-control", "max-age=0")], Some(Unstorable::Unusable)),
        (200, &[("expires", yesterday)], Some(Unstorable::Unusable)),
        (200, &[("cache-control", "max-age=60"), ("age", "60")], Some(Unstorable::Unusable)),
        (200, &[("cache-control", "max-age=60, no-store")], Some(Unstorable::NoStore)),
        (200, &[("cache-control", "max-age=60, no-store, must-understand")], None), // §5.2.2.3
        (599, &[("cache-control", "max-age=60, no-store, must-understand")], Some(Unstorable::NoStore)),
        (599, &[("cache-control", "max-age=60, must-understand")], Some(Unstorable::Status)),
        (599, &[("cache-control", "max-age=60")], None),
        (299, &[("cache-control", "max-age=60")], None),
        (302, &[("cache-control", "max-age=60")], None),
        (302, &[("etag", "\"a\"")], Some(Unstorable::Unusable)),
        (503, &[("cache-control", "max-age=60")], None),
        (503, &[], Some(Unstorable::Unusable)),
        (503, &[("etag", "\"a\""), ("last-modified", day)], Some(Unstorable::Unusable)),
        (404, &[], None),
        (404, &[("cache-control", "no-store")], Some(Unstorable::NoStore)),
        (304, &[("cache-control", "max-age=60")], Some(Unstorable::Status)),
        (103, &[("cache-control", "max-age=60")], Some(Unstorable::Status)),
        (200, &[("cache-control", "max-age=60, private")], Some(Unstorable::Private)),
        (
            200,
            &[("cdn-cache-control", "private"), ("cache-control", "max-age=60")],
            Some(Unstorable::Private),
        ),
        (200, &[("cdn-cache-control", "max-age=60"), ("cache-control", "no-store")], None),
        (200, &[("cache-control", "max-age=60"), ("vary", "a, *")], Some(Unstorable::Vary)),
    ] {
        assert_eq!(store(status, lines).err(), expected, "{status} {lines:?}");
    }
}

#[test]
fn what_may_be_for_one_user_is_stored_only_where_upstream_says_that_it_is_for_all() {
    let authorised: &[(&str, &str)] = &[("authorization", "Bearer x")];
    let with_cookie: &[(&str, &str)] = &[("cookie", "a=b")];
    let cookie = ("set-cookie", "session=1");
    let (tag, tomorrow, yesterday) = (("etag", "\"a\""), &*date(86_400), &*date(-86_400));
    let day = ("last-modified", yesterday);
    for (request, lines, expected) in [
        (authorised, &[("cache-control", "max-age=60")][..], Some(Unstorable::Authorization)), // §3.5
        (authorised, &[("cache-control", "max-age=60, public")], None),
        (authorised, &[("cache-control", "max-age=60, must-revalidate")], None),
        (authorised, &[("cache-control", "s-maxage=60")], None),
        (authorised, &[("cache-control", "max-age=60, proxy-revalidate")], Some(Unstorable::Authorization)),
        (&[], &[("cache-control", "max-age=60"), cookie], Some(Unstorable::Cookie)), // §7.3
        (&[], &[("cache-control", "max-age=60, public"), cookie], None),
        (&[], &[("cache-control", "s-maxage=60"), cookie], None),
        (&[], &[("cdn-cache-control", "max-age=60"), cookie], Some(Unstorable::Cookie)),
        (authorised, &[("cache-control", "must-revalidate"), tag, day], Some(Unstorable::Authorization)),
        (authorised, &[("cache-control", "public"), day], None),
        (with_cookie, &[("cache-control", "max-age=60")], None),
        (with_cookie, &[("expires", tomorrow)], None),
        (with_cookie, &[("cache-control", "no-cache"), tag], None),
        (with_cookie, &[("cache-control", "public"), day], None),
        (with_cookie, &[tag, day], Some(Unstorable::RequestCookie)),
        (with_cookie, &[("content-type", "video/mp4")], Some(Unstorable::RequestCookie)),
    ] {
        assert_eq!(store_for(request, 200, lines).err(), expected, "{request:?} {lines:?}");
    }
}

#[test]
fn what_is_confirmed_to_one_who_says_who_asks_is_kept_where_a_whole_answer_would_be() {
    let may_keep = |request: &[(&str, &str)], cache_control: &str| {
        may_keep(&get("/a", &fields(request)), &stored(200, &[("cache-control", cache_control)]))
    };
    for (cache_control, plain, authorised, with_cookie) in [
        ("max-age=60", true, false, true),
        ("max-age=60, public", true, true, true),
        ("max-age=60, must-revalidate", true, true, true),
        ("", true, false, false),
        // It is kept, and asked about each time.
        ("max-age=60, private", true, false, false),
    ] {
        assert_eq!(may_keep(&[], cache_control), plain, "{cache_control}");
        assert_eq!(may_keep(&[("authorization", "x")], cache_control), authorised, "{cache_control}");
        assert_eq!(may_keep(&[("cookie", "x")], cache_control), with_cookie, "{cache_control}");
    }
}

#[test]
fn only_answers_to_get_are_stored() {
    let (none, lines) = (fields(&[]), fields(&[("cache-control", "max-age=60")]));
    for method in [Method::HEAD, Method::POST, Method::OPTIONS, Method::from_bytes(b"M-SEARCH").unwrap()] {
        let request = RequestHead { method: &method, ..get("/a", &none) };
        let storing = may_store(&request, &response(200, &lines), &POLICY);
        assert!(matches!(storing, Storing::Pass(Unstorable::Method)), "{method}");
    }
}

#[test]
fn fields_of_the_connection_and_those_that_upstream_keeps_back_are_not_stored() {
    let head = store(
        200,
        &[
            ("connection", "a"),
            ("a", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("cache-control", "max-age=60, no-cache=\"b, c\", private=\"d\""),
            ("b", "2"),
            ("c", "3"),
            ("d", "4"),
            ("e", "5"),
            ("content-length", "7"),
        ],
    )
    .unwrap();
    let kept = fields(&[("cache-control", "max-age=60, no-cache=\"b, c\", private=\"d\""), ("e", "5")]);
    assert_eq!(head.fields, kept);
    assert_eq!(head.total_length, Some(7));
}

#[test]
fn what_is_said_of_one_moment_or_of_one_part_is_not_stored() {
    const FRESH: (&str, &str) = ("cache-control", "max-age=60");
    const TAG: (&str, &str) = ("etag", "\"a\"");
    let of_the_moment = [("cmsd-dynamic", "\"o\";rtt=9"), ("server-timing", "disk;dur=3")];
    let of_the_content = [("content-digest", "sha-256=:eA==:"), ("content-md5", "eA==")];
    let of_the_whole = [FRESH, TAG, ("repr-digest", "sha-256=:eQ==:"), ("cmsd-static", "br=800")];
    let said = [&of_the_whole[..], &of_the_content, &of_the_moment].concat();
    let whole = store(200, &said).unwrap();
    assert_eq!(whole.fields, fields(&[&of_the_whole[..], &of_the_content].concat()));
    let part = store(206, &[&said[..], &[("content-range", "bytes 0-4/10")]].concat()).unwrap();
    assert_eq!(part.fields, fields(&of_the_whole));
}

#[test]
fn a_part_is_stored_as_a_part_of_a_known_whole() {
    const FRESH: (&str, &str) = ("cache-control", "max-age=60");
    const TAG: (&str, &str) = ("etag", "\"a\"");
    let head = store(206, &[FRESH, TAG, ("content-range", "bytes 0-4/10"), ("content-length", "5")]).unwrap();
    assert_eq!((head.status.as_u16(), head.total_length), (200, Some(10)));
    assert_eq!(head.fields, fields(&[FRESH, TAG]));

    for lines in [
        &[FRESH, TAG][..],
        &[FRESH, TAG, ("content-range", "bytes 0-4/*")],
        &[FRESH, TAG, ("content-type", "multipart/byteranges; boundary=x")],
        &[FRESH, ("content-range", "bytes 0-4/10")],
        &[FRESH, ("etag", "W/\"a\""), ("content-range", "bytes 0-4/10")],
    ] {
        assert_eq!(store(206, lines), Err(Unstorable::Part), "{lines:?}");
    }
}

#[test]
fn a_head_that_is_too_large_is_not_stored() {
    let large = "x".repeat(STORED_HEAD_BYTES_MAX);
    let lines = [("cache-control", "max-age=60"), ("large", &large)];
    assert_eq!(store(200, &lines), Err(Unstorable::TooLarge));
}
