//! The client of the control plane's API, for the appliance's agent: reqwest over HTTP/1.1, with or without TLS.
//!
//! Every call is bounded: connecting, each read and the whole exchange in time, the answer in bytes. Redirects are not
//! followed: the token is for one control plane. Nothing is tried again here; [`ControlPlaneError::is_temporary`] says whether
//! that can help, [`crate::backoff`] when.

mod answer;
mod error;

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, IF_NONE_MATCH};
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url, redirect};
use serde::Serialize;

use crate::content::Sha256;
use crate::fill_manifest::{NO_MANIFEST, SignedManifest};
use crate::fleet::ApplianceName;
use crate::limits;
use crate::report::{Enrolment, Report, ReportAnswer};
use crate::sources::{SourcesAnswer, SourcesRequest};
use crate::token::Token;
use crate::web_url;
use crate::wire::DocumentVersion;

use answer::Answer;
pub use error::ControlPlaneError;

/// How long is waited for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlPlaneTimeouts {
    /// For connecting.
    pub connect: Duration,
    /// Without a byte from the control plane.
    pub read: Duration,
    /// For a whole exchange.
    pub exchange: Duration,
}

impl Default for ControlPlaneTimeouts {
    /// Those of [`crate::limits`].
    fn default() -> Self {
        Self {
            connect: limits::CONTROL_PLANE_CONNECT_TIMEOUT,
            read: limits::CONTROL_PLANE_READ_TIMEOUT,
            exchange: limits::CONTROL_PLANE_EXCHANGE_TIMEOUT,
        }
    }
}

/// Asks and tells the control plane on behalf of one appliance. A clone shares the connections.
#[derive(Clone, Debug)]
pub struct ControlPlaneClient {
    base: String,
    appliance: ApplianceName,
    timeouts: ControlPlaneTimeouts,
    client: Client,
}

impl ControlPlaneClient {
    /// For the control plane at `url`, an `http` or `https` URL; its path, where it has one, goes before `/v1`.
    pub fn new(
        url: &str,
        appliance: ApplianceName,
        token: &Token,
        timeouts: ControlPlaneTimeouts,
    ) -> Result<Self, ControlPlaneError> {
        let unusable = |what: String| ControlPlaneError::Unusable(format!("control.url {url:?}: {what}"));
        web_url::check(url).map_err(|error| unusable(error.to_string()))?;
        let parsed = Url::parse(url).map_err(|error| unusable(error.to_string()))?;
        let mut fields = HeaderMap::new();
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token.as_str()))
            .expect("a token is made of characters that a field may hold");
        authorization.set_sensitive(true);
        fields.insert(AUTHORIZATION, authorization);
        fields.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let mut builder = Client::builder()
            .user_agent(concat!("oca-fill-agent/", env!("CARGO_PKG_VERSION")))
            .default_headers(fields)
            .http1_only()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(timeouts.connect)
            .read_timeout(timeouts.read)
            .pool_max_idle_per_host(1);
        if parsed.scheme() == "http" {
            // No certificate is looked at: a machine that has none of the usual authorities can do without them.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| unusable(error::with_sources(&error)))?;
        Ok(Self { base: url.trim_end_matches('/').to_owned(), appliance, timeouts, client })
    }

    /// The appliance that it asks and tells for.
    pub const fn appliance(&self) -> &ApplianceName {
        &self.appliance
    }

    /// Says who this appliance is.
    pub async fn enrol(&self, enrolment: &Enrolment) -> Result<(), ControlPlaneError> {
        let request = self.request(Method::PUT, &self.of_appliance(""));
        self.exchange(with_document(request, enrolment), limits::SMALL_ANSWER_BYTES_MAX).await?.succeeded()
    }

    /// Reports. The answer is to this very report.
    pub async fn report(&self, report: &Report) -> Result<ReportAnswer, ControlPlaneError> {
        let request = self.request(Method::POST, &self.of_appliance("/reports"));
        let answer = self.exchange(with_document(request, report), limits::REPORT_ANSWER_BYTES_MAX).await?;
        let answer: ReportAnswer = answer.document()?;
        if answer.sequence != report.sequence {
            return Err(ControlPlaneError::Unintelligible(format!(
                "report {} was sent, and report {} is acknowledged",
                report.sequence, answer.sequence
            )));
        }
        Ok(answer)
    }

    /// The newest manifest for this appliance; `None` where there is none, or it is the one that is known.
    pub async fn manifest(&self, known: Option<u64>) -> Result<Option<SignedManifest>, ControlPlaneError> {
        let mut request = self.request(Method::GET, &self.of_appliance("/manifest"));
        if let Some(sequence) = known {
            request = request.header(IF_NONE_MATCH, format!("\"{sequence}\""));
        }
        let answer = self.exchange(request, limits::MANIFEST_BYTES_MAX).await?;
        match answer.status {
            StatusCode::NOT_MODIFIED if known.is_some() => Ok(None),
            StatusCode::NO_CONTENT => Ok(None),
            StatusCode::NOT_FOUND if answer.failure().error == NO_MANIFEST => Ok(None),
            _ => answer.document().map(Some),
        }
    }

    /// Sources of bundles; asked in several exchanges where there are more than [`limits::SOURCES_BUNDLES_MAX`].
    pub async fn sources(&self, request: &SourcesRequest) -> Result<SourcesAnswer, ControlPlaneError> {
        let mut sources = SourcesAnswer { version: DocumentVersion, bundles: Vec::new() };
        for bundles in request.bundles.chunks(limits::SOURCES_BUNDLES_MAX) {
            let group = SourcesRequest { version: DocumentVersion, bundles: bundles.to_vec() };
            let request = self.request(Method::POST, &self.of_appliance("/sources"));
            let answer = self.exchange(with_document(request, &group), limits::SOURCES_BYTES_MAX).await?;
            let answer: SourcesAnswer = answer.document()?;
            answer.check(&group).map_err(ControlPlaneError::Unintelligible)?;
            sources.bundles.extend(answer.bundles);
        }
        Ok(sources)
    }

    /// The bytes of a descriptor, at most [`limits::DESCRIPTOR_BYTES_MAX`]; whether they are the right ones is for
    /// [`crate::descriptor::Descriptor::parse`] to say.
    pub async fn descriptor(&self, digest: &Sha256) -> Result<Vec<u8>, ControlPlaneError> {
        let request = self.request(Method::GET, &format!("/v1/descriptors/{digest}"));
        self.exchange(request, limits::DESCRIPTOR_BYTES_MAX).await?.content()
    }

    fn of_appliance(&self, rest: &str) -> String {
        format!("/v1/appliances/{}{rest}", self.appliance)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    async fn exchange(&self, request: RequestBuilder, bytes_max: u64) -> Result<Answer, ControlPlaneError> {
        let exchange = async {
            let response = request.send().await.map_err(|error| self.failed(&error))?;
            Answer::read(response, bytes_max).await.map_err(|error| match error {
                answer::ReadError::TooLarge => ControlPlaneError::TooLarge { bytes_max },
                answer::ReadError::Broken(error) => self.failed(&error),
            })
        };
        match tokio::time::timeout(self.timeouts.exchange, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(self.timed_out(self.timeouts.exchange)),
        }
    }

    fn failed(&self, error: &reqwest::Error) -> ControlPlaneError {
        if error.is_timeout() && error.is_connect() {
            self.timed_out(self.timeouts.connect)
        } else if error.is_timeout() {
            self.timed_out(self.timeouts.read)
        } else {
            ControlPlaneError::Unreachable { url: self.base.clone(), detail: error::with_sources(error) }
        }
    }

    fn timed_out(&self, after: Duration) -> ControlPlaneError {
        ControlPlaneError::TimedOut { url: self.base.clone(), after }
    }
}

fn with_document(request: RequestBuilder, document: &impl Serialize) -> RequestBuilder {
    let content = serde_json::to_vec(document)
        .expect("what is told holds only strings, numbers, booleans and lists, which JSON can say");
    request.header(CONTENT_TYPE, "application/json").body(content)
}
