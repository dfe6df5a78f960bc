//! The loop around the decisions, as short as it can be.

use std::time::Duration;

use control_client::breaker::{Admission, Breaker};
use control_client::load::Load;
use control_client::sources::FillSource;
use control_client::units::BitRate;
use control_client::wire::DocumentVersion;
use fill_agent::escalation::{Answer, Next};
use fill_agent::night_budget::for_objects;
use fill_agent::pace::{Grant, Pace};
use fill_agent::plan::{Plan, PlanInput, plan};
use fill_agent::window::{FillWindow, WindowState};
use fill_agent::yielding::Yielding;
use jiff::Timestamp;

use super::diary::size;
use super::night::World;
use super::simulated_source::Mood;
use super::transfer::Transfer;

/// What is lost when the process dies.
pub(crate) struct Agent {
    window: FillWindow,
    pace: Pace,
    yielding: Yielding,
    breakers: Vec<Breaker>,
    open: Option<(Timestamp, Timestamp)>,
    run: Option<Run>,
    plan_at: Option<Duration>,
    /// Of the world that the plan was made for.
    revision: u64,
    received_last_second: u64,
}

struct Run {
    transfers: Vec<Transfer>,
    failures: u32,
}

/// Bundles that are received at once: many objects of one bundle are, which here are one stream, so that the
/// best is whole first.
const AT_ONCE: usize = 1;

/// A second is divided so finely that the bucket of the pace is never full for long.
pub(crate) const SLOTS: u32 = 50;

const STALL: Duration = Duration::from_secs(15);
const AGAIN: Duration = Duration::from_secs(900);

impl Agent {
    pub(crate) fn new(world: &World) -> Self {
        let facts = &world.scenario.appliance;
        let now = world.clock.monotonic();
        let window = FillWindow::new(facts.window, &facts.time_zone, Duration::ZERO, "oca-1").unwrap();
        Self {
            window,
            pace: Pace::new(facts.rate, 0, now),
            yielding: Yielding::new(facts.rate, facts.yield_latency),
            breakers: vec![Breaker::default(); world.sources.len()],
            open: None,
            run: None,
            plan_at: None,
            revision: world.revision,
            received_last_second: 0,
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.run.is_some()
    }

    /// One second passes.
    pub(crate) fn second(&mut self, world: &mut World) {
        if !self.keep_window(world) {
            return;
        }
        if std::mem::replace(&mut self.revision, world.revision) != world.revision {
            self.leave(world, "the run ends, to begin anew");
            self.plan_at = Some(world.clock.monotonic());
        }
        if self.run.is_none() && self.plan_at.is_some_and(|moment| moment <= world.clock.monotonic()) {
            self.plan(world);
        }
        if self.run.is_some() {
            self.yield_to_viewers(world);
            self.receive(world);
            self.finish(world);
        }
    }

    /// Whether it is open.
    fn keep_window(&mut self, world: &mut World) -> bool {
        let now = world.clock.wall();
        if self.open.is_some_and(|(night, until)| night <= now && now < until) {
            return true;
        }
        match self.window.at(now) {
            WindowState::Open { night, until } => {
                self.leave(world, "the run ends with its night");
                let hours = (until.duration_since(now).as_secs_f64() / 360.0).round() / 10.0;
                world.note(&format!("the window is open, for {hours} h"));
                self.open = Some((night, until));
                self.plan_at = Some(world.clock.monotonic());
                true
            }
            WindowState::Closed { .. } => {
                if self.open.take().is_some() {
                    world.note("the window is closed");
                    self.leave(world, "the run is suspended");
                }
                self.plan_at = None;
                false
            }
        }
    }

    /// Ends a run before its time. What was received of objects that are not whole is lost.
    pub(crate) fn leave(&mut self, world: &mut World, why: &str) {
        let Some(run) = self.run.take() else { return };
        let mut left = Vec::new();
        for mut transfer in run.transfers {
            let asking = transfer.asking.take();
            if let Some(asking) = asking.as_ref().filter(|asking| asking.received > 0) {
                world.sources[asking.source].wasted += asking.received;
            }
            if transfer.has_room {
                left.push(format!("{} has {}", transfer.fetch.key.path, size(transfer.done)));
            }
        }
        world.note(&[why.to_owned(), left.join(", ")].join(": "));
    }

    fn plan(&mut self, world: &mut World) {
        self.plan_at = None;
        let (night, _) = self.open.expect("planned only while it is open");
        let facts = &world.scenario.appliance;
        let entries: Vec<_> = world.manifest.iter().map(|facts| facts.entry()).collect();
        let plan = plan(&PlanInput {
            entries: &entries,
            held: &world.disk.held,
            partial: &world.disk.partial,
            volumes: &world.disk.volumes,
            keep_free_bytes: facts.keep_free.bytes(),
            night_bytes: for_objects(facts.night_bytes.bytes()),
            night_bytes_left: for_objects(world.budget.left(night, facts.night_bytes.bytes())),
            churn_days: facts.churn_days,
            now: u64::try_from(world.clock.wall().as_second()).unwrap(),
            clock_is_synchronised: world.clock.is_synchronised,
        });
        self.tell(world, &plan);
        for retire in &plan.retires {
            world.retire(&retire.key, retire.why.as_str());
        }
        for discard in &plan.discards {
            world.disk.discard(&discard.key, discard.volume);
            world.note(&format!("removed what was begun of {}", discard.key.path));
        }
        if !plan.fetches.is_empty() {
            let transfer = |fetch: fill_agent::plan::PlannedFetch| {
                let entry = &entries[fetch.entry];
                Transfer::new(fetch, entry.bytes, entry.expires_at, world.clock.monotonic())
            };
            let transfers = plan.fetches.into_iter().map(transfer).collect();
            self.run = Some(Run { transfers, failures: 0 });
        }
    }

    fn tell(&self, world: &mut World, plan: &Plan) {
        let mut fetches = plan
            .fetches
            .iter()
            .map(|fetch| format!("{} {} to {}", fetch.key.path, size(fetch.missing_bytes), fetch.volume));
        let fetches = fetches.by_ref().collect::<Vec<_>>().join(", ");
        let fetches = if fetches.is_empty() { "nothing".to_owned() } else { fetches };
        world.note(&format!("planned: {fetches}"));
        for (entry, why) in &plan.skipped {
            let path = world.manifest[*entry].path.clone();
            world.note(&format!("left out: {path}: {}", why.as_str()));
        }
    }

    fn yield_to_viewers(&mut self, world: &mut World) {
        let load = Load {
            version: DocumentVersion,
            interval_millis: 5000,
            egress_bits_per_second: 0,
            requests_per_second: 100,
            connections: 100,
            reads_per_second: 100,
            read_latency_p50_micros: 0,
            read_latency_p99_micros: world.read_latency_millis * 1000,
        };
        let now = world.clock.monotonic();
        let rate = self.yielding.observe(Some(&load), BitRate::new(self.received_last_second * 8), now);
        let full = world.scenario.appliance.rate;
        if rate != full && self.pace.rate() == full {
            world.note("fill yields to viewers");
        } else if rate == full && self.pace.rate() != full {
            world.note("fill has its full rate again");
        }
        self.pace.set_rate(rate, now);
    }

    fn receive(&mut self, world: &mut World) {
        self.received_last_second = 0;
        for slot in 0..SLOTS {
            let now = world.clock.monotonic() + Duration::from_secs(1) * slot / SLOTS;
            let run = self.run.as_mut().expect("a run is received");
            ask(run, &mut self.breakers, world, now);
            let mut received = 0;
            let transfers = run.transfers.len();
            for place in 0..transfers {
                let turn = (place + slot as usize) % transfers;
                received += self.receive_slot(turn, world, now);
            }
            world.received(received);
            self.received_last_second += received;
            let run = self.run.as_mut().expect("a run is received");
            run.transfers.retain(|transfer| transfer.done < transfer.bytes);
            if run.transfers.is_empty() {
                break;
            }
        }
    }

    fn receive_slot(&mut self, place: usize, world: &mut World, now: Duration) -> u64 {
        let (night, _) = self.open.expect("received only while it is open");
        let run = self.run.as_mut().expect("a run is received");
        let source_of = |transfer: &Transfer| transfer.asking.as_ref().map(|asking| asking.source);
        let Some(source) = source_of(&run.transfers[place]) else { return 0 };
        let sharing =
            run.transfers.iter().filter(|transfer| source_of(transfer) == Some(source)).count() as u64;
        let transfer = &mut run.transfers[place];
        let asking = transfer.asking.as_mut().expect("it is asked for");
        let left = world.budget.left(night, world.scenario.appliance.night_bytes.bytes());
        let comes = match world.sources[source].mood {
            Mood::Away | Mood::Busy(_) => 0,
            Mood::Answers | Mood::Lies => {
                world.sources[source].rate.bytes_per_second() / u64::from(SLOTS) / sharing
            }
        };
        let wanted = comes.min(asking.wanted - asking.received).min(left);
        let bytes = match self.pace.take(wanted, now) {
            Grant::Bytes(bytes) => bytes,
            Grant::WaitUntil(_) => 0,
        };
        asking.received += bytes;
        if comes > 0 {
            asking.silent_since = now;
        }
        world.sources[source].received += bytes;
        world.budget.spend(night, bytes);
        if asking.received == asking.wanted {
            object_came(transfer, &mut self.breakers[source], world, now);
        } else if now >= asking.silent_since + STALL {
            transfer.part = asking.received;
            transfer.asking = None;
            self.breakers[source].failed(now, None, 0.0);
            transfer.escalation(&[]).note(source, Answer::Unreachable, now, 0.0);
        }
        bytes
    }

    fn finish(&mut self, world: &mut World) {
        let (night, _) = self.open.expect("a run is finished while it is open");
        if world.budget.left(night, world.scenario.appliance.night_bytes.bytes()) == 0 {
            return self.leave(world, "the night's bytes are spent");
        }
        let Some(run) = self.run.as_ref().filter(|run| run.transfers.is_empty()) else { return };
        if run.failures == 0 {
            world.note("the run is completed");
        } else {
            world.note(&format!("the run is incomplete, {} failed; again in 15 min", run.failures));
            self.plan_at = Some(world.clock.monotonic() + AGAIN);
        }
        self.run = None;
    }
}

/// Asks sources, up to as many at once as there may be.
fn ask(run: &mut Run, breakers: &mut [Breaker], world: &mut World, now: Duration) {
    let facts: Vec<FillSource> = world.sources.iter().map(|source| source.facts.clone()).collect();
    let mut place = 0;
    while place < run.transfers.len() {
        let asked = run.transfers.iter().filter(|transfer| transfer.asking.is_some()).count();
        if asked >= AT_ONCE {
            return;
        }
        if run.transfers[place].asking.is_some() {
            place += 1;
            continue;
        }
        let admissions: Vec<Admission> = breakers.iter().map(|breaker| breaker.admission(now)).collect();
        match run.transfers[place].escalation(&facts).next(&admissions, now) {
            Next::Fetch(source) => ask_source(run, place, source, &mut breakers[source], world, now),
            Next::WaitUntil(_) => place += 1,
            Next::GiveUp(reason) => give_up(run, place, reason.as_str(), world),
        }
    }
}

fn give_up(run: &mut Run, place: usize, reason: &str, world: &mut World) {
    let transfer = run.transfers.remove(place);
    run.failures += 1;
    world.note(&format!("gave up {}: {reason}", transfer.fetch.key.path));
}

/// Asks one source for the next object. Room is made when it answers.
fn ask_source(
    run: &mut Run,
    place: usize,
    source: usize,
    breaker: &mut Breaker,
    world: &mut World,
    now: Duration,
) {
    let transfer = &mut run.transfers[place];
    let path = transfer.fetch.key.path.clone();
    breaker.begin(now);
    let answer = match world.sources[source].mood {
        Mood::Away => {
            breaker.failed(now, None, 0.0);
            Answer::Unreachable
        }
        Mood::Busy(retry_after) => {
            breaker.failed(now, Some(retry_after), 0.0);
            Answer::Busy(Some(retry_after))
        }
        _ if !world.sources[source].has(&path) => {
            breaker.succeeded();
            Answer::Missing
        }
        Mood::Answers | Mood::Lies => {
            if make_room(transfer, world) {
                transfer.ask(source, now);
            } else {
                breaker.ended(now);
                give_up(run, place, "disk_full", world);
            }
            return;
        }
    };
    transfer.escalation(&[]).note(source, answer, now, 0.0);
}

fn make_room(transfer: &mut Transfer, world: &mut World) -> bool {
    if transfer.has_room {
        return true;
    }
    let fetch = &transfer.fetch;
    for retire in &fetch.retire_first {
        world.retire(&retire.key, retire.why.as_str());
    }
    for discard in &fetch.discard_first {
        world.disk.discard(&discard.key, discard.volume);
        world.note(&format!("removed what was begun of {}", discard.key.path));
    }
    let begun = world.disk.begin(&fetch.key, fetch.volume, fetch.file_bytes);
    if let Some(done) = begun {
        transfer.done = done;
        transfer.has_room = true;
    }
    transfer.has_room
}

fn object_came(transfer: &mut Transfer, breaker: &mut Breaker, world: &mut World, now: Duration) {
    let asking = transfer.asking.take().expect("it was asked for");
    let source = &mut world.sources[asking.source];
    let name = source.facts.name.clone();
    breaker.succeeded();
    if source.mood == Mood::Lies {
        source.wasted += asking.wanted;
        world.note(&format!("{name} gave wrong bytes for {}", transfer.fetch.key.path));
        transfer.escalation(&[]).note(asking.source, Answer::WrongBytes, now, 0.0);
        return;
    }
    transfer.escalation(&[]).note(asking.source, Answer::Whole, now, 0.0);
    transfer.from.insert(name);
    transfer.done += asking.wanted;
    let fetch = &transfer.fetch;
    let file = world.disk.partial_file(&fetch.key, fetch.volume).expect("it was begun");
    file.done_bytes = transfer.done;
    if transfer.done == transfer.bytes {
        world.disk.publish(&fetch.key, fetch.volume, transfer.expires_at);
        let from = transfer.from.iter().cloned().collect::<Vec<_>>().join(" and ");
        world.note(&format!("published {} from {from}", fetch.key.path));
        if let Some(retire) = &fetch.supersedes {
            world.retire(&retire.key, retire.why.as_str());
        }
    }
}
