//! A control plane at work without its sockets: nothing is read, planned or polled but when a test says so.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[path = "support/fleet.rs"]
mod support;

use std::sync::Arc;

use control_client::config::{ControlPlaneConfig, OriginConfig};
use control_client::content::BundleKey;
use control_client::health::{Readiness, Verdict};
use control_client::report::Order;
use control_client::sources::{BundleSources, SourceKind, SourcesRequest};
use control_client::wire::DocumentVersion;
use control_plane::database::Database;
use control_plane::hysteresis::Standing;
use control_plane::keys::StateFolder;
use control_plane::plane::{ControlPlane, PlanError, now};
use control_plane::planning;
use control_plane::poll::Poller;
use control_plane::publish::publish;
use control_plane::registry;
use control_plane::server::ServerLimits;
use control_plane::service::Service;
use tempfile::TempDir;

use support::*;

fn config(folder: &TempDir) -> ControlPlaneConfig {
    ControlPlaneConfig {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        database: format!("sqlite://{}", folder.path().join("state.db").display()),
        state: folder.path().join("state"),
        origins: vec![OriginConfig {
            name: "origin".to_owned(),
            url: "https://origin.example.net".to_owned(),
        }],
        ..ControlPlaneConfig::default()
    }
}

/// A control plane, and the database as another process has it open.
async fn plane(folder: &TempDir) -> (Arc<ControlPlane>, Database) {
    let config = config(folder);
    let other = Database::open(&config.database).await.unwrap();
    let database = Database::open(&config.database).await.unwrap();
    let state = StateFolder::open(&config.state).unwrap();
    (ControlPlane::new(config, database, state).await.unwrap(), other)
}

/// Two appliances at one site, enrolled, reporting and serving.
async fn two_neighbours(plane: &ControlPlane, now: u64) {
    registry::add_site(&plane.database, site_facts("edge", "north", None, &[])).await.unwrap();
    for name in ["oca-1", "oca-2"] {
        let url = format!("http://{name}.example.net");
        registry::add_appliance(&plane.database, &appliance(name), &site("edge")).await.unwrap();
        plane.enrol(&appliance(name), &enrolment(&url, "", 1 << 30), now).await.unwrap();
        report_of(plane, name, 1, now).await;
    }
}

async fn report_of(plane: &ControlPlane, name: &str, sequence: u64, now: u64) {
    let mut told = report(name, "one", sequence);
    told.health = Some(health(Readiness::Serving, Verdict::Healthy));
    plane.report(&appliance(name), &told, now).await.unwrap();
}

async fn publish_titles(database: &Database, count: usize) -> Vec<BundleKey> {
    let files = tree(&[("1.m4s", "one")]);
    let mut keys = Vec::new();
    for number in 0..count {
        let (at, name) = (format!("/titles/{number}"), format!("title-{number}"));
        publish(database, files.path(), &path(&at), publication(&name, Some(1)), 1).await.unwrap();
        keys.push(key(&at, 1));
    }
    keys
}

async fn ask(plane: &ControlPlane, name: &str, bundles: &[BundleKey], now: u64) -> Vec<BundleSources> {
    let request = SourcesRequest { version: DocumentVersion, bundles: bundles.to_vec() };
    plane.sources(&appliance(name), &request, now).await
}

/// The bundles that an appliance has to wait for a peer with, before it may turn to the origin.
fn waited_for(answer: &[BundleSources]) -> Vec<&BundleKey> {
    let waits = |one: &&BundleSources| one.sources.iter().any(|source| source.kind == SourceKind::Peer);
    answer.iter().filter(waits).map(|one| &one.bundle).collect()
}

#[tokio::test]
async fn whatever_a_manifest_lists_has_its_sources_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (plane, other) = plane(&folder).await;
    two_neighbours(&plane, NOW).await;
    // Nobody has looked at the database since.
    let published = publish_titles(&other, 3).await;
    plane.plan(NOW).await.unwrap();
    let listed = planning::newest_list(&plane.database, &appliance("oca-1")).await.unwrap().unwrap();
    assert_eq!(listed.entries.len(), published.len());
    for key in &published {
        assert!(plane.fleet().number_of(key).is_some(), "{key} can be steered to and elected for");
    }
    assert_eq!(ask(&plane, "oca-1", &published, NOW).await.len(), published.len());
}

#[tokio::test]
async fn what_another_control_plane_has_listed_has_its_sources_here_too() {
    let folder = tempfile::tempdir().unwrap();
    let (plane, other) = plane(&folder).await;
    two_neighbours(&plane, NOW).await;
    let published = publish_titles(&other, 2).await;
    assert_eq!(plane.fleet().number_of(&published[0]), None, "it was not looked at here yet");
    assert_eq!(ask(&plane, "oca-1", &published, NOW).await.len(), published.len());
}

#[tokio::test]
async fn a_neighbour_that_passed_a_bundle_over_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let (plane, _other) = plane(&folder).await;
    two_neighbours(&plane, NOW).await;
    let published = publish_titles(&plane.database, 24).await;
    plane.plan(NOW).await.unwrap();
    let before = ask(&plane, "oca-1", &published, NOW).await;
    let waited = waited_for(&before);
    assert!(!waited.is_empty() && waited.len() < published.len(), "each is elected for some: {waited:?}");
    // The other one plans, and has room or budget for none of those but one.
    let planned = [waited[0].clone()];
    let theirs = ask(&plane, "oca-2", &planned, NOW).await;
    assert_eq!(waited_for(&theirs), Vec::<&BundleKey>::new(), "it is elected for it, and begins at once");
    let after = ask(&plane, "oca-1", &published, NOW + 61).await;
    assert_eq!(waited_for(&after), [&planned[0]]);
    // The next night it plans them.
    let next = NOW + 86_400;
    report_of(&plane, "oca-2", 2, next).await;
    ask(&plane, "oca-2", &published, next).await;
    assert_eq!(waited_for(&ask(&plane, "oca-1", &published, next).await), waited);
}

#[tokio::test]
async fn a_neighbour_whose_agent_does_not_report_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let (plane, _other) = plane(&folder).await;
    two_neighbours(&plane, NOW).await;
    let published = publish_titles(&plane.database, 24).await;
    plane.plan(NOW).await.unwrap();
    assert!(!waited_for(&ask(&plane, "oca-1", &published, NOW).await).is_empty());
    // Its daemon still answers polls; its agent is dead.
    report_of(&plane, "oca-1", 2, NOW + 3_600).await;
    let later = ask(&plane, "oca-1", &published, NOW + 3_600).await;
    assert_eq!(waited_for(&later), Vec::<&BundleKey>::new());
}

#[tokio::test]
async fn whoever_finds_it_listening_finds_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let state = config.state.clone();
    // No site, so that no manifest is made, which would need one.
    let service = Service::start(config, ServerLimits::default()).await.unwrap();
    assert_eq!(StateFolder::open(&state).unwrap().keys().unwrap().len(), 1);
    service.stop().await;
}

fn standing(plane: &ControlPlane, name: &str) -> Standing {
    plane.fleet().appliance(&appliance(name)).unwrap().1.standing.clone()
}

#[tokio::test]
async fn an_appliance_that_nobody_polls_is_turned_away_when_its_daemon_does_not_answer_its_agent() {
    let folder = tempfile::tempdir().unwrap();
    let (plane, _other) = plane(&folder).await;
    two_neighbours(&plane, NOW).await;
    let misses = u64::from(plane.config.misses);
    for sequence in 2..2 + misses {
        assert!(standing(&plane, "oca-1").is_serving(), "one lost answer is no verdict");
        plane.report(&appliance("oca-1"), &report("oca-1", "one", sequence), NOW).await.unwrap();
    }
    let Standing::Unreachable(why) = standing(&plane, "oca-1") else {
        panic!("{:?}", standing(&plane, "oca-1"))
    };
    assert!(why.contains("its daemon does not answer its agent"), "{why}");
    assert!(standing(&plane, "oca-2").is_serving());
}

/// Four appliances that serve, whose polls find nobody.
async fn four_that_cannot_be_polled(plane: &ControlPlane, reported_at: u64) -> [&'static str; 4] {
    registry::add_site(&plane.database, site_facts("edge", "north", None, &[])).await.unwrap();
    let names = ["oca-1", "oca-2", "oca-3", "oca-4"];
    for name in names {
        registry::add_appliance(&plane.database, &appliance(name), &site("edge")).await.unwrap();
        let told = enrolment(&format!("http://{name}.example.net"), "http://127.0.0.1:1", 1 << 30);
        plane.enrol(&appliance(name), &told, reported_at).await.unwrap();
        report_of(plane, name, 1, reported_at).await;
    }
    names
}

#[tokio::test]
async fn a_fault_of_the_control_planes_own_network_turns_nobody_away_who_reports() {
    let folder = tempfile::tempdir().unwrap();
    let (plane, _other) = plane(&folder).await;
    let names = four_that_cannot_be_polled(&plane, now()).await;
    let poller = Poller::new(std::time::Duration::from_secs(5)).unwrap();
    for _ in 0..2 * plane.config.misses {
        plane.poll_all(&poller).await;
    }
    assert!(names.iter().all(|name| standing(&plane, name).is_serving()));
    assert!(plane.metrics.polls_doubted.get() > 0);
}

#[tokio::test]
async fn where_reports_have_ended_too_appliances_are_gone_however_many() {
    let folder = tempfile::tempdir().unwrap();
    let (plane, _other) = plane(&folder).await;
    let names = four_that_cannot_be_polled(&plane, now() - 86_400).await;
    let poller = Poller::new(std::time::Duration::from_secs(5)).unwrap();
    for _ in 0..plane.config.misses {
        plane.poll_all(&poller).await;
    }
    assert!(names.iter().all(|name| matches!(standing(&plane, name), Standing::Unreachable(_))));
}

#[tokio::test]
async fn enrolments_are_no_witnesses_of_an_appliance_that_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let (plane, _other) = plane(&folder).await;
    two_neighbours(&plane, NOW).await;
    let poller = Poller::new(std::time::Duration::from_secs(5)).unwrap();
    for _ in 0..2 * plane.config.misses {
        plane.poll_first(&poller, &appliance("oca-1"), "http://127.0.0.1:1").await;
    }
    assert!(standing(&plane, "oca-1").is_serving());
}

#[tokio::test]
async fn a_clock_that_jumped_makes_no_manifests_and_forgets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (plane, _other) = plane(&folder).await;
    two_neighbours(&plane, NOW).await;
    publish_titles(&plane.database, 1).await;
    let mut told = report("oca-1", "one", 2);
    told.demand = vec![demand(TODAY, "/titles/0", 1, 100, 0)];
    plane.report(&appliance("oca-1"), &told, NOW).await.unwrap();
    assert_eq!(plane.plan(NOW).await.unwrap(), 2);
    let days = async || {
        let row = plane.database.read_one("SELECT COUNT(*) FROM demand", vec![]).await.unwrap().unwrap();
        control_plane::database::number(&row, 0).unwrap()
    };
    let later = NOW + 365 * 86_400;
    assert!(matches!(plane.plan(later).await, Err(PlanError::Clock { reporting: 0, .. })));
    // Appliances report, and say what time it really is.
    report_of(&plane, "oca-1", 3, later).await;
    report_of(&plane, "oca-2", 2, later).await;
    let refused = plane.plan(later).await.unwrap_err();
    assert!(matches!(refused, PlanError::Clock { reporting: 2, .. }), "{refused}");
    assert_eq!(days().await, 1);
    plane.plan(NOW + 60).await.unwrap();
    // It was really so long.
    for (name, sequence) in [("oca-1", 4), ("oca-2", 3)] {
        let mut told = report(name, "one", sequence);
        told.at = later;
        plane.report(&appliance(name), &told, later).await.unwrap();
    }
    plane.plan(later).await.unwrap();
    assert_eq!(days().await, 0, "old days are forgotten then");
}

#[tokio::test]
async fn an_order_is_no_reason_to_plan() {
    let folder = tempfile::tempdir().unwrap();
    let (plane, other) = plane(&folder).await;
    two_neighbours(&plane, NOW).await;
    plane.plan_is_due().await;
    let is_due = async || {
        let due = tokio::time::timeout(std::time::Duration::from_millis(200), plane.plan_is_due());
        due.await.is_ok()
    };
    plane.order(&appliance("oca-1"), Order::Drain, NOW).await.unwrap();
    assert!(!is_due().await);
    publish_titles(&other, 1).await;
    plane.refresh().await.unwrap();
    assert!(is_due().await, "a title is");
    plane.enrol(&appliance("oca-1"), &enrolment("http://192.0.2.7", "", 2 << 30), NOW).await.unwrap();
    assert!(is_due().await, "more room is");
}

#[tokio::test]
async fn a_question_for_sources_waits_for_the_first_plan() {
    let folder = tempfile::tempdir().unwrap();
    let (plane, _other) = plane(&folder).await;
    let patience = std::time::Duration::from_secs(600);
    let waited = async { plane.first_plan(patience).await };
    let planned = async { plane.plan(NOW).await.unwrap() };
    tokio::time::timeout(std::time::Duration::from_secs(20), async { tokio::join!(waited, planned) })
        .await
        .expect("planning ends the wait");
}
