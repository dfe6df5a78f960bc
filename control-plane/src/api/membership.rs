//! Where appliances stand, and whether they belong to the fleet.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use control_client::admin::Failure;

use super::access::OPERATOR;
use super::{Problem, Shared, named};
use crate::limits;
use crate::registry::ApplianceChange;

/// Moves an appliance to another site, or notes what its links carry. Its token, inventory and history stay.
#[utoipa::path(
    patch, path = "/v1/appliances/{appliance}", tag = "operator", security(("operator" = [])),
    params(("appliance" = String, Path, description = "The appliance's name.")),
    request_body = ApplianceChange,
    responses(
        (status = 204, description = "It is changed."),
        (status = 400, description = "It is no change.", body = Failure),
        (status = 401, description = "The token is not the operator's.", body = Failure),
        (status = 404, description = "There is no such appliance, or no such site.", body = Failure),
        (status = 413, description = "The content is too large.", body = Failure),
    )
)]
pub(super) async fn change(
    State(api): Shared,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    api.operator(&headers)?;
    let name = named(&name)?;
    let content = api.content::<ApplianceChange>(OPERATOR, &headers, body, limits::CONTENT_BYTES_MAX).await?;
    api.plane.change_appliance(&name, &content.document).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Forgets an appliance and all that it told. Clients are sent there no longer, and its token is none from now on.
#[utoipa::path(
    delete, path = "/v1/appliances/{appliance}", tag = "operator", security(("operator" = [])),
    params(("appliance" = String, Path, description = "The appliance's name.")),
    responses(
        (status = 204, description = "It is forgotten."),
        (status = 401, description = "The token is not the operator's.", body = Failure),
        (status = 404, description = "There is no such appliance.", body = Failure),
    )
)]
pub(super) async fn remove(
    State(api): Shared,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    api.operator(&headers)?;
    api.plane.remove_appliance(&named(&name)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
