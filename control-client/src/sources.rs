//! Where a bundle can be fetched: asked of the control plane for the bundles that are missing, answered as a list for each.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::content::BundleKey;
use crate::wire::DocumentVersion;
use crate::{limits, web_url};

/// Asks for sources, `POST /v1/appliances/{appliance}/sources`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SourcesRequest {
    /// Always 1.
    pub version: DocumentVersion,
    /// The bundles that are to be fetched, at most [`crate::limits::SOURCES_BUNDLES_MAX`].
    pub bundles: Vec<BundleKey>,
}

/// The answer: a list of sources for each bundle that was asked for and is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SourcesAnswer {
    /// Always 1.
    pub version: DocumentVersion,
    /// One for each bundle.
    pub bundles: Vec<BundleSources>,
}

/// The sources of one bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BundleSources {
    /// The bundle.
    pub bundle: BundleKey,
    /// In the order in which to try them.
    pub sources: Vec<FillSource>,
}

/// One place that has a bundle's objects, or will have them soon.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FillSource {
    /// How far away it is.
    pub kind: SourceKind,
    /// Its name in reports: an appliance's, or an origin's.
    pub name: String,
    /// An `http` or `https` URL; an object is at `{url}{path of the bundle}/{name of the object}`, each component
    /// percent-encoded.
    pub url: String,
    /// How long the sources before this one are tried first, counted from the beginning of the run, or from when one of them has
    /// said for the first time that it does not have the bundle yet: so that one copy per site comes from
    /// afar, and the others from it. At most [`limits::ESCALATION_MAX`].
    pub after_seconds: u32,
}

/// How far away a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// An appliance of the same site.
    Peer,
    /// An appliance of the next tier.
    Tier,
    /// The origin.
    Origin,
}

impl SourcesAnswer {
    /// Whether it answers that question: each bundle once and asked for, a bounded number of sources, each with a URL. Otherwise
    /// what is wrong, in words.
    pub fn check(&self, request: &SourcesRequest) -> Result<(), String> {
        let mut open: HashSet<&BundleKey> = request.bundles.iter().collect();
        for BundleSources { bundle, sources } in &self.bundles {
            if !open.remove(bundle) {
                return Err(format!("sources of {bundle}, which was not asked for, or twice"));
            }
            if sources.len() > limits::SOURCES_PER_BUNDLE_MAX {
                return Err(format!("{} sources of {bundle}", sources.len()));
            }
            for source in sources {
                source.check().map_err(|what| format!("a source of {bundle}: {what}"))?;
            }
        }
        Ok(())
    }
}

impl FillSource {
    fn check(&self) -> Result<(), String> {
        let is_name = (1..=limits::SOURCE_NAME_BYTES_MAX).contains(&self.name.len())
            && !self.name.chars().any(char::is_control);
        if !is_name {
            return Err("its name is empty, too long, or not printable".to_owned());
        }
        if Duration::from_secs(self.after_seconds.into()) > limits::ESCALATION_MAX {
            return Err(format!(
                "{:?}: due after {} s, which is longer than a day",
                self.name, self.after_seconds
            ));
        }
        web_url::check(&self.url).map_err(|error| format!("{:?}: {error}", self.name))
    }
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
