use std::convert::Infallible;
use std::net::SocketAddr;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use reqwest::Url;

use crate::media_manifest::Format;

/// The longest name of a host, with its port, that is repeated to who sent it.
const HOST_BYTES_MAX: usize = 262;

/// Where a player says that it is. Nothing that it says is refused.
pub(in crate::api) struct Told(pub(super) Option<String>);

impl<S: Sync> FromRequestParts<S> for Told {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let parameters: Query<Vec<(String, String)>> = Query::try_from_uri(&parts.uri).unwrap_or_default();
        let told =
            parameters.0.into_iter().find(|(name, _)| name == "_HLS_pathway" || name == "_DASH_pathway");
        Ok(Self(told.map(|(_, told)| told)))
    }
}

/// What a player is to ask where to go from now on.
pub(super) fn steering_question(
    directory: &str,
    pathways: &str,
    scheme: Option<&str>,
    client: Option<&str>,
) -> String {
    let mut url = Url::parse("http://any.invalid/").expect("it is a URL");
    {
        let mut pairs = url.query_pairs_mut();
        pairs.append_pair("path", directory).append_pair("pathways", pathways);
        for (name, value) in [("scheme", scheme), ("client", client)] {
            if let Some(value) = value {
                pairs.append_pair(name, value);
            }
        }
    }
    url.query().unwrap_or_default().replace("%2F", "/").replace("%2C", ",")
}

/// Where it is to ask that: here, by the name that it knows us by. Some players take a relative URL as relative to the page.
pub(super) fn own_url(
    peer: SocketAddr,
    headers: &HeaderMap,
    uri: &Uri,
    format: Format,
    question: &str,
) -> String {
    let place = if format == Format::Hls { "hls" } else { "dash" };
    match own_host(headers, uri).filter(|host| is_host(host)) {
        Some(host) => {
            let scheme = own_scheme(peer, headers).unwrap_or("http");
            format!("{scheme}://{host}/v1/steer/{place}?{question}")
        }
        None => format!("../steer/{place}?{question}"),
    }
}

/// The name that we were asked by: the field, or where there is none what stands before the path.
fn own_host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    match headers.get(header::HOST) {
        Some(host) => host.to_str().ok(),
        None => Some(uri.authority()?.as_str()),
    }
}

/// The scheme that a proxy on this machine says it was asked with.
pub(super) fn own_scheme(peer: SocketAddr, headers: &HeaderMap) -> Option<&'static str> {
    let told = headers.get("x-forwarded-proto").filter(|_| peer.ip().to_canonical().is_loopback())?;
    ["http", "https"].into_iter().find(|scheme| told.as_bytes().eq_ignore_ascii_case(scheme.as_bytes()))
}

fn is_host(host: &str) -> bool {
    (1..=HOST_BYTES_MAX).contains(&host.len())
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn players_are_told_to_ask_where_they_asked() {
        let here: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let there: SocketAddr = "198.51.100.1:1".parse().unwrap();
        let asked_by = |uri: &'static str, peer, fields: &[_]| {
            own_url(peer, &headers(fields), &Uri::from_static(uri), Format::Hls, "q")
        };
        let url = |peer, fields: &[_]| asked_by("/v1/play/hls.m3u8", peer, fields);
        assert_eq!(url(there, &[("host", "steer.example:8443")]), "http://steer.example:8443/v1/steer/hls?q");
        let proxied = [("host", "steer.example"), ("x-forwarded-proto", "https")];
        assert_eq!(url(here, &proxied), "https://steer.example/v1/steer/hls?q");
        assert_eq!(
            url(there, &proxied),
            "http://steer.example/v1/steer/hls?q",
            "only a proxy here is believed"
        );
        for strange in ["", "a\"b", "a/b", "a b"] {
            assert_eq!(url(there, &[("host", strange)]), "../steer/hls?q", "{strange:?}");
        }
        assert_eq!(url(there, &[]), "../steer/hls?q");
        let whole = "http://steer.example:8443/v1/play/hls.m3u8";
        assert_eq!(asked_by(whole, there, &[]), "http://steer.example:8443/v1/steer/hls?q");
        let named = [("host", "named.example")];
        assert_eq!(asked_by(whole, there, &named), "http://named.example/v1/steer/hls?q");
        assert_eq!(asked_by("http://user@steer.example/", there, &[]), "../steer/hls?q");
    }

    #[test]
    fn a_question_is_written_so_that_it_can_stand_in_a_manifest() {
        let question = steering_question("/a b/\"c\"&d", "oca-1,oca-2", Some("https"), Some("::1"));
        assert_eq!(question, "path=/a+b/%22c%22%26d&pathways=oca-1,oca-2&scheme=https&client=%3A%3A1");
    }
}
