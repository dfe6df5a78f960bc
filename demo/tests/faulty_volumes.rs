//! A disk that hangs, gives errors or gives other bytes than were written holds up only its own titles: other
//! volumes serve as before, no wrong byte leaves, and metrics and health say what is the matter.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support {
    pub(crate) mod faulty_volume;
    pub(crate) mod http;
    pub(crate) mod reading;
    pub(crate) mod site;
}

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cache_store::{
    ALIGNMENT, ChunkChecksums, IncomingBundle, Layout, Opened, PlannedObject, PublishError, Volume,
};
use control_client::content::{BundleKey, BundlePath, Generation, ObjectName, Sha256};
use control_client::health::{Verdict, VolumeState};
use oca_daemon::limits::PIECES_AHEAD_MAX;

use support::faulty_volume::{Fault, FaultyVolume, Submission};
use support::http::Connection;
use support::reading::{
    End, has_reason, publish_all, read_carefully, read_right, samples, wait_until_serving,
};
use support::site::{PATIENCE, Sample, Site, bundle_files, eventually, names_in, quantile};

/// The bound that the project promises for other volumes while one hangs.
const P99_MAX: Duration = Duration::from_millis(50);

/// How long the reads of the hung disk take.
const HANG: Duration = Duration::from_secs(10);

/// How long is measured without a fault: thousands of requests, if the machine has nothing else to do.
const BASELINE: Duration = Duration::from_secs(2);

/// How long is measured beside the hung volume: so long that its clients are refused twice.
const BESIDE: Duration = Duration::from_secs(5);

/// A site whose second volume is a disk that fails on command; `None` where FUSE cannot be used.
fn site_with_faulty_disk() -> Option<(Site, FaultyVolume)> {
    site_with_disk(Submission::Queued)
}

fn site_with_disk(submission: Submission) -> Option<(Site, FaultyVolume)> {
    let mut site = Site::new(1);
    let disk = add_disk(&mut site, "disk", submission)?;
    Some((site, disk))
}

fn add_disk(site: &mut Site, name: &str, submission: Submission) -> Option<FaultyVolume> {
    let (backing, mount) = (site.folder.path().join(format!("behind-{name}")), site.folder.path().join(name));
    fs::create_dir(&backing).unwrap();
    fs::create_dir(&mount).unwrap();
    let disk = FaultyVolume::mount_or_skip(&backing, &mount, submission)?;
    site.add_volume(name);
    Some(disk)
}

// ---- a disk that hangs ----

/// Held by whoever measures: others who do so at the same time are no baseline.
static MACHINE: Mutex<()> = Mutex::new(());

/// What clients of the healthy volume measured.
struct Measured {
    warm: Vec<Duration>,
    first: Vec<Duration>,
}

/// Reads from the healthy volume: by turns from a bundle that is open, and from one that has to be opened
/// first, because more are asked for than may be open.
fn measure(http: SocketAddr, warm: &[Sample], cold: &[Sample], length: Duration) -> Measured {
    let end = Instant::now() + length;
    let measured = Mutex::new(Measured { warm: Vec::new(), first: Vec::new() });
    std::thread::scope(|scope| {
        for client in 0..2 {
            let measured = &measured;
            scope.spawn(move || {
                let mut connection = Connection::open(http).expect("a connection");
                let mut turn = client * cold.len() / 2;
                while Instant::now() < end {
                    turn += 1;
                    for (samples, is_first) in [(warm, false), (cold, true)] {
                        let sample = &samples[turn % samples.len()];
                        let expected = sample.bytes("0");
                        let began = Instant::now();
                        let answer = connection.get(&sample.request_path("0")).expect("an answer");
                        let took = began.elapsed();
                        assert_eq!(answer.head.status, 200, "{}", sample.path);
                        assert!(answer.body == expected, "{}: wrong bytes", sample.path);
                        let mut measured = measured.lock().unwrap();
                        if is_first { measured.first.push(took) } else { measured.warm.push(took) }
                    }
                    // Not a load test: two clients on two busy cores.
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
        }
    });
    measured.into_inner().unwrap()
}

fn report(name: &str, measured: &mut Measured) -> Duration {
    let mut all: Vec<Duration> = measured.warm.iter().chain(&measured.first).copied().collect();
    let p99 = quantile(&mut all, 0.99);
    println!(
        "{name}: {} requests, p50 {:?}, p99 {p99:?}, slowest {:?}; first requests to unopened bundles: {}, p99 {:?}",
        all.len(),
        quantile(&mut all, 0.5),
        quantile(&mut all, 1.0),
        measured.first.len(),
        quantile(&mut measured.first, 0.99),
    );
    p99
}

#[test]
fn while_one_volume_hangs_requests_for_others_are_answered_within_50_ms_footer_loads_included() {
    let Some((site, disk)) = site_with_faulty_disk() else { return };
    serve_beside_a_hung_volume(site, &disk, 0);
}

#[test]
fn a_hung_volume_that_blocks_whoever_submits_a_read_holds_up_no_other_either() {
    let Some((site, disk)) = site_with_disk(Submission::Blocking) else { return };
    serve_beside_a_hung_volume(site, &disk, 0);
}

#[test]
fn of_two_volumes_that_block_whoever_submits_a_read_the_one_that_hangs_does_not_hold_up_the_other() {
    let Some((mut site, disk)) = site_with_disk(Submission::Blocking) else { return };
    let Some(_healthy) = add_disk(&mut site, "healthy", Submission::Blocking) else { return };
    serve_beside_a_hung_volume(site, &disk, 2);
}

/// The second volume hangs, and the one with the index `healthy` is read from beside it.
fn serve_beside_a_hung_volume(mut site: Site, disk: &FaultyVolume, healthy: usize) {
    let _machine = MACHINE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // Fewer open bundles than are asked for, so that footers are loaded all the time.
    site.premises.set("store", "open_bundles = 48");
    site.premises.set("serve", "disk_timeout = \"2 s\"");
    let (warm, cold) = (samples("/healthy/warm", 4, 20_000), samples("/healthy/cold", 160, 20_000));
    let hung = samples("/hung", 40, 200_000);
    publish_all(&warm, site.volume(healthy));
    publish_all(&cold, site.volume(healthy));
    publish_all(&hung, site.volume(1));
    let daemon = site.start();
    wait_until_serving(&site, warm.len() + cold.len() + hung.len());
    let http = daemon.http();
    let openings = || site.metric("oca_bundle_openings_total", &["opened"]);

    let mut before = measure(http, &warm, &cold, BASELINE);
    let baseline = report("without a fault", &mut before);
    // Half of the bundles of the hung volume are open when it hangs, the other half have their footers to be loaded.
    let mut connection = Connection::open(http).unwrap();
    hung.iter().take(20).for_each(|sample| read_right(&mut connection, sample, "0"));

    let openings_before = openings();
    disk.fail(Fault::HungReads(HANG), ".bundle");
    let is_over = AtomicBool::new(false);
    let refusals = AtomicUsize::new(0);
    let mut during = std::thread::scope(|scope| {
        for client in 0..80 {
            let (hung, is_over, refusals) = (&hung, &is_over, &refusals);
            scope.spawn(move || ask_hung_volume(http, &hung[client % hung.len()], is_over, refusals));
        }
        let _clients_end = OnDrop(|| {
            is_over.store(true, Ordering::SeqCst);
            disk.heal();
        });
        assert!(disk.wait_for_hung(4, PATIENCE), "{} reads hang", disk.hung_count());
        let during = measure(http, &warm, &cold, BESIDE);
        assert!(disk.hung_count() > 0, "the disk had stopped hanging");
        // Judged while it hangs still.
        check_reasons(&site, healthy);
        eventually("each client is refused more than once", || refusals.load(Ordering::SeqCst) > 80);
        during
    });
    let p99 = report("beside the hung volume", &mut during);
    let footers = openings() - openings_before;
    println!(
        "{footers} footers were loaded meanwhile; {} requests for the hung volume were refused",
        refusals.load(Ordering::SeqCst)
    );
    assert!(footers >= during.first.len() as f64 / 2.0, "only {footers} footers were loaded");

    for sample in &hung {
        eventually("the volume serves again when its disk answers", || {
            read_carefully(http, sample, "1") == End::Right
        });
    }
    // What the machine itself cannot do today, before or after, is not the hung volume's doing.
    let mut after = measure(http, &warm, &cold, BASELINE);
    let baseline = baseline.max(report("after it", &mut after));
    assert!(p99 <= P99_MAX.max(baseline * 2), "p99 {p99:?}, and {baseline:?} without the fault");
    assert!(daemon.stop().success());
}

fn check_reasons(site: &Site, healthy: usize) {
    eventually("health says so", || has_reason(&site.health(), "volume_slow"));
    let health = site.health();
    assert_eq!(health.verdict, Verdict::Healthy, "one volume of several hangs: {:?}", health.reasons);
    assert!(site.metric("oca_requests_total", &["\"refused_disk_timeout\""]) > 0.0);
    assert_eq!(site.metric("oca_volume_read_timeouts_total", &[&format!("volume=\"{healthy}\"")]), 0.0);
    assert!(site.metric("oca_volume_read_timeouts_total", &["volume=\"1\""]) > 0.0);
}

/// Runs when it goes out of scope, also by a panic.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Asks for what cannot be read now, again and again; nothing wrong may come of it.
fn ask_hung_volume(http: SocketAddr, sample: &Sample, is_over: &AtomicBool, refusals: &AtomicUsize) {
    while !is_over.load(Ordering::SeqCst) {
        match read_carefully(http, sample, "0") {
            End::Refused(status) => {
                assert_eq!(status, 503, "{}", sample.path);
                refusals.fetch_add(1, Ordering::SeqCst);
            }
            End::Right | End::CutOff => {}
        }
    }
}

#[test]
fn a_daemon_whose_volume_hangs_stops_within_its_bound() {
    let Some((mut site, disk)) = site_with_faulty_disk() else { return };
    site.premises.set("serve", "shutdown_timeout = \"1 s\"");
    let hung = samples("/hung", 4, 200_000);
    publish_all(&hung, site.volume(1));
    let mut daemon = site.start();
    wait_until_serving(&site, hung.len());
    let http = daemon.http();
    let mut connection = Connection::open(http).unwrap();
    read_right(&mut connection, &hung[0], "0");
    disk.fail(Fault::HungReads(HANG * 3), ".bundle");
    std::thread::scope(|scope| {
        for sample in &hung {
            scope.spawn(move || assert_ne!(read_carefully(http, sample, "1"), End::Right));
        }
        eventually("all clients wait", || site.metric("oca_requests_in_flight", &[]) == hung.len() as f64);
        let began = Instant::now();
        daemon.signal(rustix::process::Signal::TERM);
        eventually("the clients are told", || {
            disk.hung_count() > 0 && began.elapsed() > Duration::from_millis(1500)
        });
        // The kernel ends a process only when its reads are answered.
        eventually("the daemon waits for nothing but its reads", || {
            is_exiting(daemon.id()) || began.elapsed() > Duration::from_secs(15)
        });
        assert!(
            began.elapsed() < Duration::from_secs(15),
            "after {:?} the daemon has not begun to exit",
            began.elapsed()
        );
        println!("the daemon began to exit after {:?}", began.elapsed());
        disk.heal();
        daemon.wait();
    });
}

/// Whether a process has left its program, and is only being taken apart.
fn is_exiting(process: u32) -> bool {
    let state = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = state.rsplit(')').next().and_then(|rest| rest.split_whitespace().next().map(str::to_owned));
    state.is_none_or(|state| matches!(state.as_str(), "Z" | "X"))
}

/// With one read after the other the disk would stand idle while each piece is checked and sent; with as many as there are pieces one
/// client would have it to himself.
#[test]
fn several_pieces_are_read_at_once_for_one_fast_client_and_never_more_than_their_bound() {
    const FIRST_BYTES: usize = 8 << 20;
    let Some((mut site, disk)) = site_with_faulty_disk() else { return };
    for line in ["workers = 1", "ram_tier = \"off\"", "disk_timeout = \"1 min\""] {
        site.premises.set("serve", line);
    }
    let sample = Sample::new("/large", 1, 1, 4 * FIRST_BYTES);
    sample.publish(site.volume(1));
    let daemon = site.start();
    wait_until_serving(&site, 1);
    let expected = sample.bytes("0");
    let mut connection = Connection::open_narrow(daemon.http()).unwrap();
    assert_eq!(connection.begin_get(&sample.request_path("0"), None).unwrap().status, 200);
    assert!(connection.read_bytes(FIRST_BYTES).unwrap() == expected[..FIRST_BYTES]);
    disk.fail(Fault::HungReads(HANG * 3), ".bundle");
    let reads = || site.metric("oca_volume_reads_in_flight", &["volume=\"1\""]);
    let mut most = 0.0_f64;
    std::thread::scope(|scope| {
        // It takes what was read before, so that nothing but the disk holds up the rest.
        let rest = scope.spawn(|| connection.read_bytes(expected.len() - FIRST_BYTES));
        let _disk_answers = OnDrop(|| disk.heal());
        eventually("several reads wait for the disk", || {
            most = most.max(reads());
            most >= 2.0 && disk.hung_count() >= 2
        });
        // Were there more to come, they would come now.
        for _ in 0..50 {
            most = most.max(reads());
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(disk.hung_count() >= 2, "the disk had stopped hanging");
        disk.heal();
        assert!(rest.join().unwrap().unwrap() == expected[FIRST_BYTES..], "wrong bytes");
    });
    println!("{most} reads were with the disk at once");
    assert!(most <= PIECES_AHEAD_MAX as f64, "{most} reads at once");
    assert!(daemon.stop().success());
}

// ---- a disk that gives errors ----

#[test]
fn a_volume_that_gives_io_errors_is_isolated_and_the_other_serves_as_before() {
    let Some((mut site, disk)) = site_with_faulty_disk() else { return };
    site.premises.set("store", "volume_errors = 4");
    let (healthy, failing) = (samples("/healthy", 8, 200_000), samples("/failing", 16, 200_000));
    publish_all(&healthy, site.volume(0));
    publish_all(&failing, site.volume(1));
    let daemon = site.start();
    wait_until_serving(&site, healthy.len() + failing.len());
    let http = daemon.http();
    let mut connection = Connection::open(http).unwrap();
    // Half of them are open when the disk begins to fail, and nothing of them is in memory.
    for sample in failing.iter().take(8) {
        assert_eq!(connection.head(&sample.request_path("0")).unwrap().status, 200);
    }

    disk.fail(Fault::FailedReads, ".bundle");
    let ends: Vec<End> = failing.iter().map(|sample| read_carefully(http, sample, "1")).collect();
    assert!(ends.iter().all(|end| matches!(end, End::Refused(_) | End::CutOff)), "{ends:?}");
    assert!(ends.contains(&End::Refused(503)), "{ends:?}");
    eventually("the volume is isolated", || site.health().volumes[1].state != VolumeState::Serving);
    for sample in &healthy {
        read_right(&mut connection, sample, "0");
    }
    let health = site.health();
    assert!(has_reason(&health, "volume_failed"), "{:?}", health.reasons);
    assert_eq!(health.verdict, Verdict::Healthy, "one volume of two is isolated: {:?}", health.reasons);
    assert_eq!(health.volumes[0].state, VolumeState::Serving);
    assert_eq!(site.serving().len(), healthy.len(), "what cannot be served is not in the inventory");
    assert_eq!(site.metric("oca_volumes_isolated_total", &[]), 1.0);
    assert!(site.metric("oca_volume_errors_total", &["volume=\"1\""]) > 4.0);
    assert_eq!(site.metric("oca_volume_errors_total", &["volume=\"0\""]), 0.0);
    assert!(site.metric("oca_requests_total", &["\"refused_read_error\""]) > 0.0);
    eventually("the isolation is written down", || {
        names_in(&site.volume(1).join("inventory")).contains(&"isolated.json".to_owned())
    });
    assert!(daemon.stop().success());

    disk.heal();
    let daemon = site.start();
    assert_ne!(
        site.health().volumes[1].state,
        VolumeState::Serving,
        "a restart does not forget the isolation"
    );
    assert_eq!(site.serving().len(), healthy.len());
    assert!(daemon.stop().success());
    assert!(cache_store::Volume::open(site.volume(1), false).unwrap().readmit().unwrap());
    let daemon = site.start();
    eventually("the checked disk serves what was not quarantined", || site.serving().len() > healthy.len());
    for (path, _) in site.serving() {
        let sample = healthy.iter().chain(&failing).find(|sample| sample.path == path).expect("one of ours");
        read_right(&mut Connection::open(daemon.http()).unwrap(), sample, "1");
    }
    assert!(daemon.stop().success());
}

#[test]
fn a_response_whose_disk_fails_under_way_ends_in_a_reset_with_right_bytes_so_far() {
    let Some((site, disk)) = site_with_faulty_disk() else { return };
    let sample = Sample::new("/failing", 1, 1, 8 << 20);
    sample.publish(site.volume(1));
    let daemon = site.start();
    wait_until_serving(&site, 1);
    let expected = sample.bytes("0");
    let mut connection = Connection::open_narrow(daemon.http()).unwrap();
    assert_eq!(connection.begin_get(&sample.request_path("0"), None).unwrap().status, 200);
    assert!(connection.read_bytes(100_000).unwrap() == expected[..100_000]);
    disk.fail(Fault::FailedReads, ".bundle");
    let (rest, end) = connection.read_to_end();
    assert_eq!(end.unwrap_err().raw_os_error(), Some(libc::ECONNRESET));
    assert!(rest.len() < expected.len() - 100_000, "it looks complete");
    assert!(rest == expected[100_000..100_000 + rest.len()], "wrong bytes");
    eventually("the abort is counted", || {
        site.metric("oca_requests_total", &["\"aborted_read_error\""]) == 1.0
    });
    assert!(daemon.stop().success());
}

#[test]
fn a_disk_that_returns_other_bytes_than_were_written_is_never_believed() {
    let Some((site, disk)) = site_with_faulty_disk() else { return };
    let samples = samples("/lying", 6, 300_000);
    publish_all(&samples, site.volume(1));
    let daemon = site.start();
    wait_until_serving(&site, samples.len());
    let mut connection = Connection::open(daemon.http()).unwrap();
    samples.iter().take(3).for_each(|sample| read_right(&mut connection, sample, "0"));
    disk.fail(Fault::FlippedBits, ".bundle");
    for sample in &samples {
        assert_ne!(read_carefully(daemon.http(), sample, "1"), End::Right);
    }
    eventually("all are quarantined", || {
        site.metric("oca_bundles_quarantined_total", &[]) == samples.len() as f64
    });
    assert!(site.metric("oca_bundles_quarantined_total", &["\"data\""]) >= 3.0);
    eventually("health names it", || has_reason(&site.health(), "bundles_quarantined"));
    assert_eq!(site.serving(), []);
    assert!(daemon.stop().success());
}

// ---- a disk that cannot be written ----

#[test]
fn a_bundle_whose_fsync_fails_or_that_does_not_fit_leaves_nothing_behind() {
    let Some((site, disk)) = site_with_faulty_disk() else { return };
    let volume = site.volume(1);
    for (fault, names) in [
        (Fault::FailedSyncs, ".incoming"),
        (Fault::FailedSyncs, "incoming"),
        (Fault::FullDisk, ".incoming"),
        (Fault::FlippedBits, ".incoming"),
        (Fault::FailedReads, ".incoming"),
    ] {
        let sample = Sample::new("/refused", 1, 2, 200_000);
        disk.fail(fault, names);
        let error = sample.try_publish(volume).expect_err("a disk that fails takes no bundle");
        disk.heal();
        assert_eq!(bundle_files(volume), Vec::<String>::new(), "{fault:?} of {names}: {error}");
        assert_eq!(names_in(&volume.join("incoming")), Vec::<String>::new(), "{fault:?} of {names}: {error}");
    }
    Sample::new("/refused", 1, 2, 200_000).publish(volume);
}

#[test]
fn a_journal_that_cannot_be_written_refuses_changes_and_what_is_published_stays_served() {
    let Some((site, disk)) = site_with_faulty_disk() else { return };
    let (held, new) = (Sample::new("/held", 1, 2, 100_000), Sample::new("/new", 1, 2, 100_000));
    held.publish(site.volume(1));
    let daemon = site.start();
    wait_until_serving(&site, 1);
    new.publish(site.volume(1));
    disk.fail(Fault::FullDisk, "journal");
    assert!(site.adopt(1, &new).is_err(), "what cannot be journalled is not adopted");
    let mut connection = Connection::open(daemon.http()).unwrap();
    read_right(&mut connection, &held, "0");
    assert_eq!(connection.get(&new.request_path("0")).unwrap().head.status, 404);
    assert!(site.metric("oca_journal_events_total", &["\"failed\""]) >= 1.0);
    disk.heal();
    site.adopt(1, &new).expect("the disk has room again");
    read_right(&mut connection, &new, "1");
    assert!(daemon.stop().success());
}

// ---- a bundle that is written in parts ----

const PARTS_BYTES: usize = 500_000;

/// Begins a bundle of one object on that volume, or goes on with it.
fn open_in_parts(volume: &Arc<Volume>) -> Result<(IncomingBundle, Opened), PublishError> {
    let key = BundleKey { path: BundlePath::parse("/parts").unwrap(), generation: Generation::new(1) };
    let object = PlannedObject {
        name: ObjectName::parse("1").unwrap(),
        length: PARTS_BYTES as u64,
        media_type: "video/mp4".into(),
        last_modified: 1,
        sha256: None,
    };
    IncomingBundle::open(volume, Layout::new(key, Sha256::new([3; 32]), vec![object]).unwrap())
}

/// Writes all of it, and publishes it; the disk has its fault from when all is written.
fn publish_in_parts(
    volume: &Arc<Volume>,
    break_disk: impl FnOnce(),
) -> Result<cache_store::PublishedBundle, PublishError> {
    let (incoming, _) = open_in_parts(volume)?;
    let length = PARTS_BYTES.next_multiple_of(ALIGNMENT as usize);
    let mut storage = vec![0; length + ALIGNMENT as usize];
    let skip = storage.as_ptr().align_offset(ALIGNMENT as usize);
    let data = &mut storage[skip..][..length];
    data[..PARTS_BYTES].fill(5);
    assert_eq!(rustix::io::pwrite(incoming.file(), data, 0).unwrap(), length);
    incoming.sync()?;
    let mut checksums = ChunkChecksums::new();
    checksums.update(data);
    break_disk();
    incoming.publish(vec![Sha256::new([9; 32])], checksums.finish())
}

#[test]
fn a_bundle_written_in_parts_whose_disk_fails_while_it_is_published_is_discarded() {
    let Some((site, disk)) = site_with_faulty_disk() else { return };
    let root = site.volume(1);
    let volume = Arc::new(Volume::open(root, false).unwrap());
    for (fault, names) in [
        (Fault::FailedSyncs, ".partial"),
        (Fault::FailedSyncs, "incoming"),
        (Fault::FailedReads, ".partial"),
        (Fault::FlippedBits, ".partial"),
        (Fault::FullDisk, ".partial"),
    ] {
        let refused = publish_in_parts(&volume, || disk.fail(fault, names)).unwrap_err();
        disk.heal();
        assert_eq!(names_in(&root.join("incoming")), Vec::<String>::new(), "{fault:?} of {names}: {refused}");
        assert_eq!(bundle_files(root), Vec::<String>::new(), "{fault:?} of {names}: {refused}");
    }
    drop(open_in_parts(&volume).unwrap());
    assert_eq!(open_in_parts(&volume).unwrap().1, Opened::Resumed, "what was only begun stays");
    publish_in_parts(&volume, || {}).unwrap();
}
