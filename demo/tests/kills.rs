//! `SIGKILL` at named points of publishing, adopting, retiring and serving. After each kill the daemon starts
//! again by itself, every published object reads back right, nothing else is served, and no space is lost.
//!
//! The programs hold no test code: a tracer stops them at the boundaries of their system calls. A first run
//! counts how often a point is passed; then the program is killed at places spread evenly over these.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support {
    pub(crate) mod at_once;
    pub(crate) mod http;
    pub(crate) mod points;
    pub(crate) mod site;
    pub(crate) mod stepper;
    pub(crate) mod traced_daemon;
    pub(crate) mod tracer;
}

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use cache_store::{Store, StoreOptions, VolumeOptions};
use control_client::admin_client::AdminError;
use control_client::content::Generation;
use control_client::health::Verdict;
use control_client::units::ByteCount;

use support::at_once::try_each;
use support::http::Connection;
use support::points::{POINTS, Point, Scenario, is_answer};
use support::site::{PROGRAM, Sample, Site, bundle_files, eventually, file_name, names_in};
use support::traced_daemon;
use support::tracer::{Call, Ended, Phase, Traced, Verdict as Fate};

/// How often a program is killed at each point.
const KILLS_PER_POINT: usize = 10;

/// Points that are tested at once: most of the time goes into waiting for the disk to sync.
const TESTERS: usize = 4;

/// What the store must hold after the restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Serves,
    Gone,
    /// A change was under way, and nobody was told how it ended.
    Either,
}

/// What has been published and retired as far as anybody was told, by path and generation.
#[derive(Clone, Default)]
struct Ledger(BTreeMap<(String, u64), (Sample, Expected)>);

impl Ledger {
    fn note(&mut self, sample: &Sample, expected: Expected) {
        self.0.insert(sample.key(), (sample.clone(), expected));
    }

    fn with(&self, expected: Expected) -> impl Iterator<Item = &Sample> {
        self.0.values().filter(move |(_, other)| *other == expected).map(|(sample, _)| sample)
    }
}

const OBJECTS: usize = 3;
const OBJECT_BYTES: usize = 300_000;
const BUNDLES: usize = 5;

/// How often the bundle that has the journal compacted is adopted and retired at most; half of that is needed.
const LAST_STRAWS: usize = 8;

/// A site with some bundles that serve.
struct Template {
    site: Site,
    samples: Vec<Sample>,
    /// What an import imports: a directory for each sample below it.
    import: Vec<Sample>,
    /// In the scenario of a compaction: the bundle to adopt and retire until it comes.
    last_straw: Sample,
}

impl Template {
    fn new(scenario: Scenario) -> Self {
        let site = Site::new(1);
        let samples: Vec<Sample> = (0..BUNDLES)
            .map(|index| Sample::new(&format!("/held/{index}"), 1, OBJECTS, OBJECT_BYTES))
            .collect();
        for sample in &samples {
            sample.publish(site.volume(0));
        }
        adopt_offline(&site, &samples);
        let import: Vec<Sample> = (0..BUNDLES)
            .map(|index| Sample::new(&format!("/imported/{index}"), 1, OBJECTS, OBJECT_BYTES))
            .collect();
        for sample in &import {
            sample.write_files(&site.folder.path().join(&sample.path[1..]));
        }
        let last_straw = Sample::new(&format!("/{}", vec!["x".repeat(200); 5].join("/")), 1, 1, 1);
        if scenario == Scenario::Compact {
            bring_close_to_compaction(&site, &last_straw);
        }
        Self { site, samples, import, last_straw }
    }

    fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        for sample in &self.samples {
            ledger.note(sample, Expected::Serves);
        }
        ledger
    }
}

fn open_store(site: &Site) -> Arc<Store> {
    let volumes = vec![VolumeOptions { path: site.volume(0).to_owned(), mount_required: false }];
    let options = StoreOptions {
        volumes,
        footer_cache: ByteCount::new(1 << 20),
        open_bundles: 16,
        open_queue: 16,
        volume_errors: 8,
    };
    Store::open(options).expect("the store opens")
}

fn adopt_offline(site: &Site, samples: &[Sample]) {
    let store = open_store(site);
    for sample in samples {
        store.adopt(&site.volume(0).to_string_lossy(), &file_name(sample)).expect("adopted");
    }
    store.close();
}

/// Adopts and retires a bundle with a long name until a few more times would have the journal compacted. How many does not
/// only depend on what is written: the keeper puts into one frame what comes at once.
fn bring_close_to_compaction(site: &Site, last_straw: &Sample) {
    let cycle = |site: &Site, cycles: usize| -> usize {
        let store = open_store(site);
        let volume = site.volume(0).to_string_lossy().into_owned();
        let mut done = 0;
        while done < cycles && store.counters().journal_compactions == 0 {
            last_straw.publish(site.volume(0));
            store.adopt(&volume, &file_name(last_straw)).expect("adopted");
            store.retire(&last_straw.bundle_path(), Some(Generation::new(1))).expect("retired");
            done += 1;
        }
        store.close();
        done
    };
    let needed = cycle(&Site::copy_of(site), 1000);
    assert!((2 * LAST_STRAWS..1000).contains(&needed), "{needed} retirements had the journal compacted");
    let before = needed - LAST_STRAWS / 2;
    assert_eq!(cycle(site, before), before, "the journal was compacted before the test began");
}

#[test]
fn after_a_kill_at_any_point_the_store_opens_by_itself_with_every_published_byte_and_no_space_lost() {
    try_each(POINTS, TESTERS, kill_at_point);
}

fn kill_at_point(point: &Point) {
    let began = Instant::now();
    let template = Template::new(point.scenario);
    let (passed, ended) = run(&template, point, None);
    assert_eq!(ended, Ended::Exited(0), "{}: without a kill", point.name);
    let reach = passed * point.reach_percent / 100;
    assert!(reach >= KILLS_PER_POINT, "{}: only {passed} places to kill at", point.name);
    for kill in 0..KILLS_PER_POINT {
        let place = 1 + kill * (reach - 1) / (KILLS_PER_POINT - 1);
        let (_, ended) = run(&template, point, Some(place));
        assert_eq!(ended, Ended::Killed, "{}: place {place} of {passed} was not reached", point.name);
    }
    println!(
        "{:>20}: {KILLS_PER_POINT} kills over {passed} places, {:.1} s",
        point.name,
        began.elapsed().as_secs_f64()
    );
}

/// Runs the scenario in a copy of the template, kills the program at that place, and looks at what a restart
/// makes of it. Returns how often the point was passed, and how the program ended.
fn run(template: &Template, point: &Point, kill_at: Option<usize>) -> (usize, Ended) {
    let site = Site::copy_of(&template.site);
    let ledger = Mutex::new(template.ledger());
    let mut passed = 0;
    let mut count = |call: &Call| {
        if (point.is_here)(call.name, &call.path) {
            passed += 1;
        }
        if (point.is_here)(call.name, &call.path) && Some(passed) == kill_at {
            Fate::Kill
        } else {
            Fate::GoOn
        }
    };
    let ended = match point.scenario {
        Scenario::Import => run_import(template, &site, &ledger, &mut count),
        scenario => run_daemon(&site, &mut count, |http| drive(scenario, template, &site, &ledger, http)),
    };
    let context = format!("{} at place {kill_at:?}", point.name);
    let mut ledger = ledger.into_inner().expect("no driver panicked");
    check_after_restart(&site, &ledger, &context);
    if point.scenario == Scenario::Import && kill_at.is_some() {
        // An import that was interrupted can be repeated.
        assert!(import_command(template, &site).status().expect("the import runs").success(), "{context}");
        template.import.iter().for_each(|sample| ledger.note(sample, Expected::Serves));
        check_after_restart(&site, &ledger, &format!("{context}, repeated"));
    }
    (passed, ended)
}

fn import_command(template: &Template, site: &Site) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["role", "import"]).arg(template.site.folder.path().join("imported"));
    command.args(["--as", "/imported", "--volume"]).arg(site.volume(0));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// A bundle is published as soon as its rename is done, whatever happens to the importer afterwards.
fn run_import(
    template: &Template,
    site: &Site,
    ledger: &Mutex<Ledger>,
    count: &mut impl FnMut(&Call) -> Fate,
) -> Ended {
    let mut published = 0;
    let ended = Traced::start(import_command(template, site))
        .and_then(|import| {
            import.follow(|call| {
                let fate = count(call);
                if call.name == "rename" && call.path.ends_with(".bundle") && call.phase == Phase::Exit(0) {
                    published += 1;
                }
                fate
            })
        })
        .expect("the import can be traced");
    let mut ledger = ledger.lock().unwrap();
    // They are published in the order of their paths.
    for (index, sample) in template.import.iter().enumerate() {
        ledger.note(sample, if index < published { Expected::Serves } else { Expected::Gone });
    }
    ended
}

/// Runs the daemon under the tracer while `drive` makes use of it; then it is told to stop. Calls count from
/// the moment when it serves and has compared its directories with its inventory.
fn run_daemon(
    site: &Site,
    count: &mut impl FnMut(&Call) -> Fate,
    drive: impl FnOnce(SocketAddr) -> Option<()> + Send,
) -> Ended {
    let counts = AtomicBool::new(false);
    let is_reconciled = AtomicBool::new(false);
    traced_daemon::run_daemon(
        site,
        |call| {
            if call.name == "openat" && call.path.ends_with("/bundles/ff") {
                is_reconciled.store(true, Ordering::SeqCst);
            }
            if counts.load(Ordering::SeqCst) { count(call) } else { Fate::GoOn }
        },
        |http| {
            eventually("the last directory is compared", || is_reconciled.load(Ordering::SeqCst));
            counts.store(true, Ordering::SeqCst);
            let driven = drive(http);
            counts.store(false, Ordering::SeqCst);
            driven
        },
    )
}

/// Does what a scenario is about, and notes what was acknowledged; `None` once the daemon is gone.
fn drive(
    scenario: Scenario,
    template: &Template,
    site: &Site,
    ledger: &Mutex<Ledger>,
    http: SocketAddr,
) -> Option<()> {
    match scenario {
        Scenario::Import => {}
        Scenario::Adopt => {
            for index in 0..BUNDLES {
                let sample = Sample::new(&format!("/new/{index}"), 1, OBJECTS, OBJECT_BYTES);
                adopt_new(site, ledger, &sample)?;
            }
        }
        Scenario::Replace => {
            for old in template.samples.iter().take(2) {
                let new = Sample { generation: 2, ..old.clone() };
                // Published, it serves after a restart, acknowledged or not; then the old one goes.
                ledger.lock().unwrap().note(old, Expected::Gone);
                adopt_new(site, ledger, &new)?;
                retire(site, ledger, &new)?;
            }
        }
        Scenario::Retire => {
            for sample in &template.samples {
                retire(site, ledger, sample)?;
            }
        }
        Scenario::Compact => {
            for _ in 0..LAST_STRAWS {
                adopt_new(site, ledger, &template.last_straw)?;
                retire(site, ledger, &template.last_straw)?;
            }
        }
        Scenario::Serve => serve_four_clients(&template.samples, http)?,
    }
    Some(())
}

fn adopt_new(site: &Site, ledger: &Mutex<Ledger>, sample: &Sample) -> Option<()> {
    sample.publish(site.volume(0));
    ledger.lock().unwrap().note(sample, Expected::Serves);
    unless_killed(site.adopt(0, sample)).map(|_| ())
}

fn retire(site: &Site, ledger: &Mutex<Ledger>, sample: &Sample) -> Option<()> {
    ledger.lock().unwrap().note(sample, Expected::Either);
    unless_killed(site.retire(sample))?;
    ledger.lock().unwrap().note(sample, Expected::Gone);
    Some(())
}

/// `None` where the daemon was killed before it answered; what it refuses is a failure of the test.
fn unless_killed<T>(answer: Result<T, AdminError>) -> Option<T> {
    match answer {
        Err(refused @ AdminError::Refused { .. }) => panic!("{refused}"),
        other => other.ok(),
    }
}

/// Every byte that arrives is the right one; a response that is cut off by the kill does not look whole.
fn serve_four_clients(samples: &[Sample], http: SocketAddr) -> Option<()> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                scope.spawn(move || {
                    let mut connection = Connection::open(http).ok()?;
                    for turn in 0..4 {
                        let sample = &samples[(client + turn) % samples.len()];
                        let head = connection.begin_get(&sample.request_path("1"), None).ok()?;
                        let expected = sample.bytes("1");
                        assert_eq!((head.status, head.content_length()), (200, expected.len() as u64));
                        for piece in expected.chunks(10_000) {
                            assert_eq!(connection.read_bytes(piece.len()).ok()?, piece);
                        }
                    }
                    Some(())
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("every byte was right")).collect()
    })
}

/// Starts the daemon without a tracer, and compares everything with the ledger.
fn check_after_restart(site: &Site, ledger: &Ledger, context: &str) {
    let daemon = site.start();
    let volume = site.volume(0);
    eventually(&format!("{context}: directories and inventory agree after the restart"), || {
        let mut held: Vec<_> = site.inventory().iter().map(held_file).collect();
        held.sort();
        let serving: Vec<String> = site.serving().into_iter().map(|(path, _)| path).collect();
        held == bundle_files(volume)
            && names_in(&volume.join("incoming")).is_empty()
            && ledger.with(Expected::Serves).all(|sample| serving.contains(&sample.path))
    });
    for sample in ledger.with(Expected::Serves) {
        read_back(&daemon.http(), sample, context);
    }
    for sample in ledger.with(Expected::Gone) {
        let answer = daemon.get(&sample.request_path("0")).expect("an answer");
        let is_replaced = answer.head.status == 200
            && ledger
                .with(Expected::Serves)
                .chain(ledger.with(Expected::Either))
                .any(|other| other.path == sample.path);
        assert!(answer.head.status == 404 || is_replaced, "{context}: {} was retired", sample.path);
        assert_ne!(answer.body, sample.bytes("0"), "{context}: {} was retired", sample.path);
    }
    for sample in ledger.with(Expected::Either) {
        if site.serving().contains(&sample.key()) {
            read_back(&daemon.http(), sample, context);
        }
    }
    assert_eq!(names_in(&volume.join("quarantine")), Vec::<String>::new(), "{context}");
    assert_eq!(names_in(&volume.join("inventory")), ["journal"], "{context}");
    assert_eq!(site.health().verdict, Verdict::Healthy, "{context}");
    assert!(daemon.stop().success(), "{context}");
}

fn held_file(entry: &control_client::inventory::InventoryEntry) -> String {
    let id = cache_store::BundleId::new(&entry.path, entry.generation);
    format!("{}/{}", id.directory_name(), id.file_name())
}

fn read_back(http: &SocketAddr, sample: &Sample, context: &str) {
    let mut connection = Connection::open(*http).expect("a connection");
    for (object, _) in &sample.objects {
        let answer = connection.get(&sample.request_path(object)).expect("an answer");
        assert_eq!(answer.head.status, 200, "{context}: {}/{object}", sample.path);
        assert!(answer.body == sample.bytes(object), "{context}: {}/{object} has other bytes", sample.path);
    }
}

#[test]
fn a_publish_syncs_its_data_then_renames_then_syncs_both_directories_and_then_is_adopted() {
    let template = Template::new(Scenario::Import);
    let site = Site::copy_of(&template.site);
    let timeline: Mutex<Vec<Call>> = Mutex::new(Vec::new());
    let ended = run_daemon(
        &site,
        &mut |call| {
            timeline.lock().unwrap().push(call.clone());
            Fate::GoOn
        },
        |_| {
            let import = Traced::start(import_command(&template, &site)).expect("the import can be traced");
            let ended = import.follow(|call| {
                timeline.lock().unwrap().push(call.clone());
                Fate::GoOn
            });
            assert_eq!(ended.expect("the import can be followed"), Ended::Exited(0));
            for file in bundle_files(site.volume(0)) {
                let volume = site.volume(0).to_string_lossy().into_owned();
                let adopt = control_client::admin::Adopt { version: Default::default(), volume, file };
                site.wait_for(site.admin().adopt(adopt)).expect("adopted");
            }
            Some(())
        },
    );
    assert_eq!(ended, Ended::Exited(0));
    let timeline = timeline.into_inner().unwrap();
    let renames: Vec<&Call> = timeline
        .iter()
        .filter(|call| {
            call.name == "rename" && call.path.ends_with(".bundle") && call.phase == Phase::Exit(0)
        })
        .collect();
    assert_eq!(renames.len(), BUNDLES);
    for rename in renames {
        check_order(&timeline, rename, site.volume(0));
    }
}

/// The last write, the syncs, the rename, the directories' syncs and the adoption of one bundle come in this order.
fn check_order(timeline: &[Call], rename: &Call, volume: &Path) {
    let (from, to) = rename.path.split_once(' ').expect("a rename has two paths");
    let volume = fs::canonicalize(volume).expect("the volume is there");
    let directory =
        Path::new(to).parent().expect("a bundle lies in a directory").to_string_lossy().into_owned();
    let incoming = volume.join("incoming").to_string_lossy().into_owned();
    let journal = volume.join("inventory/journal").to_string_lossy().into_owned();
    let is_done = |call: &Call| matches!(call.phase, Phase::Exit(result) if result >= 0);
    let first = |after: usize, what: &str, is_it: &dyn Fn(&Call) -> bool| {
        let found = timeline[after..].iter().position(|call| is_done(call) && is_it(call));
        after + found.unwrap_or_else(|| panic!("{to}: no {what} in time"))
    };
    let last_write = timeline
        .iter()
        .rposition(|call| call.name == "pwrite64" && call.path == from)
        .expect("it is written");
    let data_synced =
        first(last_write, "fsync of the data", &|call| call.name == "fsync" && call.path == from);
    let renamed = first(data_synced, "rename", &|call| call == rename);
    let directory_synced =
        first(renamed, "fsync of the directory", &|call| call.name == "fsync" && call.path == directory);
    let both_synced =
        first(renamed, "fsync of incoming/", &|call| call.name == "fsync" && call.path == incoming);
    let read = first(directory_synced.max(both_synced), "reading by the daemon", &|call| {
        call.name == "pread64" && call.path == to
    });
    let journalled = first(read, "journal append", &|call| call.name == "pwrite64" && call.path == journal);
    let synced =
        first(journalled, "journal fdatasync", &|call| call.name == "fdatasync" && call.path == journal);
    first(synced, "acknowledgement", &|call| is_answer(call.name, &call.path));
}
