//! The opening of a volume's log, by the first of its threads: as soon as the volume is there, and with what it has missed made.

use std::io;
use std::sync::Arc;
use std::thread;

use cache_store::Volume;
use cache_store::demand::{DemandLog, is_shortage};

use super::{DemandVolume, lock};
use crate::limits::{DEMAND_OPENED_AGAIN_AFTER, VOLUME_AWAITED_EVERY};
use crate::pull::PurgeSelector;
use crate::pull::demand_store::log_key;
use crate::pull::demand_store::missed_purges::MissedPurges;

/// Opens a volume's log, and makes what was missed.
pub(in crate::pull::demand_store) trait Opening: Send + Sync {
    /// Opens it.
    fn open(&self, volume: &Volume) -> io::Result<DemandLog>;

    /// Purges it before it is served.
    fn purge(&self, log: &DemandLog, selector: &PurgeSelector) -> io::Result<usize> {
        log_key::purge(log, selector)
    }
}

impl<F: Fn(&Volume) -> io::Result<DemandLog> + Send + Sync> Opening for F {
    fn open(&self, volume: &Volume) -> io::Result<DemandLog> {
        self(volume)
    }
}

pub(in crate::pull::demand_store) type Opener = Arc<dyn Opening>;

impl DemandVolume {
    /// Waits for the volume to be open, and opens its log. What it has missed is purged before anybody can look there.
    pub(super) fn open(&self, opener: &Opener, missed: &MissedPurges) {
        let volume = loop {
            match self.store.volume(self.index) {
                Some(volume) => break volume,
                None if lock(&self.jobs).is_none() || !self.store.is_in_use(self.index) => return,
                None => thread::sleep(VOLUME_AWAITED_EVERY),
            }
        };
        // The first and only time: a volume is opened once.
        let _ = self.id.set(volume.id());
        if let Err(error) = self.serve(opener, &volume, missed) {
            tracing::error!(
                volume = %self.path.display(), %error,
                "its demand content cannot be opened: what is pulled for it is sent and not stored"
            );
            self.blame(&error);
        }
    }

    /// Opens its log and makes what it has missed, as soon as this process has the descriptors and the memory for it.
    fn serve(&self, opener: &Opener, volume: &Volume, missed: &MissedPurges) -> io::Result<()> {
        let try_once = || {
            let log = opener.open(volume)?;
            let purge = |log: &DemandLog, selector: &PurgeSelector| opener.purge(log, selector);
            missed.make_up(volume.id(), &self.path, log, purge, |log| drop(self.log.set(log)))
        };
        loop {
            match try_once() {
                Err(error) if is_shortage(&error) && lock(&self.jobs).is_some() => {
                    tracing::warn!(volume = %self.path.display(), %error, "its demand content is opened later");
                    thread::sleep(DEMAND_OPENED_AGAIN_AFTER);
                }
                served => return served,
            }
        }
    }
}
