//! `SIGKILL` at each kind of system call by which the daemon writes, purges, seals and clears away pulled content. After each kill it
//! starts again by itself: everything that is asked for comes with the right bytes, whether held or pulled anew; what was held is found
//! again; and nothing comes back that was acknowledged as purged.
//!
//! The daemon holds no test code: a tracer stops it at the boundaries of its system calls, and kills it before or after the first calls
//! of each kind.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support {
    pub(crate) mod at_once;
    pub(crate) mod demand_points;
    pub(crate) mod films;
    pub(crate) mod http;
    pub(crate) mod site;
    pub(crate) mod stepper;
    pub(crate) mod traced_daemon;
    pub(crate) mod tracer;
}

use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use rustix::fs::statvfs;

use support::at_once::try_each;
use support::demand_points::{KINDS, Kind, Place, Side, Work};
use support::films::{Library, is_hit, purge};
use support::site::{FEW_READ_BUFFERS, Site, eventually};
use support::traced_daemon::run_daemon;
use support::tracer::{Ended, Verdict as Fate};

/// Kinds that are tested at once: most of the time goes into waiting.
const TESTERS: usize = 4;

/// Films that are purged; the last one is not, and is held throughout.
const PURGED: usize = 3;

/// How often a long path is purged at most until the list of purges is written anew; half of that is needed.
const LONG_PURGES: usize = 64;

/// Bytes that pulled content may take, about: four times the least. A segment is a part of that, and one that was not sealed is read
/// through at the start.
const CAPACITY_BYTES: u64 = 256 << 20;

#[test]
fn killed_at_any_call_that_writes_pulled_content_it_serves_right_bytes_again_and_nothing_that_was_purged() {
    try_each(KINDS, TESTERS, kill_at);
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
    let library = Library::open(&site);
    let settings = [
        r#"rules = [{ prefix = "/", on_miss = "pull" }]"#.to_owned(),
        format!(r#"upstreams = [{{ name = "origin", url = "{}" }}]"#, library.origin.url()),
        format!("missed_purges = {:?}", site.folder.path().join("missed-purges")),
        format!("volume_percent = {}", volume_percent(site.volume(0))),
    ];
    for line in settings {
        site.premises.set("pull", line);
    }
    site.premises.set("serve", FEW_READ_BUFFERS);
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
