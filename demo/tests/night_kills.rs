//! `SIGKILL` of the fill agent in every phase of a bundle, and now and then of the daemon beside it. After each kill the agent starts
//! again by itself; the night ends with exactly the planned bundles, and the origin has sent hardly more than these and what was in
//! flight at the kills.
//!
//! The programs hold no test code: a stepper stops the agent at the boundaries of its system calls. A first run counts how often the
//! phases are passed; then the agent is killed at places spread over these.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support {
    pub(crate) mod at_once;
    pub(crate) mod http;
    pub(crate) mod night_site;
    pub(crate) mod scripted_plane;
    pub(crate) mod site;
    pub(crate) mod stepper;
}

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use control_client::health::Verdict;

use support::at_once::try_each;
use support::night_site::{NightSite, bytes_of, entry, manifest, now, read_all_back};
use support::site::{Daemon, FEW_READ_BUFFERS, Sample, bundle_files, eventually, names_in};
use support::stepper::{Boundary, Ended, step};

/// How often the agent is killed in each phase.
const KILLS_PER_PHASE: usize = 10;

/// After every so many kills of the agent the daemon is killed, too.
const DAEMON_TURN: usize = 3;

/// Phases that are tested at once: most of the time goes into waiting for the disk to sync.
const TESTERS: usize = 3;

/// Nights that a phase may need for its kills.
const NIGHTS_MAX: usize = 30;

/// Runs of one night, the killed ones too.
const RUNS_MAX: usize = 60;

const BUNDLES: usize = 6;
/// Three times as many as are fetched at once: if a bundle were fetched anew after each kill, that would be far more than what may have
/// been in flight.
const OBJECTS: usize = 12;
const OBJECT_BYTES: usize = 50_000;

/// Objects that the agent fetches at once, as the site's configuration says.
const CONCURRENCY: u64 = 4;

/// What the night is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    /// An empty appliance fills.
    Fill,
    /// An appliance holds bundles whose licence has ended, and nothing is to be fetched.
    Expire,
    /// One large bundle, so that reading it back takes as long as writing it.
    OneBundle,
}

/// What the control plane was asked last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Asked {
    Nothing,
    Manifest,
    Sources,
    Descriptor,
    Report,
}

impl Asked {
    fn of(request: &str, before: u8) -> u8 {
        let (_, path) = request.split_once(' ').unwrap_or_default();
        let asked = match path.rsplit('/').next().unwrap_or_default() {
            "manifest" => Self::Manifest,
            "sources" => Self::Sources,
            "reports" => Self::Report,
            _ if path.starts_with("/v1/descriptors/") => Self::Descriptor,
            _ => return before,
        };
        asked as u8
    }
}

/// Where the agent is killed.
struct Phase {
    name: &'static str,
    scenario: Scenario,
    /// The boundaries that are this phase, by what the control plane was asked last and whether a bundle was renamed shortly before.
    is_here: fn(&Boundary, Asked, bool) -> bool,
    /// The part of the first run's places from which on the agent is killed, in percent.
    from_percent: usize,
}

const PHASES: &[Phase] = &[
    Phase {
        name: "manifest",
        scenario: Scenario::Fill,
        is_here: |at, asked, _| asked == Asked::Manifest && (is_socket(at) || is_state(at, "manifest")),
        from_percent: 0,
    },
    Phase {
        name: "plan",
        scenario: Scenario::Fill,
        is_here: |at, asked, _| asked == Asked::Sources && is_socket(at),
        from_percent: 0,
    },
    Phase {
        name: "descriptor",
        scenario: Scenario::Fill,
        is_here: |at, asked, _| asked == Asked::Descriptor && (is_socket(at) || is_state(at, "descriptor")),
        from_percent: 0,
    },
    Phase {
        name: "fetch",
        scenario: Scenario::Fill,
        is_here: |at, asked, _| asked >= Asked::Sources && at.call() == libc::SYS_recvfrom,
        from_percent: 20,
    },
    Phase { name: "write", scenario: Scenario::Fill, is_here: |at, _, _| is_disk_ring(at), from_percent: 0 },
    Phase {
        name: "verify",
        scenario: Scenario::OneBundle,
        is_here: |at, _, _| is_disk_ring(at),
        from_percent: 60,
    },
    Phase {
        name: "tail and fsync",
        scenario: Scenario::Fill,
        is_here: |at, _, _| {
            let is_call = matches!(at.call(), libc::SYS_fsync | libc::SYS_fdatasync | libc::SYS_pwrite64);
            is_call && at.descriptor().contains("/incoming/")
        },
        from_percent: 0,
    },
    Phase { name: "rename", scenario: Scenario::Fill, is_here: |at, _, _| is_rename(at), from_percent: 0 },
    Phase {
        name: "directory fsync",
        scenario: Scenario::Fill,
        is_here: |at, _, _| {
            at.call() == libc::SYS_fsync && {
                let path = at.descriptor();
                path.ends_with("/incoming") || path.contains("/bundles/")
            }
        },
        from_percent: 0,
    },
    Phase {
        name: "adopt",
        scenario: Scenario::Fill,
        is_here: |at, _, has_renamed| has_renamed && is_socket(at),
        from_percent: 0,
    },
    Phase {
        name: "retire",
        scenario: Scenario::Expire,
        is_here: |at, asked, _| asked >= Asked::Manifest && is_socket(at),
        from_percent: 10,
    },
    Phase {
        name: "report",
        scenario: Scenario::Fill,
        is_here: |at, asked, _| asked == Asked::Report && is_socket(at) || is_state(at, "outbox"),
        from_percent: 0,
    },
];

fn is_socket(at: &Boundary) -> bool {
    matches!(
        at.call(),
        libc::SYS_sendto | libc::SYS_recvfrom | libc::SYS_sendmsg | libc::SYS_writev | libc::SYS_connect
    ) || matches!(at.call(), libc::SYS_read | libc::SYS_write) && at.descriptor().starts_with("socket:")
}

/// A file of the agent's own state.
fn is_state(at: &Boundary, what: &str) -> bool {
    let path = match at.call() {
        libc::SYS_fsync | libc::SYS_fdatasync | libc::SYS_write => at.descriptor(),
        libc::SYS_rename | libc::SYS_renameat | libc::SYS_renameat2 | libc::SYS_openat => at.paths(),
        _ => return false,
    };
    path.contains("/agent/") && path.contains(what)
}

/// The ring of the thread that writes and reads the volume.
fn is_disk_ring(at: &Boundary) -> bool {
    at.call() == libc::SYS_io_uring_enter && at.thread_name().starts_with("disk-")
}

fn is_rename(at: &Boundary) -> bool {
    matches!(at.call(), libc::SYS_rename | libc::SYS_renameat | libc::SYS_renameat2)
        && at.paths().ends_with(".bundle")
}

/// Calls on sockets after a bundle's rename that are taken for its adoption.
const ADOPTION_CALLS: usize = 12;

/// A night, and what it should end with.
struct Night {
    night: NightSite,
    planned: Vec<Sample>,
    asked: Arc<AtomicU8>,
}

impl Night {
    fn new(scenario: Scenario) -> Self {
        let planned = match scenario {
            Scenario::Fill => samples("/night", BUNDLES, OBJECTS),
            Scenario::Expire => samples("/kept", 2, OBJECTS),
            Scenario::OneBundle => samples("/night", 1, BUNDLES * OBJECTS),
        };
        let expired =
            if scenario == Scenario::Expire { samples("/expired", BUNDLES, OBJECTS) } else { Vec::new() };
        let all: Vec<Sample> = planned.iter().chain(&expired).cloned().collect();
        let mut night = NightSite::new(&all);
        night.site.premises.set("serve", FEW_READ_BUFFERS);
        for sample in all.iter().filter(|_| scenario == Scenario::Expire) {
            sample.publish(night.site.volume(0));
        }
        let mut listed = manifest(1, &planned.iter().collect::<Vec<_>>());
        for sample in &expired {
            let mut expired = entry(sample, 1);
            expired.expires_at = Some(now() - 3600);
            listed.entries.push(expired);
        }
        night.plane.publish(&listed);
        let asked = Arc::new(AtomicU8::new(Asked::Nothing as u8));
        let last = asked.clone();
        night.plane.watch(move |request| {
            last.store(Asked::of(request, last.load(Ordering::SeqCst)), Ordering::SeqCst)
        });
        Self { night, planned, asked }
    }

    /// Runs the agent, and kills it at the boundary at which `kills` says so, which is told what a phase is told.
    fn run(&self, mut kills: impl FnMut(&Boundary, Asked, bool) -> bool) -> Ended {
        self.asked.store(Asked::Nothing as u8, Ordering::SeqCst);
        let mut adoption_calls = 0;
        let ended = step(self.night.run_command(), |at| {
            let asked = asked_of(self.asked.load(Ordering::SeqCst));
            let is_end = kills(at, asked, adoption_calls > 0);
            if adoption_calls > 0 && is_socket(at) {
                adoption_calls -= 1;
            }
            if at.result() == Some(0) && is_rename(at) {
                adoption_calls = ADOPTION_CALLS;
            }
            is_end
        });
        ended.expect("the agent can be traced")
    }

    /// Kills the agent when it has passed the phase that often.
    fn run_until(&self, phase: &Phase, place: usize) -> Ended {
        let mut passed = 0;
        self.run(|at, asked, has_renamed| {
            let is_here = (phase.is_here)(at, asked, has_renamed);
            passed += usize::from(is_here);
            is_here && passed == place
        })
    }
}

fn asked_of(number: u8) -> Asked {
    [Asked::Nothing, Asked::Manifest, Asked::Sources, Asked::Descriptor, Asked::Report][usize::from(number)]
}

fn samples(path: &str, count: usize, objects: usize) -> Vec<Sample> {
    (0..count).map(|index| Sample::new(&format!("{path}/{index}"), 1, objects, OBJECT_BYTES)).collect()
}

#[test]
fn after_kills_in_every_phase_the_night_ends_with_exactly_the_planned_bundles_and_hardly_a_byte_is_fetched_twice()
 {
    let counted = std::thread::scope(|scope| {
        // The phase of one bundle takes the most nights, and so comes first.
        let scenarios = [Scenario::OneBundle, Scenario::Fill, Scenario::Expire];
        let counting = scenarios.map(|scenario| scope.spawn(move || count_places(scenario)));
        counting.map(|counting| counting.join().expect("the places are counted")).concat()
    });
    try_each(counted, TESTERS, |(phase, places)| kill_in_phase(phase, places));
}

/// How often each phase of a scenario is passed in a night without a kill.
fn count_places(scenario: Scenario) -> Vec<(&'static Phase, usize)> {
    let phases: Vec<&Phase> = PHASES.iter().filter(|phase| phase.scenario == scenario).collect();
    let mut places = vec![0; phases.len()];
    let night = Night::new(scenario);
    let daemon = night.night.site.start();
    let ended = night.run(|at, asked, has_renamed| {
        for (phase, places) in phases.iter().zip(&mut places) {
            *places += usize::from((phase.is_here)(at, asked, has_renamed));
        }
        false
    });
    assert_eq!(ended, Ended::Exited(0), "{scenario:?}: without a kill");
    check(&night, daemon, 0, &format!("{scenario:?}"));
    phases.into_iter().zip(places).collect()
}

fn kill_in_phase(phase: &Phase, places: usize) {
    let began = Instant::now();
    let first = 1 + places * phase.from_percent / 100;
    assert!(places > first, "{}: only {places} places to kill at", phase.name);
    // Later runs have less to do, and threads take turns as they like: where a place was not reached, nearer ones are taken.
    let mut last = places;
    let (mut kills, mut nights, mut excess) = (0, 0, 0);
    while kills < KILLS_PER_PHASE {
        nights += 1;
        assert!(nights <= NIGHTS_MAX, "{}: {kills} kills in {NIGHTS_MAX} nights", phase.name);
        let night = Night::new(phase.scenario);
        let mut daemon = night.night.site.start();
        let mut kills_tonight = 0;
        for run in 0.. {
            assert!(run < RUNS_MAX, "{}: a night without an end", phase.name);
            // Spread over the first run's places, in no order.
            let place = first + (kills * 7 % KILLS_PER_PHASE) * (last - first) / (KILLS_PER_PHASE - 1);
            let is_to_be_killed = kills < KILLS_PER_PHASE;
            let ended =
                if is_to_be_killed { night.run_until(phase, place) } else { night.run(|_, _, _| false) };
            if ended != Ended::Killed {
                assert_eq!(ended, Ended::Exited(0), "{}: after {kills_tonight} kills", phase.name);
                last = if is_to_be_killed { first.max(last * 3 / 4) } else { last };
                break;
            }
            kills += 1;
            kills_tonight += 1;
            if kills % DAEMON_TURN == 0 {
                daemon.signal(rustix::process::Signal::KILL);
                daemon.wait();
                daemon = night.night.site.start();
            }
        }
        excess += check(&night, daemon, kills_tonight, phase.name);
    }
    println!(
        "{:>16}: {kills} kills over {places} places in {nights} nights, {excess} bytes fetched beyond the plan, {:.1} s",
        phase.name,
        began.elapsed().as_secs_f64()
    );
}

/// The night ended as planned. Returns the bytes that the origin sent beyond the planned ones.
fn check(night: &Night, daemon: Daemon<'_>, kills: usize, context: &str) -> u64 {
    let site = &night.night.site;
    let volume = site.volume(0);
    let mut planned: Vec<(String, u64)> = night.planned.iter().map(Sample::key).collect();
    planned.sort();
    eventually(&format!("{context}: exactly the planned bundles serve"), || site.serving() == planned);
    eventually(&format!("{context}: no file is left over"), || {
        bundle_files(volume).len() == planned.len() && names_in(&volume.join("incoming")).is_empty()
    });
    read_all_back(&daemon, &night.planned.iter().collect::<Vec<_>>(), context);
    assert_eq!(names_in(&volume.join("quarantine")), Vec::<String>::new(), "{context}");
    assert_eq!(site.health().verdict, Verdict::Healthy, "{context}");

    let counters = site.wait_for(night.night.origin.counters()).expect("the origin counts");
    let is_filled = counters.requests > 0;
    let bytes = if is_filled { bytes_of(&night.planned) } else { 0 };
    let in_flight = kills as u64 * CONCURRENCY * OBJECT_BYTES as u64;
    let allowed = bytes + bytes / 20 + in_flight;
    assert!(
        counters.body_bytes <= allowed,
        "{context}: the origin sent {} bytes for {bytes} planned, after {kills} kills",
        counters.body_bytes
    );
    assert!(daemon.stop().success(), "{context}");
    counters.body_bytes.saturating_sub(bytes)
}
