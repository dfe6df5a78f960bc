//! What volumes have missed: purges that could not be made on them, because they were away, slow or sick, or because nothing was
//! pulled. They are written down in a file of the daemon's own, outlive restarts, and are made before anybody can look at what such a
//! volume holds.
//!
//! A volume is known by its identity, wherever its disk is mounted, and from when it is first served, whether or not it is in the
//! configuration. One that is not known has missed everything: so it is with one that comes from elsewhere or was away for very long,
//! and with all of them where there is no file, or none that can be understood. Content that can be pulled again is worth less than a
//! purge that does not hold.

mod document;
mod record;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use cache_store::VolumeId;

use crate::limits::{KNOWN_VOLUMES_MAX, VOLUME_FORGOTTEN_AFTER};
use crate::pull::PurgeSelector;
use document::Volumes;
pub(super) use record::PurgeNumber;
use record::Record;

/// The register of the volumes that are known, and of the purges that they have missed. Only [`Self::save`] and [`Self::make_up`] wait
/// for a disk.
#[derive(Debug)]
pub(in crate::pull) struct MissedPurges {
    file: Option<PathBuf>,
    register: Mutex<Register>,
    /// The revision of the register that the file has. Held while it is written, and taken before the register.
    written: Mutex<u64>,
}

#[derive(Debug, Default)]
struct Register {
    volumes: Volumes,
    newest: PurgeNumber,
    /// Counts changes.
    revision: u64,
    /// The last change without which the file would let something come back.
    binding: u64,
}

impl MissedPurges {
    /// What the file says. Where there is no file, or it cannot be understood, no volume is known.
    pub(in crate::pull) fn load(file: Option<PathBuf>) -> Self {
        let mut register = Register::default();
        match file.as_deref().map(document::read) {
            Some(Ok(volumes)) => register.volumes = volumes,
            Some(Err(error)) => {
                tracing::error!(
                    file = %file.as_deref().unwrap_or(Path::new("")).display(), %error,
                    "it is not known which purges volumes have missed: what was pulled before is dropped. pull.missed_purges must \
                     be a file that the daemon may read and write"
                );
                // It may be read next time, and knows nothing of what is purged from now on.
                register.change(true);
            }
            None => {}
        }
        Self { file, register: Mutex::new(register), written: Mutex::new(0) }
    }

    /// A purge is begun: volumes that are not served miss it, and those that are served from now on do not.
    pub(in crate::pull) fn begin(&self, selectors: &[PurgeSelector]) -> PurgeNumber {
        let mut register = self.lock();
        register.newest.0 += 1;
        let number = register.newest;
        let mut has_grown = false;
        for volume in register.volumes.values_mut().filter(|volume| !volume.is_served) {
            has_grown |= volume.add(selectors, number);
        }
        if has_grown {
            register.change(true);
        }
        number
    }

    /// A volume that is served has missed a purge all the same.
    pub(super) fn add(&self, volume: VolumeId, selectors: &[PurgeSelector], number: PurgeNumber) {
        let mut register = self.lock();
        if register.volumes.get_mut(&volume.to_string()).is_some_and(|known| known.add(selectors, number)) {
            register.change(true);
        }
    }

    /// A volume has made a purge: it has not missed it any more, nor one of the same before.
    pub(super) fn confirm(&self, volume: VolumeId, selectors: &[PurgeSelector], number: PurgeNumber) {
        let mut register = self.lock();
        let known = register.volumes.get_mut(&volume.to_string());
        if known.is_some_and(|known| known.confirm(selectors, number)) {
            register.change(false);
        }
    }

    /// Purges a volume's log of what it has missed, and has it `serve` when there is no more of that.
    pub(super) fn make_up<L>(
        &self,
        volume: VolumeId,
        path: &Path,
        log: L,
        purge: impl Fn(&L, &PurgeSelector) -> io::Result<usize>,
        serve: impl FnOnce(L),
    ) -> io::Result<()> {
        let mut made = Vec::new();
        loop {
            let mut register = self.lock();
            let missed = register.missed_by(volume);
            if missed == made {
                serve(log);
                register.serve(volume, path);
                break;
            }
            // Purging waits for the volume's disk: others do not wait for that.
            drop(register);
            for selector in missed.iter().filter(|selector| !made.contains(selector)) {
                let entries = purge(&log, selector)?;
                tracing::info!(volume = %path.display(), ?selector, entries, "a purge that was missed is made");
            }
            made = missed;
        }
        if let Err(error) = self.save() {
            tracing::error!(%error, "purges are errors until they can be written down");
        }
        Ok(())
    }

    /// Has the file say what the register does. Waits for the file's disk.
    ///
    /// # Errors
    /// Where what the file says would let something come back that was purged before this was called.
    pub(in crate::pull) fn save(&self) -> io::Result<()> {
        // Without a file no volume is known when the process starts again.
        let Some(file) = &self.file else { return Ok(()) };
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let (volumes, revision, binding) = {
            let register = self.lock();
            if register.revision == *written {
                return Ok(());
            }
            (register.volumes.clone(), register.revision, register.binding)
        };
        match document::write(file, volumes) {
            Ok(()) => *written = revision,
            Err(error) if binding > *written => return Err(error),
            Err(error) => {
                tracing::warn!(
                    %error,
                    "at the next start purges are made again, or what was pulled is dropped: pull.missed_purges cannot be written"
                );
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Register> {
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Register {
    fn missed_by(&self, volume: VolumeId) -> Vec<PurgeSelector> {
        // One that is served is another with the same identity, of which this one is a copy.
        let known = self.volumes.get(&volume.to_string()).filter(|known| !known.is_served);
        known.map_or_else(|| vec![PurgeSelector::everything()], Record::missed)
    }

    fn serve(&mut self, volume: VolumeId, path: &Path) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.volumes.insert(volume.to_string(), Record::served(path.display().to_string(), now));
        let has_forgotten = forget(&mut self.volumes, now);
        // A volume that the file knows, and this process does not, is told of no purge.
        self.change(has_forgotten);
    }

    fn change(&mut self, is_binding: bool) {
        self.revision += 1;
        if is_binding {
            self.binding = self.revision;
        }
    }
}

/// Forgets volumes that have not been here for very long, and the oldest of too many. Whether there were any.
fn forget(volumes: &mut Volumes, now: u64) -> bool {
    let before = volumes.len();
    let is_old = |known: &Record| now.saturating_sub(known.seen) > VOLUME_FORGOTTEN_AFTER.as_secs();
    volumes.retain(|_, known| known.is_served || !is_old(known));
    while volumes.len() > KNOWN_VOLUMES_MAX {
        let away = volumes.iter().filter(|(_, known)| !known.is_served);
        let Some(oldest) = away.min_by_key(|(_, known)| known.seen).map(|(id, _)| id.clone()) else { break };
        volumes.remove(&oldest);
    }
    volumes.len() < before
}

#[cfg(test)]
mod tests;
