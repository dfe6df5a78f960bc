//! How far the kernel reads ahead on the disk that is measured. Our daemon wants the kernel's own default, and says so at its start
//! (`docs/OPERATING.md`); peers have what the machine has, which may be more and then helps them.

use std::fs;
use std::path::{Path, PathBuf};

use demo::failure::Failure;

use super::device::queue;

/// The kernel's default.
const DEFAULT_KIB: u64 = 128;

/// A disk's setting, as it was found.
#[derive(Clone, Debug)]
pub(crate) struct ReadAhead {
    setting: PathBuf,
    found: String,
}

/// The default, until it is dropped.
pub(crate) struct DefaultReadAhead(ReadAhead);

impl ReadAhead {
    /// Of the disk under a folder. `None` where it has no such setting.
    pub(crate) fn of(folder: &Path) -> Result<Option<Self>, Failure> {
        let setting = queue(folder)?.map(|queue| queue.join("read_ahead_kb"));
        Ok(setting.and_then(|setting| Some(Self { found: fs::read_to_string(&setting).ok()?, setting })))
    }

    /// The default from now on, where the machine has more. Needs root.
    pub(crate) fn at_default(&self) -> Option<DefaultReadAhead> {
        let is_more = self.found.trim().parse::<u64>().is_ok_and(|kib| kib > DEFAULT_KIB);
        (is_more && fs::write(&self.setting, DEFAULT_KIB.to_string()).is_ok())
            .then(|| DefaultReadAhead(self.clone()))
    }

    /// As it was found.
    pub(crate) fn restore(&self) {
        let _ = fs::write(&self.setting, &self.found);
    }
}

impl Drop for DefaultReadAhead {
    fn drop(&mut self) {
        self.0.restore();
    }
}
