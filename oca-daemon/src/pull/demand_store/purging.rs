//! Purging, on all volumes at once.
//!
//! What a volume has not made for good it has missed ([`MissedPurges`]): it is made before the volume's content is served again.
//! So a purge is done when each volume that is served has made it, and what the others have missed is written down.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use cache_store::VolumeId;
use cache_store::demand::{AppendError, DemandLog};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::fault::DiskFault;
use super::missed_purges::{MissedPurges, PurgeNumber};
use super::placement::Standing;
use super::volume::DemandVolume;
use super::{DemandStore, log_key};
use crate::pull::PurgeSelector;

/// A purge that was begun.
#[derive(Clone)]
struct Begun {
    selectors: Arc<[PurgeSelector]>,
    number: PurgeNumber,
    missed: Arc<MissedPurges>,
}

impl DemandStore {
    /// Purges every volume of all that is selected, whatever one of them says. Durable when it returns how many entries there were,
    /// those excepted that volumes hold that are not served.
    ///
    /// # Errors
    /// The first fault of a volume that is served, which may go on until it is asked again, or the daemon starts again; or that what
    /// volumes have missed cannot be written down.
    pub(in crate::pull) async fn purge(&self, selectors: Vec<PurgeSelector>) -> io::Result<u64> {
        let number = self.missed.begin(&selectors);
        let begun = Begun { selectors: selectors.into(), number, missed: Arc::clone(&self.missed) };
        // Tasks of their own: a purge that was begun is made, even if whoever asked for it has left.
        let purges: Vec<_> = self
            .volumes
            .iter()
            .map(|volume| tokio::spawn(begun.clone().purge(Arc::clone(volume), self.disk_timeout)))
            .collect();
        let mut count = 0;
        let mut first_fault = None;
        for (volume, purged) in self.volumes.iter().zip(purges) {
            match purged.await.unwrap_or(Err(DiskFault::Unavailable)) {
                Ok(entries) => count += entries,
                Err(fault) => {
                    first_fault.get_or_insert_with(|| format!("{}: {fault}", volume.path().display()));
                }
            }
        }
        let saved = spawn_blocking(move || begun.missed.save()).await.map_err(io::Error::other)?;
        let saved = saved.map_err(|error| {
            io::Error::other(format!("volumes have missed it, which could not be written down: {error}"))
        });
        match first_fault {
            Some(fault) => Err(io::Error::other(fault)),
            None => saved.map(|()| count),
        }
    }
}

impl Begun {
    /// Purges a volume. One that is not served, or not any more, misses the purge, and that is as good.
    async fn purge(self, volume: Arc<DemandVolume>, timeout: Duration) -> Result<u64, DiskFault> {
        // Looked at after the purge was begun, which is written down for those that were not served then.
        let Some(id) = volume.served() else { return Ok(0) };
        if volume.standing() == Standing::Away {
            self.missed.add(id, &self.selectors, self.number);
            return Ok(0);
        }
        let purged = self.order(&volume, id, timeout).await;
        if volume.standing() == Standing::Away { Ok(purged.unwrap_or(0)) } else { purged }
    }

    async fn order(&self, volume: &DemandVolume, id: VolumeId, timeout: Duration) -> Result<u64, DiskFault> {
        let selectors = Arc::clone(&self.selectors);
        let mut answer = match volume.order(move |log| purge_all(log, &selectors)) {
            Ok(answer) => answer,
            Err(fault) => return Err(self.miss(id, fault)),
        };
        match volume.wait(timeout, &mut answer).await {
            Ok(Ok(entries)) => {
                self.missed.confirm(id, &self.selectors, self.number);
                Ok(entries)
            }
            Ok(Err(error)) => Err(self.miss(id, DiskFault::Refused(AppendError::Io(error)))),
            Err(fault) => {
                let fault = self.miss(id, fault);
                tokio::spawn(self.clone().confirm_late(id, answer));
                Err(fault)
            }
        }
    }

    fn miss(&self, id: VolumeId, fault: DiskFault) -> DiskFault {
        self.missed.add(id, &self.selectors, self.number);
        fault
    }

    /// Takes it back when a volume makes the purge after all.
    async fn confirm_late(self, id: VolumeId, answer: oneshot::Receiver<io::Result<u64>>) {
        let Ok(Ok(_)) = answer.await else { return };
        let confirm = move || {
            self.missed.confirm(id, &self.selectors, self.number);
            self.missed.save()
        };
        if let Ok(Err(error)) = spawn_blocking(confirm).await {
            tracing::warn!(%error, "a purge that was late is made again at the next start");
        }
    }
}

/// All that is selected, whatever fails; the first error.
fn purge_all(log: &DemandLog, selectors: &[PurgeSelector]) -> io::Result<u64> {
    let purged = selectors.iter().map(|selector| log_key::purge(log, selector));
    // Each is made before any of them is judged.
    let purged: Vec<io::Result<usize>> = purged.collect();
    purged.into_iter().map(|count| count.map(|count| count as u64)).sum()
}
