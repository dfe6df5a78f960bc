//! What looks after the control plane itself.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::{Problem, Shared, json, json_text};
use crate::catalogue;

/// The control plane works: its database answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Alive {
    /// Titles in the catalogue.
    pub titles: u64,
    /// Bundles in the catalogue, all generations.
    pub bundles: u64,
}

/// Whether the control plane works.
#[utoipa::path(
    get, path = "/healthz", tag = "anyone",
    responses(
        (status = 200, description = "It works.", body = Alive),
    )
)]
pub(super) async fn healthz(State(api): Shared) -> Result<Response, Problem> {
    let (titles, bundles) = catalogue::counts(&api.plane.database).await?;
    json(&Alive { titles, bundles })
}

/// Metrics in Prometheus's text format.
#[utoipa::path(
    get, path = "/metrics", tag = "anyone",
    responses((status = 200, description = "The metrics.", body = String, content_type = "text/plain"))
)]
pub(super) async fn metrics(State(api): Shared) -> Response {
    let text = api.plane.metrics.text(&api.plane.standings.counts(), api.plane.fleet().size());
    let mut response = json_text(text);
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "anyone",
    responses((status = 200, description = "The OpenAPI document.", body = Object))
)]
pub(super) async fn openapi(State(api): Shared) -> Response {
    json_text(api.document.clone())
}
