//! Answers to what is only read, and how every answer is made.

use std::pin::Pin;
use std::task::{Context, Poll};

use control_client::admin::Failure;
use control_client::health::Verdict;
use control_client::status::{Build, Process, RamTierFacts, StatusReport};
use control_client::wire::DocumentVersion;
use hyper::body::{Bytes, Frame, SizeHint};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::appliance::Appliance;
use crate::health;
use crate::metrics::{self, Metrics};
use crate::tier::Tier;

const JSON: &str = "application/json";

/// The content of an answer.
pub(super) enum Body {
    /// Taken by the first frame.
    Whole(Option<Bytes>),
    /// In pieces, from a thread that makes them while they are sent.
    Pieces(mpsc::Receiver<Bytes>),
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self {
            Body::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Body::Pieces(pieces) => {
                pieces.poll_recv(context).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(bytes) => SizeHint::with_exact(
                bytes.as_ref().map_or(0, |bytes| bytes.len().try_into().unwrap_or(u64::MAX)),
            ),
            Body::Pieces(_) => SizeHint::default(),
        }
    }
}

/// The latest verdict: 200 while clients should be steered here, else 503.
pub(super) fn health(appliance: &Appliance) -> Response<Body> {
    let Some(judged) = appliance.judged() else {
        return failure(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_judged",
            "the daemon is starting, and health was not judged yet; wait",
        );
    };
    let age = judged.at.elapsed();
    let outdated = (age > health::REPORT_AGE_MAX).then(|| health::outdated(&judged.report, age));
    let report = outdated.as_ref().unwrap_or(&judged.report);
    let status = match report.verdict {
        Verdict::Healthy => StatusCode::OK,
        Verdict::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    };
    document(status, report)
}

/// The load as it was last measured.
pub(super) fn load(appliance: &Appliance) -> Response<Body> {
    match appliance.measured() {
        Some(measured) if measured.at.elapsed() <= health::REPORT_AGE_MAX => {
            document(StatusCode::OK, &measured.load)
        }
        _ => failure(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_measured",
            "the load was not measured in the last seconds; the daemon is starting, or /health says why",
        ),
    }
}

/// The metrics in Prometheus's text format.
pub(super) fn metrics(metrics: &Metrics) -> Response<Body> {
    response(StatusCode::OK, metrics::CONTENT_TYPE, Body::Whole(Some(metrics.exposition().into())))
}

/// What runs, how it was built and configured, and where it listens.
pub(super) fn status(appliance: &Appliance) -> Response<Body> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let report = StatusReport {
        version: DocumentVersion,
        build: build(),
        process: Process {
            pid: std::process::id(),
            readiness: appliance.readiness(),
            workers: u32::try_from(appliance.workers.len()).unwrap_or(u32::MAX),
            uptime_seconds: appliance.started.elapsed().as_secs(),
            kernel: kernel.trim_end().to_owned(),
        },
        listeners: appliance.listeners(),
        ram_tier: appliance.tier().and_then(ram_tier),
        configuration_file: appliance.configuration_file.as_ref().map(|path| path.display().to_string()),
        configuration: appliance.config.effective().into_iter().collect(),
    };
    document(StatusCode::OK, &report)
}

fn ram_tier(tier: &Tier) -> Option<RamTierFacts> {
    let budget = tier.budget();
    let cut = budget.cut.map(|cut| cut.to_string());
    (budget.bytes > 0 || cut.is_some()).then_some(RamTierFacts { budget_bytes: budget.bytes, cut })
}

/// How this program was built.
pub(crate) fn build() -> Build {
    Build {
        release: env!("CARGO_PKG_VERSION").to_owned(),
        commit: option_env!("OCA_COMMIT").map(str::to_owned),
        profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
    }
}

/// An answer that is a document.
pub(super) fn document(status: StatusCode, document: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(document) {
        Ok(mut text) => {
            text.push(b'\n');
            response(status, JSON, Body::Whole(Some(text.into())))
        }
        Err(error) => {
            tracing::error!(%error, "a document could not be written; please report this");
            response(StatusCode::INTERNAL_SERVER_ERROR, JSON, Body::Whole(None))
        }
    }
}

/// An answer that something cannot be done.
pub(super) fn failure(status: StatusCode, error: &str, detail: &str) -> Response<Body> {
    document(status, &Failure { error: error.to_owned(), detail: detail.to_owned() })
}

/// An answer whose pieces come later.
pub(super) fn pieces(pieces: mpsc::Receiver<Bytes>) -> Response<Body> {
    response(StatusCode::OK, JSON, Body::Pieces(pieces))
}

fn response(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // A verdict that a proxy kept is worse than none.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
