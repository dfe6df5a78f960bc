//! Whole runs of an agent, in this process, against a source over a real socket: what is resumed, what is left out, what is
//! retired, and what ends a run early.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cache_store::{Isolation, Volume};
use control_client::content::{BundleKey, BundlePath, Generation};
use control_client::fill::{FailureReason, RunOutcome};
use control_client::fill_manifest::FillClass;
use control_client::units::{BitRate, ByteCount};
use fill_agent::history;
use support::appliance::{Appliance, failures, origin};
use support::content::Content;
use support::scripted_source::{Act, Asked, ScriptedSource};

const MIB: usize = 1 << 20;

fn gets(source: &ScriptedSource) -> Vec<Asked> {
    source.asked().into_iter().filter(|asked| asked.method == "GET").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_arrives_whole_and_a_second_run_fetches_nothing() {
    let content = Content::new("/titles/a b/1080p", 3, &[3 * MIB + 17, 0, 1, 4096, 70_000]);
    let source = ScriptedSource::right(&[]);
    // As a browser would ask: percent-encoded.
    let served = Content { objects: content.objects.clone(), ..content.clone() };
    source.add_encoded(&served);
    let appliance = Appliance::new(&[(&content, vec![origin(source.url())])]);
    let run = appliance.run().await;
    assert_eq!(run.outcome, RunOutcome::Completed, "{run:?}");
    assert_eq!((run.planned_bundles, run.published_bundles), (1, 1));
    assert_eq!((run.planned_bytes, run.published_bytes), (content.bytes(), content.bytes()));
    assert_eq!((run.sources[0].bytes, run.sources[0].wasted_bytes), (content.bytes(), 0));
    assert_eq!(appliance.daemon.held(), [content.key()]);
    assert_eq!(gets(&source).len(), 4, "the empty object is not asked for");

    let again = appliance.run().await;
    assert_eq!((again.outcome, again.planned_bundles), (RunOutcome::Completed, 0));
    assert_eq!(again.detail, "there was nothing to fetch");
    assert_eq!(gets(&source).len(), 4);
    let runs = appliance.agent.history.lock().unwrap().document().runs;
    assert_eq!(runs.iter().map(|run| &run.run).collect::<Vec<_>>(), [&again.run, &run.run]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_told_to_stop_ends_at_once_and_the_next_one_goes_on_with_what_is_there() {
    let content = Content::new("/titles/a", 1, &[MIB; 12]);
    let served = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&served);
    // After six objects the source is as good as dead.
    let is_dead = Arc::new(AtomicBool::new(false));
    let dead = Arc::clone(&is_dead);
    let source = ScriptedSource::start(&[&content], move |asked| {
        if asked.method == "GET"
            && counting.fetch_add(1, Ordering::SeqCst) >= 6
            && !dead.load(Ordering::SeqCst)
        {
            return Act::Slow(100);
        }
        Act::Right
    });
    let mut appliance = Appliance::new(&[(&content, vec![origin(source.url())])]);
    let (agent, told) = (Arc::clone(&appliance.agent), appliance.tell.subscribe());
    let night = agent.window.night_of(jiff::Timestamp::now());
    let occasion = fill_agent::run::Occasion { night, is_by_hand: true };
    let running = tokio::spawn(async move { fill_agent::run::run(&agent, occasion, told).await });
    while appliance.agent.progress().done_bytes < 5 * MIB as u64 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let asked_to_stop = Instant::now();
    appliance.tell.send(true).unwrap();
    let run = running.await.unwrap().unwrap();
    // What is on its way would take minutes; the disk may take its time with what has come.
    assert!(asked_to_stop.elapsed() < Duration::from_secs(15));
    assert_eq!((run.outcome, run.published_bundles), (RunOutcome::Interrupted, 0));
    assert_eq!(appliance.incoming().len(), 1, "what was begun stays");

    is_dead.store(true, Ordering::SeqCst);
    let asked_before = gets(&source).len();
    appliance.restart();
    let run = appliance.run().await;
    assert_eq!(run.outcome, RunOutcome::Completed, "{run:?}");
    assert_eq!(appliance.daemon.held(), [content.key()]);
    let asked_again = gets(&source).len() - asked_before;
    assert!(asked_again <= 7, "{asked_again} objects were fetched, and 5 of 12 were there");
    assert_eq!(run.sources[0].bytes, asked_again as u64 * MIB as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_was_published_and_not_adopted_is_adopted_by_the_next_run_without_a_byte() {
    let content = Content::new("/titles/a", 1, &[100_000, 200_000]);
    let source = ScriptedSource::right(&[&content]);
    let appliance = Appliance::new(&[(&content, vec![origin(source.url())])]);
    *appliance.daemon.shared.refuse_adoptions.lock().unwrap() = true;
    let run = appliance.run().await;
    assert_eq!(failures(&run), [("/titles/a".to_owned(), FailureReason::NotAdopted)]);
    assert!(appliance.has_published(&content));
    *appliance.daemon.shared.refuse_adoptions.lock().unwrap() = false;
    let run = appliance.run().await;
    assert_eq!((run.outcome, run.published_bundles), (RunOutcome::Completed, 1));
    assert_eq!(run.sources, [], "not a byte was fetched");
    assert_eq!(appliance.daemon.held(), [content.key()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_night_ends_when_its_bytes_are_spent_and_the_next_one_goes_on() {
    let contents: Vec<Content> =
        (0..4).map(|place| Content::new(&format!("/titles/{place}"), 1, &[MIB, MIB])).collect();
    let source = ScriptedSource::right(&contents.iter().collect::<Vec<_>>());
    let bundles: Vec<_> = contents.iter().map(|content| (content, vec![origin(source.url())])).collect();
    let appliance = Appliance::with(
        &bundles,
        |_| {},
        |config| {
            // Two bundles, and what heads and the probes of the others take.
            config.fill.night_bytes = ByteCount::new(4 * MIB as u64 + 100_000);
        },
    );
    let run = appliance.run().await;
    assert_eq!((run.planned_bundles, run.published_bundles), (2, 2), "{run:?}");
    let night = appliance.agent.window.night_of(jiff::Timestamp::now());
    let received = appliance.agent.budget.lock().unwrap().received(night);
    assert!(received > 4 * MIB as u64, "{received}");
    let again = appliance.run().await;
    assert_eq!((again.outcome, again.planned_bundles), (RunOutcome::Completed, 0), "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_spends_more_than_was_planned_is_suspended_when_the_nights_bytes_are_spent() {
    let content = Content::new("/titles/a", 1, &[MIB; 8]);
    // Enough for all of it; but every object is sent wrong once, so that twice the bytes are needed.
    const NIGHT_BYTES: u64 = 8 * MIB as u64 + 200_000;
    let source = ScriptedSource::start(&[&content], |asked| match asked.times {
        0 => Act::WrongBytes,
        _ => Act::Right,
    });
    let appliance = Appliance::with(
        &[(&content, vec![origin(source.url())])],
        |_| {},
        |config| {
            config.fill.night_bytes = ByteCount::new(NIGHT_BYTES);
            config.fill.rate = BitRate::new(20_000_000);
        },
    );
    let run = appliance.run().await;
    // Whether the bytes or the source's credit run out first, the bundle is not in, and the night's bytes are not passed.
    assert_ne!(run.outcome, RunOutcome::Completed, "{run:?}");
    assert!(run.planned_bundles == 1 && run.sources[0].bytes <= NIGHT_BYTES, "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_generation_takes_the_place_of_the_older() {
    let old = Content::new("/titles/a", 1, &[100_000]);
    let new = Content::new("/titles/a", 2, &[150_000]);
    let source = ScriptedSource::right(&[&new]);
    let appliance = Appliance::new(&[(&new, vec![origin(source.url())])]);
    appliance.daemon.hold(&old.key(), 110_592);
    let run = appliance.run().await;
    assert_eq!(run.outcome, RunOutcome::Completed, "{run:?}");
    assert_eq!(appliance.daemon.held(), [new.key()]);
    assert_eq!(run.retired_bundles, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_expired_is_retired_first_and_not_fetched() {
    let (held, listed) =
        (Content::new("/titles/held", 1, &[100_000]), Content::new("/titles/new", 1, &[100_000]));
    let source = ScriptedSource::right(&[&listed]);
    let appliance = Appliance::with(
        &[(&held, vec![origin(source.url())]), (&listed, vec![origin(source.url())])],
        |entries| entries.iter_mut().for_each(|entry| entry.expires_at = Some(1000)),
        |_| {},
    );
    appliance.daemon.hold(&held.key(), 110_592);
    let run = appliance.run().await;
    assert_eq!(
        (run.outcome, run.retired_bundles, run.planned_bundles),
        (RunOutcome::Completed, 1, 0),
        "{run:?}"
    );
    assert_eq!(appliance.daemon.held(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_gives_way_only_when_a_source_has_what_takes_its_place() {
    let (absent, present) =
        (Content::new("/titles/absent", 1, &[4 * MIB]), Content::new("/titles/present", 1, &[4 * MIB]));
    let source = ScriptedSource::right(&[&present]);
    let mut appliance = Appliance::in_memory(
        &[(&absent, vec![origin(source.url())]), (&present, vec![origin(source.url())])],
        |entries| entries.iter_mut().for_each(|entry| entry.class = FillClass::Pinned),
    );
    let old = |name: &str| BundleKey {
        path: BundlePath::parse(&format!("/titles/{name}")).unwrap(),
        generation: Generation::new(1),
    };
    appliance.daemon.hold(&old("old-1"), 6 * MIB as u64);
    appliance.daemon.hold(&old("old-2"), 6 * MIB as u64);
    // Nothing is free: each of the two needs the room of one that is held.
    let free = Volume::open(&appliance.volume(), false).unwrap().space().unwrap().free_bytes;
    let mut config = appliance.agent.config.clone();
    config.fill.keep_free = ByteCount::new(free - MIB as u64);
    appliance.restart_with(config);
    let run = appliance.run().await;
    assert_eq!(failures(&run), [("/titles/absent".to_owned(), FailureReason::Refused)], "{run:?}");
    let held = appliance.daemon.held();
    assert!(held.contains(&present.key()), "{run:?}");
    assert_eq!(held.len(), 2, "one of the two gave way, and one did not: {held:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_is_isolated_in_the_middle_is_lost_for_the_run_and_told_of() {
    let contents: Vec<Content> =
        (0..3).map(|place| Content::new(&format!("/titles/{place}"), 1, &[100_000])).collect();
    let folder = Arc::new(std::sync::Mutex::new(None::<std::path::PathBuf>));
    let isolating = Arc::clone(&folder);
    // Isolated when the first question comes: after the plan, before the first file.
    let source = ScriptedSource::start(&contents.iter().collect::<Vec<_>>(), move |_| {
        if let Some(path) = isolating.lock().unwrap().take() {
            let volume = Volume::open(&path, false).unwrap();
            let isolation = Isolation { reason: "too many read errors".to_owned(), since: 1_700_000_000 };
            volume.isolate(&isolation).unwrap();
        }
        Act::Right
    });
    let bundles: Vec<_> = contents.iter().map(|content| (content, vec![origin(source.url())])).collect();
    let appliance = Appliance::new(&bundles);
    *folder.lock().unwrap() = Some(appliance.volume());
    let run = appliance.run().await;
    assert_eq!(run.failures.len(), 3, "{run:?}");
    assert!(run.failures.iter().all(|failure| failure.reason == FailureReason::VolumeLost), "{run:?}");
    assert_eq!(run.outcome, RunOutcome::Incomplete);
}

/// Found by CI: a small bundle was short of the room that a large one had for a moment, before it gave it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up_after_the_plan_costs_what_does_not_fit_and_leaves_nothing_behind() {
    let large = [1, 2].map(|number| Content::new(&format!("/titles/large-{number}"), 1, &[16 * MIB]));
    let small: Vec<_> =
        (0..16).map(|number| Content::new(&format!("/titles/small-{number:02}"), 1, &[10_000])).collect();
    let contents: Vec<&Content> = large.iter().chain(&small).collect();
    let folder = Arc::new(std::sync::Mutex::new(None::<std::path::PathBuf>));
    let filling = Arc::clone(&folder);
    // Somebody else takes the room when the first question comes: after the plan, before the file.
    let source = ScriptedSource::start(&contents, move |_| {
        if let Some(path) = filling.lock().unwrap().take() {
            std::fs::write(path.join("of-somebody-else"), vec![1; 20 * MIB]).unwrap();
        }
        Act::Right
    });
    let bundles: Vec<_> = contents.iter().map(|content| (*content, vec![origin(source.url())])).collect();
    let mut appliance = Appliance::in_memory(&bundles, |entries| {
        entries[..large.len()].iter_mut().for_each(|entry| entry.class = FillClass::Pinned);
    });
    let free = Volume::open(&appliance.volume(), false).unwrap().space().unwrap().free_bytes;
    let mut config = appliance.agent.config.clone();
    config.fill.concurrency = contents.len() as u32;
    config.fill.keep_free = ByteCount::new(free - 33 * MIB as u64);
    appliance.restart_with(config);
    *folder.lock().unwrap() = Some(appliance.folder.path().to_owned());
    let run = appliance.run().await;
    let mut given_up = failures(&run);
    given_up.sort();
    assert_eq!(
        given_up,
        [1, 2].map(|number| (format!("/titles/large-{number}"), FailureReason::DiskFull)),
        "{run:?}"
    );
    let mut held = appliance.daemon.held();
    held.sort();
    assert_eq!(held, small.iter().map(Content::key).collect::<Vec<_>>());
    assert_eq!(appliance.incoming(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_begun_and_is_no_longer_wanted_is_removed() {
    let (gone, wanted) =
        (Content::new("/titles/gone", 1, &[MIB; 4]), Content::new("/titles/wanted", 1, &[100_000]));
    let source = ScriptedSource::start(&[&gone, &wanted], |asked| match asked.target.contains("gone") {
        true if asked.method == "GET" && asked.target.ends_with("0002.m4s") => Act::WrongBytes,
        _ => Act::Right,
    });
    let appliance = Appliance::new(&[(&gone, vec![origin(source.url())])]);
    let run = appliance.run().await;
    assert_eq!(failures(&run), [("/titles/gone".to_owned(), FailureReason::WrongBytes)]);
    assert_eq!(appliance.incoming().len(), 1, "another night may bring the rest");
    appliance.obey(2, vec![wanted.entry()], &[(&wanted, vec![origin(source.url())])]);
    let run = appliance.run().await;
    assert_eq!((run.outcome, run.manifest_sequence), (RunOutcome::Completed, 2), "{run:?}");
    assert_eq!(appliance.incoming(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_descriptor_that_does_not_fit_the_manifest_is_not_fetched() {
    let content = Content::new("/titles/a", 1, &[100_000]);
    let source = ScriptedSource::right(&[&content]);
    let appliance =
        Appliance::with(&[(&content, vec![origin(source.url())])], |entries| entries[0].bytes += 1, |_| {});
    let run = appliance.run().await;
    assert_eq!(failures(&run), [("/titles/a".to_owned(), FailureReason::Descriptor)]);
    assert_eq!(source.asked(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_agent_was_killed_is_found_and_reported_by_the_next_one() {
    let content = Content::new("/titles/a", 1, &[MIB; 6]);
    let source = ScriptedSource::start(&[&content], |asked| match asked.target.ends_with("0003.m4s") {
        true if asked.method == "GET" => Act::Slow(100),
        _ => Act::Right,
    });
    let mut appliance = Appliance::new(&[(&content, vec![origin(source.url())])]);
    let (agent, told) = (Arc::clone(&appliance.agent), appliance.tell.subscribe());
    let night = agent.window.night_of(jiff::Timestamp::now());
    let occasion = fill_agent::run::Occasion { night, is_by_hand: true };
    let running = tokio::spawn(async move { fill_agent::run::run(&agent, occasion, told).await });
    while history::interrupted(&appliance.agent.state).is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Dropped between two instructions, as a kill does; the disk thread ends what it has begun.
    running.abort();
    let _ = running.await;
    appliance.restart();
    fill_agent::service::recover(&appliance.agent);
    let runs = appliance.agent.history.lock().unwrap().document().runs;
    assert_eq!((runs.len(), runs[0].outcome), (1, RunOutcome::Interrupted));
    fill_agent::service::recover(&appliance.agent);
    assert_eq!(appliance.agent.history.lock().unwrap().document().runs.len(), 1, "and only once");
    let mut outbox = appliance.agent.outbox.lock().unwrap();
    assert_eq!(outbox.next().unwrap().runs.len(), 1);
    outbox.acknowledged(1);
    drop(outbox);
    fill_agent::service::recover(&appliance.agent);
    assert_eq!(appliance.agent.outbox.lock().unwrap().next().unwrap().runs.len(), 0, "nor is it told again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rate_is_held_over_every_second_measured_at_the_sources_socket() {
    let content = Content::new("/titles/a", 1, &[2 * MIB; 6]);
    let source = ScriptedSource::right(&[&content]);
    let rate = BitRate::new(32_000_000);
    let appliance =
        Appliance::with(&[(&content, vec![origin(source.url())])], |_| {}, |config| config.fill.rate = rate);
    let run = appliance.run().await;
    assert_eq!(run.outcome, RunOutcome::Completed, "{run:?}");
    let sent = source.sent();
    // What lies in the source's send buffers was not received yet: four connections of some 9 KiB, as small as the kernel makes them.
    let unsent = 4 * 9 * 1024;
    let mut most = 0;
    for (first, (from, _)) in sent.iter().enumerate() {
        let within = sent[first..].iter().take_while(|(at, _)| *at < *from + Duration::from_secs(1));
        most = most.max(within.map(|(_, bytes)| bytes).sum::<usize>());
    }
    let allowed = rate.bytes_per_second() as usize;
    assert!(most <= allowed + unsent, "{most} bytes in one second, {allowed} are allowed");
    // The best second is judged, and the whole only by far: the mean counts what the disk took, too.
    let took = sent.last().unwrap().0 - sent[0].0;
    let is_brake = most as f64 <= 0.6 * allowed as f64 || took > Duration::from_secs(15);
    assert!(!is_brake, "{most} bytes in the best second, of {allowed}, and {took:?}: the cap is not a brake");
}
