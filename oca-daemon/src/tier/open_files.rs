//! The files of a volume that its loaders have open: each once, however many blocks of it are in memory.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use cache_store::OpenBundle;

use super::resident_file::ResidentFile;

/// By their bundle's instance. A file is closed with the last block of it, and opened anew for the next.
pub(super) struct OpenFiles {
    files: Mutex<Files>,
}

struct Files {
    by_instance: HashMap<u64, Weak<ResidentFile>>,
    /// So many names are looked through for those of files that are closed.
    tidied: usize,
}

/// Why there is no file.
pub(super) enum OpenFailure {
    /// It is broken: another is opened when the last block of this one is gone.
    Broken,
    Refused(io::Error),
}

/// However few files are open, so many names of closed ones are kept.
const TIDIED_MIN: usize = 64;

impl OpenFiles {
    pub(super) fn new() -> Self {
        Self { files: Mutex::new(Files { by_instance: HashMap::new(), tidied: TIDIED_MIN }) }
    }

    /// The bundle's file. The volume's other loaders wait while it is opened: they wait for the same disk.
    pub(super) fn of(&self, bundle: &OpenBundle) -> Result<Arc<ResidentFile>, OpenFailure> {
        let instance = bundle.bundle().instance();
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        match files.by_instance.get(&instance).and_then(Weak::upgrade) {
            Some(file) if file.is_broken() => return Err(OpenFailure::Broken),
            Some(file) => return Ok(file),
            None => {}
        }
        let file = Arc::new(ResidentFile::open(bundle).map_err(OpenFailure::Refused)?);
        files.by_instance.insert(instance, Arc::downgrade(&file));
        if files.by_instance.len() >= files.tidied {
            files.by_instance.retain(|_, file| file.strong_count() > 0);
            files.tidied = (2 * files.by_instance.len()).max(TIDIED_MIN);
        }
        Ok(file)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.files.lock().unwrap().by_instance.len()
    }
}
