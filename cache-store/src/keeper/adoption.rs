//! How bundles come into service.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Keeper;
use control_client::content::Generation;

use crate::bundle::Bundle;
use crate::change::{Adoption, AdoptionOutcome, ChangeError};
use crate::departure::Cause;
use crate::disk;
use crate::identity::BundleId;
use crate::index::Offer;
use crate::inventory::BundleRecord;
use crate::quarantine::QuarantineReason;
use crate::reader::{ReadError, read_footer};
use crate::reconcile::Reconciliation;

impl Keeper<'_> {
    /// Adopts one bundle: its trailer and footer are read and verified, it is journalled, and then it serves.
    pub(super) fn adopt_one(&mut self, id: BundleId) -> Result<Adoption, ChangeError> {
        if self.view.is_failed() {
            return Err(ChangeError::VolumeFailed(self.view.state().to_string()));
        }
        match self.inventory.held().get(&id) {
            Some(bundle) if bundle.is_leaving() => return Err(ChangeError::Leaving),
            Some(bundle) => {
                return Ok(Adoption {
                    record: bundle.record().clone(),
                    outcome: AdoptionOutcome::AlreadyAdopted,
                    replaced: None,
                });
            }
            // What an earlier error left behind stays out.
            None if self.is_leaving(id) => return Err(ChangeError::Leaving),
            None => {}
        }
        let record = match self.read_record(id) {
            Ok(record) => record,
            Err(error) => return Err(self.refuse(id, &error)),
        };
        if self.is_outdated(&record) {
            self.remove_unadopted(id).map_err(ChangeError::Io)?;
            return Ok(Adoption { record, outcome: AdoptionOutcome::Outdated, replaced: None });
        }
        // Who published it may have died before the name was durable.
        let directory = self.volume.bundle_directory(id.path_hash[0]).map_err(ChangeError::Io)?;
        disk::sync(directory.as_fd()).map_err(ChangeError::Io)?;
        let replaced = self.adopt(vec![record.clone()]).map_err(ChangeError::Journal)?;
        Ok(Adoption { record, outcome: AdoptionOutcome::Adopted, replaced: replaced.first().copied() })
    }

    /// Adopts what a reconciliation found in one of the directories.
    pub(super) fn adopt_found(
        &mut self,
        reconciliation: &mut Reconciliation,
        directory: &OwnedFd,
        found: &[BundleId],
    ) -> io::Result<()> {
        let mut records = Vec::new();
        for &id in found {
            // What an earlier error left behind stays out.
            if self.is_leaving(id) {
                continue;
            }
            match self.read_record(id) {
                Ok(record) if self.is_outdated(&record) => {
                    self.remove_unadopted(id)?;
                    reconciliation.report.outdated += 1;
                }
                Ok(record) => records.push(record),
                Err(error) => match self.refuse(id, &error) {
                    ChangeError::Refused(_) => reconciliation.report.refused += 1,
                    other => {
                        reconciliation.report.errors += 1;
                        reconciliation.report.last_error = Some(format!("{}: {other}", id.file_path()));
                    }
                },
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        // Who published them may have died before the names were durable.
        disk::sync(directory.as_fd())?;
        reconciliation.report.adopted += records.len() as u64;
        self.adopt(records).map(|_| ())
    }

    /// Lets bundles of the inventory serve. Of two generations of a path the lower one leaves; returned are
    /// those that served.
    pub(super) fn offer(&self, bundles: Vec<Arc<Bundle>>) -> Vec<Generation> {
        let mut replaced = Vec::new();
        for (bundle, offer) in self.shared.index.offer(bundles, || !self.view.is_failed()) {
            match offer {
                Offer::Serves | Offer::Refused => {}
                Offer::Supersedes(lower) => {
                    replaced.push(lower.key().generation);
                    self.shared.dismiss(&lower, Cause::Superseded);
                }
                Offer::Superseded => {
                    self.shared.dismiss(&bundle, Cause::Superseded);
                }
            }
        }
        replaced
    }

    fn adopt(&mut self, records: Vec<BundleRecord>) -> io::Result<Vec<Generation>> {
        let bundles = self.inventory.adopt(records).inspect_err(|error| self.on_journal_error(error))?;
        self.shared.counters.adopted.fetch_add(bundles.len() as u64, Ordering::Relaxed);
        Ok(self.offer(bundles))
    }

    pub(super) fn read_record(&mut self, id: BundleId) -> Result<BundleRecord, ReadError> {
        let file = self.volume.open_bundle_file(id).map_err(ReadError::Io)?;
        let file_bytes = disk::file_bytes(file.as_fd()).map_err(ReadError::Io)?;
        let footer = read_footer(file.as_fd(), file_bytes, id, None, &mut self.buffer)?;
        BundleRecord::new(&footer, file_bytes).ok_or(ReadError::Identity)
    }

    fn is_outdated(&self, record: &BundleRecord) -> bool {
        let serving = self.shared.index.get(record.key.path.as_str());
        serving
            .is_some_and(|serving| !serving.is_leaving() && serving.key().generation >= record.key.generation)
    }

    /// Turns a file away that is not the bundle that its name says: it goes to quarantine. What could not be read,
    /// or is of another version, stays where it is.
    pub(super) fn refuse(&mut self, id: BundleId, error: &ReadError) -> ChangeError {
        if let ReadError::Io(error) = error {
            if error.kind() == io::ErrorKind::NotFound {
                return ChangeError::NoSuchFile(id.file_path());
            }
            self.on_disk_error(error);
            if error.kind() != io::ErrorKind::UnexpectedEof {
                return ChangeError::Io(io::Error::other(format!("{}: {error}", id.file_path())));
            }
        }
        let reason: QuarantineReason = error.reason();
        self.remember_quarantine(id, reason);
        let kept = if reason.keeps_file() { "left where it is" } else { "quarantined" };
        tracing::warn!(
            volume = %self.view.path.display(), file = id.file_path(), %error,
            "file is not a bundle that can be served; {kept}"
        );
        if !reason.keeps_file()
            && let Err(error) = self.move_to_quarantine(id, reason)
        {
            self.on_disk_error(&error);
        }
        ChangeError::Refused(format!("{error}; {kept}"))
    }

    fn remove_unadopted(&self, id: BundleId) -> io::Result<()> {
        disk::remove_file(self.volume.root(), &id.file_path())?;
        disk::sync(self.volume.bundle_directory(id.path_hash[0])?.as_fd())
    }
}
