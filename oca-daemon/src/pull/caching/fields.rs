//! Which fields travel on (RFC 9110 §7.6.1, RFC 9111 §3.1), and why few of a client's do.
//!
//! What is kept, or brought to many who wait, was asked for with one client's fields. Whatever upstream heeds of them without saying so
//! in Vary is that client's word in everybody's answer: `X-Forwarded-Host` in its links, `X-Original-URL` as its path (cache
//! poisoning). Nobody can list what servers heed. So a client's field goes upstream only where it is known what it does there:
//!
//! - what HTTP negotiates by ([`NEGOTIATION`]): who heeds that says so in Vary (RFC 9110 §12.5.5);
//! - who has passed the request on ([`PASSED_ON`]), lest it goes round in a loop;
//! - [`CREDENTIALS`]: only who has the same waits for the same answer, and what is kept of it for others is RFC 9111 §3.5's to say;
//! - what answers of this kind were seen to vary by. It becomes part of what an answer is kept under, whether or not that answer says
//!   that it varies by it ([`Selecting::of_sent`](super::Selecting::of_sent));
//! - what the operator lets through (`pull.request_fields`), who knows what upstream does with it.
//!
//! All else stays here. `Origin` does: where upstream says nothing of other origins, the operator has (`serve.allow_origin`), and an
//! upstream that has a word to say varies by it. So do players' own fields (`X-Playback-Session-Id`), with which no two requests would be
//! the same, a browser's `Referer` and `Sec-Fetch-*`, and a client's Cache-Control, which is heeded here or not at all. What players say
//! of themselves ([`OF_PLAYERS`]) stays here whoever wants it, Vary and the operator included: it never is part of what an answer is
//! kept under.
//!
//! The first answer that varies by such a field is thus asked for twice, without it and with it; then its neighbours are asked for with
//! it at once. A request that goes upstream for its client alone says no more than one that is for many, and its conditions and range:
//! what upstream is told must not depend on who else asks. Only methods that are never answered from here go with all they say.

use http::header::{
    ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, CONNECTION, CONTENT_LENGTH,
    COOKIE, EXPECT, HOST, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, RANGE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName};

use super::Policy;

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

/// What a representation is chosen by (RFC 9110 §12.5).
pub(super) const NEGOTIATION: [HeaderName; 4] = [ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE];

/// Who has passed a request on (RFC 9110 §7.6.3, RFC 8586).
const PASSED_ON: [HeaderName; 2] = [VIA, HeaderName::from_static("cdn-loop")];

/// Digests of the content of one message (RFC 9530 §2, RFC 2616 §14.15): a part has another one than the whole. `Repr-Digest` is of the
/// whole wherever it stands.
pub(super) const DIGESTS_OF_CONTENT: [HeaderName; 2] =
    [HeaderName::from_static("content-digest"), HeaderName::from_static("content-md5")];

/// What upstream says of one hop at one moment (CTA-5006, Server Timing of the W3C): of no use to anybody later.
const OF_THE_MOMENT: [HeaderName; 2] =
    [HeaderName::from_static("cmsd-dynamic"), HeaderName::from_static("server-timing")];

/// Who asks.
pub(super) const CREDENTIALS: [HeaderName; 2] = [AUTHORIZATION, COOKIE];

/// What is between a client and this cache, or between this cache and upstream.
const OF_ONE_HOP: [HeaderName; 3] = [HOST, EXPECT, CONTENT_LENGTH];

/// What players say of themselves to whoever sends to them (CTA-5004): of each request something else.
const OF_PLAYERS: [HeaderName; 4] = [
    HeaderName::from_static("cmcd-object"),
    HeaderName::from_static("cmcd-request"),
    HeaderName::from_static("cmcd-session"),
    HeaderName::from_static("cmcd-status"),
];

/// What would have upstream answer with less than the whole: evaluated here, of a request that is for many.
const CONDITIONS_AND_RANGE: [HeaderName; 6] =
    [IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE];

/// The fields without those of the connection: everything that may be passed on.
pub fn end_to_end(fields: &HeaderMap) -> HeaderMap {
    let named = named_by_connection(fields);
    filtered(fields, |name| !HOP_BY_HOP.contains(name) && !named.contains(name))
}

/// Of these, what says something later, too: everything that may be stored (RFC 9111 §3.1).
pub(super) fn lasting(fields: &HeaderMap) -> HeaderMap {
    filtered(&end_to_end(fields), |name| !OF_THE_MOMENT.contains(name))
}

/// What upstream is asked with for all who want the same; `varying`: what answers are known to vary by.
pub fn upstream_fields(client: &HeaderMap, varying: &[HeaderName], policy: &Policy) -> HeaderMap {
    filtered(&end_to_end(client), |name| {
        !is_ours(name) && (is_vouched_for(name, policy) || varying.contains(name))
    })
}

/// What upstream is asked with for one client alone: the same, and its conditions and range.
pub fn lone_fields(client: &HeaderMap, varying: &[HeaderName], policy: &Policy) -> HeaderMap {
    let mut fields = upstream_fields(client, varying, policy);
    fields.extend(filtered(&end_to_end(client), |name| CONDITIONS_AND_RANGE.contains(name)));
    fields
}

/// Whether a request says who asks.
pub(super) fn says_who_asks(fields: &HeaderMap) -> bool {
    CREDENTIALS.iter().any(|name| fields.contains_key(name))
}

/// Whether upstream is told by this cache, if it is at all, and not by clients, whoever asks for that. It selects nothing.
pub(super) fn is_ours(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name)
        || OF_ONE_HOP.contains(name)
        || CONDITIONS_AND_RANGE.contains(name)
        || OF_PLAYERS.contains(name)
}

/// Whether requests that differ in the field may wait for the same answer, and see then whether it is for them.
pub fn is_common(name: &HeaderName) -> bool {
    NEGOTIATION.contains(name) || PASSED_ON.contains(name)
}

/// Whether the field may go upstream without being part of what the answer is kept under.
pub(super) fn is_vouched_for(name: &HeaderName, policy: &Policy) -> bool {
    is_common(name) || CREDENTIALS.contains(name) || policy.request_fields.contains(name)
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
    use http::header::{ORIGIN, USER_AGENT};

    use super::*;
    use crate::pull::caching::tests::{POLICY, fields};
    use crate::pull::caching::{Selecting, varied_by};

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
    fn upstream_is_asked_for_the_whole_with_what_is_known_to_do_no_harm() {
        let kept = [
            ("accept", "*/*"),
            ("accept-encoding", "gzip"),
            ("accept-language", "de"),
            ("authorization", "x"),
            ("cookie", "x"),
            ("via", "1.1 other"),
            ("cdn-loop", "other"),
            ("x-token", "1"),
            ("origin", "https://a.example"),
        ];
        let own = [
            ("range", "bytes=0-1"),
            ("if-range", "\"a\""),
            ("if-none-match", "\"a\""),
            ("if-match", "\"a\""),
        ];
        let kept_here = [
            ("host", "edge"),
            ("expect", "100-continue"),
            ("content-length", "3"),
            ("cache-control", "no-cache"),
            ("pragma", "no-cache"),
            ("cmcd-request", "bl=1"),
            ("te", "trailers"),
            ("referer", "x"),
            ("user-agent", "x"),
            ("x-forwarded-host", "x"),
            ("forwarded", "x"),
            ("x-original-url", "x"),
            ("x-http-method-override", "x"),
            ("x-own", "x"),
            ("connection", "x-own"),
        ];
        let policy = Policy { request_fields: vec![HeaderName::from_static("x-token")], ..POLICY };
        let varying = [ORIGIN, RANGE, HOST, EXPECT, HeaderName::from_static("x-own")];
        let received = fields(&[&kept[..], &own, &kept_here].concat());
        assert_eq!(upstream_fields(&received, &varying, &policy), fields(&kept));
        assert_eq!(lone_fields(&received, &varying, &policy), fields(&[&kept[..], &own].concat()));
        let less = upstream_fields(&received, &[USER_AGENT], &POLICY);
        assert!(less.contains_key(USER_AGENT) && !less.contains_key(ORIGIN) && !less.contains_key("x-token"));
    }

    #[test]
    fn what_players_say_of_themselves_neither_goes_upstream_nor_selects_whoever_wants_it() {
        for request_fields in [Vec::new(), OF_PLAYERS.to_vec()] {
            let policy = Policy { request_fields, ..POLICY };
            for (name, vary) in [
                ("cmcd-object", "CMCD-Object, Accept-Language"),
                ("cmcd-request", "CMCD-Request, Accept-Language"),
                ("cmcd-session", "CMCD-Session, Accept-Language"),
                ("cmcd-status", "CMCD-Status, Accept-Language"),
            ] {
                let received = fields(&[("accept-language", "de"), (name, "x")]);
                let (kept, response) = (fields(&[("accept-language", "de")]), fields(&[("vary", vary)]));
                let varying = varied_by(&response).unwrap();
                assert_eq!(upstream_fields(&received, &varying, &policy), kept, "{name}");
                assert_eq!(lone_fields(&received, &varying, &policy), kept, "{name}");
                // Even if it had been sent.
                let selecting = Selecting::of_sent(&received, &response, &policy).unwrap();
                let names: Vec<_> = selecting.names().map(HeaderName::as_str).collect();
                assert_eq!(names, ["accept-language"], "{name}");
            }
        }
    }
}
