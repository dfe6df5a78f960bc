use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;

use super::waiting::Counts;
use super::*;
use crate::content::{BundleKey, BundlePath, Generation};
use crate::demand::PathDemand;
use crate::fill::{FailureReason, FillFailure, RunOutcome, SourceBytes};
use crate::limits;
use crate::sources::SourceKind;

fn path(number: u64) -> BundlePath {
    BundlePath::parse(&format!("/titles/t{number}")).expect("a path")
}

fn demand(number: u64, requests: u64) -> PathDemand {
    PathDemand { path: path(number), requests, bytes: requests * 1000, absent: requests / 2 }
}

fn totals(instance: &str, paths: &[PathDemand], other_absent_requests: u64) -> Demand {
    Demand {
        version: DocumentVersion,
        instance: instance.to_owned(),
        paths: paths.to_vec(),
        other_absent_requests,
    }
}

fn run(name: &str) -> FillRun {
    FillRun {
        run: name.to_owned(),
        started_at: 1,
        ended_at: 2,
        outcome: RunOutcome::Completed,
        detail: String::new(),
        manifest_sequence: 1,
        planned_bundles: 0,
        planned_bytes: 0,
        published_bundles: 0,
        published_bytes: 0,
        retired_bundles: 0,
        retired_bytes: 0,
        failures: Vec::new(),
        more_failures: 0,
        sources: Vec::new(),
    }
}

fn failure(number: u64) -> FillFailure {
    let bundle = BundleKey { path: path(number), generation: Generation::new(1) };
    FillFailure { bundle, reason: FailureReason::Refused, detail: "x".repeat(1000) }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn open(folder: &tempfile::TempDir) -> Outbox {
    Outbox::open(folder.path()).expect("it opens")
}

/// As totals that hold so much more would.
fn add_demand(outbox: &mut Outbox, day: u32, demand: &[PathDemand]) -> Result<(), OutboxError> {
    outbox.state.waiting.add_demand(day, demand.iter().map(|path| (path.path.clone(), Counts::of(path))));
    outbox.changed()
}

/// Sends and acknowledges until nothing is left.
fn drain(outbox: &mut Outbox) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    loop {
        let delivery = outbox.next().expect("saved").clone();
        assert!(outbox.acknowledged(delivery.sequence));
        deliveries.push(delivery);
        if !outbox.has_more() {
            return deliveries;
        }
    }
}

#[test]
fn a_report_keeps_its_number_and_its_content_until_it_is_acknowledged_and_over_restarts() {
    let folder = folder();
    let mut outbox = open(&folder);
    add_demand(&mut outbox, 7, &[demand(1, 4)]).expect("saved");
    let first = outbox.next().expect("saved").clone();
    assert_eq!((first.sequence, first.demand.len()), (1, 1));
    add_demand(&mut outbox, 7, &[demand(1, 6)]).expect("saved");
    outbox.add_run(run("a")).expect("saved");
    let instance = outbox.instance().to_owned();

    let mut outbox = open(&folder);
    assert_eq!((outbox.instance(), outbox.damage()), (instance.as_str(), None));
    assert_eq!(*outbox.next().expect("saved"), first);
    assert!(!outbox.acknowledged(2), "another report's number changes nothing");
    assert_eq!(*outbox.next().expect("saved"), first);
    assert!(outbox.acknowledged(1));
    assert!(!outbox.acknowledged(1), "once is enough");
    let second = outbox.next().expect("saved").clone();
    assert_eq!((second.sequence, second.demand[0].paths[0].requests), (2, 6));
    assert_eq!(second.runs, [run("a")]);
}

#[test]
fn a_report_with_nothing_to_tell_has_a_number_of_its_own_too() {
    let folder = folder();
    assert_eq!(open(&folder).next().expect("saved").sequence, 1);
    // The report may have reached the control plane: what comes later must not go under its number.
    let mut outbox = open(&folder);
    outbox.add_run(run("a")).expect("saved");
    assert_eq!(outbox.next().expect("saved").runs, []);
    assert!(outbox.acknowledged(1));
    assert_eq!(outbox.next().expect("saved").runs, [run("a")]);
}

#[test]
fn totals_are_counted_once_over_restarts_of_either_side() {
    let folder = folder();
    let mut outbox = open(&folder);
    outbox.add_totals(7, &totals("a", &[demand(1, 10)], 3)).expect("saved");
    outbox.add_totals(7, &totals("a", &[demand(1, 10)], 3)).expect("saved");
    let mut outbox = open(&folder);
    outbox.add_totals(7, &totals("a", &[demand(1, 14), demand(2, 2)], 5)).expect("saved");
    outbox.add_totals(7, &totals("b", &[demand(1, 4)], 1)).expect("saved");
    outbox.add_totals(7, &totals("b", &[demand(1, 2)], 1)).expect("saved");
    let [delivery] = &drain(&mut outbox)[..] else { panic!("one report takes it all") };
    let counted: Vec<(u64, u64)> =
        delivery.demand[0].paths.iter().map(|path| (path.requests, path.bytes)).collect();
    assert_eq!(counted, [(20, 20_000), (2, 2_000)]);
    assert_eq!(delivery.dropped, Dropped { requests: 6, absent: 6, ..Dropped::default() });
}

#[test]
fn a_run_is_told_once_however_often_it_is_added() {
    let folder = folder();
    let mut outbox = open(&folder);
    outbox.add_run(run("a")).expect("saved");
    outbox.add_run(run("a")).expect("saved");
    assert_eq!(outbox.next().expect("saved").runs.len(), 1);
    outbox.add_run(run("a")).expect("saved");
    assert!(!outbox.has_more());
}

#[test]
fn more_than_one_report_takes_is_told_in_several() {
    let folder = folder();
    let mut outbox = open(&folder);
    let count = limits::REPORT_PATHS_MAX as u64;
    let many: Vec<PathDemand> = (0..count + 10).map(|number| demand(number, 1)).collect();
    add_demand(&mut outbox, 7, &many).expect("saved");
    add_demand(&mut outbox, 8, &[demand(1, 1)]).expect("saved");
    let deliveries = drain(&mut outbox);
    let days = |delivery: &Delivery| -> Vec<(u32, usize)> {
        delivery.demand.iter().map(|day| (day.day, day.paths.len())).collect()
    };
    assert_eq!(
        deliveries.iter().map(days).collect::<Vec<_>>(),
        [vec![(7, limits::REPORT_PATHS_MAX)], vec![(7, 10), (8, 1)]]
    );
}

#[test]
fn older_days_are_added_up_and_lose_nothing() {
    let folder = folder();
    let mut outbox = open(&folder);
    for day in 0..20 {
        add_demand(&mut outbox, day, &[demand(1, 2), demand(day.into(), 2)]).expect("saved");
    }
    let [delivery] = &drain(&mut outbox)[..] else { panic!("one report takes it all") };
    let days: Vec<u32> = delivery.demand.iter().map(|day| day.day).collect();
    assert_eq!(days, (20 - limits::OUTBOX_DAYS_MAX as u32..20).collect::<Vec<_>>());
    let requests: u64 = delivery.demand.iter().flat_map(|day| &day.paths).map(|path| path.requests).sum();
    assert_eq!((requests, delivery.dropped), (20 * 4, Dropped::default()));
}

#[test]
fn directories_beyond_the_bound_are_dropped_the_least_asked_for_first_and_counted() {
    let folder = folder();
    let mut outbox = open(&folder);
    let many: Vec<PathDemand> =
        (0..=limits::OUTBOX_PATHS_MAX as u64).map(|number| demand(number, 2 + number % 7)).collect();
    let added: u64 = many.iter().map(|path| path.requests).sum();
    add_demand(&mut outbox, 7, &many).expect("saved");
    let deliveries = drain(&mut outbox);
    let told: Vec<u64> = deliveries
        .iter()
        .flat_map(|delivery| &delivery.demand)
        .flat_map(|day| &day.paths)
        .map(|path| path.requests)
        .collect();
    let dropped = deliveries[0].dropped;
    assert!(told.len() <= limits::OUTBOX_PATHS_MAX && told.len() > limits::OUTBOX_PATHS_MAX / 2);
    assert!(dropped.requests > 0 && dropped.bytes == dropped.requests * 1000);
    assert_eq!(told.iter().sum::<u64>() + dropped.requests, added);
    let popular = |requests: &&u64| **requests > 2;
    let added_popular = many.iter().filter(|path| path.requests > 2).count();
    assert_eq!(
        told.iter().filter(popular).count(),
        added_popular,
        "those with two requests are dropped first"
    );
}

#[test]
fn runs_beyond_the_bounds_lose_their_details_first_and_are_dropped_last() {
    let folder = folder();
    let mut outbox = open(&folder);
    let night = |number: usize| FillRun {
        failures: (0..limits::RUN_FAILURES_MAX as u64 + 5).map(failure).collect(),
        sources: (0..limits::RUN_SOURCES_MAX + 3)
            .map(|source| SourceBytes {
                kind: SourceKind::Peer,
                name: format!("oca-{source}"),
                bytes: 10,
                wasted_bytes: 1,
            })
            .collect(),
        ..run(&number.to_string())
    };
    // Straight into memory: what is saved is tested above.
    for number in 0..limits::OUTBOX_RUNS_MAX + 2 {
        outbox.state.waiting.add_run(night(number));
    }
    let [delivery] = &drain(&mut outbox)[..] else { panic!("one report takes it all") };
    assert_eq!((delivery.runs.len(), delivery.dropped.runs), (limits::OUTBOX_RUNS_MAX, 2));
    assert_eq!(delivery.runs[0].run, "2");
    let listed: usize = delivery.runs.iter().map(|run| run.failures.len()).sum();
    assert_eq!(listed, limits::OUTBOX_FAILURES_MAX);
    for run in &delivery.runs {
        assert_eq!(run.failures.len() as u64 + run.more_failures, limits::RUN_FAILURES_MAX as u64 + 5);
        assert_eq!(run.sources.iter().map(|source| source.bytes).sum::<u64>(), 2590);
        assert_eq!(run.sources.last().map(|source| source.name.as_str()), Some("others"));
    }
    let last = delivery.runs.last().and_then(|run| run.failures.first()).expect("details of the newest run");
    assert_eq!(last.detail.len(), limits::FAILURE_DETAIL_CHARACTERS_MAX);
}

#[test]
fn results_beyond_the_bound_are_dropped_and_counted_and_a_later_one_takes_the_place_of_an_earlier() {
    let folder = folder();
    let mut outbox = open(&folder);
    for id in 0..limits::OUTBOX_RESULTS_MAX as u64 + 3 {
        outbox.state.waiting.add_result(DirectiveResult { id, failure: None });
    }
    let refused = DirectiveResult { id: 1000, failure: Some("no".to_owned()) };
    outbox.add_result(refused.clone()).expect("saved");
    let [delivery] = &drain(&mut outbox)[..] else { panic!("one report takes it all") };
    assert_eq!((delivery.directives.len(), delivery.dropped.results), (limits::OUTBOX_RESULTS_MAX, 3));
    assert!(delivery.directives.contains(&refused));
}

#[test]
fn what_could_not_be_saved_is_kept_and_saved_later_and_no_report_goes_out_before() {
    let folder = folder();
    let inner = folder.path().join("state");
    fs::create_dir(&inner).expect("created");
    let mut outbox = Outbox::open(&inner).expect("it opens");
    fs::rename(&inner, folder.path().join("gone")).expect("renamed");
    let error = add_demand(&mut outbox, 7, &[demand(1, 4)]).expect_err("not saved").to_string();
    assert!(error.contains("reports wait until fill.state can be written again"), "{error}");
    assert!(outbox.next().is_err());
    fs::rename(folder.path().join("gone"), &inner).expect("renamed");
    let delivery = outbox.next().expect("saved").clone();
    assert_eq!(delivery.demand[0].paths, [demand(1, 4)]);
    assert_eq!(*Outbox::open(&inner).expect("it opens").next().expect("saved"), delivery);
}

#[test]
fn a_damaged_file_is_put_aside_and_another_instance_begun() {
    let folder = folder();
    let instance = open(&folder).instance().to_owned();
    let file = folder.path().join("outbox");
    let mut bytes = fs::read(&file).expect("readable");
    let middle = bytes.len() / 2;
    for damaged in [
        Vec::new(),
        bytes[..middle].to_vec(),
        {
            bytes[middle] ^= 1;
            bytes
        },
        b"no checksum\n{}".to_vec(),
        format!("{}\n{{}}", crate::digest::sha256(b"{}")).into_bytes(),
    ] {
        fs::write(&file, damaged).expect("written");
        let mut outbox = open(&folder);
        assert!(outbox.damage().is_some_and(|what| what.contains("outbox.damaged")), "{:?}", outbox.damage());
        assert_ne!(outbox.instance(), instance);
        assert_eq!(outbox.next().expect("saved").sequence, 1);
        assert!(folder.path().join("outbox.damaged").exists());
    }
}

/// What happens to an outbox.
#[derive(Clone, Debug)]
enum Step {
    /// Clients ask the daemon; nobody has looked yet.
    Asked {
        path: u64,
        requests: u64,
    },
    Absent {
        requests: u64,
    },
    DaemonRestarts,
    Looked {
        day: u32,
    },
    Demand {
        day: u32,
        path: u64,
        requests: u64,
    },
    RunEnds,
    DirectiveDone,
    /// The report is sent; the control plane gets it or not, and its answer comes back or not.
    Reported {
        arrives: bool,
        answered: bool,
    },
    /// The agent dies, with half a file written or not, and starts again.
    Crash {
        half_written: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..6_u64, 1..50_u64).prop_map(|(path, requests)| Step::Asked { path, requests }),
        1 => (1..50_u64).prop_map(|requests| Step::Absent { requests }),
        1 => Just(Step::DaemonRestarts),
        3 => (0..20_u32).prop_map(|day| Step::Looked { day }),
        2 => (0..20_u32, 0..6_u64, 1..50_u64)
            .prop_map(|(day, path, requests)| Step::Demand { day, path, requests }),
        1 => Just(Step::RunEnds),
        1 => Just(Step::DirectiveDone),
        4 => (any::<bool>(), any::<bool>()).prop_map(|(arrives, answered)| Step::Reported { arrives, answered }),
        2 => any::<bool>().prop_map(|half_written| Step::Crash { half_written }),
    ];
    prop::collection::vec(step, 0..60)
}

/// The control plane: takes each number of an instance once.
#[derive(Default)]
struct Listener {
    newest: BTreeMap<String, u64>,
    requests: BTreeMap<BundlePath, u64>,
    runs: Vec<String>,
    results: Vec<u64>,
    dropped: Dropped,
}

impl Listener {
    fn take(&mut self, instance: &str, delivery: &Delivery) {
        let newest = self.newest.entry(instance.to_owned()).or_default();
        if delivery.sequence <= *newest {
            return;
        }
        *newest = delivery.sequence;
        for path in delivery.demand.iter().flat_map(|day| &day.paths) {
            *self.requests.entry(path.path.clone()).or_default() += path.requests;
        }
        self.runs.extend(delivery.runs.iter().map(|run| run.run.clone()));
        self.results.extend(delivery.directives.iter().map(|result| result.id));
        self.dropped.add(&delivery.dropped);
    }
}

/// An appliance and its control plane: what happened, and what was heard of it.
struct World {
    folder: tempfile::TempDir,
    outbox: Outbox,
    listener: Listener,
    daemon_starts: u64,
    /// Totals of the daemon now, and when the agent looked last.
    totals: BTreeMap<u64, u64>,
    seen_totals: BTreeMap<u64, u64>,
    absent: u64,
    seen_absent: u64,
    requests: BTreeMap<BundlePath, u64>,
    absent_requests: u64,
    runs: Vec<String>,
    results: Vec<u64>,
}

impl World {
    fn new() -> Self {
        let folder = folder();
        let outbox = open(&folder);
        Self {
            folder,
            outbox,
            listener: Listener::default(),
            daemon_starts: 0,
            totals: BTreeMap::new(),
            seen_totals: BTreeMap::new(),
            absent: 0,
            seen_absent: 0,
            requests: BTreeMap::new(),
            absent_requests: 0,
            runs: Vec::new(),
            results: Vec::new(),
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Asked { path, requests } => *self.totals.entry(path).or_default() += requests,
            Step::Absent { requests } => self.absent += requests,
            Step::DaemonRestarts => {
                self.daemon_starts += 1;
                (self.totals, self.seen_totals) = (BTreeMap::new(), BTreeMap::new());
                (self.absent, self.seen_absent) = (0, 0);
            }
            Step::Looked { day } => self.look(day),
            Step::Demand { day, path: number, requests } => {
                add_demand(&mut self.outbox, day, &[demand(number, requests)]).expect("saved");
                *self.requests.entry(path(number)).or_default() += requests;
            }
            Step::RunEnds => {
                let name = format!("run-{}", self.runs.len());
                self.outbox.add_run(run(&name)).expect("saved");
                self.runs.push(name);
            }
            Step::DirectiveDone => {
                let id = self.results.len() as u64;
                self.outbox.add_result(DirectiveResult { id, failure: None }).expect("saved");
                self.results.push(id);
            }
            Step::Reported { arrives, answered } => self.report(arrives, answered),
            Step::Crash { half_written } => {
                if half_written {
                    fs::write(self.folder.path().join("outbox.new"), b"half a li").expect("written");
                }
                self.outbox = open(&self.folder);
                assert_eq!(self.outbox.damage(), None);
            }
        }
    }

    fn look(&mut self, day: u32) {
        let paths: Vec<PathDemand> =
            self.totals.iter().map(|(path, requests)| demand(*path, *requests)).collect();
        let told = totals(&self.daemon_starts.to_string(), &paths, self.absent);
        self.outbox.add_totals(day, &told).expect("saved");
        for (number, requests) in &self.totals {
            let new = requests - self.seen_totals.get(number).copied().unwrap_or(0);
            if new > 0 {
                *self.requests.entry(path(*number)).or_default() += new;
            }
        }
        self.absent_requests += self.absent - self.seen_absent;
        (self.seen_totals, self.seen_absent) = (self.totals.clone(), self.absent);
    }

    fn report(&mut self, arrives: bool, answered: bool) {
        let delivery = self.outbox.next().expect("saved").clone();
        if arrives {
            self.listener.take(self.outbox.instance(), &delivery);
        }
        if arrives && answered {
            assert!(self.outbox.acknowledged(delivery.sequence));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_sequence_of_additions_crashes_and_answers_everything_is_told_exactly_once(steps in steps()) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.take(step));
        // What is in flight, and what waits behind it.
        world.report(true, true);
        world.report(true, true);
        prop_assert!(!world.outbox.has_more());
        prop_assert_eq!(world.listener.requests, world.requests);
        prop_assert_eq!(world.listener.runs, world.runs);
        prop_assert_eq!(world.listener.results, world.results);
        let absent = world.absent_requests;
        prop_assert_eq!(world.listener.dropped, Dropped { requests: absent, absent, ..Dropped::default() });
    }
}
