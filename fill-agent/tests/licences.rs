//! Licences that end while nothing is filled: whatever the control plane, the clock and the volumes do meanwhile.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use control_client::fill_manifest::FillEntry;
use fill_agent::clock;
use fill_agent::daemon::Retired;
use fill_agent::expiry::{self, Enforced};
use fill_agent::retiring::retire;
use fill_agent::run::{self, Occasion};
use jiff::Timestamp;
use support::appliance::{Appliance, origin, signed};
use support::content::Content;
use support::scripted_source::{Act, ScriptedSource};

/// A title whose licence ended a minute ago.
fn expired(content: &Content) -> FillEntry {
    FillEntry { expires_at: Some(clock::now() - 60), ..content.entry() }
}

/// A title whose licence lasts longer than any of these tests.
fn licensed(content: &Content) -> FillEntry {
    FillEntry { expires_at: Some(clock::now() + 3600), ..content.entry() }
}

fn appliance() -> Appliance {
    Appliance::new(&[])
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_licence_that_a_manifest_ends_during_the_day_ends_then() {
    let content = Content::new("/titles/a", 1, &[100]);
    let appliance = appliance();
    appliance.daemon.hold(&content.key(), 8192);
    let enforcing = tokio::spawn(expiry::keep(Arc::clone(&appliance.agent)));
    // It has looked, and found nothing.
    tokio::time::sleep(Duration::from_millis(50)).await;
    appliance.agent.take_manifest(signed(5, vec![expired(&content)])).unwrap();
    until("it is retired", || appliance.daemon.held().is_empty()).await;
    enforcing.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_comes_back_with_its_volume_expires_though_no_manifest_lists_it_any_more() {
    let (away, other) = (Content::new("/titles/away", 1, &[100]), Content::new("/titles/other", 1, &[100]));
    let mut appliance = appliance();
    *appliance.daemon.shared.lacks_a_volume.lock().unwrap() = true;
    appliance.agent.take_manifest(signed(5, vec![expired(&away), expired(&other)])).unwrap();
    appliance.agent.take_manifest(signed(6, Vec::new())).unwrap();
    appliance.daemon.hold(&other.key(), 8192);
    assert_eq!(expiry::enforce(&appliance.agent).await, Enforced::Done);
    assert!(appliance.daemon.held().is_empty(), "what serves ends at once");
    appliance.restart();
    *appliance.daemon.shared.lacks_a_volume.lock().unwrap() = false;
    appliance.daemon.hold(&away.key(), 8192);
    assert_eq!(expiry::enforce(&appliance.agent).await, Enforced::Done);
    assert!(appliance.daemon.held().is_empty());
}

/// A licence that ends when the volume of its bundle has been taken out, and nothing listed any more.
async fn is_retired_when_its_volume_is_put_back(mut appliance: Appliance, content: &Content) {
    appliance.daemon.take_volume_out();
    // Its licence ends now, and then nobody lists it any more.
    appliance.agent.take_manifest(signed(6, vec![expired(content)])).unwrap();
    appliance.agent.take_manifest(signed(7, Vec::new())).unwrap();
    // Everything else serves, and a licence has ended of what is nowhere.
    assert_eq!(expiry::enforce(&appliance.agent).await, Enforced::Done);
    appliance.restart();
    let is_known =
        |content: &Content| appliance.agent.licences.lock().unwrap().expires_at(&content.key()).is_some();
    assert!(is_known(content) && !is_known(&Content::new("/titles/nowhere", 1, &[100])));
    assert!(appliance.agent.licences.lock().unwrap().has_expired(clock::now()));
    assert_eq!(expiry::enforce(&appliance.agent).await, Enforced::Done);
    appliance.daemon.put_volume_back();
    assert_eq!(appliance.daemon.held(), [content.key()]);
    assert_eq!(expiry::enforce(&appliance.agent).await, Enforced::Done);
    assert!(appliance.daemon.held().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_whose_volume_was_taken_out_of_the_configuration_expires_when_that_is_put_back() {
    let (away, nowhere) =
        (Content::new("/titles/away", 1, &[100]), Content::new("/titles/nowhere", 1, &[100]));
    let appliance = appliance();
    appliance.daemon.hold(&away.key(), 8192);
    appliance.agent.take_manifest(signed(5, vec![licensed(&away), expired(&nowhere)])).unwrap();
    assert_eq!(expiry::enforce(&appliance.agent).await, Enforced::Done);
    is_retired_when_its_volume_is_put_back(appliance, &away).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_does_one_that_nobody_has_looked_at_since_it_was_filled() {
    let (away, nowhere) =
        (Content::new("/titles/away", 1, &[100]), Content::new("/titles/nowhere", 1, &[100]));
    let source = ScriptedSource::right(&[&away]);
    let appliance = Appliance::new(&[(&away, vec![origin(source.url())])]);
    appliance.obey(5, vec![licensed(&away), expired(&nowhere)], &[(&away, vec![origin(source.url())])]);
    assert_eq!(appliance.run().await.published_bundles, 1);
    is_retired_when_its_volume_is_put_back(appliance, &away).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_does_one_whose_agent_was_killed_before_its_run_had_ended() {
    let [away, nowhere, slow] =
        ["away", "nowhere", "slow"].map(|name| Content::new(&format!("/titles/{name}"), 1, &[100]));
    let source = ScriptedSource::start(&[&away, &slow], |asked| {
        if asked.target.contains("slow") { Act::Stall(0) } else { Act::Right }
    });
    let sources = [(&away, vec![origin(source.url())]), (&slow, vec![origin(source.url())])];
    let mut appliance = Appliance::new(&sources);
    appliance.obey(5, vec![licensed(&away), expired(&nowhere), slow.entry()], &sources);
    let (agent, told) = (Arc::clone(&appliance.agent), appliance.tell.subscribe());
    let occasion = Occasion { night: agent.window.night_of(Timestamp::now()), is_by_hand: true };
    let running = tokio::spawn(async move { run::run(&agent, occasion, told).await });
    until("it is served", || appliance.daemon.held() == [away.key()]).await;
    running.abort();
    let _ = running.await;
    appliance.restart();
    is_retired_when_its_volume_is_put_back(appliance, &away).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn licences_of_what_is_neither_held_nor_listed_are_forgotten_once_everything_serves() {
    let content = Content::new("/titles/a", 1, &[100]);
    let appliance = appliance();
    appliance.agent.take_manifest(signed(5, vec![expired(&content)])).unwrap();
    appliance.agent.take_manifest(signed(6, Vec::new())).unwrap();
    let is_known = || appliance.agent.licences.lock().unwrap().expires_at(&content.key()).is_some();
    *appliance.daemon.shared.is_recovering.lock().unwrap() = true;
    expiry::enforce(&appliance.agent).await;
    assert!(is_known(), "the daemon may find it yet");
    *appliance.daemon.shared.is_recovering.lock().unwrap() = false;
    expiry::enforce(&appliance.agent).await;
    assert!(!is_known());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bundles_whose_licence_has_ended_leave_at_once_though_readers_hold_every_one() {
    let contents: Vec<Content> =
        (0..40).map(|place| Content::new(&format!("/titles/{place}"), 1, &[100])).collect();
    let appliance = appliance();
    for content in &contents {
        appliance.daemon.hold(&content.key(), 8192);
        appliance.daemon.shared.readers.lock().unwrap().insert(content.key());
    }
    appliance.agent.take_manifest(signed(5, contents.iter().map(expired).collect())).unwrap();
    let began = Instant::now();
    assert_eq!(expiry::enforce(&appliance.agent).await, Enforced::Done);
    assert!(appliance.daemon.held().is_empty());
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_space_of_several_bundles_is_waited_for_together_and_none_serves_meanwhile() {
    let contents: Vec<Content> =
        ["/a", "/b", "/c", "/d"].map(|path| Content::new(path, 1, &[100])).into_iter().collect();
    let appliance = appliance();
    for content in &contents[..3] {
        appliance.daemon.hold(&content.key(), 8192);
    }
    for content in &contents[..2] {
        appliance.daemon.shared.readers.lock().unwrap().insert(content.key());
    }
    let keys: Vec<_> = contents.iter().map(Content::key).collect();
    let daemon = appliance.agent.daemon.clone();
    let asked = keys.clone();
    let retiring = tokio::spawn(async move { retire(&daemon, asked, Duration::from_secs(2)).await });
    until("none of them serves", || appliance.daemon.held().is_empty()).await;
    let retirements: Vec<_> =
        retiring.await.unwrap().into_iter().map(|(key, retired)| (key, retired.unwrap())).collect();
    let became = [Retired::Leaving, Retired::Leaving, Retired::Gone, Retired::Absent];
    assert_eq!(retirements, keys.into_iter().zip(became).collect::<Vec<_>>());
}
