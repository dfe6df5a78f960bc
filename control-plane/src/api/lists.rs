//! What an operator looks at, and titles that are taken away.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use control_client::admin::Failure;
use control_client::fleet::TitleName;

use super::access::OPERATOR;
use super::{ApplianceList, Problem, Shared, TitleList, views};

/// All appliances.
#[utoipa::path(
    get, path = "/v1/appliances", tag = "operator", security(("operator" = [])),
    responses(
        (status = 200, description = "The appliances, by name.", body = ApplianceList),
        (status = 401, description = "The token is not the operator's.", body = Failure),
    )
)]
pub(super) async fn appliances(State(api): Shared, headers: HeaderMap) -> Result<Response, Problem> {
    api.operator(&headers)?;
    api.large_json(OPERATOR, &views::appliances(&api.plane).await?)
}

/// All titles with their bundles.
#[utoipa::path(
    get, path = "/v1/titles", tag = "operator", security(("operator" = [])),
    responses(
        (status = 200, description = "The titles, by name.", body = TitleList),
        (status = 401, description = "The token is not the operator's.", body = Failure),
    )
)]
pub(super) async fn titles(State(api): Shared, headers: HeaderMap) -> Result<Response, Problem> {
    api.operator(&headers)?;
    api.large_json(OPERATOR, &views::titles(&api.plane.database).await?)
}

/// Takes a title out of the catalogue. Nobody is steered to it any more, and the next fill manifests lack it; appliances keep its bytes
/// until they need the room, or are told to purge them.
#[utoipa::path(
    delete, path = "/v1/titles/{title}", tag = "operator", security(("operator" = [])),
    params(("title" = String, Path, description = "The title's name.")),
    responses(
        (status = 204, description = "It is taken away."),
        (status = 401, description = "The token is not the operator's.", body = Failure),
        (status = 404, description = "There is no such title.", body = Failure),
    )
)]
pub(super) async fn remove_title(
    State(api): Shared,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    api.operator(&headers)?;
    let absent = || Problem::absent(format!("there is no title {name:?}"));
    let title = TitleName::parse(&name).map_err(|_| absent())?;
    if api.plane.remove_title(&title).await? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(absent())
    }
}
