//! Asking upstream whether what is held is still right (RFC 9111 §4.3.1).

use http::HeaderMap;
use http::header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};

use super::stored_head::StoredHead;

/// The conditions on which upstream needs to send nothing; none where the response has no validator. Validators are sent as they
/// came, even those that break the grammar: it is upstream that has to know them again.
pub(super) fn conditions(head: &StoredHead) -> HeaderMap {
    let mut conditions = HeaderMap::new();
    if let Some(tag) = head.fields.get(ETAG) {
        conditions.insert(IF_NONE_MATCH, tag.clone());
    }
    if let Some(since) = head.fields.get(LAST_MODIFIED) {
        conditions.insert(IF_MODIFIED_SINCE, since.clone());
    }
    conditions
}
