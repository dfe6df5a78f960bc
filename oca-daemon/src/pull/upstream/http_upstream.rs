//! An upstream that is a server of HTTP/1.1, with or without TLS.
//!
//! Bytes are taken as they come: no redirect is followed, nothing is decompressed, no proxy of the environment is asked.

use control_client::config::PullConfig;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::{Body, Client, Request, Response, Url, redirect};

use super::Ask;
use crate::limits::{
    UPSTREAM_FIELD_BYTES, UPSTREAM_FIELD_LINES, UPSTREAM_IDLE_CONNECTIONS, UPSTREAM_IDLE_TIMEOUT,
};
use crate::pull::failure::PullFailure;

/// What an upstream gives, until the body is read.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) fields: HeaderMap,
    /// Whether the body's end can be told from a connection that broke.
    pub(super) is_delimited: bool,
    pub(super) body: Response,
}

/// Why it gives nothing, and that in words.
pub(super) type NoAnswer = (PullFailure, String);

/// A server of HTTP.
pub(super) struct HttpUpstream {
    base: String,
    host: Option<HeaderValue>,
    client: Client,
}

impl HttpUpstream {
    /// `url` has no slash at its end to which a target is appended, or it is dropped.
    pub(super) fn new(url: &str, host: Option<&str>, config: &PullConfig) -> Result<Self, String> {
        let base = url.trim_end_matches('/').to_owned();
        let parsed = Url::parse(&base).map_err(|error| format!("{url:?}: {error}"))?;
        let mut builder = Client::builder()
            .http1_only()
            .http1_max_headers(UPSTREAM_FIELD_LINES)
            .no_proxy()
            .referer(false)
            .redirect(redirect::Policy::none())
            .connect_timeout(config.connect_timeout)
            .tcp_nodelay(true)
            .pool_max_idle_per_host(UPSTREAM_IDLE_CONNECTIONS)
            .pool_idle_timeout(UPSTREAM_IDLE_TIMEOUT);
        if parsed.scheme() == "http" {
            // No certificate is looked at: a machine that has none of the usual authorities can do without them.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| with_sources(&error))?;
        let host = host.map(HeaderValue::from_str).transpose().map_err(|error| format!("host: {error}"))?;
        Ok(Self { base, host, client })
    }

    pub(super) async fn ask(&self, ask: &Ask) -> Result<Answer, NoAnswer> {
        let mut fields = ask.fields.clone();
        if let Some(host) = &self.host {
            fields.insert(HOST, host.clone());
        }
        self.ask_at(&format!("{}{}", self.base, ask.target), ask, fields).await
    }

    /// Asks at that URL, with those fields instead of the question's.
    pub(super) async fn ask_at(&self, url: &str, ask: &Ask, fields: HeaderMap) -> Result<Answer, NoAnswer> {
        let url = Url::parse(url).map_err(|error| (PullFailure::Invalid, error.to_string()))?;
        let mut request = Request::new(ask.method.clone(), url);
        *request.headers_mut() = fields;
        if !ask.content.is_empty() {
            *request.body_mut() = Some(Body::from(ask.content.clone()));
        }
        let mut body = self.client.execute(request).await.map_err(|error| refused(&error))?;
        let mut fields = std::mem::take(body.headers_mut());
        let field_bytes: usize = fields.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if field_bytes > UPSTREAM_FIELD_BYTES {
            return Err((PullFailure::Invalid, format!("{field_bytes} bytes of fields")));
        }
        let is_delimited = take_framing(&mut fields).map_err(|why| (PullFailure::Invalid, why))?;
        Ok(Answer { status: body.status(), fields, is_delimited, body })
    }
}

/// Whether the end of the body is marked (RFC 9112 §6.3); of two lengths the chunks' stays, which is what comes.
///
/// # Errors
/// For a coding that was not asked for (RFC 9112 §7.4): what comes is not the content, and where the last coding is not chunked, nobody
/// can tell its end from a connection that broke.
fn take_framing(fields: &mut HeaderMap) -> Result<bool, String> {
    if !fields.contains_key(TRANSFER_ENCODING) {
        return Ok(fields.contains_key(CONTENT_LENGTH));
    }
    let lines = fields.get_all(TRANSFER_ENCODING).iter().map(|line| line.to_str().unwrap_or("?"));
    let codings: Vec<_> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    if !matches!(codings[..], [coding] if coding.eq_ignore_ascii_case("chunked")) {
        return Err(format!("Transfer-Encoding {codings:?}, where only chunked was to be expected"));
    }
    fields.remove(CONTENT_LENGTH);
    Ok(true)
}

fn refused(error: &reqwest::Error) -> NoAnswer {
    let failure = match () {
        // First, since who does not answer a connection in time is not there either.
        () if error.is_connect() => PullFailure::Unreachable,
        () if error.is_timeout() => PullFailure::TimedOut,
        () => PullFailure::Invalid,
    };
    (failure, with_sources(error))
}

/// The error and what lies below it; without the URL, which may hold a token.
fn with_sources(error: &reqwest::Error) -> String {
    let mut text = String::from("HTTP");
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_body_is_marked_by_a_length_or_by_chunks() {
        let framing = |lines: &[(&'static str, &'static str)]| {
            let mut fields = HeaderMap::new();
            for (name, value) in lines {
                fields.append(*name, HeaderValue::from_static(value));
            }
            take_framing(&mut fields).map(|is_marked| (is_marked, fields.contains_key(CONTENT_LENGTH)))
        };
        let (length, coding) = ("content-length", "transfer-encoding");
        assert_eq!(framing(&[]), Ok((false, false)));
        assert_eq!(framing(&[(length, "5")]), Ok((true, true)));
        assert_eq!(framing(&[(coding, " Chunked")]), Ok((true, false)));
        assert_eq!(framing(&[(length, "5"), (coding, "chunked")]), Ok((true, false)));
        for codings in [&["gzip"][..], &["gzip, chunked"], &["chunked, gzip"], &["chunked", "chunked"], &[""]]
        {
            let lines: Vec<_> = codings.iter().map(|value| (coding, *value)).collect();
            assert!(framing(&lines).is_err(), "{codings:?}");
        }
    }
}
