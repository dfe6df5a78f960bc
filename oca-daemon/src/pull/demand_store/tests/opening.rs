//! Logs that are opened late, or cannot be.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use cache_store::Volume;
use cache_store::demand::DemandLog;

use super::site::{Gate, Site, eventually, open_small, path};
use crate::pull::PurgeSelector;
use crate::pull::demand_store::log_key;
use crate::pull::demand_store::volume::opening::Opening;

#[tokio::test]
async fn a_volume_that_is_opened_after_a_purge_does_not_bring_back_what_was_purged() {
    let (site, [purged, kept]) = Site::keeping(1).await;

    let gate = Gate::default();
    let running = site.start_gated(gate.clone());
    running.demand.purge(path(&purged)).await.expect("it is made before what that volume holds is served");
    gate.open();
    let running = running.settled().await;
    assert_eq!(running.demand.entries(&kept).await.len(), 1);
    assert!(running.demand.entries(&purged).await.is_empty());
    running.stop();
}

#[tokio::test]
async fn a_volume_whose_log_cannot_be_opened_takes_part_in_nothing() {
    let site = Site::new();
    let key = {
        let running = site.start().settled().await;
        let key = running.key(1, 0);
        running.stop();
        key
    };
    std::fs::remove_dir_all(site.volume(1).join("demand")).unwrap();
    std::fs::write(site.volume(1).join("demand"), "not a directory").unwrap();
    let running = site.start().settled().await;
    running.keep(&key).await.unwrap();
    assert!(running.is_held(0, &key), "its keys belong to the other now");
    assert_eq!(running.demand.purge(path(&key)).await.unwrap(), 1);
    running.stop();
}

#[tokio::test]
async fn what_belongs_to_a_volume_that_is_being_opened_is_stored_nowhere_else() {
    let site = Site::new();
    let gate = Gate::default();
    let running = site.start_gated(gate.clone());
    let (open, opening) = (running.key(0, 0), running.key(1, 0));
    eventually("the first volume's log is open", || running.demand.asked(&open).is_some()).await;
    assert!(running.demand.asked(&opening).is_none());
    assert!(running.demand.entries(&opening).await.is_empty());
    gate.open();
    let running = running.settled().await;
    assert_eq!(running.keep(&opening).await.unwrap().volume, 1);
    running.stop();
}

/// Found in review: a process that was short of descriptors when it started had no demand content until it was started again.
#[tokio::test]
async fn a_log_that_cannot_be_opened_for_want_of_descriptors_is_opened_later() {
    let (site, [key]) = Site::keeping(0).await;
    let (first, is_short) = (site.volume(0), AtomicBool::new(true));
    let running = site.start_opening(Some(site.file()), move |volume: &Volume| {
        if volume.path() == first && is_short.swap(false, Ordering::Relaxed) {
            return Err(rustix::io::Errno::MFILE.into());
        }
        open_small(volume)
    });
    let running = running.settled().await;
    assert_eq!(running.demand.entries(&key).await.len(), 1);
    running.stop();
}

/// Opens logs, and is short of descriptors at the first purge.
struct ShortOfDescriptors(AtomicBool);

impl Opening for ShortOfDescriptors {
    fn open(&self, volume: &Volume) -> io::Result<DemandLog> {
        open_small(volume)
    }

    fn purge(&self, log: &DemandLog, selector: &PurgeSelector) -> io::Result<usize> {
        if self.0.swap(false, Ordering::Relaxed) {
            return Err(rustix::io::Errno::MFILE.into());
        }
        log_key::purge(log, selector)
    }
}

/// Found in review: the same where the descriptors were wanting for what the volume had missed.
#[tokio::test]
async fn what_was_missed_and_cannot_be_made_for_want_of_descriptors_is_made_later() {
    let (site, [purged, kept]) = Site::keeping(0).await;
    site.purge_dormant(&purged);
    let opener = ShortOfDescriptors(AtomicBool::new(true));
    let running = site.start_opening(Some(site.file()), opener).settled().await;
    assert!(running.is_held(0, &kept) && !running.is_held(0, &purged));
    running.stop();
}
