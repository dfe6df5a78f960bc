//! Purges while nothing is pulled.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use control_client::config::PullConfig;

use super::missed_purges::MissedPurges;
use crate::pull::PurgeSelector;

/// What was pulled stays on the volumes when no rule pulls any more, and is served again when one does: until then all volumes miss
/// what is purged.
#[derive(Debug)]
pub struct DormantPurges {
    file: Option<PathBuf>,
    one_at_a_time: Mutex<()>,
}

impl DormantPurges {
    /// For a process that does not pull.
    pub fn new(config: &PullConfig) -> Self {
        Self { file: config.missed_purges.clone(), one_at_a_time: Mutex::default() }
    }

    /// All volumes have missed a purge. Durable when it returns. Waits for the file's disk.
    ///
    /// # Errors
    /// Where that cannot be written down, for the operator.
    pub fn note(&self, selectors: &[PurgeSelector]) -> io::Result<()> {
        let _one = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        let missed = MissedPurges::load(self.file.clone());
        missed.begin(selectors);
        missed.save()
    }
}
