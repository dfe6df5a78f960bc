//! Digests of what is sent (RFC 9530), from the SHA-256 that the store keeps of every object.
//!
//! `Repr-Digest` is of the whole object, on a part of it, too; it is sent unless the client says that it does not want it.
//! `Content-Digest` is of what this one message carries. On a whole response it would say the same once more, so that it is sent only
//! where it is wanted; for a part nothing is known that it could be made from.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::request::{Fields, Want};
use crate::response::Response;

/// Bytes of a SHA-256 in base 64.
const BASE64_BYTES: usize = 44;

/// Adds the fields that a response has for an object with this digest. `is_whole`: its content is the object.
pub(super) fn add(response: &mut Response, sha256: &[u8; 32], fields: &Fields<'_>, is_whole: bool) {
    let wants_content = is_whole && fields.want_content_digest == Want::Wanted;
    let wants_object = fields.want_repr_digest != Want::Unwanted;
    if !wants_object && !wants_content {
        return;
    }
    let mut digest = [0; BASE64_BYTES];
    STANDARD.encode_slice(sha256, &mut digest).expect("44 characters hold 32 bytes");
    for (name, is_sent) in
        [("Repr-Digest: sha-256=:", wants_object), ("Content-Digest: sha-256=:", wants_content)]
    {
        if is_sent {
            response.add_rendered(name.as_bytes());
            response.add_rendered(&digest);
            response.add_rendered(b":\r\n");
        }
    }
}
