//! How a directory and the inventory come to say the same.

use std::io;
use std::time::Instant;

use super::Keeper;
use crate::clock::unix_seconds;
use crate::departure::Cause;
use crate::incoming::{self, Cleared};
use crate::limits::RECOVERY_RETRY_INTERVAL;
use crate::quarantine::QuarantineReason;
use crate::reconcile::{self, Difference, Reconciliation};
use crate::status::VolumeState;

/// Directories that could not be read, or not whole, while the inventory was made anew from them.
pub(super) struct UnreadDirectories {
    first_bytes: Vec<u8>,
    tried: Instant,
}

impl Keeper<'_> {
    /// One directory of the reconciliation under way, or its end.
    pub(super) fn reconcile_next(&mut self) {
        if self.view.is_failed() {
            self.reconciliation = None;
        }
        let Some(mut reconciliation) = self.reconciliation.take() else { return };
        let Some(first_byte) = reconciliation.waiting.pop_front() else {
            self.end_reconciliation(reconciliation);
            return;
        };
        let errors = reconciliation.report.errors;
        if let Err(error) = self.reconcile_directory(&mut reconciliation, first_byte) {
            self.on_disk_error(&error);
            reconciliation.note_error(&format!("bundles/{first_byte:02x}"), &error);
        }
        if reconciliation.report.errors > errors {
            reconciliation.unread.push(first_byte);
        }
        self.reconciliation = Some(reconciliation);
    }

    /// A volume whose inventory is made anew serves only once all of its directory was read, file by file.
    fn end_reconciliation(&mut self, mut reconciliation: Reconciliation) {
        reconciliation.note_cleared(self.clear_incoming());
        reconciliation.report.duration = reconciliation.started.elapsed();
        reconciliation.report.ended = unix_seconds();
        let last_error = reconciliation.report.last_error.clone();
        self.view.set_reconciled(reconciliation.report);
        if self.inventory.is_rebuilding() {
            if !reconciliation.unread.is_empty() {
                let reason = format!(
                    "{} of the directories under bundles/ could not be read whole, and are tried again: {}",
                    reconciliation.unread.len(),
                    last_error.unwrap_or_default()
                );
                self.view.set_state(VolumeState::Recovering { reason });
                self.unread =
                    Some(UnreadDirectories { first_bytes: reconciliation.unread, tried: Instant::now() });
                return;
            }
            if let Err(error) = self.inventory.end_rebuild() {
                self.on_journal_error(&error);
            }
        }
        self.view.set_state(VolumeState::Serving);
    }

    pub(super) fn retry_unread(&mut self) {
        let is_due = |unread: &mut UnreadDirectories| unread.tried.elapsed() >= RECOVERY_RETRY_INTERVAL;
        if let Some(unread) = self.unread.take_if(is_due) {
            self.reconciliation = Some(Reconciliation::of(unread.first_bytes));
        }
    }

    /// Removes what dead writers have left, and reports what could not be.
    pub(super) fn clear_incoming(&mut self) -> Cleared {
        self.incoming_cleared = Instant::now();
        let cleared = incoming::remove_abandoned(&self.volume);
        for (name, error) in &cleared.left {
            tracing::warn!(
                volume = %self.view.path.display(), file = format!("incoming/{}", name.escape_debug()), %error,
                "not a file that a writer has left; left alone: remove it by hand"
            );
        }
        cleared
    }

    fn reconcile_directory(&mut self, reconciliation: &mut Reconciliation, first_byte: u8) -> io::Result<()> {
        let directory = reconcile::open_or_make_directory(&self.volume, first_byte)?;
        let listing = reconcile::list(directory, first_byte)?;
        let held = self.inventory.held().range(reconcile::names_in(first_byte));
        let held: Vec<_> = held.map(|(id, bundle)| (*id, bundle.record().file_bytes)).collect();
        let mut unknown = Vec::new();
        for difference in reconcile::compare(&held, &listing.bundles) {
            let report = &mut reconciliation.report;
            let (id, reason) = match difference {
                Difference::Unknown(id) => {
                    unknown.push(id);
                    continue;
                }
                Difference::Missing(id) => (id, QuarantineReason::Missing),
                Difference::Truncated(id) => (id, QuarantineReason::Truncated),
                Difference::Overlong(id) => (id, QuarantineReason::Overlong),
            };
            let Some(bundle) = self.inventory.held().get(&id) else { continue };
            // A bundle that a command in the queue removes is out of the index already, and still held.
            if bundle.is_leaving() {
                continue;
            }
            match reason {
                QuarantineReason::Missing => report.missing += 1,
                QuarantineReason::Truncated => report.truncated += 1,
                _ => report.overlong += 1,
            }
            self.shared.dismiss(bundle, Cause::Quarantined(reason));
        }
        for name in listing.foreign {
            reconciliation.report.foreign += 1;
            tracing::warn!(
                volume = %self.view.path.display(), file = format!("bundles/{first_byte:02x}/{}", name.escape_debug()),
                "not a bundle's file; left alone: remove it by hand"
            );
        }
        self.adopt_found(reconciliation, &listing.directory, &unknown)
    }
}
