//! A 304 freshens what is held (RFC 9111 §4.3.4, §3.2).

use http::HeaderName;
use http::header::{
    AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, LAST_MODIFIED, SET_COOKIE, VARY,
};

use super::directives::Directives;
use super::fields::{DIGESTS_OF_CONTENT, lasting};
use super::selecting::Selecting;
use super::stored_head::StoredHead;
use super::{Policy, RequestHead, ResponseHead};

/// What says something of the bytes that are held, which a response without any cannot change; and what is for one client.
const NEVER_UPDATED: [HeaderName; 6] = [
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    HeaderName::from_static("repr-digest"),
    ETAG,
    SET_COOKIE,
];

/// The stored head after upstream answered `request`, whose fields were sent beside its conditions, with 304.
///
/// Every field of the 304 replaces the stored ones of its name, but for those that describe the bytes. The tag that upstream was
/// asked about stays the one of the stored bytes, whatever tag the answer has.
pub fn update_after_304(
    stored: &StoredHead,
    request: &RequestHead<'_>,
    response: &ResponseHead<'_>,
    policy: &Policy,
) -> StoredHead {
    let newer = lasting(response.fields);
    let directives = Directives::of(&newer);
    let mut fields = stored.fields.clone();
    // They are about the arrival of what they come with, and say nothing of the 304's.
    fields.remove(AGE);
    fields.remove(DATE);
    for name in newer.keys() {
        let is_kept_back = directives.fields_kept_back().any(|kept_back| kept_back == name);
        // Where there is no tag, the date is what the bytes are known by.
        let is_validator = *name == LAST_MODIFIED && !stored.fields.contains_key(ETAG);
        let is_of_the_bytes = NEVER_UPDATED.contains(name) || DIGESTS_OF_CONTENT.contains(name);
        if is_kept_back || is_validator || is_of_the_bytes {
            continue;
        }
        fields.remove(name);
        for value in newer.get_all(name) {
            fields.append(name.clone(), value.clone());
        }
    }
    let selecting = Selecting::of_sent(request.fields, &fields, policy).unwrap_or_else(|| {
        // "Vary: *" would mean that nothing is ever answered; the 200 that is held said otherwise.
        fields.remove(VARY);
        for value in stored.fields.get_all(VARY) {
            fields.append(VARY, value.clone());
        }
        stored.selecting.clone()
    });
    StoredHead {
        status: stored.status,
        is_to_credentials: stored.is_to_credentials,
        fields,
        selecting,
        request_time: response.request_time,
        response_time: response.response_time,
        total_length: stored.total_length,
    }
}
