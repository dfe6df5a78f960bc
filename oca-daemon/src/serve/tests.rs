//! Whole answers: from the bytes of a request to the bytes of a head and the parts of a body.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::request::{Parsed, Single, parse};

const NOW: u64 = 1_700_000_000;
const TAG: &str = "\"000102030405060708090a0b0c0d0e0f\"";

fn policy() -> Policy {
    Policy::new("oca", "*", Duration::from_secs(31_536_000), Duration::from_secs(60), Duration::from_secs(5))
        .unwrap()
}

fn digest() -> [u8; 32] {
    std::array::from_fn(|place| place as u8)
}

fn request(text: &str) -> Request<'_> {
    match parse(text.as_bytes()) {
        Parsed::Complete(request) => request,
        other => panic!("{text:?} is {other:?}"),
    }
}

/// What a request with those lines gets for a segment of 1,000 bytes at 4,096 of the bundle's file.
fn answered(text: &str) -> Response {
    let text = format!("{text}\r\nHost: a\r\n\r\n");
    let object = ObjectFacts {
        range_in_file: ByteRange::new(4096, 5096),
        sha256: &digest(),
        last_modified: 784_111_777,
        media_type: "video/mp4",
    };
    answer(&request(&text), &object, &policy(), NOW)
}

fn routed(text: &str) -> Response {
    match route(&request(&format!("{text}\r\nHost: a\r\n\r\n")), Scheme::Http, &policy()) {
        Route::Answer(response) => response,
        Route::Nowhere(cause) => not_here(&request(&format!("{text}\r\nHost: a\r\n\r\n")), cause),
        Route::Find(location) => panic!("{text:?} is to be found at {location:?}"),
    }
}

/// The answer where no rule says that others have it.
fn not_here(request: &Request<'_>, cause: Cause) -> Response {
    match miss(request, Scheme::Http, cause, &policy()) {
        Miss::Answer(response) => response,
        Miss::Pull(target) => panic!("{target:?} is to be pulled"),
    }
}

fn head(response: &Response) -> String {
    let mut out = Vec::new();
    response.write_head(&mut out, &http_date(NOW));
    String::from_utf8(out).unwrap()
}

fn file_parts(response: &Response) -> Vec<(u64, u64)> {
    let Body::Object(parts) = &response.body else { return Vec::new() };
    parts
        .iter()
        .filter_map(|part| if let Part::File(range) = part { Some((range.start, range.end)) } else { None })
        .collect()
}

#[test]
fn an_object_is_sent_whole_with_all_that_is_known_of_it() {
    let response = answered("GET /a HTTP/1.1");
    assert_eq!(
        head(&response),
        "HTTP/1.1 200 OK\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\nServer: oca\r\nContent-Type: video/mp4\r\n\
         ETag: \"000102030405060708090a0b0c0d0e0f\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Accept-Ranges: bytes\r\nX-Content-Type-Options: nosniff\r\n\
         Cache-Control: public, max-age=31536000, immutable\r\nCache-Status: oca;hit\r\n\
         Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: Accept-Ranges, Age, Cache-Status, \
         CMSD-Dynamic, CMSD-Static, Content-Digest, Content-Length, Content-Range, Date, ETag, Repr-Digest, Retry-After, \
         Server, Server-Timing\r\n\
         Timing-Allow-Origin: *\r\nRepr-Digest: sha-256=:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=:\r\n\
         Content-Length: 1000\r\n\r\n"
    );
    assert_eq!(file_parts(&response), [(4096, 5096)]);
    assert_eq!((response.outcome, response.body_bytes()), (Outcome::HitDisk, 1000));
}

#[test]
fn head_has_the_head_of_get_exactly() {
    for lines in [
        "",
        "\r\nIf-None-Match: \"other\"",
        "\r\nIf-Match: \"other\"",
        "\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT",
    ] {
        let (get, of_head) =
            (answered(&format!("GET /a HTTP/1.1{lines}")), answered(&format!("HEAD /a HTTP/1.1{lines}")));
        assert_eq!(head(&get), head(&of_head), "{lines:?}");
        assert_eq!(of_head.body, Body::Empty, "{lines:?}");
    }
    assert_eq!(answered("HEAD /a HTTP/1.1").outcome, Outcome::Head);
}

#[test]
fn the_digest_of_the_object_is_told_with_a_part_of_it_too_and_that_of_the_content_only_with_the_whole() {
    let digest = "Digest: sha-256=:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=:";
    let (repr, content) = (format!("\r\nRepr-{digest}\r\n"), format!("\r\nContent-{digest}\r\n"));
    for (lines, has_repr, has_content) in [
        ("GET /a HTTP/1.1", true, false),
        ("GET /a HTTP/1.1\r\nWant-Content-Digest: sha-256=5", true, true),
        ("GET /a HTTP/1.1\r\nWant-Repr-Digest: sha-256=0", false, false),
        ("GET /a HTTP/1.1\r\nWant-Repr-Digest: sha-256=0\r\nWant-Content-Digest: sha-256=1", false, true),
        ("GET /a HTTP/1.1\r\nRange: bytes=0-9\r\nWant-Content-Digest: sha-256=5", true, false),
        ("GET /a HTTP/1.1\r\nRange: bytes=0-0,9-9\r\nWant-Content-Digest: sha-256=5", true, false),
        ("HEAD /a HTTP/1.1\r\nWant-Content-Digest: sha-256=5", true, false),
        ("GET /a HTTP/1.1\r\nIf-None-Match: *\r\nWant-Content-Digest: sha-256=5", false, false),
        ("GET /a HTTP/1.1\r\nIf-Match: \"other\"\r\nWant-Content-Digest: sha-256=5", false, false),
        ("GET /a HTTP/1.1\r\nRange: bytes=1000-", false, false),
    ] {
        let head = head(&answered(lines));
        assert_eq!(
            (head.contains(&repr), head.contains(&content)),
            (has_repr, has_content),
            "{lines:?}: {head}"
        );
    }
}

#[test]
fn what_is_answered_from_the_store_is_a_hit_and_nothing_else_is() {
    for (lines, is_hit) in [
        ("GET /a HTTP/1.1", true),
        ("HEAD /a HTTP/1.1", true),
        ("GET /a HTTP/1.1\r\nRange: bytes=0-9", true),
        ("GET /a HTTP/1.1\r\nIf-None-Match: *", true),
        ("GET /a HTTP/1.1\r\nIf-Match: \"other\"", false),
        ("GET /a HTTP/1.1\r\nRange: bytes=1000-", false),
    ] {
        assert_eq!(head(&answered(lines)).contains("\r\nCache-Status: oca;hit\r\n"), is_hit, "{lines:?}");
    }
    let text = "GET /absent HTTP/1.1\r\nHost: a\r\n\r\n";
    assert!(!head(&not_here(&request(text), Cause::Absent)).contains("\r\nCache-Status:"));
}

#[test]
fn ranges_are_for_get_alone() {
    let response = answered("HEAD /a HTTP/1.1\r\nRange: bytes=0-9");
    assert_eq!(head(&response), head(&answered("HEAD /a HTTP/1.1")));
    assert_eq!(answered("HEAD /a HTTP/1.1\r\nRange: bytes=1000-").status, Status::OK);
}

#[test]
fn a_range_is_sent_with_its_place() {
    let response = answered("GET /a HTTP/1.1\r\nRange: bytes=10-19");
    let head = head(&response);
    assert!(head.starts_with("HTTP/1.1 206 Partial Content\r\n"), "{head}");
    assert!(
        head.contains("\r\nContent-Range: bytes 10-19/1000\r\n")
            && head.contains("\r\nContent-Length: 10\r\n"),
        "{head}"
    );
    assert!(head.contains("\r\nContent-Type: video/mp4\r\n") && head.contains(TAG), "{head}");
    assert_eq!(file_parts(&response), [(4106, 4116)]);
}

#[test]
fn several_ranges_are_sent_as_parts_and_one_that_is_left_of_several_alone() {
    let response = answered("GET /a HTTP/1.1\r\nRange: bytes=-1,0-0");
    let text = head(&response);
    assert!(text.contains("\r\nContent-Type: multipart/byteranges; boundary=oca-1011"), "{text}");
    assert!(!text.contains("\r\nContent-Range:"), "{text}");
    assert_eq!(file_parts(&response), [(5095, 5096), (4096, 4097)]);
    let single = answered("GET /a HTTP/1.1\r\nRange: bytes=0-0,1000-");
    assert_eq!(head(&single), head(&answered("GET /a HTTP/1.1\r\nRange: bytes=0-0")));
}

#[test]
fn a_range_beyond_the_object_is_told_its_length() {
    let response = answered("GET /a HTTP/1.1\r\nRange: bytes=1000-");
    let head = head(&response);
    assert!(head.starts_with("HTTP/1.1 416 Range Not Satisfiable\r\n"), "{head}");
    assert!(head.contains("\r\nContent-Range: bytes */1000\r\n"), "{head}");
    assert_eq!(response.outcome, Outcome::ClientErrorRangeNotSatisfiable);
}

#[test]
fn if_range_decides_between_the_range_and_the_whole() {
    for (if_range, status) in [
        (TAG, Status::PARTIAL_CONTENT),
        ("\"other\"", Status::OK),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Status::PARTIAL_CONTENT),
        ("Sun, 06 Nov 1994 08:49:38 GMT", Status::OK),
    ] {
        assert_eq!(
            answered(&format!("GET /a HTTP/1.1\r\nRange: bytes=0-0\r\nIf-Range: {if_range}")).status,
            status,
            "{if_range}"
        );
        // What does not apply is not unsatisfiable either.
        let beyond =
            answered(&format!("GET /a HTTP/1.1\r\nRange: bytes=1000-\r\nIf-Range: {if_range}")).status;
        assert_eq!(
            beyond,
            if status == Status::OK { Status::OK } else { Status::RANGE_NOT_SATISFIABLE },
            "{if_range}"
        );
    }
}

#[test]
fn a_range_on_several_lines_is_ignored() {
    assert_eq!(answered("GET /a HTTP/1.1\r\nRange: bytes=0-0\r\nRange: bytes=1-1").status, Status::OK);
}

#[test]
fn preconditions_come_before_ranges() {
    let not_modified = answered(&format!("GET /a HTTP/1.1\r\nRange: bytes=1000-\r\nIf-None-Match: {TAG}"));
    assert_eq!((not_modified.status, not_modified.outcome), (Status::NOT_MODIFIED, Outcome::NotModified));
    let failed = answered("GET /a HTTP/1.1\r\nRange: bytes=0-0\r\nIf-Match: \"other\"");
    assert_eq!(
        (failed.status, failed.outcome),
        (Status::PRECONDITION_FAILED, Outcome::ClientErrorPreconditionFailed)
    );
}

#[test]
fn not_modified_says_what_a_cache_updates_and_has_no_length() {
    assert_eq!(
        head(&answered("GET /a HTTP/1.1\r\nIf-None-Match: *")),
        "HTTP/1.1 304 Not Modified\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\nServer: oca\r\n\
         ETag: \"000102030405060708090a0b0c0d0e0f\"\r\nCache-Control: public, max-age=31536000, immutable\r\n\
         Cache-Status: oca;hit\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: Accept-Ranges, Age, Cache-Status, \
         CMSD-Dynamic, CMSD-Static, Content-Digest, Content-Length, Content-Range, Date, ETag, Repr-Digest, Retry-After, \
         Server, Server-Timing\r\n\
         Timing-Allow-Origin: *\r\n\r\n"
    );
}

#[test]
fn an_object_from_the_future_was_modified_now_at_the_latest() {
    let text = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    let object = ObjectFacts {
        range_in_file: ByteRange::new(0, 1),
        sha256: &digest(),
        last_modified: u64::MAX,
        media_type: "video/mp4",
    };
    let head = head(&answer(&request(text), &object, &policy(), NOW));
    assert!(head.contains("\r\nLast-Modified: Tue, 14 Nov 2023 22:13:20 GMT\r\n"), "{head}");
}

#[test]
fn an_empty_object_has_an_empty_body_and_no_range() {
    let text = |range: &str| format!("GET /a HTTP/1.1\r\nHost: a\r\nRange: {range}\r\n\r\n");
    let object = ObjectFacts {
        range_in_file: ByteRange::new(4096, 4096),
        sha256: &digest(),
        last_modified: 0,
        media_type: "video/mp4",
    };
    for (range, status, content_range) in
        [("bytes=-5", Status::OK, None), ("bytes=0-", Status::RANGE_NOT_SATISFIABLE, Some("bytes */0"))]
    {
        let text = text(range);
        let response = answer(&request(&text), &object, &policy(), NOW);
        assert_eq!(response.status, status, "{range}");
        assert_eq!(
            head(&response).split("\r\nContent-Range: ").nth(1).and_then(|rest| rest.split('\r').next()),
            content_range
        );
    }
}

#[test]
fn a_media_type_that_could_break_a_line_is_not_repeated() {
    for media_type in ["video/mp4\r\nX: y", "", "video/\u{e9}"] {
        let object = ObjectFacts {
            range_in_file: ByteRange::new(0, 9),
            sha256: &digest(),
            last_modified: 0,
            media_type,
        };
        for range in ["bytes=0-", "bytes=0-0,2-2"] {
            let text = format!("GET /a HTTP/1.1\r\nHost: a\r\nRange: {range}\r\n\r\n");
            let response = answer(&request(&text), &object, &policy(), NOW);
            let everything = format!("{}{:?}", head(&response), response.body);
            assert!(!everything.contains("X: y") && !everything.contains('\u{e9}'), "{everything}");
        }
    }
}

#[test]
fn methods_and_targets_that_need_no_lookup_are_answered() {
    for (text, status, outcome) in [
        ("OPTIONS * HTTP/1.1", Status::NO_CONTENT, Outcome::Options),
        ("OPTIONS /a HTTP/1.1", Status::NO_CONTENT, Outcome::Options),
        ("OPTIONS / HTTP/1.1", Status::NO_CONTENT, Outcome::Options),
        ("OPTIONS http://a HTTP/1.1", Status::NO_CONTENT, Outcome::Options),
        ("OPTIONS /../a HTTP/1.1", Status::BAD_REQUEST, Outcome::ClientErrorTarget),
        ("POST /a HTTP/1.1", Status::METHOD_NOT_ALLOWED, Outcome::ClientErrorMethod),
        ("BREW /a HTTP/1.1", Status::NOT_IMPLEMENTED, Outcome::ClientErrorUnknownMethod),
        ("CONNECT a:443 HTTP/1.1", Status::NOT_IMPLEMENTED, Outcome::ClientErrorUnknownMethod),
        ("GET * HTTP/1.1", Status::BAD_REQUEST, Outcome::ClientErrorTarget),
        ("GET a:443 HTTP/1.1", Status::BAD_REQUEST, Outcome::ClientErrorTarget),
        ("GET /a%2fb HTTP/1.1", Status::BAD_REQUEST, Outcome::ClientErrorTarget),
        ("GET / HTTP/1.1", Status::NOT_FOUND, Outcome::ClientErrorAbsent),
        ("GET /a//b HTTP/1.1", Status::NOT_FOUND, Outcome::ClientErrorAbsent),
        ("GET https://a/b HTTP/1.1", Status::MISDIRECTED_REQUEST, Outcome::ClientErrorMisdirected),
        ("GET /a HTTP/1.1\r\nExpect: x", Status::EXPECTATION_FAILED, Outcome::ClientErrorExpectation),
    ] {
        let response = routed(text);
        assert_eq!((response.status, response.outcome), (status, outcome), "{text}");
        assert_eq!(response.persistence.is_close(), text.starts_with("CONNECT"), "{text}");
        assert_eq!(
            head(&response).contains("\r\nAllow: GET, HEAD, OPTIONS\r\n"),
            [204, 405].contains(&status.code()),
            "{text}"
        );
    }
}

#[test]
fn an_https_target_is_right_where_tls_is_spoken() {
    let text = "GET https://a/b/c HTTP/1.1\r\nHost: a\r\n\r\n";
    assert!(
        matches!(route(&request(text), Scheme::Https, &policy()), Route::Find(location) if location.directory == "/b")
    );
}

#[test]
fn a_preflight_is_told_what_a_page_may_send() {
    let preflight =
        head(&routed("OPTIONS /a HTTP/1.1\r\nOrigin: https://p\r\nAccess-Control-Request-Method: GET"));
    assert!(
        preflight.contains(
            "\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n"
        ),
        "{preflight}"
    );
    assert!(preflight.contains("Range") && !preflight.contains("\r\nContent-Length:"), "{preflight}");
    let plain = head(&routed("OPTIONS /a HTTP/1.1\r\nOrigin: https://p"));
    assert!(!plain.contains("Access-Control-Allow-Methods"), "{plain}");
}

#[test]
fn errors_are_short_text_that_nothing_stores() {
    let text = "GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n";
    let response = not_here(&request(text), Cause::Absent);
    let head = head(&response);
    assert!(
        head.contains("\r\nContent-Type: text/plain; charset=utf-8\r\n")
            && head.contains("\r\nCache-Control: no-store\r\n"),
        "{head}"
    );
    assert_eq!(response.body, Body::Text("absent: no object has this name\n".into()));
}

#[test]
fn a_refusal_closes_and_respects_head() {
    for is_head in [false, true] {
        let response = refuse(Refusal { cause: Cause::Framing, is_head }, &policy());
        assert!(head(&response).contains("\r\nConnection: close\r\n\r\n"));
        assert_eq!((response.status, response.body == Body::Empty), (Status::BAD_REQUEST, is_head));
    }
}

#[test]
fn unavailable_says_when_to_come_back() {
    let text = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    let busy = unavailable(Some(&request(text)), Outcome::RefusedVolumeBusy, &policy());
    assert!(
        head(&busy).starts_with("HTTP/1.1 503 Service Unavailable\r\n")
            && head(&busy).contains("\r\nRetry-After: 5\r\n")
    );
    assert!(!busy.persistence.is_close());
    assert_eq!(busy.body, Body::Text("volume_busy: try again later, or elsewhere\n".into()));
    assert!(unavailable(None, Outcome::RefusedCapacity, &policy()).persistence.is_close());
}

proptest! {
    /// The body is taken apart again by its boundary, as a client would.
    #[test]
    fn a_multipart_body_has_the_length_and_the_parts_that_it_says(
        starts in prop::collection::btree_set(0_u64..100, 2..8),
        gap in 1_u64..5,
    ) {
        let ranges: Vec<ByteRange> = starts.iter().map(|start| ByteRange::new(start * 10, start * 10 + gap)).collect();
        let written: Vec<String> = ranges.iter().map(|range| format!("{}-{}", range.start, range.end - 1)).collect();
        let response = answered(&format!("GET /a HTTP/1.1\r\nRange: bytes={}", written.join(", ")));
        let file: Vec<u8> = (0..8192_u32).map(|place| (place % 251) as u8).collect();
        let Body::Object(parts) = &response.body else { panic!("no parts") };
        let body = parts.iter().fold(Vec::new(), |mut body, part| {
            match part {
                Part::Text(text) => body.extend_from_slice(text),
                Part::Bytes(bytes) => body.extend_from_slice(bytes),
                Part::File(range) => body.extend_from_slice(&file[range.start as usize..range.end as usize]),
            }
            body
        });
        prop_assert_eq!(body.len() as u64, response.body_bytes());
        let head = head(&response);
        let length_line = format!("\r\nContent-Length: {}\r\n", body.len());
        prop_assert!(head.contains(&length_line), "{}", head);

        let boundary = head.split("boundary=").nth(1).unwrap().split('\r').next().unwrap();
        let mut rest = body.as_slice();
        for range in &ranges {
            let part_head = format!(
                "--{boundary}\r\nContent-Type: video/mp4\r\nContent-Range: bytes {}-{}/1000\r\n\r\n", range.start, range.end - 1
            );
            rest = rest.strip_prefix(part_head.as_bytes()).unwrap();
            let (bytes, after) = rest.split_at(range.len() as usize);
            prop_assert_eq!(bytes, &file[4096 + range.start as usize..4096 + range.end as usize]);
            rest = after.strip_prefix(b"\r\n").unwrap();
        }
        let last_line = format!("--{boundary}--\r\n");
        prop_assert_eq!(rest, last_line.as_bytes());
    }

    #[test]
    fn whatever_the_fields_say_an_answer_is_made(
        value in prop::collection::vec(0x20_u8..0xff, 0..40),
        now: u64,
        last_modified: u64,
    ) {
        let text = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut request = request(text);
        let object = ObjectFacts { range_in_file: ByteRange::new(0, 100), sha256: &digest(), last_modified, media_type: "a/b" };
        let fields = &mut request.fields;
        (fields.range, fields.if_range) = (Single::One(&value), Single::One(&value));
        (fields.if_modified_since, fields.if_unmodified_since) = (Single::One(&value), Single::One(&value));
        let response = answer(&request, &object, &policy(), now);
        prop_assert!([200, 206, 304, 412, 416].contains(&response.status.code()));
        request.fields.if_none_match.push(&value);
        request.fields.if_match.push(&value);
        let response = answer(&request, &object, &policy(), now);
        prop_assert!([200, 206, 304, 412, 416].contains(&response.status.code()));
    }
}
