//! What an operator orders.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use control_client::admin::Failure;
use control_client::report::{Directive, Order};

use super::access::OPERATOR;
use super::answer::json;
use super::{Problem, Shared, named};
use crate::limits;
use crate::plane::now;

/// Orders something of an appliance. It hears of it with the answer to its next report; a drain turns clients
/// away at once.
#[utoipa::path(
    post, path = "/v1/appliances/{appliance}/directives", tag = "operator", security(("operator" = [])),
    params(("appliance" = String, Path, description = "The appliance's name.")),
    request_body = Order,
    responses(
        (status = 200, description = "It is ordered.", body = Directive),
        (status = 400, description = "It is no order.", body = Failure),
        (status = 401, description = "The token is not the operator's.", body = Failure),
        (status = 404, description = "There is no such appliance.", body = Failure),
        (status = 409, description = "Too many orders wait for this appliance.", body = Failure),
        (status = 413, description = "The content is too large.", body = Failure),
    )
)]
pub(super) async fn order(
    State(api): Shared,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    api.operator(&headers)?;
    let name = named(&name)?;
    let content = api.content::<Order>(OPERATOR, &headers, body, limits::CONTENT_BYTES_MAX).await?;
    json(&api.plane.order(&name, content.document, now()).await?)
}
