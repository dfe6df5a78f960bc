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
        let fields = std::mem::take(body.headers_mut());
        let field_bytes: usize = fields.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if field_bytes > UPSTREAM_FIELD_BYTES {
            return Err((PullFailure::Invalid, format!("{field_bytes} bytes of fields")));
        }
        let is_delimited = fields.contains_key(CONTENT_LENGTH) || fields.contains_key(TRANSFER_ENCODING);
        Ok(Answer { status: body.status(), fields, is_delimited, body })
    }
}

fn refused(error: &reqwest::Error) -> NoAnswer {
    let failure = match () {
        () if error.is_timeout() => PullFailure::TimedOut,
        () if error.is_connect() => PullFailure::Unreachable,
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
