//! `SIGKILL` at each kind of system call by which the daemon writes, purges, seals and clears away pulled content. After each kill it
//! starts again by itself: everything that is asked for comes with the right bytes, whether held or pulled anew; what was held is found
//! again; and nothing comes back that was acknowledged as purged.
//!
//! The daemon holds no test code: a tracer stops it at the boundaries of its system calls, and kills it before or after the first calls
//! of each kind.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support {
    pub(crate) mod http;
    pub(crate) mod site;
    pub(crate) mod stepper;
    pub(crate) mod tracer;
}

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Instant;

use control_client::admin::Purge;
use control_client::admin_client::AdminError;
use control_client::content::BundlePath;
use control_client::status::ListenerRole;
use control_client::wire::DocumentVersion;
use demo::appliance::{address, wait_until_serving};
use demo::origin::OriginProcess;
use rustix::fs::statvfs;
use rustix::process::{Signal, pidfd_send_signal};

use support::http::{Answer, Connection};
use support::site::{PROGRAM, Sample, Site, eventually};
use support::tracer::{Call, Ended, Phase, Traced, Verdict as Fate};

/// Kinds that are tested at once: most of the time goes into waiting.
const TESTERS: usize = 4;

/// Bytes of each film. The first has two blocks, so that it can be written in part, and is in no memory, so that it is found only once
/// the log is open; of the third there is a copy in memory.
const FILM_BYTES: [usize; 4] = [1_100_000, 200_000, 3_000, 200_000];

/// Films that are purged; the last one is not, and is held throughout.
const PURGED: usize = 3;

/// The name under which a film lies in its directory: that of a segment, which is fresh for long where upstream does not say.
const NAME: &str = "whole.m4s";

/// How often a long path is purged at most until the list of purges is written anew; half of that is needed.
const LONG_PURGES: usize = 64;

/// Bytes that pulled content may take, about: four times the least. A segment is a part of that, and one that was not sealed is read
/// through at the start.
const CAPACITY_BYTES: u64 = 256 << 20;

/// What the daemon is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// It purges one film after another, and pulls it again. Then it is told to stop, and seals what it has written.
    Pull,
    /// It purges one film after another, and then a long path until it writes its list of purges anew.
    Purge,
}

/// On which side of a call the daemon is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

/// Where the daemon is killed.
struct Place {
    is_here: fn(&Call) -> bool,
    /// Which of these calls since it was started, from one.
    nth: usize,
    side: Side,
}

/// A kind of system call on the files of pulled content.
struct Kind {
    name: &'static str,
    work: Work,
    /// Where the daemon is killed a first time, for a call that is made only because of that.
    first: Option<Place>,
    is_here: fn(&Call) -> bool,
    /// At so many of these calls it is killed, each time before one and after it.
    calls: usize,
}

const KINDS: &[Kind] = &[
    Kind::of(Work::Pull, "segment made", 1, |call| call.name == "openat" && is_new_segment(&call.path)),
    Kind::of(Work::Pull, "segment reserved", 1, is_reservation),
    // The segment's head, the first film's, and its first block, without the second.
    Kind::of(Work::Pull, "record written", 3, is_record),
    Kind::of(Work::Pull, "segment sealed at the end", 1, is_sealing),
    Kind {
        // With a record, and without its end.
        first: Some(Place { is_here: is_record, nth: 2, side: Side::After }),
        ..Kind::of(Work::Pull, "segment sealed at the start", 1, is_sealing)
    },
    Kind {
        // Without a head.
        first: Some(Place { is_here: is_reservation, nth: 1, side: Side::After }),
        ..Kind::of(Work::Pull, "segment removed", 1, |call| call.name == "unlink" && is_segment(&call.path))
    },
    // Two for each film: the third comes after one was acknowledged that was not pulled again.
    Kind::of(Work::Purge, "purge written", 3, |call| call.name == "pwrite64" && is_list(&call.path)),
    Kind::of(Work::Purge, "purge synced", 3, |call| call.name == "fdatasync" && is_list(&call.path)),
    Kind::of(Work::Purge, "new list made", 1, |call| call.name == "openat" && is_new_list(&call.path)),
    Kind::of(Work::Purge, "new list written", 1, |call| call.name == "pwrite64" && is_new_list(&call.path)),
    Kind::of(Work::Purge, "new list synced", 1, |call| call.name == "fsync" && is_new_list(&call.path)),
    Kind::of(Work::Purge, "new list renamed", 1, |call| call.name == "rename" && is_list(&call.path)),
    Kind::of(Work::Purge, "directory synced", 1, |call| {
        call.name == "fsync" && call.path.ends_with("/demand")
    }),
];

impl Kind {
    const fn of(work: Work, name: &'static str, calls: usize, is_here: fn(&Call) -> bool) -> Self {
        Self { name, work, first: None, is_here, calls }
    }
}

fn is_segment(path: &str) -> bool {
    path.contains("/demand/") && path.ends_with(".segment")
}

/// One that is not there yet, or has nothing in it yet: segments are opened to be read, too.
fn is_new_segment(path: &str) -> bool {
    is_segment(path) && fs::metadata(path).map_or(0, |found| found.len()) == 0
}

fn is_reservation(call: &Call) -> bool {
    call.name == "fallocate" && is_segment(&call.path)
}

fn is_record(call: &Call) -> bool {
    call.name == "pwrite64" && is_segment(&call.path)
}

/// What is behind a segment's end is cut off when that is written.
fn is_sealing(call: &Call) -> bool {
    call.name == "ftruncate" && is_segment(&call.path)
}

/// The list of purges; of a rename, what becomes it.
fn is_list(path: &str) -> bool {
    path.ends_with("/demand/purges")
}

fn is_new_list(path: &str) -> bool {
    path.ends_with("/demand/purges.new")
}

impl Place {
    fn is_on_its_side(&self, phase: Phase) -> bool {
        match phase {
            Phase::Entry => self.side == Side::Before,
            // A call that failed has done nothing.
            Phase::Exit(result) => self.side == Side::After && result >= 0,
        }
    }
}

/// What upstream has, of which there are editions.
struct Film {
    /// The edition that upstream has now is its generation.
    sample: Sample,
    /// The oldest edition that may be served: all before it were acknowledged as purged.
    oldest: u64,
}

/// Films at an origin.
struct Library {
    tree: PathBuf,
    films: Vec<Film>,
    /// What is being done, for whoever reads why the test failed.
    context: String,
    /// Ends with it.
    _origin: OriginProcess,
}

impl Film {
    fn new(number: usize, bytes: usize) -> Self {
        let objects = vec![(NAME.to_owned(), bytes)];
        Self { sample: Sample { path: format!("/films/{number}"), generation: 1, objects }, oldest: 1 }
    }

    fn path(&self) -> String {
        self.sample.request_path(NAME)
    }

    fn write(&self, tree: &Path) {
        self.sample.write_files(&tree.join(&self.sample.path[1..]));
    }

    /// Which edition these bytes are, all of them.
    fn edition_of(&self, body: &[u8]) -> Option<u64> {
        let bytes_of = |generation| Sample { generation, ..self.sample.clone() }.bytes(NAME);
        (1..=self.sample.generation).rev().find(|edition| bytes_of(*edition) == body)
    }
}

impl Library {
    /// Asks for a film; an answer is right, and an error means that the daemon is gone.
    fn ask(&self, film: usize, http: SocketAddr) -> io::Result<Answer> {
        let film = &self.films[film];
        let answer = Connection::open(http)?.get(&film.path())?;
        let context = format!("{}: {}: {:?}", self.context, film.path(), answer.head);
        assert_eq!(answer.head.status, 200, "{context}");
        let edition = film.edition_of(&answer.body);
        let oldest = film.oldest;
        assert!(
            edition.is_some_and(|edition| edition >= oldest),
            "{context}: edition {edition:?}, and all before {oldest} were purged"
        );
        Ok(answer)
    }

    /// Asks for a film until all of it is held; `None` once the daemon is gone.
    fn wait_until_held(&self, film: usize, http: SocketAddr) -> Option<()> {
        let mut is_there = true;
        eventually(&format!("{}: it holds film {film}", self.context), || {
            let answer = self.ask(film, http);
            is_there = answer.is_ok();
            answer.map_or(true, |answer| is_hit(&answer))
        });
        is_there.then_some(())
    }

    /// Upstream gets another edition of a film, and the daemon is told to purge it; `None` once that is gone.
    fn purge(&mut self, film: usize, site: &Site, http: SocketAddr) -> Option<()> {
        // Of what is held in part, upstream would not have the rest any more.
        self.wait_until_held(film, http)?;
        let film = &mut self.films[film];
        film.sample.generation += 1;
        film.write(&self.tree);
        purge(site, &film.path())?;
        film.oldest = film.sample.generation;
        Some(())
    }
}

/// Whether all of an answer came from what is held.
fn is_hit(answer: &Answer) -> bool {
    answer.head.field("cache-status").is_some_and(|status| status.contains(";hit"))
}

/// `None` where the daemon was killed before it answered; what it refuses is a failure of the test.
fn purge(site: &Site, path: &str) -> Option<()> {
    let path = BundlePath::parse(path).expect("a good path");
    let purge = Purge { version: DocumentVersion, path, prefix: false };
    match site.wait_for(site.admin().purge(purge)) {
        Err(refused @ AdminError::Refused { .. }) => panic!("{refused}"),
        other => other.ok().map(drop),
    }
}

#[test]
fn killed_at_any_call_that_writes_pulled_content_it_serves_right_bytes_again_and_nothing_that_was_purged() {
    let waiting = Mutex::new(KINDS.iter());
    std::thread::scope(|scope| {
        for _ in 0..TESTERS {
            scope.spawn(|| {
                while let Some(kind) = { waiting.lock().unwrap().next() } {
                    kill_at(kind);
                }
            });
        }
    });
}

fn kill_at(kind: &Kind) {
    let began = Instant::now();
    let (site, mut library) = prepare();
    let (mut kills, mut hits) = (0, 0);
    for nth in 1..=kind.calls {
        for side in [Side::Before, Side::After] {
            library.context = format!("{} {nth}, killed {side:?} it", kind.name);
            if let Some(first) = &kind.first {
                live_until(first, kind.work, &site, &mut library);
            }
            live_until(&Place { is_here: kind.is_here, nth, side }, kind.work, &site, &mut library);
            kills += 1;
            hits += check_after_restart(&site, &library);
        }
    }
    assert!(kills > 0 && hits > 0, "{}: {kills} kills, and {hits} hits after them", kind.name);
    println!(
        "{:>27}: {kills} kills, {hits} hits after them, {:.1} s",
        kind.name,
        began.elapsed().as_secs_f64()
    );
}

/// An appliance that holds all films, and was stopped in order.
fn prepare() -> (Site, Library) {
    let mut site = Site::new(1);
    let tree = site.folder.path().join("origin");
    let films: Vec<Film> =
        FILM_BYTES.iter().enumerate().map(|(number, bytes)| Film::new(number, *bytes)).collect();
    for film in &films {
        film.write(&tree);
    }
    let origin = site.wait_for(OriginProcess::start(Path::new(PROGRAM), &tree)).unwrap();
    let settings = [
        r#"rules = [{ prefix = "/", on_miss = "pull" }]"#.to_owned(),
        format!(r#"upstreams = [{{ name = "origin", url = "{}" }}]"#, origin.url()),
        format!("missed_purges = {:?}", site.folder.path().join("missed-purges")),
        format!("volume_percent = {}", volume_percent(site.volume(0))),
    ];
    for line in settings {
        site.premises.set("pull", line);
    }
    let library = Library { tree, films, context: "the first time".to_owned(), _origin: origin };
    let daemon = site.start();
    for film in 0..library.films.len() {
        library.wait_until_held(film, daemon.http()).expect("it is there");
    }
    assert!(daemon.stop().success());
    (site, library)
}

/// The part of a volume that is about [`CAPACITY_BYTES`], and no less where the volume has that.
fn volume_percent(volume: &Path) -> u64 {
    let space = statvfs(volume).unwrap();
    (100 * CAPACITY_BYTES).div_ceil(space.f_blocks * space.f_frsize).clamp(1, 90)
}

/// Runs the daemon under the tracer until it is killed at that place.
fn live_until(place: &Place, work: Work, site: &Site, library: &mut Library) {
    let mut passed = 0;
    let ended = run_daemon(
        site,
        |call| {
            let is_here = place.is_on_its_side(call.phase) && (place.is_here)(call);
            passed += usize::from(is_here);
            if is_here && passed == place.nth { Fate::Kill } else { Fate::GoOn }
        },
        |http| have_it_work(work, site, library, http),
    );
    let was_reached = passed >= place.nth;
    assert_eq!((ended, was_reached), (Ended::Killed, true), "{}: {passed} such calls", library.context);
}

/// Runs the daemon under the tracer while `drive` makes use of it; then it is told to stop. It may be killed before it serves.
fn run_daemon(
    site: &Site,
    decide: impl FnMut(&Call) -> Fate,
    drive: impl FnOnce(SocketAddr) -> Option<()> + Send,
) -> Ended {
    let has_ended = AtomicBool::new(false);
    let daemon = Traced::start(site.daemon_command()).expect("the daemon can be traced");
    let stop = StopOnDrop(daemon.handle().expect("the daemon has just been started"));
    std::thread::scope(|scope| {
        let has_ended = &has_ended;
        scope.spawn(move || {
            let _stop = stop;
            let admin = site.admin();
            let serving = wait_until_serving(&admin, || Ok(has_ended.load(SeqCst)));
            if let Ok(status) = site.wait_for(serving) {
                drive(address(&status, ListenerRole::Http).expect("a listener"));
            }
        });
        let ended = daemon.follow(decide);
        has_ended.store(true, SeqCst);
        ended.expect("the daemon can be followed")
    })
}

/// Tells a process to stop, also when its driver panics; one that was killed is gone already. By a descriptor: it cannot become
/// another's.
struct StopOnDrop(OwnedFd);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        let _ = pidfd_send_signal(&self.0, Signal::TERM);
    }
}

/// `None` once the daemon is gone.
fn have_it_work(work: Work, site: &Site, library: &mut Library, http: SocketAddr) -> Option<()> {
    for film in 0..PURGED {
        library.purge(film, site, http)?;
        if work == Work::Pull {
            library.ask(film, http).ok()?;
        }
    }
    if work == Work::Purge {
        let long_path = format!("/{}", vec!["x".repeat(200); 5].join("/"));
        for _ in 0..LONG_PURGES {
            purge(site, &long_path)?;
        }
    }
    Some(())
}

/// Starts the daemon without a tracer, and asks for everything. Returns how much of it was held.
fn check_after_restart(site: &Site, library: &Library) -> usize {
    let daemon = site.start();
    // Its log opens a moment after it serves; had it been asked before, it would have pulled all of it anew.
    eventually(&format!("{}: what was held is found again", library.context), || {
        site.metric("oca_pull_volume_records", &[]) > 0.0
    });
    let answers =
        (0..library.films.len()).map(|film| library.ask(film, daemon.http()).expect(&library.context));
    let hits = answers.filter(is_hit).count();
    assert!(daemon.stop().success(), "{}", library.context);
    hits
}
