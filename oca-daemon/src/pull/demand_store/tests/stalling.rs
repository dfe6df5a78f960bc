//! A volume that does not answer holds up nobody but those who want what lies on it, and these not for long.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::site::{DISK_TIMEOUT, PATIENCE, Site};
use crate::limits::DEMAND_ENTRY_LOCKS;
use crate::pull::PurgeSelector;
use crate::pull::demand_store::DiskFault;

#[tokio::test]
async fn a_purge_is_made_on_every_volume_though_the_first_one_does_not_answer() {
    let site = Site::new();
    let running = site.start().settled().await;
    let keys = [running.key(0, 0), running.key(1, 0)];
    for key in &keys {
        running.keep(key).await.unwrap();
    }
    let gate = running.hang(0).await;
    let purged = running.demand.purge(vec![PurgeSelector::Prefix("/films/".to_owned())]).await;
    let error = purged.unwrap_err().to_string();
    assert!(error.contains("volume0") && error.contains("does not answer"), "{error}");
    assert!(running.is_held(0, &keys[0]) && !running.is_held(1, &keys[1]));
    gate.open();
    running.catch_up(0).await;
    assert!(!running.is_held(0, &keys[0]), "it is made as soon as the volume answers");
    running.stop();
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_not_stored() {
    let site = Site::new();
    let running = site.start().settled().await;
    let key = running.key(0, 0);
    let gate = running.hang(0).await;
    assert!(matches!(running.keep(&key).await, Err(DiskFault::Stalled)));
    gate.open();
    running.catch_up(0).await;
    assert!(!running.is_held(0, &key));
    running.stop();
}

#[tokio::test]
async fn a_volume_that_does_not_answer_is_not_waited_for_again_at_once() {
    let site = Site::new();
    let running = site.start().settled().await;
    let (held, healthy) = (running.key(0, 0), running.key(1, 0));
    let entry = running.keep(&held).await.unwrap();
    let gate = running.hang(0).await;
    assert!(matches!(running.demand.read_block(entry, 0).await, Err(DiskFault::Stalled)));
    let began = Instant::now();
    for _ in 0..10 {
        assert!(matches!(running.demand.read_block(entry, 0).await, Err(DiskFault::Stalled)));
        assert!(running.demand.entries(&held).await.is_empty() && running.demand.asked(&held).is_none());
    }
    assert!(began.elapsed() < DISK_TIMEOUT, "{:?}", began.elapsed());
    running.keep(&healthy).await.expect("the other volume answers");
    running.demand.forget(entry);
    gate.open();
    running.catch_up(0).await;
    assert!(!running.is_held(0, &held), "an entry is forgotten, whatever its disk does");
    running.stop();
}

#[tokio::test]
async fn whoever_waits_longer_than_others_did_in_vain_is_not_refused() {
    let site = Site::new();
    let running = site.start().settled().await;
    let gate = running.hang(0).await;
    let (volume, short) = (&running.demand.volumes[0], Duration::from_millis(300));
    assert!(matches!(volume.call(short, |_| ()).await, Err(DiskFault::Stalled)));
    let opening = gate.clone();
    tokio::spawn(async move {
        sleep(Duration::from_millis(100)).await;
        opening.open();
    });
    let began = Instant::now();
    assert!(matches!(volume.call(short, |_| ()).await, Err(DiskFault::Stalled)));
    assert!(began.elapsed() < short, "it was not waited for");
    volume.call(PATIENCE, |_| ()).await.expect("the volume answers a moment later");
    running.stop();
}

#[tokio::test]
async fn entries_that_are_begun_on_one_volume_hold_up_none_on_another() {
    let site = Site::new();
    let running = site.start().settled().await;
    let keys: Vec<String> = (0..8 * DEMAND_ENTRY_LOCKS).map(|number| format!("/films/{number}")).collect();
    let (of_one, of_other): (Vec<_>, Vec<_>) =
        keys.iter().partition(|key| running.demand.home(key) == Some(0));
    let mut held = Vec::new();
    for key in of_one {
        if let Ok(lock) = timeout(Duration::ZERO, running.demand.lock_entries(key)).await {
            held.push(lock);
        }
    }
    assert!(held.len() > DEMAND_ENTRY_LOCKS / 2);
    for key in of_other {
        timeout(PATIENCE, running.demand.lock_entries(key)).await.expect("it is not held up");
    }
    drop(held);
    running.stop();
}
