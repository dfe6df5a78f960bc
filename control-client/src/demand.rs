//! `GET /demand`: what clients asked for, by bundle; what the control plane's popularity is made of.

use serde::{Deserialize, Serialize};

use crate::content::BundlePath;
use crate::wire::DocumentVersion;

/// How the User-Agent of a fill agent begins. What an appliance fetches from its peers is no demand of clients, and is not
/// counted as such.
pub const FILL_AGENT_PREFIX: &str = "oca-fill-agent/";

/// The answer to `GET /demand`: totals since the daemon started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Demand {
    /// Always 1.
    pub version: DocumentVersion,
    /// Another one after each start of the daemon, when all totals begin at zero again.
    pub instance: String,
    /// Bundles that were asked for, and the directories without a bundle that were; in no particular order.
    pub paths: Vec<PathDemand>,
    /// Requests for directories without a bundle that are in no entry of `paths`, because the table of such is full.
    pub other_absent_requests: u64,
}

/// What was asked of one directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PathDemand {
    /// The directory.
    pub path: BundlePath,
    /// Requests for objects in it.
    pub requests: u64,
    /// Bytes of its objects that were sent.
    pub bytes: u64,
    /// Those of the requests that found no bundle.
    pub absent: u64,
}
