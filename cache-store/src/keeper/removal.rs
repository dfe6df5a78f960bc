//! How bundles' files go.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::{Keeper, fail_departure};
use crate::bundle::Bundle;
use crate::departure::Cause;
use crate::disk;
use crate::identity::BundleId;
use crate::limits::QUARANTINE_FILES_MAX;
use crate::quarantine::QuarantineReason;

impl Keeper<'_> {
    /// Removes the files of bundles that have left the index. Each step is durable before the next begins:
    /// journalled as leaving, unlinked, journalled as gone, reported. What cannot be journalled is removed
    /// all the same: on a full disk that is how space comes back.
    pub(super) fn remove(&mut self, bundles: &[Arc<Bundle>]) {
        let (kept, removed): (Vec<_>, Vec<_>) = bundles.iter().partition(|bundle| self.keeps_file(bundle));
        for bundle in kept {
            fail_departure(
                bundle,
                "its file stays where it is, and serves again after a restart if it can be read",
            );
        }
        let departures: Vec<_> = removed
            .iter()
            .filter_map(|bundle| bundle.departure().map(|departure| (bundle.id(), departure.cause())))
            .collect();
        let failures = self.remove_files(&departures);
        for bundle in removed {
            match failures.iter().find(|(id, _)| *id == bundle.id()) {
                Some((_, error)) => fail_departure(bundle, &error.to_string()),
                None => {
                    if let Some(departure) = bundle.departure() {
                        departure.on_unlinked(bundle);
                    }
                }
            }
        }
    }

    /// Whether a bundle only leaves service. A volume that has failed loses nothing: it may have been the
    /// controller, and not the bundle.
    fn keeps_file(&self, bundle: &Bundle) -> bool {
        let Some(Cause::Quarantined(reason)) = bundle.departure().map(|departure| departure.cause()) else {
            return false;
        };
        reason.keeps_file() || self.view.is_failed()
    }

    /// Finishes what a crash or an error has left unfinished.
    pub(super) fn finish_departures(&mut self) {
        let view = self.view;
        let _working = view.keeper_clock.start();
        let departures: Vec<_> = self.inventory.leaving().iter().map(|(id, cause)| (*id, *cause)).collect();
        self.remove_files(&departures);
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
        if let Err(error) = self.inventory.begin_departures(departures) {
            self.on_journal_error(&error);
        }
        let mut failures = Vec::new();
        let mut removed = Vec::new();
        for &(id, cause) in departures {
            let result = match cause {
                Cause::Quarantined(reason) => self.move_to_quarantine(id, reason),
                Cause::Retired | Cause::Superseded | Cause::Purged => {
                    disk::remove_file(self.volume.root(), &id.file_path())
                }
            };
            match result {
                Ok(()) => removed.push(id),
                Err(error) => failures.push((id, error)),
            }
        }
        failures.extend(self.sync_directories(&mut removed));
        if let Err(error) = self.inventory.end_departures(&removed) {
            self.on_journal_error(&error);
        }
        for (id, error) in &failures {
            tracing::warn!(
                volume = %self.view.path.display(), file = id.file_path(), %error,
                "a bundle's file could not be removed; it is tried again at the next start"
            );
            self.on_disk_error(error);
        }
        failures
    }

    /// Makes removals durable, a directory at a time; those whose directory cannot be synced are taken out of
    /// `removed`.
    fn sync_directories(&self, removed: &mut Vec<BundleId>) -> Vec<(BundleId, io::Error)> {
        let mut failures = Vec::new();
        let directories: BTreeSet<u8> = removed.iter().map(|id| id.path_hash[0]).collect();
        for first_byte in directories {
            let synced =
                self.volume.bundle_directory(first_byte).and_then(|directory| disk::sync(directory.as_fd()));
            let Err(error) = synced else { continue };
            let failed = removed.extract_if(.., |id| id.path_hash[0] == first_byte);
            failures.extend(failed.map(|id| (id, io::Error::other(error.to_string()))));
        }
        failures
    }
}

/// Unlinks the oldest files of a quarantine until few enough are left. What others have put there is left alone.
fn trim(quarantine: BorrowedFd<'_>) -> io::Result<()> {
    let mut files = Vec::new();
    for name in disk::list(quarantine)?.into_iter().filter(|name| is_ours(name)) {
        // By when it was renamed, not by when it was written.
        if let Some(changed) = disk::changed(quarantine, &name)? {
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
