//! A night is played second by second, and watched.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use control_client::content::BundleKey;
use fill_agent::night_budget::NightBudget;
use fill_agent::plan::{Held, VolumeRoom};
use jiff::SignedDuration;
use jiff::tz::TimeZone;

use super::agent::{Agent, SLOTS};
use super::diary::{Diary, size};
use super::scenario::{EntryFacts, Happening, Scenario};
use super::simulated_clock::SimulatedClock;
use super::simulated_disk::SimulatedDisk;
use super::simulated_source::{Mood, SimulatedSource};

/// Everything but the agent's memory.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) clock: SimulatedClock,
    pub(crate) disk: SimulatedDisk,
    pub(crate) sources: Vec<SimulatedSource>,
    pub(crate) manifest: Vec<EntryFacts>,
    pub(crate) budget: NightBudget,
    pub(crate) read_latency_millis: u64,
    /// Rises when a plan has to be made anew.
    pub(crate) revision: u64,
    diary: Diary,
    /// Bytes of the last second, by slot.
    last_second: VecDeque<u64>,
    /// Volumes whose room somebody else took.
    squatted: BTreeSet<u8>,
}

pub(crate) struct Night {
    world: World,
    agent: Option<Agent>,
    /// Of the scenario's events, the ones to come.
    next_event: usize,
}

impl Night {
    pub(crate) fn new(scenario: Scenario) -> Self {
        let volume = |(index, free): (u8, u64)| VolumeRoom {
            index,
            free_bytes: free,
            owed_bytes: 0,
            is_serving: true,
        };
        let free = scenario.volumes.iter().map(|facts| facts.free.bytes());
        let held = scenario.held.iter().map(|facts| Held {
            key: facts.key(),
            volume: facts.volume,
            file_bytes: facts.bytes.bytes(),
            expires_at: None,
        });
        let keep_free = scenario.appliance.keep_free.bytes();
        let world = World {
            clock: SimulatedClock::new(scenario.from),
            disk: SimulatedDisk::new((0..).zip(free).map(volume).collect(), held.collect(), keep_free),
            sources: scenario.sources.iter().map(SimulatedSource::new).collect(),
            manifest: scenario.manifest.clone(),
            budget: NightBudget::default(),
            read_latency_millis: 0,
            revision: 0,
            diary: Diary::new(&scenario.appliance.time_zone),
            last_second: VecDeque::new(),
            squatted: BTreeSet::new(),
            scenario,
        };
        Self { agent: Some(Agent::new(&world)), world, next_event: 0 }
    }

    /// Gives the diary.
    pub(crate) fn play(mut self) -> String {
        while self.world.clock.true_time() < self.world.scenario.until {
            self.play_events();
            if let Some(agent) = &mut self.agent {
                agent.second(&mut self.world);
            }
            self.world.watch();
            let runs = self.agent.as_ref().is_some_and(Agent::is_running);
            let second = self.world.clock.true_time().as_second();
            // Where nothing moves, things happen on full minutes only, and events when they do.
            let step = if runs { 1 } else { 60 - second.rem_euclid(60) };
            let events = &self.world.scenario.events;
            let next = events.get(self.next_event).map_or(step, |event| event.at.as_second() - second);
            self.world.clock.advance(Duration::from_secs(step.min(next).unsigned_abs()));
        }
        assert_eq!(self.next_event, self.world.scenario.events.len(), "not all events have happened");
        self.world.sum_up()
    }

    fn play_events(&mut self) {
        let now = self.world.clock.true_time();
        while let Some(event) =
            self.world.scenario.events.get(self.next_event).filter(|event| event.at <= now)
        {
            let what = event.what.clone();
            self.next_event += 1;
            self.play_event(what);
        }
    }

    fn play_event(&mut self, what: Happening) {
        match what {
            Happening::AgentKilled {} => {
                let mut agent = self.agent.take().expect("it lives");
                agent.leave(&mut self.world, "-- the agent is killed");
            }
            Happening::AgentStarted {} => {
                self.world.note("-- the agent is started");
                self.agent = Some(Agent::new(&self.world));
            }
            other => self.world.play_event(other),
        }
    }
}

impl World {
    pub(crate) fn note(&mut self, text: &str) {
        self.diary.note(self.clock.true_time(), text);
    }

    pub(crate) fn retire(&mut self, key: &BundleKey, why: &str) {
        assert!(self.disk.retire(key), "{key} is not there to retire");
        self.note(&format!("retired {}: {why}", key.path));
    }

    /// Bytes of one slot.
    pub(crate) fn received(&mut self, bytes: u64) {
        self.last_second.push_back(bytes);
        if self.last_second.len() > SLOTS as usize {
            self.last_second.pop_front();
        }
        let second: u64 = self.last_second.iter().sum();
        let most = self.scenario.appliance.rate.bytes_per_second();
        assert!(second <= most, "{second} bytes in one second");
        assert!(bytes == 0 || self.is_inside_the_window(), "received outside of the window");
    }

    /// By the machine's clock, as the configuration says it.
    fn is_inside_the_window(&self) -> bool {
        let facts = &self.scenario.appliance;
        let local = TimeZone::get(&facts.time_zone).unwrap().to_datetime(self.clock.wall());
        let minute = local.hour() as u16 * 60 + local.minute() as u16;
        let (opens, closes) = (facts.window.opens_minute(), facts.window.closes_minute());
        if opens < closes { (opens..closes).contains(&minute) } else { minute >= opens || minute < closes }
    }

    /// What holds at every moment.
    fn watch(&self) {
        let keep_free = self.scenario.appliance.keep_free.bytes();
        for room in &self.disk.volumes {
            let kept = room.free_bytes >= keep_free || self.squatted.contains(&room.index);
            assert!(kept, "less than {keep_free} bytes are free on volume {}", room.index);
        }
    }

    fn source(&mut self, name: &str) -> &mut SimulatedSource {
        self.sources.iter_mut().find(|source| source.facts.name == name).expect("it is a source")
    }

    fn play_event(&mut self, what: Happening) {
        match what {
            Happening::SourceRate { source, rate } => {
                self.note(&format!("-- {source} gives {rate}"));
                self.source(&source).rate = rate;
            }
            Happening::SourceAway { source } => self.change_mood(&source, Mood::Away, "goes away"),
            Happening::SourceBack { source } => self.change_mood(&source, Mood::Answers, "is well again"),
            Happening::SourceLies { source } => self.change_mood(&source, Mood::Lies, "begins to lie"),
            Happening::SourceBusy { source, retry_after_seconds } => {
                let mood = Mood::Busy(Duration::from_secs(retry_after_seconds));
                self.change_mood(&source, mood, "is busy");
            }
            Happening::SourceHas { source, path } => {
                self.note(&format!("-- {source} has {path}"));
                self.source(&source).give(path);
            }
            Happening::VolumeLost { volume } => {
                self.note(&format!("-- volume {volume} is lost"));
                self.disk.volume(volume).is_serving = false;
                self.revision += 1;
            }
            Happening::RoomTaken { volume, bytes } => {
                self.note(&format!("-- somebody else takes {} of volume {volume}", size(bytes.bytes())));
                let room = self.disk.volume(volume);
                room.free_bytes = room.free_bytes.checked_sub(bytes.bytes()).expect("there is so much");
                self.squatted.insert(volume);
            }
            Happening::ClockSet { by_seconds, synchronised } => {
                self.clock.set(SignedDuration::from_secs(by_seconds), synchronised);
                let known = if synchronised { "synchronised" } else { "not synchronised" };
                self.note(&format!("-- the clock is set to {}, {known}", self.clock.wall()));
            }
            Happening::Manifest { entries } => {
                self.note("-- a new manifest");
                self.manifest = entries;
                self.revision += 1;
            }
            Happening::ReadLatency { millis } => {
                self.note(&format!("-- reads for viewers take {millis} ms"));
                self.read_latency_millis = millis;
            }
            Happening::AgentKilled {} | Happening::AgentStarted {} => unreachable!("the night's own"),
        }
    }

    fn change_mood(&mut self, source: &str, mood: Mood, text: &str) {
        self.note(&format!("-- {source} {text}"));
        self.source(source).mood = mood;
    }

    /// The last line: what is held, and what came from where.
    fn sum_up(self) -> String {
        let held = self.disk.held.iter().filter(|held| self.disk.serves(held.volume));
        let held: BTreeSet<String> = held.map(|held| format!("{}", held.key.path)).collect();
        let held = held.into_iter().collect::<Vec<_>>().join(" ");
        assert!(self.disk.held.iter().all(|held| !self.disk.serves(held.volume) || self.disk.has(&held.key)));
        let mut lines = vec![format!("holds {held}")];
        for source in self.sources.iter().filter(|source| source.received > 0) {
            let wasted = match source.wasted {
                0 => String::new(),
                wasted => format!(", {} of it wasted", size(wasted)),
            };
            lines.push(format!("{} from {}{wasted}", size(source.received), source.facts.name));
        }
        self.diary.close(&lines.join("\n"))
    }
}
