//! Purging, on all volumes at once.
//!
//! What a volume has not made for good it has missed ([`MissedPurges`]): it is made before the volume's content is served again.
//! So a purge is done when each volume that is in use has made it, and what the others have missed is written down.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cache_store::demand::{AppendError, DemandLog};
use tokio::time::Instant;

use super::fault::DiskFault;
use super::placement::Standing;
use super::volume::DemandVolume;
use super::{DemandStore, log_key};
use crate::limits::VOLUME_AWAITED_EVERY;
use crate::pull::PurgeSelector;

impl DemandStore {
    /// Purges every volume of all that is selected, whatever one of them says. Durable when it returns how many entries there were,
    /// those excepted that volumes hold that are not in use.
    ///
    /// # Errors
    /// The first fault of a volume that is in use. What it holds may be served until it is asked again, or the daemon starts again.
    pub(in crate::pull) async fn purge(&self, selectors: Vec<PurgeSelector>) -> io::Result<u64> {
        let selectors: Arc<[PurgeSelector]> = selectors.into();
        // Tasks of their own: a purge that was begun is made, even if whoever asked for it has left.
        let begun: Vec<_> = self
            .volumes
            .iter()
            .map(|volume| {
                tokio::spawn(purge_volume(Arc::clone(volume), Arc::clone(&selectors), self.disk_timeout))
            })
            .collect();
        let mut count = 0;
        let mut missed_by = Vec::new();
        let mut first_fault = None;
        for (volume, purged) in self.volumes.iter().zip(begun) {
            match purged.await.unwrap_or(Err(DiskFault::Unavailable)) {
                Ok(entries) => count += entries,
                Err(fault) => {
                    missed_by.push(volume.path().to_owned());
                    if volume.standing() != Standing::Away && first_fault.is_none() {
                        first_fault = Some(format!("{}: {fault}", volume.path().display()));
                    }
                }
            }
        }
        let is_written = self.note_missed(missed_by, selectors).await;
        match first_fault {
            Some(fault) => Err(io::Error::other(fault)),
            None => is_written.map(|()| count),
        }
    }

    /// Writes down what volumes have missed.
    async fn note_missed(&self, volumes: Vec<PathBuf>, selectors: Arc<[PurgeSelector]>) -> io::Result<()> {
        if volumes.is_empty() {
            return Ok(());
        }
        tracing::warn!(
            ?volumes,
            "volumes have missed a purge; it is made before their content is served again"
        );
        let missed = Arc::clone(&self.missed);
        let noted = tokio::task::spawn_blocking(move || missed.add(&volumes, &selectors)).await;
        noted.map_err(io::Error::other)?.map_err(|error| {
            io::Error::other(format!("a volume has missed it, which could not be written down: {error}"))
        })
    }
}

async fn purge_volume(
    volume: Arc<DemandVolume>,
    selectors: Arc<[PurgeSelector]>,
    timeout: Duration,
) -> Result<u64, DiskFault> {
    let deadline = Instant::now() + timeout;
    loop {
        match volume.standing() {
            Standing::Open => break,
            Standing::Away => return Err(DiskFault::Unavailable),
            Standing::Opening if Instant::now() >= deadline => return Err(DiskFault::Opening),
            Standing::Opening => tokio::time::sleep(VOLUME_AWAITED_EVERY).await,
        }
    }
    let purge = move |log: &DemandLog| purge_all(log, &selectors);
    volume.order(timeout, purge).await?.map_err(|error| DiskFault::Refused(AppendError::Io(error)))
}

/// All that is selected, whatever fails; the first error.
fn purge_all(log: &DemandLog, selectors: &[PurgeSelector]) -> io::Result<u64> {
    let purged = selectors.iter().map(|selector| log_key::purge(log, selector));
    // Each is made before any of them is judged.
    let purged: Vec<io::Result<usize>> = purged.collect();
    purged.into_iter().map(|count| count.map(|count| count as u64)).sum()
}
