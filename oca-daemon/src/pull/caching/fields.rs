//! Which fields travel on (RFC 9110 §7.6.1, RFC 9111 §3.1).

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, RANGE, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{HeaderMap, HeaderName};

/// Fields of one connection, whether or not Connection names them.
const HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Fields of a client's request that are evaluated here, and would have upstream answer with less than the whole.
const EVALUATED_HERE: [HeaderName; 8] =
    [HOST, EXPECT, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE];

/// The fields without those of the connection: everything that may be passed on or stored.
pub fn end_to_end(fields: &HeaderMap) -> HeaderMap {
    let named = named_by_connection(fields);
    filtered(fields, |name| !HOP_BY_HOP.contains(name) && !named.contains(name))
}

/// What upstream is asked with: the client's fields without those of its connection, its conditions and range, the length of its
/// content, and what its player says of itself (CTA-5004).
pub fn upstream_fields(client: &HeaderMap) -> HeaderMap {
    filtered(&end_to_end(client), |name| {
        !EVALUATED_HERE.contains(name) && *name != CONTENT_LENGTH && !name.as_str().starts_with("cmcd-")
    })
}

fn named_by_connection(fields: &HeaderMap) -> Vec<HeaderName> {
    let lines = fields.get_all(CONNECTION).iter();
    let options = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    options.filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok()).collect()
}

pub(super) fn filtered(fields: &HeaderMap, is_kept: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields.iter().filter(|(name, _)| is_kept(name)) {
        kept.append(name.clone(), value.clone());
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pull::caching::tests::fields;

    #[test]
    fn fields_of_the_connection_do_not_travel() {
        let received = fields(&[
            ("connection", "a, B ,close"),
            ("connection", "c"),
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("keep-alive", "timeout=5"),
            ("proxy-authenticate", "x"),
            ("proxy-authentication-info", "x"),
            ("proxy-authorization", "x"),
            ("proxy-connection", "x"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "x"),
            ("d", "4"),
            ("d", "5"),
            ("www-authenticate", "x"),
        ]);
        assert_eq!(end_to_end(&received), fields(&[("d", "4"), ("d", "5"), ("www-authenticate", "x")]));
    }

    #[test]
    fn upstream_is_asked_for_the_whole_without_conditions() {
        let received = fields(&[
            ("host", "edge"),
            ("range", "bytes=0-1"),
            ("if-range", "\"a\""),
            ("if-none-match", "\"a\""),
            ("if-match", "\"a\""),
            ("if-modified-since", "x"),
            ("if-unmodified-since", "x"),
            ("expect", "100-continue"),
            ("content-length", "3"),
            ("cmcd-request", "bl=1"),
            ("te", "trailers"),
            ("authorization", "x"),
            ("accept-language", "de"),
        ]);
        assert_eq!(upstream_fields(&received), fields(&[("authorization", "x"), ("accept-language", "de")]));
    }
}
