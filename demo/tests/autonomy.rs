//! The control plane is gone, slow, talks nonsense or was rolled back; a manifest is for somebody else, too old, or not signed by
//! whom it should be: the appliance serves on, keeps its last manifest, says what is wrong, and reports later without loss.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support {
    pub(crate) mod http;
    pub(crate) mod night_site;
    pub(crate) mod scripted_plane;
    pub(crate) mod site;
}

use std::time::{Duration, Instant};

use control_client::fill::RunOutcome;
use control_client::fill_manifest::{FillManifest, SignedManifest};
use control_client::fleet::ApplianceName;
use control_client::health::Verdict;
use control_client::report::{Directive, Order};
use control_client::signature::SigningKey;

use support::night_site::{AgentService, NightSite, manifest, read_all_back};
use support::scripted_plane::{Behaviour, KEY_ID};
use support::site::{Daemon, Sample, eventually};

/// As long as several reports and questions of the agent take.
const A_WHILE: Duration = Duration::from_secs(4);

fn samples() -> Vec<Sample> {
    (0..3).map(|index| Sample::new(&format!("/night/{index}"), 1, 3, 60_000)).collect()
}

/// A night whose first two bundles are listed by manifest 1.
fn night(samples: &[Sample]) -> NightSite {
    let mut night = NightSite::new(samples);
    night.close_window();
    night.list(1, &[&samples[0], &samples[1]]);
    night
}

/// When a run is tried while the control plane misbehaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    BeforeRestart,
    AfterRestart,
}

const BOTH: [Moment; 2] = [Moment::BeforeRestart, Moment::AfterRestart];

/// The last manifest is in force: a run, if there is one, does what it says, and everything that it lists serves.
fn check_autonomy(
    night: &NightSite,
    daemon: &Daemon<'_>,
    agent: &AgentService<'_>,
    samples: &[Sample],
    runs: bool,
    context: &str,
) {
    assert_eq!(agent.progress().manifest_sequence, 1, "{context}");
    if runs {
        let run = agent.run();
        assert_eq!(run.outcome, RunOutcome::Completed, "{context}: {}", run.detail);
        assert_eq!(run.manifest_sequence, 1, "{context}");
    }
    read_all_back(daemon, &[&samples[0], &samples[1]], context);
    assert_eq!(night.site.health().verdict, Verdict::Healthy, "{context}");
}

fn misbehave(behaviour: Behaviour, runs: &[Moment]) {
    let context = format!("{behaviour:?}");
    let samples = samples();
    let night = night(&samples);
    let daemon = night.site.start();
    let agent = AgentService::start(&night);
    assert_eq!(agent.run().outcome, RunOutcome::Completed);
    read_all_back(&daemon, &[&samples[0]], &context);
    let requests_before = samples[0].objects.len() as u64;
    eventually("the demand before is reported", || night.reported_requests(&samples[0]) == requests_before);

    night.plane.behave(behaviour);
    let began = Instant::now();
    while began.elapsed() < A_WHILE {
        read_all_back(&daemon, &[&samples[1]], &context);
        std::thread::sleep(Duration::from_millis(500));
    }
    check_autonomy(&night, &daemon, &agent, &samples, runs.contains(&Moment::BeforeRestart), &context);
    // Nor does a restart need the control plane; and what was to be reported is not forgotten.
    agent.kill();
    let agent = AgentService::start(&night);
    check_autonomy(&night, &daemon, &agent, &samples, runs.contains(&Moment::AfterRestart), &context);
    let demanded: u64 = night
        .site
        .wait_for(night.site.admin().demand())
        .unwrap()
        .paths
        .iter()
        .map(|path| path.requests)
        .sum();
    assert_eq!(
        night.reported_requests(&samples[0]) + night.reported_requests(&samples[1]),
        requests_before,
        "{context}"
    );

    night.plane.behave(Behaviour::Proper);
    eventually("everything is reported", || {
        night.reported_requests(&samples[0]) + night.reported_requests(&samples[1]) == demanded
            && night.reported_runs().len() == 1 + runs.len()
    });
    // And nothing twice, however long one waits.
    std::thread::sleep(A_WHILE / 2);
    assert_eq!(
        night.reported_requests(&samples[0]) + night.reported_requests(&samples[1]),
        demanded,
        "{context}"
    );
    let runs: Vec<String> = night.reported_runs().into_iter().map(|run| run.run).collect();
    let mut known: Vec<String> = agent.runs().into_iter().map(|run| run.run).collect();
    known.sort();
    assert_eq!(runs, known, "{context}");

    // Manifests are taken again.
    night.list(2, &[&samples[2]]);
    assert_eq!(agent.run().manifest_sequence, 2, "{context}");
    read_all_back(&daemon, &[&samples[2]], &context);
}

#[test]
fn while_the_control_plane_is_gone_the_appliance_serves_keeps_its_manifest_and_reports_later_without_loss() {
    misbehave(Behaviour::Gone, &BOTH);
}

#[test]
fn a_control_plane_that_answers_too_late_is_as_good_as_gone() {
    // A run waits for it for half a minute: both wait at once, each in a night of its own.
    std::thread::scope(|scope| {
        for moment in BOTH {
            scope.spawn(move || misbehave(Behaviour::Slow(Duration::from_secs(120)), &[moment]));
        }
    });
}

#[test]
fn a_control_plane_that_answers_nonsense_changes_nothing() {
    misbehave(Behaviour::Nonsense, &BOTH);
}

#[test]
fn a_control_plane_that_fails_changes_nothing() {
    misbehave(Behaviour::Refuses(500), &BOTH);
}

#[test]
fn a_control_plane_that_does_not_know_the_appliance_any_more_changes_nothing() {
    misbehave(Behaviour::Refuses(401), &BOTH);
}

/// A manifest comes that must be refused, and the reason is seen where an operator looks: on the agent's socket, in its log, and at the
/// control plane.
fn refuse(reason: &str, make: impl FnOnce(&NightSite, FillManifest) -> SignedManifest) {
    let samples = samples();
    let mut night = NightSite::new(&samples);
    night.close_window();
    night.list(5, &[&samples[0], &samples[1]]);
    let daemon = night.site.start();
    let agent = AgentService::start(&night);
    assert_eq!(agent.run().outcome, RunOutcome::Completed);

    let bad = make(&night, manifest(6, &[&samples[2]]));
    night.plane.knowledge().manifest = Some(bad);
    let run = agent.run();
    assert_eq!(run.manifest_sequence, 5, "{}", run.detail);
    let progress = agent.progress();
    assert_eq!(progress.manifest_sequence, 5);
    assert!(progress.detail.contains(reason), "the agent says: {}", progress.detail);
    assert!(agent.log().contains(reason), "the log says: {}", agent.log());
    eventually("the control plane is told", || {
        let knowledge = night.plane.knowledge();
        let last = knowledge.reports.last().and_then(|report| report.manifest_refused.clone());
        last.is_some_and(|refused| refused.contains(reason))
    });
    read_all_back(&daemon, &[&samples[0], &samples[1]], reason);
    assert_eq!(daemon.get(&samples[2].request_path("0")).unwrap().head.status, 404);

    // A good one clears it.
    night.list(7, &[&samples[2]]);
    assert_eq!(agent.run().manifest_sequence, 7);
    assert!(!agent.progress().detail.contains(reason), "{}", agent.progress().detail);
    eventually("the control plane is told", || {
        let knowledge = night.plane.knowledge();
        knowledge
            .reports
            .last()
            .is_some_and(|report| report.manifest_refused.is_none() && report.manifest_sequence == 7)
    });
}

#[test]
fn a_control_plane_that_was_rolled_back_is_refused_by_the_sequence() {
    refuse("sequence 3", |night, mut manifest| {
        manifest.sequence = 3;
        SignedManifest::sign(&manifest, KEY_ID, &night.plane.knowledge().key)
    });
}

#[test]
fn a_manifest_for_another_appliance_is_refused() {
    refuse("for the appliance oca-9", |night, mut manifest| {
        manifest.audience = ApplianceName::parse("oca-9").unwrap();
        SignedManifest::sign(&manifest, KEY_ID, &night.plane.knowledge().key)
    });
}

#[test]
fn a_manifest_whose_bytes_are_not_those_that_were_signed_is_refused() {
    refuse("not signed by the key", |night, manifest| {
        let mut signed = SignedManifest::sign(&manifest, KEY_ID, &night.plane.knowledge().key);
        signed.manifest = signed.manifest.replace("/night/2", "/night/1");
        signed
    });
}

#[test]
fn a_manifest_that_was_signed_with_a_key_that_is_not_trusted_is_refused() {
    refuse("not in control.trusted_keys", |_, manifest| {
        SignedManifest::sign(&manifest, "another", &SigningKey::from_seed(&[9; 32]))
    });
}

#[test]
fn directives_are_obeyed_and_their_results_reported() {
    let samples = samples();
    let night = night(&samples);
    let daemon = night.site.start();
    let _agent = AgentService::start(&night);
    night.plane.knowledge().directives =
        vec![Directive { id: 1, order: Order::FillNow }, Directive { id: 2, order: Order::Drain }];
    eventually("the fill that was ordered", || night.site.serving().len() == 2);
    eventually("the drain that was ordered", || night.site.health().verdict == Verdict::Unhealthy);
    eventually("both results", || night.plane.knowledge().directives.is_empty());
    night.plane.knowledge().directives = vec![
        Directive { id: 3, order: Order::Undrain },
        Directive { id: 4, order: Order::Purge { path: samples[0].bundle_path(), prefix: false } },
    ];
    eventually("both results", || night.plane.knowledge().directives.is_empty());
    eventually("it serves again", || night.site.health().verdict == Verdict::Healthy);
    assert_eq!(night.site.serving(), [samples[1].key()]);
    let knowledge = night.plane.knowledge();
    let failures: Vec<_> = knowledge
        .reports
        .iter()
        .flat_map(|report| &report.directives)
        .filter_map(|result| result.failure.clone())
        .collect();
    assert_eq!(failures, Vec::<String>::new());
    drop(knowledge);
    drop(daemon);
}
