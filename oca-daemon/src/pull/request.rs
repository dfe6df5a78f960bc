//! What is handed over by a worker.

use std::borrow::Cow;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::limits;
use crate::request::{NormalTarget, Request, Scheme};

/// A request that is handed over to be pulled through. It owns what it says.
#[derive(Clone, Debug)]
pub struct PullRequest {
    /// The method.
    pub method: Method,
    /// Path and query in origin form: without dot segments, escapes in their normal form (RFC 3986 §6.2.2), nothing else changed.
    pub target: String,
    /// All fields as received, those of the connection included.
    pub fields: HeaderMap,
    /// What the client's connection speaks.
    pub scheme: Scheme,
    /// Whom the client asks, `host` or `host:port`; empty where HTTP/1.0 did not say.
    pub authority: String,
    /// Who asks.
    pub peer: SocketAddr,
    /// The request's content, decoded; empty for GET and HEAD.
    pub content: Bytes,
}

impl PullRequest {
    /// The request, all of it, for the target in its normal form. `None` where its head is none, which cannot be: it was parsed before.
    pub(crate) fn of(
        request: &Request<'_>,
        target: NormalTarget,
        scheme: Scheme,
        peer: SocketAddr,
        content: Bytes,
    ) -> Option<Self> {
        let (method, fields) = parse(request.head)?;
        let host = || String::from_utf8_lossy(request.fields.host).into_owned();
        let authority = target.authority.unwrap_or_else(host);
        Some(Self { method, target: target.text, fields, scheme, authority, peer, content })
    }

    /// What the answer is kept under: the target without the argument in which players speak of themselves (`CMCD`), which is another
    /// one every time. Borrows where there is none.
    pub fn key(&self) -> Cow<'_, str> {
        let Some((path, query)) = self.target.split_once('?') else { return Cow::Borrowed(&self.target) };
        let is_cmcd = |argument: &str| argument.starts_with("CMCD=");
        if !query.split('&').any(is_cmcd) {
            return Cow::Borrowed(&self.target);
        }
        let rest: Vec<&str> = query.split('&').filter(|argument| !is_cmcd(argument)).collect();
        if rest.is_empty() { Cow::Borrowed(path) } else { Cow::Owned(format!("{path}?{}", rest.join("&"))) }
    }

    /// The path without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Whether the client gets no body.
    pub fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }
}

/// The method and the fields of a head that was accepted before.
fn parse(head: &[u8]) -> Option<(Method, HeaderMap)> {
    let mut lines = [httparse::EMPTY_HEADER; limits::FIELD_LINES];
    let mut parsed = httparse::Request::new(&mut lines);
    if !parsed.parse(head).ok()?.is_complete() {
        return None;
    }
    let method = Method::from_bytes(parsed.method?.as_bytes()).ok()?;
    let mut fields = HeaderMap::with_capacity(parsed.headers.len());
    for line in parsed.headers {
        let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
        fields.append(name, HeaderValue::from_bytes(line.value).ok()?);
    }
    Some((method, fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str) -> PullRequest {
        PullRequest {
            method: Method::GET,
            target: target.to_owned(),
            fields: HeaderMap::new(),
            scheme: Scheme::Http,
            authority: String::new(),
            peer: SocketAddr::from(([127, 0, 0, 1], 1)),
            content: Bytes::new(),
        }
    }

    #[test]
    fn what_players_say_of_themselves_is_not_part_of_the_key() {
        for (target, key) in [
            ("/a", "/a"),
            ("/a?", "/a?"),
            ("/a?CMCD=br%3D1", "/a"),
            ("/a?b=1&CMCD=br%3D1", "/a?b=1"),
            ("/a?CMCD=br%3D1&b=1", "/a?b=1"),
            ("/a?b=1&CMCD=x&c=2&CMCD=y", "/a?b=1&c=2"),
            ("/a?cmcd=1&XCMCD=2", "/a?cmcd=1&XCMCD=2"),
        ] {
            assert_eq!(request(target).key(), key, "{target}");
        }
    }

    #[test]
    fn all_fields_are_handed_over_in_order() {
        let head = b"GET /a HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-a:  2 \r\nAccept: \xff\r\n\r\n";
        let (method, fields) = parse(head).unwrap();
        assert_eq!(method, Method::GET);
        assert_eq!(fields.get_all("x-a").iter().map(HeaderValue::as_bytes).collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(fields["accept"].as_bytes(), b"\xff");
        assert_eq!(fields.len(), 4);
        assert!(parse(b"GET /a HTTP/1.1\r\nHost: a\r\n").is_none());
    }
}
