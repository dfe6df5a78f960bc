//! What the agent tells the control plane and does for it, over a real socket; and what it does where the control plane is gone,
//! slow, wrong, or rolled back.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cache_store::{IncomingBundle, Layout, PlannedObject, Volume};
use control_client::content::BundlePath;
use control_client::demand::PathDemand;
use control_client::fill::RunOutcome;
use control_client::report::{Directive, Enrolment, InventoryReport, Order, Report, ReportAnswer};
use control_client::sources::{BundleSources, SourcesAnswer, SourcesRequest};
use control_client::wire::DocumentVersion;
use fill_agent::reporter::Reporter;
use support::appliance::{Appliance, origin, signed};
use support::content::Content;
use support::scripted_plane::{ScriptedPlane, Told};
use support::scripted_source::ScriptedSource;

/// A control plane that takes every report.
fn answer(told: &Told, directives: &[Directive], manifest_sequence: u64) -> (u16, Vec<u8>) {
    if told.method == "PUT" {
        return (204, Vec::new());
    }
    if !told.path.ends_with("/reports") {
        return (404, br#"{"error":"no_manifest","detail":"scripted"}"#.to_vec());
    }
    let report: Report = serde_json::from_slice(&told.content).unwrap();
    static KNOWN: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap();
    if let Some(InventoryReport::Full { revision, .. } | InventoryReport::Delta { revision, .. }) =
        &report.inventory
    {
        known.insert(report.instance.clone(), *revision);
    }
    let inventory_revision = known.get(&report.instance).copied();
    let answer = ReportAnswer {
        version: DocumentVersion,
        sequence: report.sequence,
        inventory_revision,
        manifest_sequence,
        directives: directives.to_vec(),
        next_report_seconds: 1,
    };
    (200, serde_json::to_vec(&answer).unwrap())
}

fn appliance(plane: &ScriptedPlane) -> Appliance {
    let url = plane.url.clone();
    Appliance::with(
        &[],
        |_| {},
        move |config| {
            support::appliance::report_to(config, url);
        },
    )
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_tells_what_is_held_asked_for_and_done_and_directives_are_carried_out_once() {
    let directives = [
        Directive { id: 7, order: Order::Drain },
        Directive {
            id: 8,
            order: Order::Purge { path: BundlePath::parse("/titles/a").unwrap(), prefix: false },
        },
        Directive { id: 9, order: Order::FillNow },
    ];
    let done = Mutex::new(Vec::new());
    let plane = ScriptedPlane::start(move |told| {
        if let Ok(report) = serde_json::from_slice::<Report>(&told.content) {
            done.lock().unwrap().extend(report.directives.iter().map(|result| result.id));
        }
        let done = done.lock().unwrap();
        let open: Vec<_> = directives.iter().filter(|one| !done.contains(&one.id)).cloned().collect();
        answer(told, &open, 0)
    });
    let appliance = appliance(&plane);
    let content = Content::new("/titles/a", 1, &[100]);
    appliance.daemon.hold(&content.key(), 8192);
    *appliance.daemon.shared.demand.lock().unwrap() = vec![PathDemand {
        path: BundlePath::parse("/titles/a").unwrap(),
        requests: 3,
        bytes: 300,
        absent: 0,
    }];
    let reporting = tokio::spawn(Reporter::new(&appliance.agent).unwrap().keep());
    until("three reports", || plane.reports().len() >= 3).await;
    reporting.abort();

    let told = plane.told();
    assert_eq!((told[0].method.as_str(), told[0].path.as_str()), ("PUT", "/v1/appliances/oca-1"));
    let enrolment: Enrolment = serde_json::from_slice(&told[0].content).unwrap();
    assert!(enrolment.capacity_bytes > 0);
    let reports = plane.reports();
    assert_eq!(reports.iter().map(|report| report.sequence).take(3).collect::<Vec<_>>(), [1, 2, 3]);
    match &reports[0].inventory {
        Some(InventoryReport::Full { bundles, .. }) => assert_eq!(bundles[0].bytes, 8192),
        other => panic!("{other:?}"),
    }
    assert_eq!(reports[0].demand[0].paths[0].requests, 3);
    assert!(reports[0].load.is_some());
    assert!(reports[1..].iter().all(|report| report.demand.is_empty()), "told once");
    // The purge took it out: told as a change.
    let changes: Vec<_> = reports[1..].iter().filter_map(|report| report.inventory.clone()).collect();
    assert!(
        matches!(&changes[0], InventoryReport::Delta { removed, added, .. } if *removed == [content.key()] && added.is_empty()),
        "{changes:?}"
    );
    let results: Vec<_> = reports.iter().flat_map(|report| report.directives.clone()).collect();
    assert_eq!(
        results.iter().map(|result| (result.id, result.failure.clone())).collect::<Vec<_>>(),
        [(7, None), (8, None), (9, None)]
    );
    let asked = appliance.daemon.asked();
    assert_eq!(asked.iter().filter(|asked| *asked == "post /drain").count(), 1);
    // FillNow has called for a run.
    tokio::time::timeout(Duration::from_secs(1), appliance.agent.calls.run.notified()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_that_was_away_hears_everything_once() {
    let is_away = Arc::new(AtomicBool::new(true));
    let away = Arc::clone(&is_away);
    let first = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&first);
    let plane = ScriptedPlane::start(move |told| {
        if away.load(Ordering::SeqCst) && told.path.ends_with("/reports") {
            kept.lock().unwrap().get_or_insert(told.content.clone());
            return (500, b"no".to_vec());
        }
        answer(told, &[], 0)
    });
    let appliance = appliance(&plane);
    *appliance.daemon.shared.demand.lock().unwrap() =
        vec![PathDemand { path: BundlePath::parse("/a").unwrap(), requests: 5, bytes: 50, absent: 0 }];
    let reporting = tokio::spawn(Reporter::new(&appliance.agent).unwrap().keep());
    until("a report that is refused", || first.lock().unwrap().is_some()).await;
    reporting.abort();
    // The run happens while nobody hears.
    let run = appliance.run().await;
    is_away.store(false, Ordering::SeqCst);
    let reporting = tokio::spawn(Reporter::new(&appliance.agent).unwrap().keep());
    until("reports that are taken", || plane.reports().len() >= 3).await;
    reporting.abort();
    let lost: Report = serde_json::from_slice(first.lock().unwrap().as_ref().unwrap()).unwrap();
    let reports = &plane.reports()[1..];
    assert_eq!(reports[0].sequence, lost.sequence, "the same number again");
    assert_eq!(reports[0].demand, lost.demand);
    assert_eq!(reports[1].sequence, lost.sequence + 1);
    assert_eq!(reports[1].runs.iter().map(|told| &told.run).collect::<Vec<_>>(), [&run.run]);
    assert!(reports[1].demand.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_that_is_refused_is_told_to_the_control_plane_and_to_the_operator() {
    // Rolled back: it offers an older sequence than the one that was seen.
    let plane = ScriptedPlane::start(move |told| {
        if told.path.ends_with("/manifest") {
            return (200, serde_json::to_vec(&signed(3, Vec::new())).unwrap());
        }
        answer(told, &[], 3)
    });
    let appliance = appliance(&plane);
    appliance.agent.take_manifest(signed(5, Vec::new())).unwrap();
    let reporting = tokio::spawn(Reporter::new(&appliance.agent).unwrap().keep());
    until("the reason", || plane.reports().iter().any(|report| report.manifest_refused.is_some())).await;
    until("some more reports", || plane.reports().len() >= 4).await;
    reporting.abort();
    let reports = plane.reports();
    let last = reports.last().unwrap();
    assert_eq!(last.manifest_sequence, 5, "the last good one stays in force");
    assert!(last.manifest_refused.as_ref().unwrap().contains("sequence 3, and 5 was seen"), "{last:?}");
    assert!(appliance.agent.progress().detail.contains("sequence 3"), "the operator sees it, too");
    let asked = plane.told().iter().filter(|told| told.path.ends_with("/manifest")).count();
    assert_eq!(asked, 1, "what was refused is not asked for with every report");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_asks_for_manifest_descriptors_and_sources() {
    let content = Content::new("/titles/a", 1, &[100_000]);
    let source = ScriptedSource::right(&[&content]);
    let (offered, url) = (content.clone(), source.url());
    let plane = ScriptedPlane::start(move |told| match told.path.as_str() {
        "/v1/appliances/oca-1/manifest" => {
            (200, serde_json::to_vec(&signed(1, vec![offered.entry()])).unwrap())
        }
        "/v1/appliances/oca-1/sources" => {
            let request: SourcesRequest = serde_json::from_slice(&told.content).unwrap();
            let sources = |bundle| BundleSources { bundle, sources: vec![origin(url.clone())] };
            let bundles = request.bundles.into_iter().map(sources).collect();
            (200, serde_json::to_vec(&SourcesAnswer { version: DocumentVersion, bundles }).unwrap())
        }
        path if path == format!("/v1/descriptors/{}", offered.digest()) => {
            (200, offered.descriptor.to_bytes())
        }
        _ => answer(told, &[], 1),
    });
    let appliance = appliance(&plane);
    let run = appliance.run().await;
    assert_eq!((run.outcome, run.published_bundles), (RunOutcome::Completed, 1), "{run:?}");
    assert_eq!(appliance.daemon.held(), [content.key()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_that_is_busy_for_a_moment_costs_no_bundle() {
    let content = Content::new("/titles/a", 1, &[100_000]);
    let source = ScriptedSource::right(&[&content]);
    let (offered, is_first) = (content.clone(), AtomicBool::new(true));
    let plane = ScriptedPlane::start(move |told| match told.path.contains("/descriptors/") {
        true if is_first.swap(false, Ordering::SeqCst) => (503, b"busy".to_vec()),
        true => (200, offered.descriptor.to_bytes()),
        false => (500, b"no".to_vec()),
    });
    let appliance = appliance(&plane);
    appliance.obey(5, vec![content.entry()], &[(&content, vec![origin(source.url())])]);
    let name = format!("descriptors/{}", content.digest());
    appliance.agent.state.remove(&name).unwrap();
    let run = appliance.run().await;
    assert_eq!((run.outcome, run.published_bundles), (RunOutcome::Completed, 1), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_from_the_control_plane_stops_neither_the_run_nor_the_reports() {
    let plane = ScriptedPlane::start(|_| (200, b"<html>welcome to the hotel</html>".to_vec()));
    let appliance = appliance(&plane);
    let content = Content::new("/titles/a", 1, &[100_000]);
    let source = ScriptedSource::right(&[&content]);
    appliance.obey(5, vec![content.entry()], &[(&content, vec![origin(source.url())])]);
    let run = appliance.run().await;
    assert_eq!(
        (run.outcome, run.published_bundles),
        (RunOutcome::Completed, 1),
        "what was kept is enough: {run:?}"
    );
    assert!(appliance.agent.progress().detail.contains("cannot be read"));
    let reporting = tokio::spawn(Reporter::new(&appliance.agent).unwrap().keep());
    until("a report", || !plane.told().is_empty()).await;
    assert!(!reporting.is_finished());
    reporting.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_a_control_plane_that_wants_everything_again_nor_one_whose_manifests_are_refused_is_told_every_second()
 {
    let offered = AtomicU64::new(0);
    let plane = ScriptedPlane::start(move |told| {
        if told.method == "PUT" {
            return (204, Vec::new());
        }
        if told.path.ends_with("/manifest") {
            // Each time another one, for somebody else.
            let sequence = offered.fetch_add(1, Ordering::SeqCst) + 1;
            let mut manifest = signed(sequence, Vec::new());
            manifest.key_id = "stranger".to_owned();
            return (200, serde_json::to_vec(&manifest).unwrap());
        }
        let report: Report = serde_json::from_slice(&told.content).unwrap();
        let answer = ReportAnswer {
            version: DocumentVersion,
            sequence: report.sequence,
            inventory_revision: None,
            manifest_sequence: 100 + report.sequence,
            directives: Vec::new(),
            next_report_seconds: 3600,
        };
        (200, serde_json::to_vec(&answer).unwrap())
    });
    let appliance = appliance(&plane);
    let reporting = tokio::spawn(Reporter::new(&appliance.agent).unwrap().keep());
    until("the refusal is told at once", || plane.reports().len() >= 2).await;
    // Five more, if it were told every second.
    tokio::time::sleep(Duration::from_secs(5)).await;
    reporting.abort();
    let reports = plane.reports();
    assert_eq!(reports.len(), 2, "{reports:?}");
    assert!(reports[1].manifest_refused.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_capacity_is_told_when_the_daemon_knows_what_it_holds() {
    let plane = ScriptedPlane::start(|told| answer(told, &[], 0));
    let appliance = appliance(&plane);
    *appliance.daemon.shared.is_recovering.lock().unwrap() = true;
    let reporting = tokio::spawn(Reporter::new(&appliance.agent).unwrap().keep());
    until("two reports", || plane.reports().len() >= 2).await;
    let enrolled = || plane.told().into_iter().find(|told| told.method == "PUT");
    assert!(enrolled().is_none(), "nobody knows how much there is");
    *appliance.daemon.shared.is_recovering.lock().unwrap() = false;
    until("the enrolment", || enrolled().is_some()).await;
    reporting.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_room_that_a_bundle_has_taken_which_was_begun_counts_as_capacity() {
    let appliance = Appliance::in_memory(&[], |_| {});
    let before = appliance.agent.volumes.capacity_bytes(&BTreeMap::new()).await;
    let content = Content::new("/titles/a", 1, &[64 << 20]);
    let object = &content.descriptor.objects[0];
    let objects = vec![PlannedObject {
        name: object.name.clone(),
        length: object.bytes,
        media_type: object.media_type.as_str().into(),
        last_modified: object.last_modified,
        sha256: Some(object.sha256),
    }];
    let layout = Layout::new(content.key(), content.digest(), objects).unwrap();
    let volume = Arc::new(Volume::open(&appliance.volume(), false).unwrap());
    let (begun, _) = IncomingBundle::open(&volume, layout).unwrap();
    let after = appliance.agent.volumes.capacity_bytes(&BTreeMap::new()).await;
    assert!(before.abs_diff(after) < 32 << 20, "{before} {after}");
    begun.discard();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_comes_late_is_told_of_when_it_comes() {
    let plane = ScriptedPlane::start(|told| {
        let (status, content) = answer(told, &[], 0);
        let Ok(mut answer) = serde_json::from_slice::<ReportAnswer>(&content) else {
            return (status, content);
        };
        answer.next_report_seconds = 3600;
        (status, serde_json::to_vec(&answer).unwrap())
    });
    let appliance = appliance(&plane);
    let socket = appliance.agent.config.admin.socket.clone();
    std::fs::rename(&socket, socket.with_extension("away")).unwrap();
    let reporting = tokio::spawn(Reporter::new(&appliance.agent).unwrap().keep());
    until("a report without a daemon", || plane.reports().len() == 1).await;
    std::fs::rename(socket.with_extension("away"), &socket).unwrap();
    until("one with it", || plane.reports().len() == 2).await;
    reporting.abort();
    let reports = plane.reports();
    assert!(reports[0].inventory.is_none() && reports[1].inventory.is_some());
}
