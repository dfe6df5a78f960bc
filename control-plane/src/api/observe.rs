//! What looks after the control plane itself.

use std::time::Instant;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::answer::{json, json_text};
use super::{Problem, Shared};
use crate::catalogue;
use crate::database::counter;
use crate::fleet::FleetSize;
use crate::limits::SIZE_INTERVAL;

/// What was counted last for those who look after the control plane: anybody may ask, as often as he likes.
#[derive(Default)]
pub(super) struct Counted {
    /// With the number of the change of the catalogue that it is true of.
    alive: Mutex<Option<(u64, Alive)>>,
    size: Mutex<Option<(Instant, FleetSize)>>,
}

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
    let mut counted = api.counted.alive.lock().await;
    let change = counter(&api.plane.database, "catalogue").await?;
    let alive = match &*counted {
        Some((at, alive)) if *at == change => alive.clone(),
        _ => {
            let (titles, bundles) = catalogue::counts(&api.plane.database).await?;
            Alive { titles, bundles }
        }
    };
    *counted = Some((change, alive.clone()));
    json(&alive)
}

/// Metrics in Prometheus's text format.
#[utoipa::path(
    get, path = "/metrics", tag = "anyone",
    responses((status = 200, description = "The metrics.", body = String, content_type = "text/plain"))
)]
pub(super) async fn metrics(State(api): Shared) -> Result<Response, Problem> {
    let mut counted = api.counted.size.lock().await;
    let (at, size) = match *counted {
        Some((at, size)) if at.elapsed() < SIZE_INTERVAL => (at, size),
        _ => {
            let fleet = api.plane.fleet();
            let size = tokio::task::spawn_blocking(move || fleet.size()).await;
            (Instant::now(), size.map_err(|error| Problem::internal(&error))?)
        }
    };
    *counted = Some((at, size));
    drop(counted);
    let text = api.plane.metrics.text(&api.plane.standings.counts(), size);
    let mut response = json_text(text);
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "anyone",
    responses((status = 200, description = "The OpenAPI document.", body = Object))
)]
pub(super) async fn openapi(State(api): Shared) -> Response {
    json_text(api.document.clone())
}
