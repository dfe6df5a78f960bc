//! What is answered: the semantics of HTTP (RFC 9110) for immutable objects, decided without I/O.
//!
//! In the order of a request: [`route`] looks at method and target, and either answers or says what to look
//! up; then [`answer`] decides for an object that was found (`conditions`, then `ranges`), [`miss`] for what no bundle holds or can
//! hold (after which [`pulled`] or [`not_pulled`] makes a response of what comes of it), [`unavailable`] where the object cannot be read
//! now, and [`refuse`] for what was not a request at all.

mod cache_control;
mod conditions;
mod digests;
mod entity_tag;
mod errors;
mod miss;
mod policy;
mod pulled;
mod ranges;
mod server_timing;

#[cfg(test)]
mod tests;

use control_client::units::ByteRange;

use crate::outcome::Outcome;
use crate::request::{Cause, Location, Method, Persistence, Refusal, Request, Scheme, Target, TargetError};
use crate::response::{Body, Multipart, Part, Response, Status, http_date};
use conditions::{EntityTag, Validators, Verdict};
pub(crate) use entity_tag::{WrittenTag, lists};
pub use miss::{Miss, MissRules, miss, takes_content};
pub use policy::{Policy, PolicyError};
pub use pulled::{Coding, Pulled, not_pulled, pulled};
pub(crate) use ranges::{Selection, select};
pub use server_timing::{Source, append_line as append_server_timing};

/// What is known of an object before a byte of it is read.
#[derive(Clone, Copy, Debug)]
pub struct ObjectFacts<'a> {
    /// Where it lies in the bundle's file.
    pub range_in_file: ByteRange,
    /// Its digest.
    pub sha256: &'a [u8; 32],
    /// When it was last modified, in seconds since 1970.
    pub last_modified: u64,
    /// Its media type, as Content-Type says it.
    pub media_type: &'a str,
}

/// Where a request goes.
#[derive(Debug)]
pub enum Route<'a> {
    /// Look this up; then [`answer`] or [`miss`].
    Find(Location<'a>),
    /// No bundle can have it: [`miss`].
    Nowhere(Cause),
    /// Answered without a look at the store.
    Answer(Response),
}

/// What is allowed for what bundles hold, and for all where nothing else is passed on.
const ALLOW: &str = "GET, HEAD, OPTIONS";

/// Decides by method and target. `scheme` is what the connection speaks.
pub fn route<'a>(request: &Request<'a>, scheme: Scheme, policy: &Policy) -> Route<'a> {
    match locate(request, scheme) {
        Ok(Some(location)) => Route::Find(location),
        Ok(None) => Route::Answer(options(request, policy)),
        Err(cause) => Route::Nowhere(cause),
    }
}

/// The object that is asked for; `None` where the request is about what is allowed.
fn locate<'a>(request: &Request<'a>, connection_scheme: Scheme) -> Result<Option<Location<'a>>, Cause> {
    if matches!(request.method, Method::Unknown | Method::Connect) {
        // RFC 9110 §9.1: not recognised or not implemented is 501; §9.3.6: origin servers do not implement CONNECT.
        return Err(Cause::UnknownMethod);
    }
    let target = Target::parse(request.target).map_err(|_| Cause::Target)?;
    let path = match target {
        Target::Path { scheme: Some(Scheme::Https), .. } if connection_scheme == Scheme::Http => {
            return Err(Cause::Misdirected); // RFC 9110 §7.4
        }
        Target::Path { path, .. } => Some(path),
        Target::Asterisk if request.method == Method::Options => None, // RFC 9112 §3.2.4: for OPTIONS only
        Target::Asterisk => return Err(Cause::Target),
    };
    if !matches!(request.method, Method::Get | Method::Head | Method::Options) {
        return Err(Cause::Method);
    }
    if request.fields.expects_other {
        return Err(Cause::Expectation);
    }
    match (path.map(Location::of), request.method) {
        (Some(Err(TargetError::Malformed)), _) => Err(Cause::Target),
        (None, _) | (_, Method::Options) => Ok(None),
        (Some(Err(TargetError::NoObject)), _) => Err(Cause::Absent),
        (Some(Ok(location)), _) => Ok(Some(location)),
    }
}

/// 204 with what is allowed (RFC 9110 §9.3.7), and for a CORS preflight what a page may ask for.
fn options(request: &Request<'_>, policy: &Policy) -> Response {
    let mut response = Response::new(Status::NO_CONTENT, Outcome::Options, request.persistence);
    response.add_field("Allow", policy.misses().methods().as_bytes());
    let is_preflight = request.fields.has_origin && request.fields.has_requested_method;
    response.add_rendered(if is_preflight { policy.preflight_lines() } else { policy.cors_lines() });
    response
}

/// Decides for an object that was found, at the moment `now` in seconds since 1970: preconditions in the order of
/// RFC 9110 §13.2.2, then ranges (§14.2).
pub fn answer(request: &Request<'_>, object: &ObjectFacts<'_>, policy: &Policy, now: u64) -> Response {
    // RFC 9110 §8.8.2.1: a Last-Modified is never later than Date.
    let last_modified = object.last_modified.min(now);
    let validators = Validators { entity_tag: EntityTag::of(object.sha256), last_modified };
    match conditions::evaluate(&request.fields, &validators) {
        Verdict::Proceed => {}
        Verdict::PreconditionFailed => return client_error(Cause::PreconditionFailed, request, policy),
        Verdict::NotModified => return not_modified(request, object, &validators, policy),
    }
    let length = object.range_in_file.len();
    match selection(request, &validators, length) {
        Selection::Whole => whole(request, object, &validators, policy),
        Selection::Ranges(ranges) => partial(request, object, &validators, policy, &ranges),
        Selection::Unsatisfiable => {
            let mut response = client_error(Cause::RangeNotSatisfiable, request, policy);
            response.add_formatted("Content-Range", format_args!("bytes */{length}"));
            response
        }
    }
}

/// The bytes that are asked for. Range is defined for GET alone (RFC 9110 §14.2), and subject to If-Range.
fn selection(request: &Request<'_>, validators: &Validators, length: u64) -> Selection {
    match request.fields.range.one() {
        Some(range)
            if request.method == Method::Get && conditions::range_applies(&request.fields, validators) =>
        {
            select(range, length)
        }
        _ => Selection::Whole,
    }
}

fn whole(
    request: &Request<'_>,
    object: &ObjectFacts<'_>,
    validators: &Validators,
    policy: &Policy,
) -> Response {
    let is_head = request.method == Method::Head;
    let outcome = if is_head { Outcome::Head } else { Outcome::HitDisk };
    let mut response = Response::new(Status::OK, outcome, request.persistence);
    response.add_field("Content-Type", object.safe_media_type().as_bytes());
    object.add_fields(&mut response, validators, policy);
    digests::add(&mut response, object.sha256, &request.fields, !is_head);
    response.set_body(file(object.range_in_file), is_head);
    response
}

/// 206 (RFC 9110 §15.3.7). With If-Range, too, the response carries all its fields: players look at Content-Type.
fn partial(
    request: &Request<'_>,
    object: &ObjectFacts<'_>,
    validators: &Validators,
    policy: &Policy,
    ranges: &[ByteRange],
) -> Response {
    let mut response = Response::new(Status::PARTIAL_CONTENT, Outcome::HitDisk, request.persistence);
    let media_type = object.safe_media_type();
    let body = if let [range] = ranges {
        let (first, last, length) = (range.start, range.end - 1, object.range_in_file.len());
        response.add_field("Content-Type", media_type.as_bytes());
        response.add_formatted("Content-Range", format_args!("bytes {first}-{last}/{length}"));
        let start = object.range_in_file.start;
        file(ByteRange::new(start + range.start, start + range.end))
    } else {
        let multipart = Multipart { media_type, object: object.range_in_file, sha256: object.sha256 };
        let boundary = multipart.boundary();
        response.add_formatted("Content-Type", format_args!("multipart/byteranges; boundary={boundary}"));
        Body::Object(multipart.parts(ranges))
    };
    object.add_fields(&mut response, validators, policy);
    digests::add(&mut response, object.sha256, &request.fields, false);
    response.set_body(body, false);
    response
}

/// 304 with the fields that RFC 9110 §15.4.5 asks for, and what is said of every hit.
fn not_modified(
    request: &Request<'_>,
    object: &ObjectFacts<'_>,
    validators: &Validators,
    policy: &Policy,
) -> Response {
    let mut response = Response::new(Status::NOT_MODIFIED, Outcome::NotModified, request.persistence);
    response.add_field("ETag", validators.entity_tag.as_bytes());
    response.add_rendered(policy.not_modified_lines(object.media_type));
    response
}

/// 503: the object cannot be read now, or the connection not be taken. `outcome` is one of the refused ones;
/// without a request the connection closes.
pub fn unavailable(request: Option<&Request<'_>>, outcome: Outcome, policy: &Policy) -> Response {
    errors::unavailable(request, outcome, policy)
}

/// The answer to what was not a request that could be trusted. The connection closes.
pub fn refuse(refusal: Refusal, policy: &Policy) -> Response {
    errors::client_error(refusal.cause, Persistence::Close, refusal.is_head, policy)
}

fn client_error(cause: Cause, request: &Request<'_>, policy: &Policy) -> Response {
    let mut response =
        errors::client_error(cause, request.persistence, request.method == Method::Head, policy);
    if request.method == Method::Connect {
        // What follows is meant for a tunnel that does not exist.
        response.persistence = Persistence::Close;
    }
    response
}

fn file(range: ByteRange) -> Body {
    if range.is_empty() { Body::Empty } else { Body::Object(smallvec::smallvec![Part::File(range)]) }
}

impl<'a> ObjectFacts<'a> {
    /// What every 200 and 206 says of the object.
    fn add_fields(&self, response: &mut Response, validators: &Validators, policy: &Policy) {
        response.add_field("ETag", validators.entity_tag.as_bytes());
        response.add_field("Last-Modified", &http_date(validators.last_modified));
        response.add_rendered(policy.found_lines(self.media_type));
    }

    /// The media type, which came from a disk: whatever is written there, it cannot end a line.
    fn safe_media_type(&self) -> &'a str {
        let is_safe =
            !self.media_type.is_empty() && self.media_type.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        if is_safe { self.media_type } else { "application/octet-stream" }
    }
}
