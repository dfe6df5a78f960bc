//! Where a bundle can be fetched: asked of the control plane for the bundles that are missing, answered as a list for each.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::content::BundleKey;
use crate::wire::DocumentVersion;

/// Asks for sources, `POST /v1/appliances/{appliance}/sources`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcesRequest {
    /// Always 1.
    pub version: DocumentVersion,
    /// The bundles that are to be fetched, at most [`crate::limits::SOURCES_BUNDLES_MAX`].
    pub bundles: Vec<BundleKey>,
}

/// The answer: a list of sources for each bundle that was asked for and is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcesAnswer {
    /// Always 1.
    pub version: DocumentVersion,
    /// One for each bundle.
    pub bundles: Vec<BundleSources>,
}

/// The sources of one bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleSources {
    /// The bundle.
    pub bundle: BundleKey,
    /// In the order in which to try them.
    pub sources: Vec<FillSource>,
}

/// One place that has a bundle's objects, or will have them soon.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FillSource {
    /// How far away it is.
    pub kind: SourceKind,
    /// Its name in reports: an appliance's, or an origin's.
    pub name: String,
    /// An `http` or `https` URL; an object is at `{url}{path of the bundle}/{name of the object}`, each component
    /// percent-encoded.
    pub url: String,
    /// How long the sources before this one are tried first, counted from the bundle's turn: so that one copy per site comes from
    /// afar, and the others from it.
    pub after_seconds: u32,
}

/// How far away a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// An appliance of the same site.
    Peer,
    /// An appliance of the next tier.
    Tier,
    /// The origin.
    Origin,
}

impl SourceKind {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Tier => "tier",
            Self::Origin => "origin",
        }
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}
