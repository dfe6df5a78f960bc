//! What is true of every answer, whatever was asked.

use control_client::units::ByteRange;
use oca_daemon::request::{Method, Persistence};
use oca_daemon::response::{Body, Part, Response, http_date};

/// Checks the head as a client would read it, and the body against what the head says. `object` is the only part of the file
/// that may be sent.
pub(crate) fn check(response: &Response, method: Option<Method>, object: Option<ByteRange>) {
    let mut head = Vec::new();
    response.write_head(&mut head, &http_date(784_111_777));
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut theirs = httparse::Response::new(&mut fields);
    assert_eq!(
        theirs.parse(&head),
        Ok(httparse::Status::Complete(head.len())),
        "nothing ends the head early"
    );
    assert_eq!(theirs.code, Some(response.status.code()));
    let mut names: Vec<_> = theirs.headers.iter().map(|field| field.name.to_ascii_lowercase()).collect();
    names.sort();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "a field is there twice: {names:?}");
    for field in &*theirs.headers {
        assert!(field.value.iter().all(|byte| (0x20..0x7f).contains(byte)), "{}", field.name);
    }
    let value = |name: &str| {
        let field = theirs.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        field.map(|field| str::from_utf8(field.value).expect("it is ASCII"))
    };
    let connection = match response.persistence {
        Persistence::Close => Some("close"),
        Persistence::KeepAlive => None,
        Persistence::KeepAliveAsked => Some("keep-alive"),
    };
    assert_eq!(value("connection"), connection);
    assert_eq!(value("transfer-encoding"), None);
    check_body(response, method, object);
    let length = value("content-length").map(|length| length.parse::<u64>().expect("a length is a number"));
    let code = response.status.code();
    match code {
        204 | 304 => assert_eq!((length, response.body_bytes()), (None, 0)),
        _ if method == Some(Method::Head) => assert!(length.is_some() && response.body_bytes() == 0),
        _ => assert_eq!(length, Some(response.body_bytes())),
    }
    let family = match code {
        200..=399 => ["hit_", "head", "options", "not_modified", "redirected"].as_slice(),
        503 => &["refused_"],
        _ => &["client_error_"],
    };
    let outcome = response.outcome.as_str();
    assert!(family.iter().any(|family| outcome.starts_with(family)), "{code} counts as {outcome}");
    assert_eq!(code == 405, value("allow").is_some() && code != 204);
    assert_eq!(code == 307, value("location").is_some());
    assert_eq!(code == 503, value("retry-after").is_some());
    assert_eq!(matches!(code, 200 | 206 | 304), value("etag").is_some());
    let is_one_range =
        code == 206 && !value("content-type").is_some_and(|value| value.starts_with("multipart/"));
    assert_eq!(is_one_range || code == 416, value("content-range").is_some());
}

fn check_body(response: &Response, method: Option<Method>, object: Option<ByteRange>) {
    let sent = match &response.body {
        Body::Empty => return,
        Body::Text(text) => return assert!(text.len() < 200 && response.status.code() >= 400),
        Body::Object(parts) => parts,
    };
    assert!(method == Some(Method::Get) && matches!(response.status.code(), 200 | 206));
    let object = object.expect("bytes of a file are sent for an object only");
    let mut ranges: Vec<ByteRange> = Vec::new();
    for part in sent {
        match part {
            Part::Text(text) => assert!(!text.is_empty() && text.len() < 500 && sent.len() > 1),
            Part::Bytes(_) => panic!("nothing of a bundle comes from upstream"),
            Part::File(range) => ranges.push(*range),
        }
    }
    assert!(
        ranges
            .iter()
            .all(|range| object.start <= range.start && range.start < range.end && range.end <= object.end)
    );
    ranges.sort_by_key(|range| range.start);
    assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "a byte is sent twice");
}
