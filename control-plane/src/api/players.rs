//! What players ask: where to go from now on, in their own documents; and where to begin, in media manifests with the pathways of the
//! same decision.

use std::net::SocketAddr;

use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::Response;
use control_client::admin::Failure;
use control_client::content::{BundlePath, ObjectName};
use serde::Deserialize;

use super::answer::json;
use super::steer::{answer, client};
use super::{Api, Problem, Shared};
use crate::content_steering::{
    ContentSteering, DASH_BASE, HLS_BASE, Pathways, appliances_scheme, content_steering, last_pathway,
    pathways,
};
use crate::fleet::Fleet;
use crate::media_manifest::Format;

mod question;

use question::{Told, own_scheme, own_url, steering_question};

/// Which player asks for what. Players add parameters of their own, which may be anything.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PlayerQuery {
    /// The client's address; left out: whoever asks, or whom a proxy on this machine names last in X-Forwarded-For.
    client: Option<String>,
    /// The directory that the title's media are below.
    path: String,
    /// The media manifest's own pathway, whose URLs are the origin's; left out: "." for HLS, "origin" for DASH.
    base: Option<String>,
    /// The media manifest's own pathways, separated by commas, where they are appliances: as /v1/play writes it.
    pathways: Option<String>,
    /// The scheme of the media manifest's URLs, http or https, where only appliances with the same are wanted.
    scheme: Option<String>,
}

/// Which player wants which media manifest.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PlayQuery {
    /// The client's address; left out: whoever asks, or whom a proxy on this machine names last in X-Forwarded-For.
    client: Option<String>,
    /// The media manifest as the title has it: /titles/film/master.m3u8.
    path: String,
    /// The scheme of its URLs, http or https. Left out: https where a proxy on this machine says that it was asked with https, otherwise
    /// what the best appliance names first, and the origin's own.
    scheme: Option<String>,
}

/// Where to go from now on, as an HLS content steering document.
#[utoipa::path(
    get, path = "/v1/steer/hls", tag = "anyone",
    params(
        PlayerQuery,
        ("_HLS_pathway" = Option<String>, Query, description = "Where the player is; counted."),
        ("_HLS_throughput" = Option<String>, Query, description = "How fast it was there, in bit/s; passed over."),
    ),
    responses(
        (status = 200, description = "The steering manifest.", body = ContentSteering),
        (status = 400, description = "The question cannot be one.", body = Failure),
    )
)]
pub(super) async fn steer_hls(
    State(api): Shared,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    told: Told,
    query: Result<Query<PlayerQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    steer_player(&api, peer, &headers, query, Format::Hls, &told)
}

/// Where to go from now on, as a DASH content steering document.
#[utoipa::path(
    get, path = "/v1/steer/dash", tag = "anyone",
    params(
        PlayerQuery,
        ("_DASH_pathway" = Option<String>, Query, description = "Where the player was, the present place last; counted."),
        ("_DASH_throughput" = Option<String>, Query, description = "How fast it was at each, in bit/s; passed over."),
    ),
    responses(
        (status = 200, description = "The steering manifest.", body = ContentSteering),
        (status = 400, description = "The question cannot be one.", body = Failure),
    )
)]
pub(super) async fn steer_dash(
    State(api): Shared,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    told: Told,
    query: Result<Query<PlayerQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    steer_player(&api, peer, &headers, query, Format::Dash, &told)
}

/// An HLS multivariant playlist of a title, with the pathways of the steering decision for this player.
#[utoipa::path(
    get, path = "/v1/play/hls.m3u8", tag = "anyone", params(PlayQuery),
    responses(
        (status = 200, description = "The playlist.", body = String, content_type = "application/vnd.apple.mpegurl"),
        (status = 400, description = "The question cannot be one.", body = Failure),
        (status = 404, description = "The catalogue has no such playlist that may be watched now.", body = Failure),
    )
)]
pub(super) async fn play_hls(
    State(api): Shared,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
    query: Result<Query<PlayQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    play(&api, peer, &headers, &uri, query, Format::Hls).await
}

/// An MPD of a title, with the pathways of the steering decision for this player.
#[utoipa::path(
    get, path = "/v1/play/dash.mpd", tag = "anyone", params(PlayQuery),
    responses(
        (status = 200, description = "The MPD.", body = String, content_type = "application/dash+xml"),
        (status = 400, description = "The question cannot be one.", body = Failure),
        (status = 404, description = "The catalogue has no such MPD that may be watched now.", body = Failure),
    )
)]
pub(super) async fn play_dash(
    State(api): Shared,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
    query: Result<Query<PlayQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    play(&api, peer, &headers, &uri, query, Format::Dash).await
}

fn steer_player(
    api: &Api,
    peer: SocketAddr,
    headers: &HeaderMap,
    query: Result<Query<PlayerQuery>, QueryRejection>,
    format: Format,
    Told(told): &Told,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|error| Problem::refused(error.body_text()))?;
    let base = query.base.as_deref().unwrap_or(match format {
        Format::Hls => HLS_BASE,
        Format::Dash => DASH_BASE,
    });
    let scheme = query.scheme.as_deref();
    let own = match &query.pathways {
        Some(list) => Pathways::listed(list, scheme),
        None => Pathways::one(base, scheme),
    };
    let own = own.ok_or_else(|| {
        Problem::refused(
            "base and pathways are of letters, digits, \".\", \"-\" and \"_\", none twice; scheme is http or https",
        )
    })?;
    let address = client(query.client.as_deref(), peer, headers)?;
    // A player goes from one representation of the title to another.
    let answer = answer(api, address, &query.path, false, Fleet::steer_below)?;
    // The same question, without what the player adds, which it adds again.
    let reload = query.pathways.as_deref().map(|list| {
        let place = if format == Format::Hls { "hls" } else { "dash" };
        format!("{place}?{}", steering_question(&query.path, list, scheme, query.client.as_deref()))
    });
    let document = content_steering(&answer, &own, reload);
    let at = match told.as_deref().and_then(last_pathway) {
        None => "unsaid",
        Some(at) if document.pathway_priority.first().is_some_and(|first| first == at) => "first",
        Some(at) if document.pathway_priority.iter().any(|listed| listed == at) => "listed",
        Some(_) => "elsewhere",
    };
    api.plane.metrics.players.with_label_values(&[at]).inc();
    json(&document)
}

async fn play(
    api: &Api,
    peer: SocketAddr,
    headers: &HeaderMap,
    uri: &Uri,
    query: Result<Query<PlayQuery>, QueryRejection>,
    format: Format,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|error| Problem::refused(error.body_text()))?;
    let (directory, name) = split(&query.path)?;
    let scheme = match query.scheme.as_deref() {
        None => own_scheme(peer, headers).filter(|&scheme| scheme == "https"),
        Some(scheme @ ("http" | "https")) => Some(scheme),
        Some(_) => return Err(Problem::refused("scheme is http or https")),
    };
    let absent = || Problem::absent(format!("the catalogue has no {} that may be watched now", query.path));
    if Format::of(name.as_str()) != Some(format) {
        return Err(absent());
    }
    // Directories below it may be open, and have appliances.
    if api.plane.fleet().is_closed(&directory) {
        return Err(absent());
    }
    let bundle = api.plane.fleet().newest(&directory).ok_or_else(absent)?;
    let address = client(query.client.as_deref(), peer, headers)?;
    let answer = answer(api, address, directory.as_str(), false, Fleet::steer_below)?;
    let pathways = pathways(&answer, scheme);
    if pathways.is_empty() {
        return Err(Problem::crowded("no appliance can serve it to this client now"));
    }
    let original = api.originals.of(&api.plane.database, &bundle, &name).await?.ok_or_else(absent)?;
    let ids: Vec<&str> = pathways.iter().map(|pathway| pathway.id.as_str()).collect();
    // Appliances that the player hears of later are clones of these, with the same scheme.
    let scheme = scheme.or_else(|| appliances_scheme(&answer));
    let question = steering_question(directory.as_str(), &ids.join(","), scheme, query.client.as_deref());
    let steering_url = own_url(peer, headers, uri, format, &question);
    let text = format
        .with_pathways(&original, &directory, &pathways, &steering_url)
        .map_err(|error| Problem::internal(&error))?;
    // It is reckoned with whoever asks: anybody can name any number of clients.
    let asker = client(None, peer, headers)?;
    let room = api.play_answers.room(&asker.to_string(), text.len() as u64)?;
    let mut response = room.send(text.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    Ok(response)
}

/// The directory and the name of a media manifest.
fn split(path: &str) -> Result<(BundlePath, ObjectName), Problem> {
    let (directory, name) =
        path.rsplit_once('/').ok_or_else(|| Problem::refused("path begins with a slash"))?;
    let directory = if directory.is_empty() { "/" } else { directory };
    let refused = |error| Problem::refused(format!("path: {error}"));
    Ok((BundlePath::parse(directory).map_err(refused)?, ObjectName::parse(name).map_err(refused)?))
}
