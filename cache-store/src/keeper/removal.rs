//! How bundles' files go.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::Keeper;
use crate::departure::{Cause, Departure};
use crate::disk;
use crate::identity::BundleId;
use crate::inventory::Leaving;
use crate::limits::{DIRECTORY_SYNCS_MAX, QUARANTINE_FILES_MAX};
use crate::quarantine::QuarantineReason;

impl Keeper<'_> {
    /// Removes the files of bundles that have left the index. Each step is durable before the next begins:
    /// journalled as leaving, unlinked, journalled as gone, reported. What cannot be journalled is removed
    /// all the same: on a full disk that is how space comes back.
    pub(super) fn remove(&mut self, departures: &[(Arc<Departure>, Cause)]) {
        let mut removed = Vec::new();
        for (departure, cause) in departures {
            if self.keeps_file(*cause) {
                departure.on_failed(
                    "its file stays where it is, and serves again after a restart if it can be read",
                );
            } else if self.has_gone(departure) {
                departure.on_unlinked();
            } else {
                // Held, so that the bundle is listed as leaving until its file has gone.
                removed.push((departure, departure.bundle(), *cause));
            }
        }
        let files: Vec<_> = removed.iter().map(|(departure, _, cause)| (departure.id(), *cause)).collect();
        let failures: BTreeMap<_, _> = self.remove_files(&files).into_iter().collect();
        for (departure, ..) in removed {
            let id = departure.id();
            match failures.get(&id) {
                Some(error) => {
                    departure.on_failed(&format!("{}: {}: {error}", self.view.path.display(), id.file_path()))
                }
                None => departure.on_unlinked(),
            }
        }
    }

    /// Whether a bundle only leaves service. A volume that has failed loses nothing that nobody asked to be gone: it
    /// may have been the controller, and not the bundle.
    fn keeps_file(&self, cause: Cause) -> bool {
        match cause {
            Cause::Retired | Cause::Purged => false,
            Cause::Superseded => self.view.is_failed(),
            Cause::Quarantined(reason) => reason.keeps_file() || self.view.is_failed(),
        }
    }

    /// Whether the bundle of a departure has left the inventory, so that a file of its name is another's.
    fn has_gone(&self, departure: &Arc<Departure>) -> bool {
        let id = departure.id();
        match self.inventory.held().get(&id) {
            Some(bundle) => !bundle.departure().is_some_and(|its_own| Arc::ptr_eq(its_own, departure)),
            None => !self.inventory.leaving().contains_key(&id),
        }
    }

    /// Finishes what a crash or an error has left unfinished.
    pub(super) fn finish_departures(&mut self) {
        let view = self.view;
        let _working = view.keeper_clock.start();
        let departures: Vec<_> =
            self.inventory.leaving().iter().map(|(id, leaving)| (*id, leaving.cause)).collect();
        self.remove_files(&departures);
    }

    /// Whether the file of that name is one that is to be removed, and not one that was published after it.
    pub(super) fn is_leaving(&self, id: BundleId) -> bool {
        let Some(leaving) = self.inventory.leaving().get(&id) else { return false };
        match disk::written(self.volume.root(), &id.file_path()) {
            Ok(Some(written)) => is_meant(*leaving, written),
            _ => true,
        }
    }

    /// Puts a file into quarantine, where the newest are kept. One that is not there is no error.
    pub(super) fn move_to_quarantine(&self, id: BundleId, reason: QuarantineReason) -> io::Result<()> {
        let quarantine = self.volume.directory("quarantine")?;
        let bundles = self.volume.bundle_directory(id.path_hash[0])?;
        let name = format!("{}.{reason}", id.file_name());
        match disk::rename_over(bundles.as_fd(), &id.file_name(), quarantine.as_fd(), &name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        disk::sync(quarantine.as_fd())?;
        disk::sync(bundles.as_fd())?;
        if let Err(error) = trim(quarantine.as_fd()) {
            tracing::warn!(
                volume = %self.view.path.display(), %error,
                "quarantine/ could not be trimmed; look at what is in it, and remove it by hand"
            );
        }
        Ok(())
    }

    /// Returns what could not be removed.
    fn remove_files(&mut self, departures: &[(BundleId, Cause)]) -> Vec<(BundleId, io::Error)> {
        if departures.is_empty() {
            return Vec::new();
        }
        let (mut removed, leaving) = self.find_files(departures);
        if let Err(error) = self.inventory.begin_departures(&leaving) {
            self.on_journal_error(&error);
        }
        let mut failures = Vec::new();
        for (id, leaving) in leaving {
            let result = match leaving.cause {
                Cause::Quarantined(reason) => self.move_to_quarantine(id, reason),
                Cause::Retired | Cause::Superseded | Cause::Purged => {
                    disk::remove_file(self.volume.root(), &id.file_path())
                }
            };
            match result {
                Ok(()) => removed.push(id),
                Err(error) => {
                    self.on_disk_error(&error);
                    failures.push((id, error));
                }
            }
        }
        failures.extend(self.sync_directories(&mut removed));
        if let Err(error) = self.inventory.end_departures(&removed) {
            self.on_journal_error(&error);
        }
        for (id, error) in &failures {
            tracing::warn!(
                volume = %self.view.path.display(), file = id.file_path(), %error,
                "a bundle's file could not be removed; it is tried again when it is asked for, and at the next start"
            );
        }
        failures
    }

    /// Sorts departures: what has gone already, or was published again since, and what is to be removed now.
    fn find_files(&self, departures: &[(BundleId, Cause)]) -> (Vec<BundleId>, Vec<(BundleId, Leaving)>) {
        let mut gone = Vec::new();
        let mut leaving = Vec::new();
        for &(id, cause) in departures {
            let earlier = self.inventory.leaving().get(&id);
            match disk::written(self.volume.root(), &id.file_path()) {
                Ok(None) => gone.push(id),
                Ok(Some(written)) if earlier.is_some_and(|earlier| !is_meant(*earlier, written)) => {
                    gone.push(id);
                }
                // Where the disk does not say, the removal has the last word.
                found => leaving.push((id, Leaving { cause, written: found.ok().flatten() })),
            }
        }
        (gone, leaving)
    }

    /// Makes removals durable, and counts what the disk refuses once; those that are not are taken out of `removed`.
    fn sync_directories(&self, removed: &mut Vec<BundleId>) -> Vec<(BundleId, io::Error)> {
        let mut failures = Vec::new();
        let directories: BTreeSet<u8> = removed.iter().map(|id| id.path_hash[0]).collect();
        if directories.len() > DIRECTORY_SYNCS_MAX && disk::sync_file_system(self.volume.root()).is_ok() {
            return failures;
        }
        for first_byte in directories {
            let synced =
                self.volume.bundle_directory(first_byte).and_then(|directory| disk::sync(directory.as_fd()));
            let Err(error) = synced else { continue };
            self.on_disk_error(&error);
            let failed = removed.extract_if(.., |id| id.path_hash[0] == first_byte);
            failures.extend(failed.map(|id| (id, io::Error::other(error.to_string()))));
        }
        failures
    }
}

/// Whether a file that was written then is the one that leaves.
fn is_meant(leaving: Leaving, written: i64) -> bool {
    leaving.written.is_none_or(|meant| meant == written)
}

/// Unlinks the oldest files of a quarantine until few enough are left. What others have put there is left alone.
fn trim(quarantine: BorrowedFd<'_>) -> io::Result<()> {
    let mut files = Vec::new();
    for name in disk::list(quarantine)?.into_iter().filter(|name| is_ours(name)) {
        // By when it was renamed, not by when it was written.
        if disk::named_file_bytes(quarantine, &name)?.is_some()
            && let Some(changed) = disk::changed(quarantine, &name)?
        {
            files.push((changed, name));
        }
    }
    files.sort_unstable();
    let excess = files.len().saturating_sub(QUARANTINE_FILES_MAX);
    for (_, name) in &files[..excess] {
        disk::remove_file(quarantine, name)?;
    }
    Ok(())
}

/// Whether a name in `quarantine/` is one that [`Keeper::move_to_quarantine`] gives: `<bundle's file>.<reason>`.
fn is_ours(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(file, reason)| {
        BundleId::parse_file_name(file).is_some()
            && QuarantineReason::ALL.iter().any(|known| known.as_str() == reason)
    })
}
