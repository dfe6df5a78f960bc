//! What the store tells of itself.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::bundle::{Bundle, VolumeIndex};
use crate::quarantine::QuarantinedBundle;
use crate::reconcile::ReconcileReport;
use crate::volume::VolumeId;

/// What a volume is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeState {
    /// Its marker and its journal are being read.
    Opening,
    /// Its journal was damaged: what it holds is found by reading its bundles, and served as it is found.
    Recovering {
        /// What was wrong with the journal.
        reason: String,
    },
    /// All that it holds is served.
    Serving,
    /// Nothing is served from it. Final until the store is opened again.
    Failed {
        /// Why, and what the operator can do.
        reason: String,
    },
}

/// One volume, as far as can be said without asking its disk.
#[derive(Clone, Debug)]
pub struct VolumeStatus {
    /// Its place in the configuration.
    pub index: VolumeIndex,
    /// Where it is.
    pub path: PathBuf,
    /// Its identity; `None` until its marker was read.
    pub id: Option<VolumeId>,
    /// What it is doing.
    pub state: VolumeState,
    /// Read errors since the store was opened.
    pub read_errors: u64,
    /// Bundles that it serves.
    pub bundles: u64,
    /// Bytes of their files.
    pub bundle_bytes: u64,
    /// Bytes that may still be written, as of the last few seconds in which the disk answered.
    pub free_bytes: u64,
    /// Bytes of the file system.
    pub total_bytes: u64,
    /// Bytes of bundles that left and that readers still hold, or that are being unlinked.
    pub returning_bytes: u64,
    /// Bytes of the inventory journal.
    pub journal_bytes: u64,
    /// Whether bundles are read past the page cache.
    pub is_direct: bool,
    /// Openings that wait.
    pub openings_waiting: usize,
    /// Callers that wait for them.
    pub callers_waiting: usize,
    /// How long the longest of the pieces of work on its disk has taken until now; zero while there is none.
    pub busy: Duration,
    /// The newest quarantines.
    pub quarantined: Vec<QuarantinedBundle>,
    /// What the last reconciliation found; `None` before the first.
    pub reconciled: Option<ReconcileReport>,
}

/// Whether a bundle of the inventory is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleState {
    /// It is.
    Serving,
    /// It is on its way out.
    Leaving,
}

/// One bundle of the inventory.
#[derive(Clone, Debug)]
pub struct InventoryEntry {
    /// Its key, volume and lengths.
    pub bundle: Arc<Bundle>,
    /// Whether it is served.
    pub state: BundleState,
}

impl VolumeState {
    /// The state's name in metrics and reports.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Recovering { .. } => "recovering",
            Self::Serving => "serving",
            Self::Failed { .. } => "failed",
        }
    }

    /// What there is to say about it.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Opening | Self::Serving => None,
            Self::Recovering { reason } | Self::Failed { reason } => Some(reason),
        }
    }
}

impl fmt::Display for VolumeState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())?;
        self.reason().map_or(Ok(()), |reason| write!(formatter, ": {reason}"))
    }
}
