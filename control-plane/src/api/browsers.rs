//! Players in browsers come from pages of other origins: what these may ask, and see of the answer (Fetch, section 3.3).

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Fields that players add of their own: CMCD (CTA-5004) as headers makes the browser ask first.
const ALLOWED_FIELDS: &str = "CMCD-Object, CMCD-Request, CMCD-Session, CMCD-Status";

/// How long a browser may keep the answer to that, in seconds: the most that Chromium keeps.
const PREFLIGHT_SECONDS: &str = "7200";

/// Whether players ask by this route.
pub(super) fn is_for_players(route: &str) -> bool {
    route.starts_with("/v1/steer") || route.starts_with("/v1/play/")
}

/// The answer to a browser that asks whether it may ask.
pub(super) fn preflight(method: &Method, headers: &HeaderMap) -> Option<Response> {
    if method != Method::OPTIONS || !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        return None;
    }
    let fields = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_FIELDS),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS),
    ];
    Some((StatusCode::NO_CONTENT, fields).into_response())
}

/// Whatever the answer is, the page may see it: a player has to know when to come again.
pub(super) fn show(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Date, Retry-After"));
}
