use std::time::Duration;

use control_client::units::ByteRange;
use http::{HeaderMap, Method};

use super::{after, date, fields, get, stored};
use crate::pull::caching::Answering::{self, NotModified, PreconditionFailed, Range, Unsatisfiable, Whole};
use crate::pull::caching::{RequestHead, StoredHead, answer_fields, answering};

fn held() -> StoredHead {
    let mut head =
        stored(200, &[("etag", "\"a\""), ("last-modified", &date(0)), ("content-type", "video/mp4")]);
    head.total_length = Some(10);
    head.response_time = after(1);
    head
}

fn answer(lines: &[(&str, &str)]) -> Answering {
    answering(&get("/a", &fields(lines)), &held())
}

#[test]
fn conditions_are_evaluated_in_the_order_of_rfc_9110_13_2_2() {
    let (at, before, later) = (&*date(0), &*date(-1), &*date(1));
    for (lines, expected) in [
        (&[][..], Whole),
        (&[("if-none-match", "\"a\"")], NotModified),
        (&[("if-none-match", "W/\"a\"")], NotModified),
        (&[("if-none-match", "\"x\", \"a\"")], NotModified),
        (&[("if-none-match", "*")], NotModified),
        (&[("if-none-match", "\"x\"")], Whole),
        (&[("if-none-match", "\"x\""), ("if-modified-since", at)], Whole),
        (&[("if-none-match", "\"a\""), ("if-modified-since", before)], NotModified),
        (&[("if-modified-since", at)], NotModified),
        (&[("if-modified-since", later)], NotModified),
        (&[("if-modified-since", before)], Whole),
        (&[("if-modified-since", "yesterday")], Whole),
        (&[("if-match", "\"a\"")], Whole),
        (&[("if-match", "W/\"a\"")], PreconditionFailed),
        (&[("if-match", "\"x\"")], PreconditionFailed),
        (&[("if-match", "\"x\""), ("if-none-match", "\"a\"")], PreconditionFailed),
        (&[("if-match", "\"a\""), ("if-unmodified-since", before)], Whole),
        (&[("if-unmodified-since", before)], PreconditionFailed),
        (&[("if-unmodified-since", at)], Whole),
        (&[("if-none-match", "\"a\""), ("range", "bytes=0-1")], NotModified),
    ] {
        assert_eq!(answer(lines), expected, "{lines:?}");
    }
}

#[test]
fn without_last_modified_the_date_of_the_response_is_what_counts() {
    let head = stored(200, &[("date", &date(0))]); // RFC 9111 §4.3.2
    for (since, expected) in [(-1, Whole), (0, NotModified), (1, NotModified)] {
        assert_eq!(answering(&get("/a", &fields(&[("if-modified-since", &date(since))])), &head), expected);
    }
}

#[test]
fn a_tag_that_breaks_the_grammar_is_equal_to_itself() {
    let head = stored(200, &[("etag", "abcdef")]);
    let same = fields(&[("if-none-match", "abcdef")]);
    assert_eq!(answering(&get("/a", &same), &head), NotModified);
    assert_eq!(answering(&get("/a", &fields(&[("if-none-match", "\"abcdef\"")])), &head), Whole);
}

#[test]
fn a_single_range_is_cut_out_of_what_is_held() {
    let (at, later) = (&*date(0), &*date(1));
    for (lines, expected) in [
        (&[("range", "bytes=0-1")][..], Range(ByteRange::new(0, 2))),
        (&[("range", "bytes=8-")], Range(ByteRange::new(8, 10))),
        (&[("range", "bytes=-1")], Range(ByteRange::new(9, 10))),
        (&[("range", "bytes=5-1000")], Range(ByteRange::new(5, 10))),
        (&[("range", "bytes=10-")], Unsatisfiable),
        (&[("range", "bytes=-0")], Unsatisfiable),
        (&[("range", "bytes=0-1,4-5")], Whole),
        (&[("range", "bytes=2-1")], Whole),
        (&[("range", "lines=0-1")], Whole),
        (&[("range", "bytes=0-1"), ("if-range", "\"a\"")], Range(ByteRange::new(0, 2))),
        (&[("range", "bytes=0-1"), ("if-range", "W/\"a\"")], Whole),
        (&[("range", "bytes=0-1"), ("if-range", "\"x\"")], Whole),
        (&[("range", "bytes=0-1"), ("if-range", at)], Range(ByteRange::new(0, 2))),
        (&[("range", "bytes=0-1"), ("if-range", later)], Whole),
        (&[("range", "bytes=0-1"), ("if-range", "soon")], Whole),
        (&[("range", "bytes=0-1"), ("if-range", "\"a\""), ("if-range", "\"a\"")], Whole),
        (&[("range", "bytes=10-"), ("if-range", "\"x\"")], Whole),
    ] {
        assert_eq!(answer(lines), expected, "{lines:?}");
    }
}

#[test]
fn a_date_within_the_second_that_the_response_was_made_in_says_nothing_of_bytes() {
    let just_now = StoredHead { response_time: after(0), ..held() };
    let lines = fields(&[("range", "bytes=0-1"), ("if-range", &date(0))]);
    assert_eq!(answering(&get("/a", &lines), &just_now), Whole); // RFC 9110 §13.1.5
}

#[test]
fn a_range_is_for_get_of_a_success_whose_length_is_known() {
    let lines = fields(&[("range", "bytes=0-1")]);
    let head = RequestHead { method: &Method::HEAD, ..get("/a", &lines) };
    assert_eq!(answering(&head, &held()), Whole);
    assert_eq!(answering(&get("/a", &lines), &StoredHead { total_length: None, ..held() }), Whole);
    let absent = StoredHead { total_length: Some(10), ..stored(404, &[("etag", "\"a\"")]) };
    assert_eq!(answering(&get("/a", &lines), &absent), Whole);
    assert_eq!(answering(&get("/a", &fields(&[("if-none-match", "\"a\"")])), &absent), Whole);
    assert_eq!(answering(&get("/a", &fields(&[("if-match", "\"x\"")])), &absent), Whole);
}

#[test]
fn the_answer_has_the_stored_fields_its_age_and_what_its_status_needs() {
    let mut head = held();
    head.fields.insert("date", date(0).parse().unwrap());
    let of = |answering: Answering, age: Option<u64>| {
        (answering.status(&head).as_u16(), answer_fields(&head, answering, age.map(Duration::from_secs)))
    };
    let lines = |lines: &[(&str, &str)]| -> HeaderMap { fields(lines) };
    let (at, etag) = (&*date(0), ("etag", "\"a\""));
    let (modified, made, ranges) = (("last-modified", at), ("date", at), ("accept-ranges", "bytes"));
    let kind = ("content-type", "video/mp4");
    assert_eq!(of(Whole, None), (200, lines(&[etag, modified, kind, made, ranges])));
    assert_eq!(of(Whole, Some(7)), (200, lines(&[etag, modified, kind, made, ranges, ("age", "7")])));
    assert_eq!(
        of(Range(ByteRange::new(2, 4)), None),
        (206, lines(&[etag, modified, kind, made, ranges, ("content-range", "bytes 2-3/10")]))
    );
    assert_eq!(of(NotModified, Some(0)), (304, lines(&[etag, modified, made, ranges, ("age", "0")])));
    assert_eq!(of(Unsatisfiable, None), (416, lines(&[ranges, ("content-range", "bytes */10")])));
    assert_eq!(of(PreconditionFailed, None), (412, lines(&[ranges])));
}

#[test]
fn a_digest_of_the_content_goes_with_the_whole_alone_and_one_of_the_representation_with_all() {
    let digests =
        [("content-digest", "sha-256=:eA==:"), ("content-md5", "eA=="), ("repr-digest", "sha-256=:eA==:")];
    let mut head = held();
    head.fields.extend(fields(&digests));
    for (answering, expected) in [
        (Whole, &["content-digest", "content-md5", "repr-digest"][..]),
        (Range(ByteRange::new(2, 4)), &["repr-digest"]),
        (NotModified, &["repr-digest"]),
        (Unsatisfiable, &[]),
        (PreconditionFailed, &[]),
    ] {
        let said = answer_fields(&head, answering, None);
        let said: Vec<_> =
            digests.iter().map(|(name, _)| *name).filter(|name| said.contains_key(*name)).collect();
        assert_eq!(said, expected, "{answering:?}");
    }
}
