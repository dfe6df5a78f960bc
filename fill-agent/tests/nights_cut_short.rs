//! Nights that end before everything is in: by the window, by the night's bytes, by a kill. What is whole is published, what was
//! spent is remembered, what was begun is known.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use control_client::fill::{FillRun, RunOutcome};
use control_client::fill_manifest::FillEntry;
use control_client::sources::SourceKind;
use control_client::units::{BitRate, ByteCount};
use fill_agent::clock;
use fill_agent::history;
use fill_agent::run::{self, Occasion};
use jiff::Timestamp;
use support::appliance::{Appliance, origin, source};
use support::content::Content;
use support::scripted_source::{Act, ScriptedSource};
use tokio::task::JoinHandle;

const MIB: usize = 1 << 20;

fn night(appliance: &Appliance) -> Timestamp {
    appliance.agent.window.night_of(Timestamp::now())
}

/// A run that the test does not wait for.
fn begin(appliance: &Appliance) -> JoinHandle<Option<FillRun>> {
    let (agent, told) = (Arc::clone(&appliance.agent), appliance.tell.subscribe());
    let occasion = Occasion { night: night(appliance), is_by_hand: true };
    tokio::spawn(async move { run::run(&agent, occasion, told).await })
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_nights_bytes_are_spent_what_is_whole_is_published_still() {
    let (first, second) = (Content::new("/titles/1", 1, &[MIB; 2]), Content::new("/titles/2", 1, &[MIB; 8]));
    let right = ScriptedSource::right(&[&first, &second]);
    let liar = ScriptedSource::start(&[&second], |_| Act::WrongBytes);
    let sources = vec![source(SourceKind::Peer, "liar", liar.url(), 0), origin(right.url())];
    let appliance = Appliance::with(
        &[(&first, vec![origin(right.url())]), (&second, sources)],
        |entries| entries[0].score *= 1000,
        // All of it, and a little for what is sent wrong: not enough.
        |config| config.fill.night_bytes = ByteCount::new(10 * MIB as u64 + 300_000),
    );
    *appliance.daemon.shared.hold_adoptions.lock().unwrap() = true;
    let running = begin(&appliance);
    let (agent, night) = (Arc::clone(&appliance.agent), night(&appliance));
    let night_bytes = agent.config.fill.night_bytes.bytes();
    until("the night's bytes are spent", || {
        agent.budget.lock().unwrap().received(night) == night_bytes
            && appliance.daemon.asked().iter().any(|asked| asked.contains("/adopt"))
    })
    .await;
    *appliance.daemon.shared.hold_adoptions.lock().unwrap() = false;
    let ended = tokio::time::timeout(Duration::from_secs(30), running).await.expect("the run ends");
    let run = ended.unwrap().unwrap();
    assert_eq!(
        (run.outcome, run.planned_bundles, run.published_bundles),
        (RunOutcome::Suspended, 2, 1),
        "{run:?}"
    );
    assert_eq!(run.failures, []);
    assert_eq!(appliance.daemon.held(), [first.key()]);
    assert_eq!(agent.pace.received(), night_bytes, "and not a byte more");
}

/// Its bytes have come, and are paid for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_published_and_not_adopted_is_adopted_by_the_next_run_though_the_nights_bytes_are_spent() {
    let (first, second) = (Content::new("/titles/1", 1, &[MIB; 2]), Content::new("/titles/2", 1, &[MIB; 8]));
    let source = ScriptedSource::right(&[&first, &second]);
    let appliance = Appliance::with(
        &[(&first, vec![origin(source.url())]), (&second, vec![origin(source.url())])],
        |entries| entries[0].score *= 1000,
        |config| config.fill.night_bytes = ByteCount::new(3 * MIB as u64),
    );
    *appliance.daemon.shared.refuse_adoptions.lock().unwrap() = true;
    let run = appliance.run().await;
    assert!(appliance.has_published(&first) && appliance.daemon.held().is_empty(), "{run:?}");
    *appliance.daemon.shared.refuse_adoptions.lock().unwrap() = false;
    let (agent, night) = (&appliance.agent, night(&appliance));
    agent.budget.lock().unwrap().spend(night, 3 * MIB as u64);
    let before = agent.pace.received();
    let run = appliance.run().await;
    assert_eq!(appliance.daemon.held(), [first.key()], "{run:?}");
    assert_eq!((run.published_bundles, run.failures), (1, vec![]));
    assert_eq!(agent.pace.received(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_published_and_not_adopted_is_not_adopted_when_its_licence_has_ended() {
    let content = Content::new("/titles/1", 1, &[MIB]);
    let source = ScriptedSource::right(&[&content]);
    let appliance = Appliance::new(&[(&content, vec![origin(source.url())])]);
    *appliance.daemon.shared.refuse_adoptions.lock().unwrap() = true;
    appliance.run().await;
    *appliance.daemon.shared.refuse_adoptions.lock().unwrap() = false;
    assert!(appliance.has_published(&content));
    let expired = FillEntry { expires_at: Some(clock::now() - 60), ..content.entry() };
    appliance.obey(2, vec![expired], &[]);
    let run = appliance.run().await;
    assert!(appliance.daemon.held().is_empty(), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bundles_become_whole_one_after_another() {
    let contents: Vec<Content> =
        (0..3).map(|place| Content::new(&format!("/titles/{place}"), 1, &[50_000; 12])).collect();
    let first_asked = Arc::new(AtomicBool::new(false));
    let asking = Arc::clone(&first_asked);
    // All of them begin together: the others' objects are not answered before the first bundle's.
    let source = ScriptedSource::start(&contents.iter().collect::<Vec<_>>(), move |asked| {
        let deadline = Instant::now() + Duration::from_secs(30);
        if asked.method == "GET" && asked.target.contains("/titles/0/") {
            asking.store(true, Ordering::SeqCst);
        }
        while asked.method == "GET" && !asking.load(Ordering::SeqCst) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(10));
        Act::Right
    });
    let bundles: Vec<_> = contents.iter().map(|content| (content, vec![origin(source.url())])).collect();
    let appliance = Appliance::with(
        &bundles,
        |entries| entries.iter_mut().zip([100, 10, 1]).for_each(|(entry, more)| entry.score *= more),
        |config| config.fill.concurrency = 3,
    );
    let run = appliance.run().await;
    assert_eq!((run.outcome, run.published_bundles), (RunOutcome::Completed, 3), "{run:?}");
    let gets: Vec<String> =
        source.asked().into_iter().filter(|asked| asked.method == "GET").map(|asked| asked.target).collect();
    let last_of_first = gets.iter().rposition(|target| target.contains("/titles/0/")).unwrap();
    let overtaking = gets[..last_of_first].iter().filter(|target| !target.contains("/titles/0/")).count();
    // What began before the first did, and what had a place that the first no longer needed. Without an order
    // among the bundles it would be about 22 of the 24.
    assert!(
        overtaking <= 12,
        "{overtaking} objects of later bundles came before the first was whole: {gets:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_killed_remembers_at_least_what_it_has_received() {
    let content = Content::new("/titles/a", 1, &[MIB; 40]);
    let source = ScriptedSource::right(&[&content]);
    let mut appliance = Appliance::with(
        &[(&content, vec![origin(source.url())])],
        |_| {},
        |config| {
            config.fill.rate = BitRate::new(80_000_000);
            config.fill.night_bytes = ByteCount::gib(1);
        },
    );
    let mut received = 0;
    for _ in 0..2 {
        let running = begin(&appliance);
        let agent = Arc::clone(&appliance.agent);
        until("some of it has come", || agent.pace.received() >= 4 * MIB as u64).await;
        // As a kill does; nothing is written any more.
        running.abort();
        let _ = running.await;
        received += agent.pace.received();
        drop(agent);
        appliance.restart();
        let remembered = appliance.agent.budget.lock().unwrap().received(night(&appliance));
        assert!(remembered >= received, "{received} bytes were received, and {remembered} are remembered");
        let reserved = remembered - received;
        assert!(reserved <= ByteCount::gib(1).bytes() / 8, "{reserved} bytes are lost to the night");
    }
    let run = appliance.run().await;
    assert_eq!(run.outcome, RunOutcome::Completed, "{run:?}");
    let before = appliance.agent.budget.lock().unwrap().clone();
    appliance.restart();
    assert_eq!(
        *appliance.agent.budget.lock().unwrap(),
        before,
        "what was reserved and not received is given back"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_killed_at_once_still_knows_what_was_begun_before_it() {
    let (begun, other) =
        (Content::new("/titles/begun", 1, &[MIB; 6]), Content::new("/titles/other", 1, &[MIB]));
    let is_dead = Arc::new(AtomicBool::new(false));
    let dead = Arc::clone(&is_dead);
    let asked_for = Arc::new(Mutex::new(0));
    let source = ScriptedSource::start(&[&begun, &other], move |asked| {
        if asked.method == "GET" {
            *asked_for.lock().unwrap() += 1;
        }
        match asked.method == "GET" && (dead.load(Ordering::SeqCst) || *asked_for.lock().unwrap() > 4) {
            true => Act::Slow(100),
            false => Act::Right,
        }
    });
    let bundles = [(&begun, vec![origin(source.url())]), (&other, vec![origin(source.url())])];
    let mut appliance = Appliance::with(&bundles, |entries| entries[0].score *= 1000, |_| {});
    let running = begin(&appliance);
    until("some of it has come", || appliance.agent.progress().done_bytes >= 4 * MIB as u64).await;
    appliance.tell.send(true).unwrap();
    running.await.unwrap();
    let of_begun = |appliance: &Appliance| {
        let known = history::begun(&appliance.agent.state);
        known.iter().find(|(key, _)| *key == begun.key()).map_or(0, |(_, bytes)| *bytes)
    };
    let known = of_begun(&appliance);
    assert!(known >= 3 * MIB as u64, "{known}");
    is_dead.store(true, Ordering::SeqCst);
    appliance.restart();
    let running = begin(&appliance);
    until("the run has written something down", || {
        let written = history::interrupted(&appliance.agent.state).map(|checkpoint| checkpoint.run.run);
        written.is_some() && written == appliance.agent.progress().run
    })
    .await;
    running.abort();
    let _ = running.await;
    assert!(of_begun(&appliance) >= known, "{} of {known}", of_begun(&appliance));
}
