//! Answers that say no: a status, a stable code and one sentence. Nothing of the request is repeated in them.

use super::{ALLOW, Policy};
use crate::outcome::Outcome;
use crate::pull::PullFailure;
use crate::request::{Cause, Method, Persistence, Request};
use crate::response::{Body, Response, Status};

/// The answer to a client's mistake.
pub(super) fn client_error(
    cause: Cause,
    persistence: Persistence,
    is_head: bool,
    policy: &Policy,
) -> Response {
    let (status, text) = status_and_text(cause);
    let mut response = Response::new(status, cause.outcome(), persistence);
    add_error_fields(&mut response, policy);
    if cause == Cause::Method {
        response.add_field("Allow", ALLOW.as_bytes()); // RFC 9110 §15.5.6
    }
    response.set_body(Body::Text(text.into()), is_head);
    response
}

/// 503, with when to try again (RFC 9110 §15.6.4).
pub(super) fn unavailable(request: Option<&Request<'_>>, outcome: Outcome, policy: &Policy) -> Response {
    let persistence = request.map_or(Persistence::Close, |request| request.persistence);
    let is_head = request.is_some_and(|request| request.method == Method::Head);
    let mut response = Response::new(Status::SERVICE_UNAVAILABLE, outcome, persistence);
    add_error_fields(&mut response, policy);
    response.add_rendered(policy.retry_after_line());
    let code = outcome.as_str().trim_start_matches("refused_");
    response.set_body(Body::Text(format!("{code}: try again later, or elsewhere\n").into()), is_head);
    response
}

/// The answer where pull-through has none.
pub(super) fn not_pulled(failure: PullFailure, request: &Request<'_>, policy: &Policy) -> Response {
    let mut response = Response::new(failure.status(), failure.refused(), request.persistence);
    add_error_fields(&mut response, policy);
    let word = failure.word();
    response.add_formatted("Cache-Status", format_args!("{};detail={word}", policy.cache_name()));
    if failure.status() == Status::SERVICE_UNAVAILABLE {
        response.add_rendered(policy.retry_after_line());
    }
    let advice = match failure {
        PullFailure::NoObject => "no object has this name",
        _ => "try again later, or elsewhere",
    };
    let text = format!("{word}: {advice}\n");
    response.set_body(Body::Text(text.into()), request.method == Method::Head);
    response
}

/// No error is stored: what is absent or broken now may be right a moment later, after a fill or a repair.
fn add_error_fields(response: &mut Response, policy: &Policy) {
    response.add_rendered(
        b"Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n",
    );
    response.add_rendered(policy.cors_lines());
}

fn status_and_text(cause: Cause) -> (Status, &'static str) {
    match cause {
        Cause::Malformed => (Status::BAD_REQUEST, "malformed: the request breaks the grammar of HTTP/1.1\n"),
        Cause::Framing => (Status::BAD_REQUEST, "framing: the length of the content is not clear\n"),
        Cause::Host => (Status::BAD_REQUEST, "host: exactly one valid Host is needed\n"),
        Cause::Target => (Status::BAD_REQUEST, "target: the request target is not valid\n"),
        Cause::Absent => (Status::NOT_FOUND, "absent: no object has this name\n"),
        Cause::Method => (Status::METHOD_NOT_ALLOWED, "method: only GET, HEAD and OPTIONS are allowed\n"),
        Cause::Timeout => (Status::REQUEST_TIMEOUT, "timeout: the request was not complete in time\n"),
        Cause::PreconditionFailed => {
            (Status::PRECONDITION_FAILED, "precondition_failed: the object is not the expected one\n")
        }
        Cause::ContentTooLarge => {
            (Status::CONTENT_TOO_LARGE, "content_too_large: no request here needs content\n")
        }
        Cause::UriTooLong => (Status::URI_TOO_LONG, "uri_too_long: the request line is too long\n"),
        Cause::RangeNotSatisfiable => (
            Status::RANGE_NOT_SATISFIABLE,
            "range_not_satisfiable: no requested range lies within the object\n",
        ),
        Cause::Expectation => (Status::EXPECTATION_FAILED, "expectation: only 100-continue is understood\n"),
        Cause::Misdirected => (Status::MISDIRECTED_REQUEST, "misdirected: https was asked for without TLS\n"),
        Cause::FieldsTooLarge => (
            Status::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "fields_too_large: the fields are too many or too long\n",
        ),
        Cause::UnknownMethod => (Status::NOT_IMPLEMENTED, "unknown_method: the method is not implemented\n"),
        Cause::Coding => (Status::NOT_IMPLEMENTED, "coding: chunked is the only transfer coding\n"),
        Cause::Version => {
            (Status::HTTP_VERSION_NOT_SUPPORTED, "version: HTTP/1.1 and HTTP/1.0 are spoken here\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_in_the_text_is_the_name_that_the_metrics_use() {
        for outcome in Outcome::ALL {
            let Some(code) = outcome.as_str().strip_prefix("client_error_") else { continue };
            if matches!(outcome, Outcome::ClientErrorOnlyIfCached | Outcome::ClientErrorUpstream) {
                continue; // answered by others: pull-through, and upstream itself
            }
            let cause = CAUSES.into_iter().find(|cause| cause.outcome() == outcome).unwrap();
            assert!(status_and_text(cause).1.starts_with(&format!("{code}: ")), "{code}");
        }
    }

    #[test]
    fn every_client_error_has_a_status_of_its_class() {
        for cause in CAUSES {
            let code = status_and_text(cause).0.code();
            assert!((400..500).contains(&code) || matches!(code, 501 | 505), "{cause:?}");
        }
    }

    const CAUSES: [Cause; 17] = [
        Cause::Malformed,
        Cause::Framing,
        Cause::Host,
        Cause::Target,
        Cause::Absent,
        Cause::Method,
        Cause::Timeout,
        Cause::PreconditionFailed,
        Cause::ContentTooLarge,
        Cause::UriTooLong,
        Cause::RangeNotSatisfiable,
        Cause::Expectation,
        Cause::Misdirected,
        Cause::FieldsTooLarge,
        Cause::UnknownMethod,
        Cause::Coding,
        Cause::Version,
    ];
}
