//! The HTTP API: routes, what each takes and answers, and the OpenAPI document of them.
//!
//! Each route is declared once, on its function: the router and the document are both made of that
//! declaration, so neither can have a route that the other lacks. Everything is answered with JSON; failures
//! with [`Failure`].

mod access;
mod appliances;
mod content;
mod directives;
mod lists;
mod observe;
mod problem;
mod steer;
mod views;

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use control_client::admin::Failure;
use control_client::fill_manifest::{FillClass, FillEntry, FillManifest};
use tokio::sync::Semaphore;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::Ref;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::limits;
use crate::plane::ControlPlane;
use crate::poll::Poller;

pub use observe::Alive;
pub use problem::Problem;
pub use views::{ApplianceDetail, ApplianceList, ApplianceView, BundleView, TitleList, TitleView};

/// What every route can use.
pub struct Api {
    plane: Arc<ControlPlane>,
    poller: Poller,
    document: String,
    requests: Semaphore,
    contents: Semaphore,
}

type Shared = State<Arc<Api>>;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Control plane of the open edge cache appliance",
        description = "What appliances, operators and clients ask of the reference control plane. Times are whole seconds since 1970."
    ),
    components(schemas(Failure, FillManifest, FillEntry, FillClass))
)]
struct Declared;

/// The router, and the document that `/openapi.json` answers with.
pub fn router(plane: Arc<ControlPlane>, poller: Poller) -> (Router, Document) {
    let (router, mut document) = OpenApiRouter::with_openapi(described())
        .routes(routes!(appliances::enrol, appliances::appliance))
        .routes(routes!(appliances::report))
        .routes(routes!(appliances::manifest))
        .routes(routes!(appliances::sources))
        .routes(routes!(appliances::descriptor))
        .routes(routes!(directives::order))
        .routes(routes!(lists::appliances))
        .routes(routes!(lists::titles))
        .routes(routes!(steer::steer))
        .routes(routes!(steer::steer_hls))
        .routes(routes!(steer::steer_dash))
        .routes(routes!(observe::healthz))
        .routes(routes!(observe::metrics))
        .routes(routes!(observe::openapi))
        .split_for_parts();
    declare_what_all_may_answer(&mut document);
    let api = Arc::new(Api {
        plane,
        poller,
        document: document.to_json().expect("the document holds only what JSON can say"),
        requests: Semaphore::new(limits::REQUESTS_AT_ONCE),
        contents: Semaphore::new(limits::CONTENTS_BYTES_MAX),
    });
    let router = router
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_method)
        .layer(from_fn_with_state(Arc::clone(&api), bounded))
        .with_state(api);
    (router, document)
}

fn described() -> Document {
    let mut document = Declared::openapi();
    let components = document.components.get_or_insert_with(Default::default);
    for (name, description) in [
        ("appliance", "The appliance's own token, as \"control-plane appliance add\" printed it."),
        ("operator", "The token in operator.token of the state folder."),
    ] {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description)).build();
        components.add_security_scheme(name, SecurityScheme::Http(scheme));
    }
    document
}

/// What [`bounded`] answers, and what any route answers where the database fails.
fn declare_what_all_may_answer(document: &mut Document) {
    let failure = || {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Failure"))).build();
        ResponseBuilder::new().content("application/json", content)
    };
    for path in document.paths.paths.values_mut() {
        for operation in [&mut path.get, &mut path.put, &mut path.post].into_iter().flatten() {
            for (status, description) in [
                ("408", "The request took too long."),
                ("500", "The control plane failed; its log says why."),
                ("503", "Come again later."),
            ] {
                let response = failure().description(description).build();
                operation.responses.responses.entry(status.to_owned()).or_insert_with(|| response.into());
            }
        }
    }
}

/// Bounds what is worked on at once and how long, and counts the answer.
async fn bounded(State(api): Shared, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", |path| path.as_str()).to_owned();
    // Whoever looks after the control plane sees it when it has too much to do, too.
    let is_observed = matches!(route.as_str(), "/healthz" | "/metrics");
    let permit = api.requests.try_acquire();
    let response = if permit.is_err() && !is_observed {
        Problem::busy("too many requests are being worked on").into_response()
    } else {
        match tokio::time::timeout(limits::REQUEST_TIMEOUT, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the request took too long")
                .into_response(),
        }
    };
    let class =
        ["1xx", "2xx", "3xx", "4xx", "5xx"][usize::from(response.status().as_u16() / 100).clamp(1, 5) - 1];
    api.plane.metrics.requests.with_label_values(&[&route, class]).inc();
    response
}

async fn unknown_route() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "unknown_route",
        "there is nothing here: /openapi.json lists what there is",
    )
}

async fn unknown_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "unknown_method",
        "not with this method: /openapi.json lists what there is",
    )
}

/// An answer that nobody keeps.
fn json<T: serde::Serialize>(document: &T) -> Result<Response, Problem> {
    let content = serde_json::to_vec(document).map_err(|error| Problem::internal(&error))?;
    Ok(json_text(content))
}

fn json_text(content: impl Into<axum::body::Body>) -> Response {
    let mut response = Response::new(content.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
