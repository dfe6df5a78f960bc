//! `GET /inventory`: the bundles that this appliance holds.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::content::{BundlePath, Generation};
use crate::wire::DocumentVersion;

/// The answer to `GET /inventory`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Always 1.
    pub version: DocumentVersion,
    /// Every bundle, in no particular order.
    pub bundles: Vec<InventoryEntry>,
}

/// One bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryEntry {
    /// The directory that it serves.
    pub path: BundlePath,
    /// Its edition.
    pub generation: Generation,
    /// The volume that holds it: its place in `store.volumes`, counted from 0.
    pub volume: u8,
    /// Objects in it.
    pub objects: u64,
    /// The length of its file.
    pub bytes: u64,
    /// Whether it serves.
    pub state: BundleState,
}

/// Whether a bundle serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BundleState {
    /// It serves.
    Published,
    /// It serves its last readers; then its space returns.
    Retiring,
    /// It was found corrupt, and serves no longer.
    Quarantined,
}

impl BundleState {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Retiring => "retiring",
            Self::Quarantined => "quarantined",
        }
    }
}

impl fmt::Display for BundleState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}
