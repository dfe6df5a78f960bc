//! Asking for missing parts of what is held, and what an answer says that has none of them.

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, StatusCode};

use super::fields::{CREDENTIALS, NEGOTIATION, filtered, says_who_asks, upstream_fields};
use super::{Policy, StoredHead};

/// What upstream is asked with for missing parts of what is held: what selects it, and nothing that could choose another one instead.
/// Who asks is said only where it was said for what is held: what upstream tells one client of it is not what it tells the rest.
pub fn filling_fields(client: &HeaderMap, head: &StoredHead, policy: &Policy) -> HeaderMap {
    let selecting: Vec<HeaderName> = head.selecting.names().cloned().collect();
    let is_left_out = |name: &HeaderName| {
        NEGOTIATION.contains(name) || (CREDENTIALS.contains(name) && !head.is_to_credentials)
    };
    let mut fields = filtered(&upstream_fields(client, &selecting, policy), |name| {
        selecting.contains(name) || !is_left_out(name)
    });
    // Where it is coded, that coding is what is wanted, though upstream does not say that it varies by it.
    if let Some(coding) = head.fields.get(CONTENT_ENCODING).filter(|_| !selecting.contains(&ACCEPT_ENCODING))
    {
        fields.insert(ACCEPT_ENCODING, coding.clone());
    }
    fields
}

/// Whether what is held is past for everybody: upstream has another one now, or none. Not where that was told to one who said who asks;
/// nor by a 200 without a validator, which may be a page for whoever is to log in.
pub fn says_that_it_is_past(
    head: &StoredHead,
    status: StatusCode,
    fields: &HeaderMap,
    request_fields: &HeaderMap,
) -> bool {
    let is_another = match status {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => {
            let has_validator = fields.contains_key(ETAG) || fields.contains_key(LAST_MODIFIED);
            has_validator && !head.same_representation(fields)
        }
        // What was asked for is within what is held.
        StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::RANGE_NOT_SATISFIABLE => true,
        _ => false,
    };
    is_another && !says_who_asks(request_fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pull::caching::Selecting;
    use crate::pull::caching::tests::{POLICY, fields, stored};

    #[test]
    fn missing_parts_are_asked_for_with_what_selects_them_and_with_nothing_of_who_asks() {
        let received = fields(&[
            ("accept", "text/html"),
            ("accept-encoding", "br"),
            ("accept-language", "de"),
            ("authorization", "x"),
            ("cookie", "x"),
            ("via", "1.1 other"),
            ("range", "bytes=0-1"),
        ]);
        let asked = |head: &StoredHead| filling_fields(&received, head, &POLICY);
        let mut head = stored(200, &[("etag", "\"a\"")]);
        assert_eq!(asked(&head), fields(&[("via", "1.1 other")]));
        head.fields = fields(&[("etag", "\"a\""), ("content-encoding", "gzip")]);
        assert_eq!(asked(&head), fields(&[("via", "1.1 other"), ("accept-encoding", "gzip")]));
        head.selecting =
            Selecting::of(&received, &fields(&[("vary", "Accept-Encoding, Accept-Language")])).unwrap();
        head.is_to_credentials = true;
        assert_eq!(
            asked(&head),
            fields(&[
                ("accept-encoding", "br"),
                ("accept-language", "de"),
                ("authorization", "x"),
                ("cookie", "x"),
                ("via", "1.1 other"),
            ])
        );
    }

    #[test]
    fn what_is_held_is_past_where_upstream_says_so_to_nobody_in_particular() {
        let head = stored(200, &[("etag", "\"a\"")]);
        const OTHER: (&str, &str) = ("etag", "\"b\"");
        const SAME: (&str, &str) = ("etag", "\"a\"");
        for (status, said, request, is_past) in [
            (200, &[OTHER][..], &[][..], true),
            (206, &[OTHER], &[("accept-encoding", "gzip")], true),
            (200, &[("last-modified", "Sun, 06 Nov 1994 08:49:35 GMT")], &[], true),
            (200, &[], &[], false),
            (200, &[SAME], &[], false),
            (200, &[OTHER], &[("cookie", "x")], false),
            (206, &[OTHER], &[("authorization", "x")], false),
            (404, &[], &[], true),
            (410, &[], &[], true),
            (416, &[], &[], true),
            (404, &[], &[("cookie", "x")], false),
            (302, &[], &[], false),
            (401, &[], &[], false),
            (403, &[OTHER], &[], false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(
                says_that_it_is_past(&head, status, &fields(said), &fields(request)),
                is_past,
                "{status} {said:?} {request:?}"
            );
        }
    }
}
