//! What an operator looks at.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use control_client::admin::Failure;

use super::{ApplianceList, Problem, Shared, TitleList, json, views};

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
    json(&views::appliances(&api.plane).await?)
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
    json(&views::titles(&api.plane.database).await?)
}
