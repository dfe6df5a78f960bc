//! What a shared HTTP cache may keep, for how long, and what it answers: RFC 9111 as pure functions of fields and the present moment.
//!
//! # Reading order: the life of a response
//!
//! 1. [`decide`] looks at what is held under the key of a request: serve it, revalidate it, or fetch;
//! 2. [`upstream_fields`] are what upstream is asked with: few of a client's, and why (`fields`);
//! 3. [`may_store`] makes a [`StoredHead`] of the head that arrives, [`update_after_304`] freshens one, [`invalidated`] says what an
//!    unsafe method makes untrue;
//! 4. [`answering`] and [`answer_fields`] make of a stored head what one client is told: its conditions and its range are evaluated
//!    here, not upstream.
//!
//! [`filling_fields`] are for missing parts of what is held; [`says_that_it_is_past`] is about an answer to them that has none.
//!
//! Below them: the [`Directives`] of Cache-Control and CDN-Cache-Control, `freshness`, [`Selecting`] for Vary.
//!
//! # What is decided here that the standard leaves open
//!
//! - Of a client's Cache-Control only `only-if-cached` is heeded: the rest is advice (§5.2.1), and following it would let any client
//!   send its requests past the cache. What is held wrongly is purged by the operator.
//! - A response with `Set-Cookie` is not stored, unless upstream says that it is for all (`public`, `s-maxage`). One to a request with
//!   `Cookie` or `Authorization` is given no lifetime that upstream does not say.
//! - What went upstream of a client's request, and is not known to do no harm, is part of what the answer is kept under.
//! - What breaks the grammar of freshness counts as stale; of what is said twice, the shorter holds.
//! - Playlists, segments and absences are given lifetimes where upstream says nothing ([`Policy`]); what it says comes first, but a
//!   server error never lives longer than [`SERVER_ERROR_LIFETIME_MAX`](crate::limits::SERVER_ERROR_LIFETIME_MAX).
//! - Where upstream fails, a stale response stands in for it for a while, unless upstream forbids that (§4.2.4). That `s-maxage` forbids it
//!   (§5.2.2.10) gives way to a `stale-while-revalidate` or `stale-if-error` that upstream says beside it.

mod answering;
mod deciding;
mod directives;
mod fields;
mod filling;
mod freshness;
mod invalidation;
mod media;
mod policy;
mod selecting;
mod stored_head;
mod storing;
mod updating;
mod validation;

#[cfg(test)]
mod tests;

use std::time::SystemTime;

use http::{HeaderMap, Method, StatusCode};

pub use answering::{Answering, answer_fields, answering};
pub use deciding::{Decision, decide, may_serve_stale_on_error};
pub use directives::Directives;
pub use fields::{end_to_end, is_common, lone_fields, upstream_fields};
pub use filling::{filling_fields, says_that_it_is_past};
pub use invalidation::invalidated;
pub use policy::Policy;
pub use selecting::{Selecting, varied_by};
pub use stored_head::{StoredHead, Undecodable};
pub use storing::{Storing, Unstorable, may_keep, may_store};
pub use updating::update_after_304;

/// What of a client's request matters here.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Path and query.
    pub target: &'a str,
    /// Its fields: as received, where an answer is chosen for it; as sent upstream, where it is seen what an answer is.
    pub fields: &'a HeaderMap,
}

/// What of upstream's response matters here.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// Its status; a final one.
    pub status: StatusCode,
    /// Its fields, as received.
    pub fields: &'a HeaderMap,
    /// When the request for it was sent.
    pub request_time: SystemTime,
    /// When its head had arrived.
    pub response_time: SystemTime,
}
