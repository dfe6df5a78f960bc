//! Where a client is sent: `GET /v1/steer?client=ADDRESS&path=DIRECTORY` of the control plane.

use serde::{Deserialize, Serialize};

use crate::content::BundlePath;
use crate::fleet::{ApplianceName, SiteName};
use crate::wire::DocumentVersion;

/// Appliances for one client and one directory, the best first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SteeringAnswer {
    /// Always 1.
    pub version: DocumentVersion,
    /// The directory.
    pub path: BundlePath,
    /// The site whose network the client is in, where it is in one that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteName>,
    /// How long the answer holds.
    pub ttl_seconds: u32,
    /// Where to ask, in that order; each appliance once. The last may be the origin.
    pub candidates: Vec<Candidate>,
    /// Why each other appliance is not among them; only where the question asked for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub explanation: Vec<Explained>,
}

/// One place to ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Candidate {
    /// The appliance; the origin has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appliance: Option<ApplianceName>,
    /// 0 is the client's own site, 1 the next tier, and so on.
    pub tier: u8,
    /// Base URLs, to which the directory and the object are appended.
    pub urls: Vec<String>,
}

/// Why an appliance is where it is in the answer, or is not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Explained {
    /// The appliance.
    pub appliance: ApplianceName,
    /// A sentence.
    pub why: String,
}
