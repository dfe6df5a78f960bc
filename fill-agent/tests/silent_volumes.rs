//! A volume whose disk has gone silent, beside one that works: whoever opens its marker waits.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

/// The disk that fails on command is the demo's.
#[path = "../../demo/tests/support"]
mod demo {
    pub(crate) mod faulty_volume;
}
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cache_store::BundleId;
use control_client::config::VolumeConfig;
use control_client::fill::{FailureReason, RunOutcome};
use control_client::report::{Report, ReportAnswer};
use control_client::wire::DocumentVersion;
use demo::faulty_volume::{Fault, FaultyVolume, Submission};
use fill_agent::reporter::Reporter;
use fill_agent::volumes::{Patience, Volumes};
use support::appliance::{Appliance, origin};
use support::content::Content;
use support::scripted_plane::ScriptedPlane;
use support::scripted_source::ScriptedSource;

struct SilentVolume {
    disk: FaultyVolume,
    folder: tempfile::TempDir,
}

impl SilentVolume {
    /// `None` where FUSE cannot be used. Only threads that are started afterwards see it.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (backing, mount) = (folder.path().join("behind"), folder.path().join("disk"));
        fs::create_dir(&backing).unwrap();
        fs::create_dir(&mount).unwrap();
        let disk = FaultyVolume::mount_or_skip(&backing, &mount, Submission::Queued)?;
        cache_store::Volume::init(&mount).unwrap();
        disk.fail(Fault::HungOpens(Duration::from_secs(600)), "oca-volume.json");
        Some(Self { disk, folder })
    }

    fn config(&self) -> VolumeConfig {
        VolumeConfig { path: self.folder.path().join("disk"), mount_required: false }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Patient with a volume for a second.
fn make_impatient(appliance: &mut Appliance) {
    let config = appliance.agent.config.clone();
    let second = Duration::from_secs(1);
    let patience = Patience { question: second, ..Patience::default() };
    let agent = Arc::get_mut(&mut appliance.agent).unwrap();
    agent.volumes = Volumes::new(&config, patience);
}

#[test]
fn a_silent_volume_holds_up_no_run_and_is_used_again_when_it_answers() {
    let contents: Vec<Content> =
        (0..6).map(|place| Content::new(&format!("/titles/{place}"), 1, &[100_000])).collect();
    let source = ScriptedSource::right(&contents.iter().collect::<Vec<_>>());
    let bundles: Vec<_> = contents.iter().map(|content| (content, vec![origin(source.url())])).collect();
    let Some(silent) = SilentVolume::mount() else { return };
    let second = silent.config();
    let mut appliance = Appliance::with(&bundles, |_| {}, |config| config.store.volumes.push(second));
    make_impatient(&mut appliance);
    runtime().block_on(async {
        let run = tokio::time::timeout(Duration::from_secs(60), appliance.run()).await.unwrap();
        assert_eq!((run.outcome, run.published_bundles), (RunOutcome::Completed, 6), "{run:?}");
        let volumes = &appliance.agent.volumes;
        assert!(volumes.is_lost(1).await && volumes.calls().is_silent(1));
        assert_eq!(silent.disk.hung_count(), 1, "one question is asked of it");

        let began = Instant::now();
        for _ in 0..50 {
            volumes.capacity_bytes(&BTreeMap::new()).await;
        }
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "nobody waits for it again: {:?}",
            began.elapsed()
        );

        silent.disk.heal();
        while volumes.calls().is_silent(1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(!volumes.is_lost(1).await);
    });
}

/// Freeing a large file may take a disk long, and one that hangs never ends it.
#[test]
fn a_file_whose_removal_hangs_holds_up_nobody_but_its_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let (backing, mount) = (folder.path().join("behind"), folder.path().join("disk"));
    fs::create_dir(&backing).unwrap();
    fs::create_dir(&mount).unwrap();
    let Some(disk) = FaultyVolume::mount_or_skip(&backing, &mount, Submission::Queued) else { return };
    cache_store::Volume::init(&mount).unwrap();
    let content = Content::new("/titles/a", 1, &[100_000]);
    let source = ScriptedSource::right(&[&content]);
    let volume = VolumeConfig { path: mount, mount_required: false };
    let appliance = Appliance::with(
        &[(&content, vec![origin(source.url())])],
        |_| {},
        |config| config.store.volumes = vec![volume],
    );
    let name = BundleId::of(&content.key()).file_name();
    let name: &'static str = name.split_once('.').unwrap().0.to_owned().leak();
    // What is read back is wrong, twice, and is given up.
    disk.fail(Fault::FlippedBits, name);
    disk.fail(Fault::HungUnlinks(Duration::from_secs(600)), name);
    let ticks = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&ticks);
    let running = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::spawn(async move {
                loop {
                    counted.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
            appliance.run().await
        })
    });
    assert!(disk.wait_for_hung(1, Duration::from_secs(60)), "the file was not removed");
    let before = ticks.load(Ordering::SeqCst);
    let deadline = Instant::now() + Duration::from_secs(10);
    while ticks.load(Ordering::SeqCst) < before + 10 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    let goes_on = ticks.load(Ordering::SeqCst) >= before + 10;
    disk.heal();
    let run = running.join().unwrap();
    assert!(goes_on, "the agent stood still while a disk removed a file");
    assert_eq!(
        (run.outcome, run.failures[0].reason),
        (RunOutcome::Incomplete, FailureReason::DiskFailed),
        "{run:?}"
    );
}

#[test]
fn a_silent_volume_silences_no_report() {
    let Some(silent) = SilentVolume::mount() else { return };
    let second = silent.config();
    let plane = ScriptedPlane::start(|told| {
        let Ok(report) = serde_json::from_slice::<Report>(&told.content) else {
            return (204, Vec::new());
        };
        let answer = ReportAnswer {
            version: DocumentVersion,
            sequence: report.sequence,
            inventory_revision: None,
            manifest_sequence: 0,
            directives: Vec::new(),
            next_report_seconds: 1,
        };
        (200, serde_json::to_vec(&answer).unwrap())
    });
    let url = plane.url.clone();
    let mut appliance = Appliance::with(
        &[],
        |_| {},
        |config| {
            config.store.volumes.push(second);
            support::appliance::report_to(config, url);
        },
    );
    make_impatient(&mut appliance);
    runtime().block_on(async {
        let reporting = tokio::spawn(Reporter::new(&appliance.agent).unwrap().keep());
        let deadline = Instant::now() + Duration::from_secs(60);
        while plane.reports().len() < 3 {
            assert!(Instant::now() < deadline, "{} reports came", plane.reports().len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        reporting.abort();
        silent.disk.heal();
    });
}
