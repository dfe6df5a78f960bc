//! The fill manifest: the control plane's ranked list of what one appliance should hold, signed over its exact bytes.

mod seal;

use serde::{Deserialize, Serialize};

use crate::content::{BundlePath, Generation, Sha256};
use crate::fleet::{ApplianceName, TitleName};
use crate::wire::DocumentVersion;

pub use seal::ManifestRefused;

/// The ranked list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FillManifest {
    /// Always 1.
    pub version: DocumentVersion,
    /// The appliance that it is for. Any other refuses it.
    pub audience: ApplianceName,
    /// Rises with every manifest for this appliance. One that is older than the newest seen is refused.
    pub sequence: u64,
    /// When it was made, in seconds since 1970.
    pub issued_at: u64,
    /// What to hold, the best first; each path once.
    pub entries: Vec<FillEntry>,
}

/// One bundle of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FillEntry {
    /// The directory that it serves.
    pub path: BundlePath,
    /// Its edition.
    pub generation: Generation,
    /// The title that it is a part of.
    pub title: TitleName,
    /// The bytes of its objects.
    pub bytes: u64,
    /// How many objects it has.
    pub objects: u64,
    /// What is expected of it here: bytes served to clients, per day.
    pub score: u64,
    /// The SHA-256 of its descriptor's bytes.
    pub descriptor: Sha256,
    /// Why it is in the list.
    pub class: FillClass,
    /// Not to be served from this moment on, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
}

/// Why a bundle is in the list. Pinned ones go first, pre-warmed ones next, then the rest by score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FillClass {
    /// An operator says so.
    Pinned,
    /// It will be released soon.
    Prewarm,
    /// It is watched.
    Ranked,
}

/// A fill manifest as it travels and as it is kept: the exact bytes that were signed, and the signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignedManifest {
    /// Always 1.
    pub version: DocumentVersion,
    /// Which key signed it.
    pub key_id: String,
    /// The Ed25519 signature (RFC 8032) over [`SIGNATURE_CONTEXT`] and the bytes of `manifest`: 128 hexadecimal digits.
    pub signature: String,
    /// The JSON of a [`FillManifest`].
    pub manifest: String,
}

/// Signed before the manifest's bytes, so that no signature made for something else is one for a manifest.
pub const SIGNATURE_CONTEXT: &[u8] = b"oca fill manifest v1\0";

/// The word of the failure that comes with 404 where there is no manifest for an appliance yet.
pub const NO_MANIFEST: &str = "no_manifest";
