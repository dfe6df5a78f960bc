//! What is purged while a run is under way: the run gives it up, and the order is acknowledged when nothing of it can come any more.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

/// The disk that fails on command is the demo's.
#[path = "../../demo/tests/support"]
mod demo {
    pub(crate) mod faulty_volume;
}
mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cache_store::{BundleId, Volume};
use control_client::admin::Purge;
use control_client::config::{Config, VolumeConfig};
use control_client::content::BundlePath;
use control_client::fill::{FailureReason, FillRun, RunOutcome};
use control_client::report::{Directive, DirectiveResult, Order, Report, ReportAnswer};
use control_client::wire::DocumentVersion;
use demo::faulty_volume::{Fault, FaultyVolume, Submission};
use fill_agent::limits::BUNDLES_AT_ONCE;
use fill_agent::reporter::Reporter;
use fill_agent::run::{self, Occasion};
use jiff::Timestamp;
use support::appliance::{Appliance, failures, origin, report_to};
use support::content::Content;
use support::scripted_plane::ScriptedPlane;
use support::scripted_source::{Act, ScriptedSource};
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(60);
/// What the daemon is asked.
const PURGE: &str = "post /purge";

fn path(text: &str) -> BundlePath {
    BundlePath::parse(text).unwrap()
}

/// A control plane that orders one thing from when the test wants it.
fn plane(order: Order, is_wanted: &Arc<AtomicBool>) -> ScriptedPlane {
    let is_wanted = Arc::clone(is_wanted);
    ScriptedPlane::start(move |told| {
        if told.method == "PUT" {
            return (204, Vec::new());
        }
        if !told.path.ends_with("/reports") {
            return (500, b"no".to_vec());
        }
        let report: Report = serde_json::from_slice(&told.content).unwrap();
        let directive = Directive { id: 7, order: order.clone() };
        let answer = ReportAnswer {
            version: DocumentVersion,
            sequence: report.sequence,
            inventory_revision: None,
            manifest_sequence: 0,
            directives: is_wanted.load(Ordering::SeqCst).then_some(directive).into_iter().collect(),
            next_report_seconds: 1,
        };
        (200, serde_json::to_vec(&answer).unwrap())
    })
}

/// What became of the order, when that was told.
fn acknowledgement(plane: &ScriptedPlane) -> Option<DirectiveResult> {
    plane.reports().into_iter().find_map(|report| report.directives.into_iter().next())
}

/// A run that the test does not wait for.
fn begin(appliance: &Appliance) -> JoinHandle<Option<FillRun>> {
    let (agent, told) = (Arc::clone(&appliance.agent), appliance.tell.subscribe());
    let occasion = Occasion { night: agent.window.night_of(Timestamp::now()), is_by_hand: true };
    tokio::spawn(async move { run::run(&agent, occasion, told).await })
}

async fn end(running: JoinHandle<Option<FillRun>>) -> FillRun {
    tokio::time::timeout(PATIENCE, running).await.expect("the run ends").unwrap().unwrap()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// An appliance that is to bring one bundle from one source.
fn appliance(content: &Content, source: &ScriptedSource, configure: impl FnOnce(&mut Config)) -> Appliance {
    Appliance::with(&[(content, vec![origin(source.url())])], |_| {}, configure)
}

/// How often the daemon was asked that.
fn times(appliance: &Appliance, asked: &str) -> usize {
    appliance.daemon.asked().iter().filter(|one| one.as_str() == asked).count()
}

/// A volume on a disk that fails on command; `None` where FUSE cannot be used. Only threads that are started afterwards see it.
fn faulty_volume(folder: &Path) -> Option<(FaultyVolume, VolumeConfig)> {
    let (backing, mount) = (folder.join("behind"), folder.join("disk"));
    fs::create_dir(&backing).unwrap();
    fs::create_dir(&mount).unwrap();
    let disk = FaultyVolume::mount_or_skip(&backing, &mount, Submission::Queued)?;
    Volume::init(&mount).unwrap();
    Some((disk, VolumeConfig { path: mount, mount_required: false }))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_run_was_bringing_of_a_purged_title_does_not_come_after_the_acknowledgement_and_the_rest_does()
{
    // One more than are worked on at once: it waits for its turn.
    let film: Vec<Content> = (0..=BUNDLES_AT_ONCE)
        .map(|place| Content::new(&format!("/titles/film/{place}"), 1, &[100_000; 2]))
        .collect();
    let other = Content::new("/titles/film-2/0", 1, &[100_000; 2]);
    let contents: Vec<&Content> = film.iter().chain([&other]).collect();
    let (is_wanted, goes_on) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let going_on = Arc::clone(&goes_on);
    // It stalls in the middle of each bundle.
    let source = ScriptedSource::start(&contents, move |asked| {
        let deadline = Instant::now() + PATIENCE;
        let is_second = asked.method == "GET" && asked.target.ends_with("0001.m4s");
        while is_second && !going_on.load(Ordering::SeqCst) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        Act::Right
    });
    let plane = plane(Order::Purge { path: path("/titles/film"), prefix: true }, &is_wanted);
    let bundles: Vec<_> = contents.iter().map(|content| (*content, vec![origin(source.url())])).collect();
    let appliance = Appliance::with(
        &bundles,
        |entries| entries.last_mut().unwrap().score /= 1000,
        |config| {
            report_to(config, plane.url.clone());
            // It is slow, and not dead.
            config.fill.stall_timeout = 2 * PATIENCE;
        },
    );
    let reporting = tokio::spawn(Reporter::new(&appliance.agent).unwrap().keep());
    let running = begin(&appliance);
    let begun = || appliance.agent.progress().active.iter().filter(|bundle| bundle.done_bytes > 0).count();
    until("half of each is there that is worked on", || begun() == BUNDLES_AT_ONCE).await;

    is_wanted.store(true, Ordering::SeqCst);
    until("the acknowledgement, though the source stalls", || acknowledgement(&plane).is_some()).await;
    assert_eq!(acknowledgement(&plane).unwrap().failure, None);
    assert_eq!((times(&appliance, PURGE), appliance.daemon.held()), (1, vec![]), "none was being published");

    goes_on.store(true, Ordering::SeqCst);
    let run = end(running).await;
    assert_eq!(appliance.daemon.held(), [other.key()], "{run:?}");
    assert!(!film.iter().any(|bundle| appliance.has_published(bundle)));
    assert_eq!(appliance.incoming(), Vec::<String>::new(), "what had come of it is gone");
    assert_eq!((run.outcome, run.published_bundles), (RunOutcome::Incomplete, 1));
    let mut given_up = failures(&run);
    given_up.sort();
    let meant: Vec<_> =
        film.iter().map(|bundle| (bundle.key().path.to_string(), FailureReason::Purged)).collect();
    assert_eq!(given_up, meant);

    reporting.abort();
    let later = appliance.run().await;
    assert_eq!(later.published_bundles, film.len() as u64, "a later run goes by its list: {later:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_daemon_is_taking_in_when_it_is_purged_is_waited_for_and_taken_out() {
    let content = Content::new("/titles/film", 1, &[100_000]);
    let source = ScriptedSource::right(&[&content]);
    let is_wanted = Arc::<AtomicBool>::default();
    let plane = plane(Order::Purge { path: path("/titles/film"), prefix: false }, &is_wanted);
    let appliance = appliance(&content, &source, |config| report_to(config, plane.url.clone()));
    *appliance.daemon.shared.hold_adoptions.lock().unwrap() = true;
    let reporting = tokio::spawn(Reporter::new(&appliance.agent).unwrap().keep());
    let running = begin(&appliance);
    until("the adoption", || times(&appliance, "post /adopt") == 1).await;

    is_wanted.store(true, Ordering::SeqCst);
    until("the daemon is told at once", || times(&appliance, PURGE) == 1).await;
    // Who did not wait would have acknowledged by then.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(acknowledgement(&plane).is_none() && times(&appliance, PURGE) == 1);
    *appliance.daemon.shared.hold_adoptions.lock().unwrap() = false;
    until("the acknowledgement", || acknowledgement(&plane).is_some()).await;
    assert_eq!(acknowledgement(&plane).unwrap().failure, None);
    assert_eq!((times(&appliance, PURGE), appliance.daemon.held()), (2, vec![]), "and once more");

    let run = end(running).await;
    reporting.abort();
    assert_eq!((run.published_bundles, failures(&run)), (1, vec![]), "it served until it was purged");
    assert_eq!(appliance.daemon.held(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_run_has_published_is_not_adopted_by_one_that_begins_beside_its_purge() {
    let content = Content::new("/titles/film", 1, &[100_000]);
    let source = ScriptedSource::right(&[&content]);
    let appliance = Appliance::new(&[(&content, vec![origin(source.url())])]);
    *appliance.daemon.shared.refuse_adoptions.lock().unwrap() = true;
    appliance.run().await;
    *appliance.daemon.shared.refuse_adoptions.lock().unwrap() = false;
    assert!(appliance.has_published(&content) && appliance.daemon.held().is_empty());

    let purge = Purge { version: DocumentVersion, path: path("/titles"), prefix: true };
    let purging = appliance.agent.purges.begin(&purge);
    let run = appliance.run().await;
    assert_eq!(failures(&run), [("/titles/film".to_owned(), FailureReason::Purged)], "{run:?}");
    assert_eq!(appliance.daemon.held(), []);
    drop(purging);
    let later = appliance.run().await;
    assert_eq!((later.published_bundles, appliance.daemon.held()), (1, vec![content.key()]), "{later:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_purge_removes_before_it_is_adopted_is_given_up_as_purged() {
    let content = Content::new("/titles/film", 1, &[100_000]);
    let source = ScriptedSource::right(&[&content]);
    let appliance = appliance(&content, &source, |_| {});
    *appliance.daemon.shared.hold_adoptions.lock().unwrap() = true;
    let running = begin(&appliance);
    until("the adoption", || times(&appliance, "post /adopt") == 1).await;
    let purge = Purge { version: DocumentVersion, path: path("/titles/film"), prefix: false };
    let purging = appliance.agent.purges.begin(&purge);
    // As the daemon does when it is told.
    fs::remove_file(appliance.volume().join(BundleId::of(&content.key()).file_path())).unwrap();
    *appliance.daemon.shared.hold_adoptions.lock().unwrap() = false;
    let run = end(running).await;
    drop(purging);
    assert_eq!(failures(&run), [("/titles/film".to_owned(), FailureReason::Purged)], "{run:?}");
}

#[test]
fn a_purge_waits_for_a_name_that_a_disk_gives_when_no_run_waits_for_it_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let Some((disk, volume)) = faulty_volume(folder.path()) else { return };
    let content = Content::new("/titles/film", 1, &[100_000]);
    let source = ScriptedSource::right(&[&content]);
    let is_wanted = Arc::<AtomicBool>::default();
    let plane = plane(Order::Purge { path: path("/titles/film"), prefix: false }, &is_wanted);
    let appliance = appliance(&content, &source, |config| {
        report_to(config, plane.url.clone());
        config.store.volumes = vec![volume];
    });
    // It was made, and never opened, until its tail is read back: then it gets its name.
    disk.fail(Fault::HungOpens(2 * PATIENCE), ".partial");
    let file = folder.path().join("behind").join(BundleId::of(&content.key()).file_path());
    runtime().block_on(async {
        let reporting = tokio::spawn(Reporter::new(&appliance.agent).unwrap().keep());
        let running = begin(&appliance);
        until("the disk hangs", || disk.hung_count() > 0).await;
        appliance.tell.send(true).unwrap();
        assert_eq!(end(running).await.outcome, RunOutcome::Interrupted);

        is_wanted.store(true, Ordering::SeqCst);
        until("the daemon is told at once", || times(&appliance, PURGE) == 1).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(acknowledgement(&plane).is_none() && !file.exists());
        disk.heal();
        until("the acknowledgement", || acknowledgement(&plane).is_some()).await;
        assert_eq!(acknowledgement(&plane).unwrap().failure, None);
        assert!(file.exists(), "it has its name by then");
        assert_eq!(times(&appliance, PURGE), 2, "and the daemon was told after that");
        reporting.abort();
    });
}

#[test]
fn a_purge_that_comes_while_a_bundle_s_file_is_opened_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let Some((disk, volume)) = faulty_volume(folder.path()) else { return };
    let content = Content::new("/titles/film", 1, &[100_000]);
    let incoming = folder.path().join("behind/incoming");
    // Begun for another descriptor, after the plan was made: it is removed when the bundle's own is opened, and that hangs.
    let other = "0123456789abcdef.partial";
    disk.fail(Fault::HungOpens(2 * PATIENCE), other);
    let begun = incoming.join(format!("{}-{other}", BundleId::of(&content.key())));
    let source = ScriptedSource::start(&[&content], move |asked| {
        if asked.seen == 0 {
            fs::write(&begun, b"").unwrap();
        }
        Act::Right
    });
    let appliance = appliance(&content, &source, |config| config.store.volumes = vec![volume]);
    let runtime = runtime();
    runtime.block_on(async {
        let running = begin(&appliance);
        until("the opening hangs", || disk.hung_count() > 0).await;
        let purge = Purge { version: DocumentVersion, path: path("/titles/film"), prefix: false };
        let purging = appliance.agent.purges.begin(&purge);
        disk.heal();
        let run = end(running).await;
        drop(purging);
        assert_eq!(failures(&run), [("/titles/film".to_owned(), FailureReason::Purged)], "{run:?}");
    });
    // What nobody waits for any more has ended then, too.
    drop(runtime);
    let left: Vec<_> = fs::read_dir(incoming).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}
