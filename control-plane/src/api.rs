//! The HTTP API: routes, what each takes and answers, and the OpenAPI document of them.
//!
//! Each route is declared once, on its function: the router and the document are both made of that
//! declaration, so neither can have a route that the other lacks. Everything is answered with JSON; failures
//! with [`Failure`].

mod access;
mod answer;
mod appliances;
mod browsers;
mod content;
mod directives;
mod lists;
mod membership;
mod memory;
mod observe;
mod originals;
mod players;
mod problem;
mod steer;
mod views;

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use control_client::admin::Failure;
use control_client::fill_manifest::{FillClass, FillEntry, FillManifest};
use control_client::fleet::ApplianceName;
use tokio::sync::Semaphore;
use utoipa::OpenApi;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::Ref;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi as Document, RefOr};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::limits;
use crate::plane::ControlPlane;
use crate::poll::Poller;

use memory::Memory;
pub use observe::Alive;
use observe::Counted;
use originals::Originals;
pub use problem::Problem;
pub use views::{ApplianceDetail, ApplianceList, ApplianceView, BundleView, TitleList, TitleView};

/// What every route can use.
pub struct Api {
    plane: Arc<ControlPlane>,
    poller: Poller,
    document: String,
    requests: Semaphore,
    observers: Semaphore,
    plays: Semaphore,
    contents: Memory,
    answers: Memory,
    play_answers: Memory,
    counted: Counted,
    originals: Originals,
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
        .routes(routes!(appliances::enrol, appliances::appliance, membership::change, membership::remove))
        .routes(routes!(appliances::report))
        .routes(routes!(appliances::manifest))
        .routes(routes!(appliances::sources))
        .routes(routes!(appliances::descriptor))
        .routes(routes!(directives::order))
        .routes(routes!(lists::appliances))
        .routes(routes!(lists::titles))
        .routes(routes!(lists::remove_title))
        .routes(routes!(steer::steer))
        .routes(routes!(players::steer_hls))
        .routes(routes!(players::steer_dash))
        .routes(routes!(players::play_hls))
        .routes(routes!(players::play_dash))
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
        observers: Semaphore::new(limits::OBSERVERS_AT_ONCE),
        plays: Semaphore::new(limits::PLAYS_AT_ONCE),
        contents: Memory::new(limits::CONTENTS_BYTES_MAX, limits::CONTENTS_BYTES_EACH_MAX),
        answers: Memory::new(limits::ANSWERS_BYTES_MAX, limits::ANSWERS_BYTES_EACH_MAX),
        play_answers: Memory::new(limits::PLAY_ANSWERS_BYTES_MAX, limits::PLAY_ANSWERS_BYTES_EACH_MAX),
        counted: Counted::default(),
        originals: Originals::new(),
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
        let operations = [&mut path.get, &mut path.put, &mut path.post, &mut path.patch, &mut path.delete];
        for operation in operations.into_iter().flatten() {
            for (status, description) in [
                ("408", "The request took too long."),
                ("500", "The control plane failed; its log says why."),
                ("503", "Come again later."),
            ] {
                let response = failure().description(description).build();
                operation.responses.responses.entry(status.to_owned()).or_insert_with(|| response.into());
            }
            for (status, name, description) in [
                ("401", "WWW-Authenticate", "Bearer."),
                ("503", "Retry-After", "After how many seconds to come again."),
            ] {
                if let Some(RefOr::T(response)) = operation.responses.responses.get_mut(status) {
                    let header = HeaderBuilder::new().description(Some(description)).build();
                    response.headers.insert(name.to_owned(), RefOr::T(header));
                }
            }
        }
    }
}

/// Bounds what is worked on at once and how long, and counts the answer.
async fn bounded(State(api): Shared, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", |path| path.as_str()).to_owned();
    let is_for_players = browsers::is_for_players(&route);
    if is_for_players && let Some(mut response) = browsers::preflight(request.method(), request.headers()) {
        browsers::show(&mut response);
        return response;
    }
    let places = match route.as_str() {
        // Whoever looks after the control plane sees it when it has too much to do, too.
        "/healthz" | "/metrics" => Some(&api.observers),
        // Clients are steered whatever the database does: that waits for nothing.
        "/v1/steer" | "/v1/steer/hls" | "/v1/steer/dash" | "/openapi.json" => None,
        // Viewers who come all at once take no place from appliances.
        "/v1/play/hls.m3u8" | "/v1/play/dash.mpd" => Some(&api.plays),
        _ => Some(&api.requests),
    };
    let place = places.map(Semaphore::try_acquire).transpose();
    let mut response = if place.is_err() {
        Problem::busy("too many requests are being worked on").into_response()
    } else {
        match tokio::time::timeout(limits::REQUEST_TIMEOUT, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the request took too long")
                .into_response(),
        }
    };
    if is_for_players {
        browsers::show(&mut response);
    }
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

/// The name in a URL; one that cannot be is nobody's.
fn named(name: &str) -> Result<ApplianceName, Problem> {
    ApplianceName::parse(name).map_err(|_| Problem::absent(format!("there is no appliance {name:?}")))
}
