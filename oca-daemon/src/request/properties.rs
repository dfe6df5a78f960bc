//! Properties of parsing that hold for every input, and the parse of whole heads as tables.

use proptest::prelude::*;

use super::*;

fn complete(bytes: &[u8]) -> Request<'_> {
    match parse(bytes) {
        Parsed::Complete(request) => request,
        other => panic!("{:?} is {other:?}", String::from_utf8_lossy(bytes)),
    }
}

fn refused(bytes: &[u8]) -> Refusal {
    match parse(bytes) {
        Parsed::Refused(refusal) => refusal,
        other => panic!("{:?} is {other:?}", String::from_utf8_lossy(bytes)),
    }
}

#[test]
fn a_request_of_a_player_is_understood() {
    let bytes =
        b"GET /titles/abc/1080p/00001.m4s?session=1 HTTP/1.1\r\nHost: cdn.example\r\nRange: bytes=0-1023\r\n\
        Origin: https://player.example\r\nAccept: */*\r\n\r\nGET / HTTP/1.1\r\n";
    let request = complete(bytes);
    assert_eq!((request.method, request.version), (Method::Get, Version::Http11));
    assert_eq!(request.target, "/titles/abc/1080p/00001.m4s?session=1");
    assert_eq!(&bytes[request.head_bytes..], b"GET / HTTP/1.1\r\n");
    assert_eq!((request.framing, request.persistence), (Framing::None, Persistence::KeepAlive));
    assert_eq!(request.fields.range, Single::One(b"bytes=0-1023"));
    assert_eq!(request.fields.host, b"cdn.example");
    assert!(request.fields.has_origin && !request.fields.has_requested_method);
    assert!(request.content_skipper().is_none());
}

#[test]
fn empty_lines_before_a_request_belong_to_its_head() {
    let bytes = b"\r\n\r\nGET /a HTTP/1.0\r\n\r\n";
    assert_eq!(complete(bytes).head_bytes, bytes.len());
}

#[test]
fn a_client_that_waits_for_an_answer_is_answered_and_closed() {
    let request =
        |version: &str, fields: &str| format!("PUT /a HTTP/{version}\r\nHost: a\r\n{fields}\r\n\r\n");
    for (version, fields, expected) in [
        ("1.1", "Expect: 100-continue\r\nContent-Length: 5", true),
        ("1.1", "Expect: 100-continue\r\nTransfer-Encoding: chunked", true),
        ("1.1", "Expect: other\r\nContent-Length: 5", true),
        ("1.1", "Expect: 100-continue", false),
        ("1.1", "Expect: 100-continue\r\nContent-Length: 0", false),
        ("1.0", "Expect: 100-continue\r\nContent-Length: 5\r\nConnection: keep-alive", false),
    ] {
        let text = request(version, fields);
        let request = complete(text.as_bytes());
        assert_eq!(request.expect_continue, expected, "{fields:?}");
        assert_eq!(request.persistence.is_close(), expected, "{fields:?}");
        assert_eq!(
            request.content_skipper().is_none(),
            expected || request.framing == Framing::None,
            "{fields:?}"
        );
    }
}

#[test]
fn a_head_may_be_as_long_as_its_limit_and_no_longer() {
    let head =
        |value_bytes: usize| format!("GET /a HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "v".repeat(value_bytes));
    let longest = limits::HEAD_BYTES - head(0).len();
    assert_eq!(complete(head(longest).as_bytes()).head_bytes, limits::HEAD_BYTES);
    assert_eq!(refused(head(longest + 1).as_bytes()).cause, Cause::FieldsTooLarge);
    let with_empty_line = format!("\r\n{}", head(longest));
    assert_eq!(complete(with_empty_line.as_bytes()).head_bytes, limits::HEAD_BYTES + 2);
}

#[test]
fn what_is_plainly_not_http_1_is_refused_at_once() {
    for (bytes, cause) in [
        (b"PRI * HTTP/2.0\r\n".as_slice(), Cause::Version),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Cause::Malformed),
        (b"GET /\r\n", Cause::Malformed),
        (b"GET / HTTP/1.1\n", Cause::Malformed),
        (b"GET / HTTP/1.1\r\nHost: a\n", Cause::Malformed),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \0", Cause::Malformed),
        (b"\n", Cause::Malformed),
    ] {
        assert_eq!(refused(bytes).cause, cause, "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn a_refused_head_request_is_known_as_one() {
    assert!(refused(b"HEAD / HTTP/1.1\r\n\r\n").is_head);
    assert!(refused(b"HEAD /\t HTTP/1.1\r\n").is_head);
    assert!(!refused(b"GET / HTTP/1.1\r\n\r\n").is_head);
}

/// Bytes that are often nearly a request: pieces of the grammar, right and wrong, in any order.
fn nearly_requests() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(vec![
        "GET /a/b HTTP/1.1\r\n",
        "HEAD /a?b HTTP/1.0\r\n",
        "OPTIONS * HTTP/1.1\r\n",
        "PRI * HTTP/2.0\r\n",
        "GET /a HTTP/1.1\n",
        "GET  /a HTTP/1.1\r\n",
        "\r\n",
        "\n",
        "\r\nGET http://a/b HTTP/1.3\r\n",
        "CONNECT a:1 HTTP/1.1\r\n",
    ]);
    let field = prop::sample::select(vec![
        "Host: a\r\n",
        "host:\t[::1]:80 \r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Range: bytes=0-1,-1\r\n",
        "If-None-Match: \"a\", W/\"b\"\r\n",
        "Connection: close\r\n",
        "X: y\n",
        "X: y\r\n z\r\n",
        "X: \r y\r\n",
        "X: \0\r\n",
        "\r\n",
        "X\r\n",
        ": y\r\n",
        "Expect: 100-continue\r\n",
    ]);
    let noise = prop::collection::vec(any::<u8>(), 0..8);
    (line, prop::collection::vec(field, 0..6), any::<bool>(), noise).prop_map(
        |(line, fields, ends, noise)| {
            let end = if ends { "\r\n" } else { "" };
            [line.as_bytes(), fields.concat().as_bytes(), end.as_bytes(), &noise].concat()
        },
    )
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_parsed_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn a_prefix_never_says_other_than_the_whole(bytes in nearly_requests()) {
        let whole = parse(&bytes);
        for prefix_bytes in 0..bytes.len() {
            match (parse(&bytes[..prefix_bytes]), &whole) {
                (Parsed::Partial, _) => {}
                (Parsed::Refused(early), Parsed::Refused(late)) => prop_assert_eq!(early, *late),
                (Parsed::Complete(early), Parsed::Complete(late)) => {
                    prop_assert_eq!(format!("{early:?}"), format!("{late:?}"));
                }
                (early, late) => prop_assert!(false, "{prefix_bytes} bytes are {early:?}, all are {late:?}"),
            }
        }
    }

    #[test]
    fn what_is_accepted_here_is_accepted_by_httparse_with_the_same_end(bytes in nearly_requests()) {
        if let Parsed::Complete(request) = parse(&bytes) {
            let mut headers = [httparse::EMPTY_HEADER; limits::FIELD_LINES];
            let mut theirs = httparse::Request::new(&mut headers);
            match theirs.parse(&bytes) {
                Ok(status) => {
                    prop_assert_eq!(status, httparse::Status::Complete(request.head_bytes));
                    prop_assert_eq!(theirs.path, Some(request.target));
                }
                Err(error) => prop_assert!(error == httparse::Error::Version && bytes.windows(8).any(|part| part == b"HTTP/1.3")),
            }
        }
    }

    #[test]
    fn content_ends_at_the_same_byte_however_it_arrives(
        sizes in prop::collection::vec(0_usize..40, 0..5),
        noise in prop::collection::vec(any::<u8>(), 0..8),
        cut: prop::sample::Index,
        damage: Option<(prop::sample::Index, u8)>,
    ) {
        let mut bytes: Vec<u8> = sizes.iter().filter(|&&size| size > 0)
            .flat_map(|size| format!("{size:x};e=1\r\n{}\r\n", "d".repeat(*size)).into_bytes()).collect();
        bytes.extend_from_slice(b"0\r\nT: v\r\n\r\n");
        let whole_bytes = bytes.len();
        bytes.extend_from_slice(&noise);
        if let Some((place, byte)) = damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        } else {
            let mut skipper = ContentSkipper::new(Framing::Chunked).unwrap();
            prop_assert_eq!(skipper.skip(&bytes), Progress::Done { consumed: whole_bytes });
        }
        let expected = ContentSkipper::new(Framing::Chunked).unwrap().skip(&bytes);
        let cut = cut.index(bytes.len());
        let mut skipper = ContentSkipper::new(Framing::Chunked).unwrap();
        let found = match skipper.skip(&bytes[..cut]) {
            Progress::More => match skipper.skip(&bytes[cut..]) {
                Progress::Done { consumed } => Progress::Done { consumed: cut + consumed },
                other => other,
            },
            other => other,
        };
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_location_is_normal_whatever_the_target(target in "(/|%2[eEfF]|%[0-9a-fA-F]{2}|\\.|[!-~]){0,24}") {
        if let Ok(Target::Path { path, .. }) = Target::parse(&format!("/{target}"))
            && let Ok(location) = Location::of(path)
        {
            let whole = format!("{}/{}", location.directory.trim_end_matches('/'), location.object);
            prop_assert!(location.directory == "/" || !location.directory.ends_with('/'));
            prop_assert!(!location.object.is_empty() && !location.object.contains('/'));
            prop_assert!(whole.starts_with('/') && !whole.contains("//"));
            prop_assert!(whole.split('/').all(|component| component != "." && component != ".."));
            prop_assert!(whole.bytes().all(|byte| byte >= 0x20 && byte != 0x7f));
            // Written with every byte escaped, it is the same place.
            let escaped: String = whole.bytes().map(|byte| if byte == b'/' { "/".to_owned() } else { format!("%{byte:02X}") }).collect();
            prop_assert_eq!(Location::of(&escaped), Ok(location));
        }
    }
}
