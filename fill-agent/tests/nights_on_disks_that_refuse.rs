//! Volumes that cannot be written, files that cannot be served, and room that others have yet to make.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cache_store::Volume;
use control_client::content::{BundleKey, BundlePath, Generation};
use control_client::fill::{FailureReason, RunOutcome};
use control_client::fill_manifest::FillClass;
use control_client::units::ByteCount;
use support::appliance::{Appliance, failures, origin};
use support::content::Content;
use support::scripted_source::{Act, ScriptedSource};

const MIB: usize = 1 << 20;

/// Something that a source waits for while it is asked has happened, or will never.
fn wait_for(has_happened: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !has_happened() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An appliance that holds these and has a megabyte beside them; all that it is to fetch is pinned.
fn full_appliance(contents: &[&Content], source: &ScriptedSource, held: &[(&str, usize)]) -> Appliance {
    let bundles: Vec<_> = contents.iter().map(|content| (*content, vec![origin(source.url())])).collect();
    let mut appliance = Appliance::in_memory(&bundles, |entries| {
        entries.iter_mut().for_each(|entry| entry.class = FillClass::Pinned);
    });
    for (path, bytes) in held {
        let key = BundleKey { path: BundlePath::parse(path).unwrap(), generation: Generation::new(1) };
        appliance.daemon.hold(&key, *bytes as u64);
    }
    let free = Volume::open(&appliance.volume(), false).unwrap().space().unwrap().free_bytes;
    let mut config = appliance.agent.config.clone();
    config.fill.keep_free = ByteCount::new(free - MIB as u64);
    appliance.restart_with(config);
    appliance
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_retired_for_a_volume_that_cannot_be_written_and_the_volume_is_left_alone() {
    let contents: Vec<Content> =
        (0..3).map(|place| Content::new(&format!("/titles/{place}"), 1, &[4 * MIB])).collect();
    let volume = Arc::new(Mutex::new(None::<std::path::PathBuf>));
    let breaking = Arc::clone(&volume);
    // After the plan, before the first file, nothing can be written under `incoming/` any more.
    let source = ScriptedSource::start(&contents.iter().collect::<Vec<_>>(), move |_| {
        if let Some(volume) = breaking.lock().unwrap().take() {
            std::fs::rename(volume.join("incoming"), volume.join("incoming-before")).unwrap();
            std::fs::write(volume.join("incoming"), "").unwrap();
        }
        Act::Right
    });
    let held = [("/titles/old-1", 5 * MIB), ("/titles/old-2", 5 * MIB), ("/titles/old-3", 5 * MIB)];
    let appliance = full_appliance(&contents.iter().collect::<Vec<_>>(), &source, &held);
    *volume.lock().unwrap() = Some(appliance.volume());
    let run = appliance.run().await;
    assert_eq!(
        (run.outcome, run.planned_bundles, run.failures.len()),
        (RunOutcome::Incomplete, 3, 3),
        "{run:?}"
    );
    assert!(run.failures.iter().all(|failure| failure.reason == FailureReason::VolumeLost), "{run:?}");
    assert_eq!(appliance.daemon.held().len(), 3, "all of them serve on");
    assert!(!appliance.daemon.asked().iter().any(|asked| asked.contains("/retire")), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_left_service_with_its_file_in_place_is_fetched_again() {
    let content = Content::new("/titles/a", 1, &[100_000, 200_000]);
    let source = ScriptedSource::right(&[&content]);
    let appliance = Appliance::new(&[(&content, vec![origin(source.url())])]);
    assert_eq!(appliance.run().await.outcome, RunOutcome::Completed);
    appliance.daemon.quarantine_in_place(&content.key());
    assert!(appliance.has_published(&content));
    appliance.obey(2, vec![content.entry()], &[(&content, vec![origin(source.url())])]);
    let run = appliance.run().await;
    assert_eq!((run.outcome, run.published_bundles), (RunOutcome::Completed, 1), "{run:?}");
    assert_eq!(run.sources[0].bytes, content.bytes());
    assert_eq!(appliance.daemon.held(), [content.key()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_the_daemon_refuses_to_serve_gives_way_once_a_source_has_the_bundle() {
    let content = Content::new("/titles/a", 1, &[100_000]);
    let source = ScriptedSource::start(&[&content], |asked| match asked.seen {
        0 | 1 => Act::Status(404, ""),
        _ => Act::Right,
    });
    let appliance = Appliance::new(&[(&content, vec![origin(source.url())])]);
    appliance.daemon.litter(&content.key(), 50_000);
    let run = appliance.run().await;
    assert_eq!(failures(&run), [("/titles/a".to_owned(), FailureReason::Refused)], "{run:?}");
    assert!(appliance.has_published(&content), "nobody had what would take its place");
    let run = appliance.run().await;
    assert_eq!((run.outcome, run.published_bundles), (RunOutcome::Completed, 1), "{run:?}");
    assert_eq!(appliance.daemon.held(), [content.key()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_overtakes_the_one_that_makes_its_room_waits_for_it() {
    let (first, second) =
        (Content::new("/titles/first", 1, &[3 * MIB]), Content::new("/titles/second", 1, &[4 * MIB]));
    let has_overtaken = Arc::new(Mutex::new(false));
    let overtaking = Arc::clone(&has_overtaken);
    // The first is not answered before the second was.
    let source = ScriptedSource::start(&[&first, &second], move |asked| {
        match asked.target.contains("second") {
            true => *overtaking.lock().unwrap() = true,
            false => {
                wait_for(|| *overtaking.lock().unwrap());
                std::thread::sleep(Duration::from_millis(300));
            }
        }
        Act::Right
    });
    let appliance = full_appliance(&[&first, &second], &source, &[("/titles/old", 8 * MIB)]);
    let run = appliance.run().await;
    assert_eq!((run.outcome, run.published_bundles), (RunOutcome::Completed, 2), "{run:?}");
    assert_eq!(appliance.daemon.held(), [first.key(), second.key()]);
}
