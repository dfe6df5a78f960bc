//! What an unsafe method makes untrue (RFC 9111 §4.4).

use http::Method;
use http::header::{CONTENT_LOCATION, LOCATION};
use url::{Position, Url};

use super::{RequestHead, ResponseHead};
use crate::request::Scheme;

/// The keys under which nothing that is held may be used any more after that response: the target's own, and those that Location and
/// Content-Location name on the same server. None after a safe method or an error.
pub fn invalidated(
    request: &RequestHead<'_>,
    scheme: Scheme,
    authority: &str,
    response: &ResponseHead<'_>,
) -> Vec<String> {
    let is_error = response.status.is_client_error() || response.status.is_server_error();
    if is_safe(request.method) || is_error {
        return Vec::new();
    }
    let mut keys = vec![request.target.to_owned()];
    if let Some(base) = base(request, scheme, authority) {
        for value in [LOCATION, CONTENT_LOCATION].iter().filter_map(|name| response.fields.get(name)) {
            let named = value.to_str().ok().and_then(|value| base.join(value).ok());
            let key = named.filter(|named| named.origin() == base.origin());
            keys.extend(key.map(|named| named[Position::BeforePath..Position::AfterQuery].to_owned()));
        }
    }
    keys
}

/// RFC 9110 §9.2.1; a method that nobody knows is not safe.
fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(method)
}

/// Who asks in HTTP/1.0 may not say whom; "invalid" is nobody's name (RFC 2606 §2).
fn base(request: &RequestHead<'_>, scheme: Scheme, authority: &str) -> Option<Url> {
    let scheme = match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    let authority = if authority.is_empty() { "invalid" } else { authority };
    Url::parse(&format!("{scheme}://{authority}{}", request.target)).ok()
}
