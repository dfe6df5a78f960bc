//! Changes: what is sent to the admin API's Unix socket, and what comes back.
//!
//! | request | content | answer |
//! |---|---|---|
//! | `POST /adopt` | [`Adopt`] | [`Adopted`] |
//! | `POST /retire` | [`Retire`] | [`Retired`] |
//! | `POST /purge` | [`Purge`] | [`Purged`] |
//! | `POST /drain`, `POST /undrain` | none | [`ReadinessChanged`] |
//!
//! What cannot be done is answered with a 4xx or 5xx status and a [`Failure`]. A request may leave `version` out.

use serde::{Deserialize, Serialize};

use crate::content::{BundleKey, BundlePath, Generation};
use crate::health::Readiness;
use crate::wire::DocumentVersion;

/// Take a bundle into the inventory that lies, written and synced, under `bundles/` of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopt {
    /// 1, or left out.
    #[serde(default)]
    pub version: DocumentVersion,
    /// The volume's directory, or its id.
    pub volume: String,
    /// The file's name, relative to `bundles/`.
    pub file: String,
}

/// The bundle serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// Always 1.
    pub version: DocumentVersion,
    /// The bundle.
    pub bundle: BundleKey,
    /// Objects in it.
    pub objects: u64,
    /// The length of its file.
    pub bytes: u64,
    /// The generation that served before, and is being retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Generation>,
}

/// Take a bundle out: it leaves the inventory at once; the answer comes when its space has returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retire {
    /// 1, or left out.
    #[serde(default)]
    pub version: DocumentVersion,
    /// The directory that it serves.
    pub path: BundlePath,
    /// Only this edition; left out: whichever there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
}

/// The bundles are gone, and their space has returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// Always 1.
    pub version: DocumentVersion,
    /// What was taken out.
    pub bundles: Vec<BundleKey>,
    /// The space that returned.
    pub freed_bytes: u64,
}

/// Stop serving content because somebody said so. The answer comes when none of it can be served any more; its space
/// returns after the last reader. Pulled content that has this path, whatever its query, or lies below it goes with it, `prefix` or not:
/// it is pulled again when it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// 1, or left out.
    #[serde(default)]
    pub version: DocumentVersion,
    /// The directory; of pulled content an object, too.
    pub path: BundlePath,
    /// Everything below it, too.
    #[serde(default)]
    pub prefix: bool,
}

/// The content is served no longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// Always 1.
    pub version: DocumentVersion,
    /// What was taken out, and what was published and had not been adopted.
    pub bundles: Vec<BundleKey>,
    /// Pulled objects that were dropped.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pulled_objects: u64,
    /// Paths of volumes that have failed or are not open yet, and of those with a file that was published, never adopted, and could not
    /// be read or removed (the daemon's log names it): the bundles that they hold may serve again once they can be read, so purge
    /// again then. What was pulled is dropped there before it is served again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_reached: Vec<String>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Where draining or undraining has led. Draining ends by itself in [`Readiness::Drained`], which `/health` tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadinessChanged {
    /// Always 1.
    pub version: DocumentVersion,
    /// The step that the appliance is at now.
    pub readiness: Readiness,
}

/// Why something cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Failure {
    /// A word for programs, in snake case.
    pub error: String,
    /// A sentence for people: what is the matter, and what to do.
    pub detail: String,
}
