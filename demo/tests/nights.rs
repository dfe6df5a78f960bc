//! Nights that go wrong, with real processes: the disk is full or fails, a volume is lost, a peer lies, the origin is slow or
//! breaks off, the window closes in the middle, a licence ends, an edition follows another. What can be done is done, nothing wrong is
//! published, the reason is reported, and the next night does the rest.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support {
    pub(crate) mod faulty_volume;
    pub(crate) mod http;
    pub(crate) mod night_site;
    pub(crate) mod scripted_plane;
    pub(crate) mod site;
}

use std::fs;
use std::path::Path;

use control_client::fill::{FailureReason, FillRun, FillState, RunOutcome};
use control_client::health::Verdict;
use control_client::sources::{FillSource, SourceKind};
use demo::origin::{OriginFault, OriginProcess, Wrong};

use support::faulty_volume::{Fault, FaultyVolume, Submission};
use support::http::Connection;
use support::night_site::{
    AgentService, NightSite, bytes_of, entry, key, manifest, now, origin_source, read_all_back,
};
use support::site::{PROGRAM, Sample, Site, bundle_files, eventually, names_in};

const OBJECT_BYTES: usize = 100_000;

fn samples(count: usize) -> Vec<Sample> {
    (0..count).map(|index| Sample::new(&format!("/night/{index}"), 1, 3, OBJECT_BYTES)).collect()
}

fn references(samples: &[Sample]) -> Vec<&Sample> {
    samples.iter().collect()
}

/// A night whose window is closed: it fills when it is told to.
fn night(samples: &[Sample]) -> NightSite {
    night_of(Site::new(1), samples)
}

fn night_of(site: Site, samples: &[Sample]) -> NightSite {
    let mut night = NightSite::of_site(site, samples);
    night.close_window();
    night
}

fn failures(run: &FillRun) -> Vec<(String, FailureReason)> {
    run.failures.iter().map(|failure| (failure.bundle.path.as_str().to_owned(), failure.reason)).collect()
}

fn bytes_from(run: &FillRun, name: &str) -> (u64, u64) {
    run.sources
        .iter()
        .find(|source| source.name == name)
        .map_or((0, 0), |source| (source.bytes, source.wasted_bytes))
}

/// A site whose only volume is a disk that fails on command; `None` where FUSE cannot be used.
fn site_on_faulty_disk() -> Option<(Site, FaultyVolume)> {
    let mut site = Site::new(1);
    let disk = add_disk(&mut site, "disk")?;
    site.premises.drop_volume(0);
    Some((site, disk))
}

fn add_disk(site: &mut Site, name: &str) -> Option<FaultyVolume> {
    let (backing, mount) = (site.folder.path().join(format!("behind-{name}")), site.folder.path().join(name));
    fs::create_dir(&backing).unwrap();
    fs::create_dir(&mount).unwrap();
    let disk = FaultyVolume::mount_or_skip(&backing, &mount, Submission::Queued)?;
    site.add_volume(name);
    Some(disk)
}

#[test]
fn a_night_with_nothing_to_do_does_nothing_and_says_so() {
    let samples = samples(2);
    let night = night(&samples);
    night.list(1, &references(&samples));
    let _daemon = night.site.start();
    let agent = AgentService::start(&night);
    assert_eq!(agent.run().outcome, RunOutcome::Completed);
    let sent = night.site.wait_for(night.origin.counters()).unwrap().body_bytes;
    assert_eq!(sent, bytes_of(&samples));
    let run = agent.run();
    assert_eq!((run.outcome, run.planned_bundles, run.published_bundles), (RunOutcome::Completed, 0, 0));
    assert_eq!(night.site.wait_for(night.origin.counters()).unwrap().body_bytes, sent);
}

#[test]
fn a_new_edition_replaces_the_old_one_which_is_retired() {
    let old = Sample::new("/night/0", 1, 3, OBJECT_BYTES);
    let night = night(std::slice::from_ref(&old));
    night.list(1, &[&old]);
    let daemon = night.site.start();
    let agent = AgentService::start(&night);
    assert_eq!(agent.run().published_bundles, 1);

    let new = Sample { generation: 2, ..old.clone() };
    night.add(&new);
    night.list(2, &[&new]);
    let run = agent.run();
    assert_eq!(
        (run.outcome, run.published_bundles, run.retired_bundles),
        (RunOutcome::Completed, 1, 1),
        "{}",
        run.detail
    );
    assert_eq!(night.site.serving(), [new.key()]);
    read_all_back(&daemon, &[&new], "the new edition");
    eventually("the space has returned", || bundle_files(night.site.volume(0)).len() == 1);
}

#[test]
fn what_expires_tonight_is_retired_and_serves_no_longer() {
    let samples = samples(2);
    let night = night(&samples);
    night.list(1, &references(&samples));
    let daemon = night.site.start();
    let agent = AgentService::start(&night);
    assert_eq!(agent.run().published_bundles, 2);

    let mut listed = manifest(2, &[&samples[0]]);
    let mut expired = entry(&samples[1], 1);
    expired.expires_at = Some(now() - 1);
    listed.entries.push(expired);
    night.plane.publish(&listed);
    let run = agent.run();
    assert_eq!(run.outcome, RunOutcome::Completed, "{}", run.detail);
    // By the run, or by the watch over licences, which the manifest's arrival wakes: whichever came first.
    eventually("what has expired is retired", || night.site.serving() == [samples[0].key()]);
    assert_eq!(daemon.get(&samples[1].request_path("0")).unwrap().head.status, 404);
    read_all_back(&daemon, &[&samples[0]], "the other");
}

#[test]
fn a_full_disk_stops_no_service_and_the_next_night_does_the_rest() {
    let Some((site, disk)) = site_on_faulty_disk() else { return };
    disk_night(site, &disk, Fault::FullDisk, FailureReason::DiskFull);
}

#[test]
fn a_disk_that_does_not_sync_publishes_nothing_and_the_next_night_does_the_rest() {
    let Some((site, disk)) = site_on_faulty_disk() else { return };
    disk_night(site, &disk, Fault::FailedSyncs, FailureReason::DiskFailed);
}

#[test]
fn a_disk_that_gives_back_other_bytes_than_were_written_publishes_nothing() {
    let Some((site, disk)) = site_on_faulty_disk() else { return };
    disk_night(site, &disk, Fault::FlippedBits, FailureReason::DiskFailed);
}

/// The disk has its fault while the second bundle arrives, on the only volume that has room.
fn disk_night(site: Site, disk: &FaultyVolume, fault: Fault, reason: FailureReason) {
    let samples = samples(3);
    let night = night_of(site, &samples);
    let daemon = night.site.start();
    let agent = AgentService::start(&night);
    night.list(1, &[&samples[0]]);
    assert_eq!(agent.run().outcome, RunOutcome::Completed);

    disk.fail(fault, ".partial");
    night.list(2, &references(&samples));
    let run = agent.run();
    assert_eq!(run.outcome, RunOutcome::Incomplete, "{}", run.detail);
    assert_eq!(run.published_bundles, 0);
    assert!(!failures(&run).is_empty());
    assert!(failures(&run).iter().all(|(_, other)| *other == reason), "{:?}", run.failures);
    assert_eq!(night.site.serving(), [samples[0].key()]);
    read_all_back(&daemon, &[&samples[0]], "beside the fault");
    eventually("the reason is reported", || {
        night
            .reported_runs()
            .iter()
            .any(|reported| reported.run == run.run && failures(reported) == failures(&run))
    });

    disk.heal();
    let run = agent.run();
    assert_eq!((run.outcome, run.published_bundles), (RunOutcome::Completed, 2), "{}", run.detail);
    read_all_back(&daemon, &references(&samples), "afterwards");
}

#[test]
fn when_a_volume_is_lost_the_rest_of_the_night_goes_to_the_others() {
    let mut site = Site::new(1);
    let Some(disk) = add_disk(&mut site, "disk") else { return };
    let samples = samples(6);
    let night = night_of(site, &samples);
    let daemon = night.site.start();
    let agent = AgentService::start(&night);
    // Gone, as a disk that is pulled: every access fails from now on.
    drop(disk);
    night.list(1, &references(&samples));
    let first = agent.run();
    let second = agent.run();
    assert_eq!(second.outcome, RunOutcome::Completed, "{}; before: {:?}", second.detail, first.failures);
    assert_eq!(first.published_bundles + second.published_bundles, samples.len() as u64);
    assert_eq!(bundle_files(night.site.volume(0)).len(), samples.len());
    read_all_back(&daemon, &references(&samples), "from the other volume");
}

#[test]
fn a_peer_that_lies_is_found_out_and_the_origin_takes_over() {
    let samples = samples(2);
    let night = night(&samples);
    let liar = night.site.folder.path().join("liar");
    for sample in &samples {
        sample.write_files(&liar.join(&sample.path[1..]));
    }
    let liar = night.site.wait_for(OriginProcess::start(Path::new(PROGRAM), &liar)).unwrap();
    let lies = [OriginFault { paths: "/night/1".to_owned(), wrong: Wrong::WrongBytes }];
    night.site.wait_for(liar.set_faults(&lies)).unwrap();
    for sample in &samples {
        let peer = FillSource {
            kind: SourceKind::Peer,
            name: "oca-2".to_owned(),
            url: liar.url(),
            after_seconds: 0,
        };
        let origin = FillSource { after_seconds: 1, ..origin_source(&night.origin) };
        night.plane.knowledge().sources.insert(key(sample), vec![peer, origin]);
    }
    night.list(1, &references(&samples));
    let daemon = night.site.start();
    let agent = AgentService::start(&night);
    let run = agent.run();
    assert_eq!(
        (run.outcome, run.published_bundles),
        (RunOutcome::Completed, 2),
        "{}: {:?}",
        run.detail,
        run.failures
    );
    read_all_back(&daemon, &references(&samples), "in spite of the liar");
    let (honest, wasted) = bytes_from(&run, "oca-2");
    assert!(honest >= bytes_of(&samples[..1]), "{:?}", run.sources);
    assert!(wasted > 0, "{:?}", run.sources);
    assert!(bytes_from(&run, "origin").0 >= bytes_of(&samples[1..]), "{:?}", run.sources);
}

#[test]
fn a_source_that_is_slow_for_one_bundle_does_not_hold_up_the_others() {
    let mut samples = samples(4);
    samples[0] = Sample::new("/night/0", 1, 3, 3 * OBJECT_BYTES);
    let night = night(&samples);
    // An object of it takes ten seconds; not so slow that the agent would give the source up.
    let slow = [OriginFault {
        paths: "/night/0".to_owned(),
        wrong: Wrong::Slow { bytes_per_second: 3 * OBJECT_BYTES as u64 / 10 },
    }];
    night.site.wait_for(night.origin.set_faults(&slow)).unwrap();
    night.list(1, &references(&samples));
    let daemon = night.site.start();
    let agent = AgentService::start(&night);
    agent.begin_run();
    eventually("the others are published", || night.site.serving().len() == 3);
    assert_eq!(agent.progress().state, FillState::Filling);
    assert_eq!(daemon.get(&samples[0].request_path("0")).unwrap().head.status, 404);
    night.site.wait_for(night.origin.set_faults(&[])).unwrap();
    eventually("the slow one is published, too", || night.site.serving().len() == 4);
    read_all_back(&daemon, &references(&samples), "in the end");
}

#[test]
fn an_origin_that_lacks_one_bundle_costs_that_bundle_and_the_reason_is_reported() {
    fail_for_one_bundle(Wrong::Status { status: 404 }, FailureReason::Refused);
}

#[test]
fn an_origin_that_fails_for_one_bundle_costs_that_bundle_and_the_reason_is_reported() {
    fail_for_one_bundle(Wrong::Status { status: 500 }, FailureReason::Refused);
}

#[test]
fn an_origin_that_stalls_for_one_bundle_costs_that_bundle_and_the_reason_is_reported() {
    fail_for_one_bundle(Wrong::Stalled { after_bytes: 30_000 }, FailureReason::Unreachable);
}

#[test]
fn an_origin_that_sends_wrong_bytes_for_one_bundle_costs_that_bundle_and_the_reason_is_reported() {
    fail_for_one_bundle(Wrong::WrongBytes, FailureReason::WrongBytes);
}

fn fail_for_one_bundle(wrong: Wrong, reason: FailureReason) {
    let mut samples = samples(3);
    // Of one object: where several fail at once the source counts as ill, and is left alone for longer each time.
    samples[1] = Sample::new("/night/1", 1, 1, OBJECT_BYTES);
    let night = night(&samples);
    let fault = OriginFault { paths: "/night/1".to_owned(), wrong };
    night.site.wait_for(night.origin.set_faults(&[fault])).unwrap();
    night.list(1, &references(&samples));
    let daemon = night.site.start();
    let agent = AgentService::start(&night);
    let run = agent.run();
    assert_eq!(run.outcome, RunOutcome::Incomplete, "{wrong:?}: {}", run.detail);
    assert_eq!(failures(&run), [("/night/1".to_owned(), reason)], "{wrong:?}: {:?}", run.failures);
    assert_eq!(night.site.serving(), [samples[0].key(), samples[2].key()], "{wrong:?}");
    night.site.wait_for(night.origin.set_faults(&[])).unwrap();
    let run = agent.run();
    assert_eq!((run.outcome, run.published_bundles), (RunOutcome::Completed, 1), "{wrong:?}: {}", run.detail);
    read_all_back(&daemon, &references(&samples), "in the end");
}

#[test]
fn an_origin_that_breaks_off_again_and_again_is_resumed_where_it_broke_off() {
    let samples = vec![Sample::new("/night/0", 1, 2, 1_000_000)];
    let night = night(&samples);
    let fault = OriginFault { paths: "/night".to_owned(), wrong: Wrong::Cut { after_bytes: 300_000 } };
    night.site.wait_for(night.origin.set_faults(&[fault])).unwrap();
    night.list(1, &references(&samples));
    let daemon = night.site.start();
    let agent = AgentService::start(&night);
    let run = agent.run();
    assert_eq!(run.outcome, RunOutcome::Completed, "{}: {:?}", run.detail, run.failures);
    read_all_back(&daemon, &references(&samples), "in spite of it");
    let counters = night.site.wait_for(night.origin.counters()).unwrap();
    assert!(counters.requests >= 8, "{counters:?}");
    assert!(counters.body_bytes <= bytes_of(&samples) * 105 / 100, "{counters:?}");
}

#[test]
fn when_the_window_closes_in_the_middle_of_a_run_the_next_one_goes_on_from_there() {
    let samples = vec![Sample::new("/night/0", 1, 20, 200_000)];
    let mut night = NightSite::new(&samples);
    // Twenty objects, four at once, 6 s each: 30 s.
    let slow = [OriginFault { paths: "/night".to_owned(), wrong: Wrong::Slow { bytes_per_second: 33_000 } }];
    night.site.wait_for(night.origin.set_faults(&slow)).unwrap();
    night.list(1, &references(&samples));
    // Half of that is for a busy machine to start what is started here.
    night.close_window_at(now() + 15);
    let daemon = night.site.start();
    let agent = AgentService::start(&night);
    eventually("the window opens the run by itself", || agent.progress().state == FillState::Filling);
    eventually("the window closes", || agent.progress().state == FillState::Suspended);
    let run = agent.runs().remove(0);
    assert_eq!((run.outcome, run.published_bundles), (RunOutcome::Suspended, 0), "{}", run.detail);
    let before = night.site.wait_for(night.origin.counters()).unwrap();

    night.site.wait_for(night.origin.set_faults(&[])).unwrap();
    let run = agent.run();
    assert_eq!((run.outcome, run.published_bundles), (RunOutcome::Completed, 1), "{}", run.detail);
    read_all_back(&daemon, &references(&samples), "in the end");
    let after = night.site.wait_for(night.origin.counters()).unwrap();
    // What was in flight when the window closed may come twice: at most four objects.
    assert!(after.body_bytes <= bytes_of(&samples) + 4 * 200_000, "{before:?}, then {after:?}");
}

#[test]
fn the_fill_goes_on_while_the_daemon_is_dead_and_what_came_meanwhile_serves_afterwards() {
    let samples = samples(6);
    let night = night(&samples);
    // A bundle takes two seconds.
    let slow = Wrong::Slow { bytes_per_second: OBJECT_BYTES as u64 / 2 };
    let slow = [OriginFault { paths: "/night".to_owned(), wrong: slow }];
    night.site.wait_for(night.origin.set_faults(&slow)).unwrap();
    night.list(1, &references(&samples));
    let mut daemon = night.site.start();
    let agent = AgentService::start(&night);
    agent.begin_run();
    eventually("the first bundles serve", || !night.site.serving().is_empty());
    daemon.signal(rustix::process::Signal::KILL);
    daemon.wait();
    drop(daemon);
    let sent = |night: &NightSite| night.site.wait_for(night.origin.counters()).unwrap().body_bytes;
    let before = sent(&night);
    eventually("bytes go on coming", || sent(&night) > before + OBJECT_BYTES as u64);
    let daemon = night.site.start();
    eventually("everything serves", || night.site.serving().len() == samples.len());
    eventually("the run ends", || !agent.runs().is_empty());
    assert_eq!(agent.runs()[0].outcome, RunOutcome::Completed, "{}", agent.runs()[0].detail);
    read_all_back(&daemon, &references(&samples), "in the end");
    assert_eq!(sent(&night), bytes_of(&samples));
}

#[test]
fn hot_viewers_are_served_while_the_night_fills() {
    let hot = Sample::new("/hot", 1, 2, 500_000);
    let fresh: Vec<Sample> =
        (0..8).map(|index| Sample::new(&format!("/night/{index}"), 1, 4, 500_000)).collect();
    let mut all = fresh.clone();
    all.push(hot.clone());
    let night = night(&all);
    hot.publish(night.site.volume(0));
    let mut listed = references(&fresh);
    listed.push(&hot);
    night.list(1, &listed);
    let daemon = night.site.start();
    eventually("the hot bundle serves", || night.site.serving() == [hot.key()]);
    let agent = AgentService::start(&night);
    agent.begin_run();
    let mut connection = Connection::open(daemon.http()).unwrap();
    let mut served = 0;
    eventually("the night ends", || {
        let answer = connection.get(&hot.request_path("0")).expect("an answer");
        assert_eq!(answer.head.status, 200);
        assert!(answer.body == hot.bytes("0"));
        served += 1;
        night.site.serving().len() == 9
    });
    assert!(served > 1, "{served}");
    read_all_back(&daemon, &listed, "in the end");
    assert_eq!(night.site.health().verdict, Verdict::Healthy);
    assert!(names_in(&night.site.volume(0).join("incoming")).is_empty());
}
