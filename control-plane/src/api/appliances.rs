//! What appliances ask.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use control_client::admin::Failure;
use control_client::content::Sha256;
use control_client::descriptor::Descriptor;
use control_client::fill_manifest::{NO_MANIFEST, SignedManifest};
use control_client::limits::REPORT_BYTES_MAX;
use control_client::report::{Enrolment, Report, ReportAnswer};
use control_client::sources::{SourcesAnswer, SourcesRequest};
use control_client::wire::DocumentVersion;

use super::access::OPERATOR;
use super::answer::json;
use super::{ApplianceDetail, Problem, Shared, named, views};
use crate::plane::now;
use crate::{catalogue, limits, planning};

/// Says who the appliance is: sent when its agent starts, and when something of it changes.
#[utoipa::path(
    put, path = "/v1/appliances/{appliance}", tag = "appliance", security(("appliance" = [])),
    params(("appliance" = String, Path, description = "The appliance's name.")),
    request_body = Enrolment,
    responses(
        (status = 204, description = "It is taken."),
        (status = 400, description = "It says what cannot be.", body = Failure),
        (status = 401, description = "The token is not this appliance's.", body = Failure),
        (status = 413, description = "The content is too large.", body = Failure),
    )
)]
pub(super) async fn enrol(
    State(api): Shared,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let name = api.appliance(&name, &headers).await?;
    let content = api.content::<Enrolment>(name.as_str(), &headers, body, limits::CONTENT_BYTES_MAX).await?;
    api.plane.enrol(&name, &content.document, now()).await?;
    let admin_url = content.document.admin_url.clone();
    if !admin_url.is_empty() && api.plane.is_unknown(&name) {
        // At once, so that the others of its site know of it when they ask for sources.
        let api = std::sync::Arc::clone(&api);
        tokio::spawn(async move { api.plane.poll_first(&api.poller, &name, &admin_url).await });
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// All that is known of one appliance.
#[utoipa::path(
    get, path = "/v1/appliances/{appliance}", tag = "operator", security(("operator" = [])),
    params(("appliance" = String, Path, description = "The appliance's name.")),
    responses(
        (status = 200, description = "The appliance.", body = ApplianceDetail),
        (status = 401, description = "The token is not the operator's.", body = Failure),
        (status = 404, description = "There is no such appliance.", body = Failure),
    )
)]
pub(super) async fn appliance(
    State(api): Shared,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    api.operator(&headers)?;
    let name = named(&name)?;
    let absent = || Problem::absent(format!("there is no appliance {name}"));
    api.large_json(OPERATOR, &views::detail(&api.plane, &name).await?.ok_or_else(absent)?)
}

/// Takes a report. Each number is taken once: what a report counts is never counted twice.
#[utoipa::path(
    post, path = "/v1/appliances/{appliance}/reports", tag = "appliance", security(("appliance" = [])),
    params(("appliance" = String, Path, description = "The appliance's name.")),
    request_body = Report,
    responses(
        (status = 200, description = "It is taken, now or before.", body = ReportAnswer),
        (status = 400, description = "It says what cannot be.", body = Failure),
        (status = 401, description = "The token is not this appliance's.", body = Failure),
        (status = 413, description = "The content is too large.", body = Failure),
    )
)]
pub(super) async fn report(
    State(api): Shared,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let name = api.appliance(&name, &headers).await?;
    let content = api.content::<Report>(name.as_str(), &headers, body, REPORT_BYTES_MAX as usize).await?;
    json(&api.plane.report(&name, &content.document, now()).await?)
}

/// The appliance's newest fill manifest.
#[utoipa::path(
    get, path = "/v1/appliances/{appliance}/manifest", tag = "appliance", security(("appliance" = [])),
    params(
        ("appliance" = String, Path, description = "The appliance's name."),
        ("if-none-match" = Option<String>, Header, description = "The sequence that is known, in quotes.")
    ),
    responses(
        (
            status = 200, description = "The manifest.", body = SignedManifest,
            headers(("ETag" = String, description = "Its sequence, in quotes."))
        ),
        (
            status = 304, description = "It is the one that is known.",
            headers(("ETag" = String, description = "Its sequence, in quotes."))
        ),
        (status = 401, description = "The token is not this appliance's.", body = Failure),
        (status = 404, description = "None has been made yet.", body = Failure),
    )
)]
pub(super) async fn manifest(
    State(api): Shared,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name = api.appliance(&name, &headers).await?;
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tag| tag.to_str().ok()).and_then(sequence_of);
    let none = || {
        let detail = "no manifest has been made for this appliance yet";
        Problem::new(StatusCode::NOT_FOUND, NO_MANIFEST, detail)
    };
    let database = &api.plane.database;
    let (mut sequence, bytes) = planning::newest_size(database, &name).await?.ok_or_else(none)?;
    let mut response = if known == Some(sequence) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        // Before it is read.
        let room = api.answers.room(name.as_str(), bytes)?;
        let document;
        (sequence, document) = planning::newest(database, &name).await?.ok_or_else(none)?;
        room.send(document.into())
    };
    let tag = HeaderValue::from_str(&format!("\"{sequence}\"")).map_err(|error| Problem::internal(&error))?;
    response.headers_mut().insert(header::ETAG, tag);
    Ok(response)
}

fn sequence_of(tag: &str) -> Option<u64> {
    let tag = tag.trim();
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

/// Where the appliance can fetch bundles.
#[utoipa::path(
    post, path = "/v1/appliances/{appliance}/sources", tag = "appliance", security(("appliance" = [])),
    params(("appliance" = String, Path, description = "The appliance's name.")),
    request_body = SourcesRequest,
    responses(
        (status = 200, description = "A list for each bundle that the catalogue has.", body = SourcesAnswer),
        (status = 400, description = "It is no question, or one for too many bundles.", body = Failure),
        (status = 401, description = "The token is not this appliance's.", body = Failure),
        (status = 413, description = "The content is too large.", body = Failure),
    )
)]
pub(super) async fn sources(
    State(api): Shared,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let name = api.appliance(&name, &headers).await?;
    let content =
        api.content::<SourcesRequest>(name.as_str(), &headers, body, limits::SOURCES_BYTES_MAX).await?;
    let most = control_client::limits::SOURCES_BUNDLES_MAX;
    if content.document.bundles.len() > most {
        return Err(Problem::refused(format!("one question is for at most {most} bundles")));
    }
    api.plane.first_plan(limits::FIRST_PLAN_WAIT).await;
    let bundles = api.plane.sources(&name, &content.document, now()).await;
    api.large_json(name.as_str(), &SourcesAnswer { version: DocumentVersion, bundles })
}

/// The exact bytes of a descriptor.
#[utoipa::path(
    get, path = "/v1/descriptors/{sha256}", tag = "appliance", security(("appliance" = [])),
    params(("sha256" = String, Path, description = "The SHA-256 of the descriptor: 64 hexadecimal digits.")),
    responses(
        (status = 200, description = "The descriptor.", body = Descriptor),
        (status = 401, description = "The token is no appliance's.", body = Failure),
        (status = 404, description = "The catalogue has no such descriptor.", body = Failure),
    )
)]
pub(super) async fn descriptor(
    State(api): Shared,
    Path(sha256): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name = api.any_appliance(&headers).await?;
    let absent = || Problem::absent("the catalogue has no such descriptor");
    let sha256 = Sha256::parse(&sha256).map_err(|_| absent())?;
    let bytes = catalogue::descriptor_bytes(&api.plane.database, &sha256).await?.ok_or_else(absent)?;
    let room = api.answers.room(name.as_str(), bytes)?;
    let content = catalogue::descriptor(&api.plane.database, &sha256).await?.ok_or_else(absent)?;
    Ok(room.send(content.into()))
}
