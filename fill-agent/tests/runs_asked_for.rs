//! A run that somebody asks for begins: beside one that is under way, and over a restart.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use control_client::config::Config;
use control_client::fill::{FillState, RunOutcome};
use control_client::units::DailyWindow;
use fill_agent::service;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use support::appliance::{Appliance, origin};
use support::content::Content;
use support::scripted_source::{Act, ScriptedSource};

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A window of an hour that opens in twelve.
fn closed(config: &mut Config) {
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    let opens = (u16::try_from(now.hour()).unwrap() + 12) % 24 * 60;
    config.fill.window = DailyWindow::new(opens, opens + 60).unwrap();
    config.fill.jitter = Duration::ZERO;
}

fn runs(appliance: &Appliance) -> Vec<(RunOutcome, u64)> {
    let runs = appliance.agent.history.lock().unwrap().document().runs;
    runs.iter().rev().map(|run| (run.outcome, run.planned_bundles)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_asked_for_while_one_is_under_way_follows_it() {
    let content = Content::new("/titles/a", 1, &[100_000; 4]);
    let source = ScriptedSource::start(&[&content], |asked| match asked.method.as_str() {
        "GET" => Act::Slow(100_000),
        _ => Act::Right,
    });
    let appliance = Appliance::with(
        &[(&content, vec![origin(source.url())])],
        |_| {},
        |config| {
            config.fill.window = DailyWindow::new(0, 24 * 60).unwrap();
            config.fill.jitter = Duration::ZERO;
        },
    );
    let told = appliance.tell.subscribe();
    let keeping = tokio::spawn(service::keep(Arc::clone(&appliance.agent), told));
    until("the window is open, so a run begins", || appliance.agent.progress().state == FillState::Filling)
        .await;
    let agent = Arc::clone(&appliance.agent);
    tokio::task::spawn_blocking(move || agent.want_run()).await.unwrap();
    until("another run follows", || runs(&appliance).len() == 2).await;
    assert_eq!(runs(&appliance), [(RunOutcome::Completed, 1), (RunOutcome::Completed, 0)]);
    appliance.tell.send(true).unwrap();
    keeping.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_asked_for_at_the_end_of_a_process_is_begun_by_the_next_one_and_not_again() {
    let content = Content::new("/titles/a", 1, &[100_000]);
    let source = ScriptedSource::right(&[&content]);
    let mut appliance = Appliance::with(&[(&content, vec![origin(source.url())])], |_| {}, closed);
    appliance.agent.want_run();
    for restart in 0..2 {
        appliance.restart();
        let told = appliance.tell.subscribe();
        let keeping = tokio::spawn(service::keep(Arc::clone(&appliance.agent), told));
        until("the run", || runs(&appliance) == [(RunOutcome::Completed, 1)]).await;
        if restart == 1 {
            // Nothing else is due: the window is closed.
            until("the service has looked", || appliance.agent.progress().state == FillState::Waiting).await;
        }
        appliance.tell.send(true).unwrap();
        keeping.await.unwrap();
    }
    assert!(!appliance.agent.is_run_wanted());
    assert_eq!(runs(&appliance), [(RunOutcome::Completed, 1)]);
}
