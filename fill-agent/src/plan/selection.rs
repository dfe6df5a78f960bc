//! Which candidates are fetched, where to, and what gives way: a greedy pass, the best value per byte first.

use control_client::fill_manifest::FillClass;

use super::Skipped;
use super::survey::{Candidate, Survey, Victim};
use super::worth::Worth;

/// Choices that fit room and budget.
#[derive(Clone)]
pub(super) struct Selection<'a> {
    pub(super) survey: &'a Survey<'a>,
    /// By candidate.
    pub(super) fate: Vec<Fate>,
    /// By victim.
    pub(super) stay: Vec<Stay>,
    /// By volume: room that is left.
    pub(super) available: Vec<i128>,
    /// By volume: files that are made there.
    pub(super) arrivals: Vec<u32>,
    pub(super) bytes_left: u64,
    pub(super) night_bytes: u64,
    /// By volume: the victims before this place have no choice left.
    first_victim: Vec<usize>,
}

/// What is decided of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Undecided,
    /// To that place in `volumes`.
    Fetched(usize),
    Left(Skipped),
}

/// What is decided of a victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stay {
    /// It stays unless its room is needed.
    Stays,
    /// Its room is needed.
    Goes,
    /// Its candidate is fetched: an earlier generation leaves its room then, a file that was begun is gone on with.
    WithCandidate,
    /// Its room is pulled content's.
    GivesWay,
}

/// Room for a candidate.
struct Opening {
    volume: usize,
    cost: Worth,
    victims: Vec<usize>,
}

/// Victims that are looked at for one candidate on one volume. Bundles differ in size by a hundred times or
/// so; where thousands of small ones would have to go for one, that one is left out.
const VICTIMS_MAX: usize = 1024;

impl<'a> Selection<'a> {
    pub(super) fn new(survey: &'a Survey<'a>, bytes_left: u64, night_bytes: u64) -> Self {
        Self {
            survey,
            fate: vec![Fate::Undecided; survey.candidates.len()],
            stay: vec![Stay::Stays; survey.victims.len()],
            available: survey.volumes.iter().map(|shelf| shelf.available).collect(),
            arrivals: vec![0; survey.volumes.len()],
            bytes_left,
            night_bytes,
            first_victim: vec![0; survey.volumes.len()],
        }
    }

    /// Gives every candidate that is not fetched what it can have beside the ones before it.
    pub(super) fn select(&mut self) {
        for volume in 0..self.first_victim.len() {
            self.first_victim[volume] = 0;
            self.pass_decided(volume);
        }
        for (place, candidate) in self.survey.candidates.iter().enumerate() {
            if matches!(self.fate[place], Fate::Fetched(_)) {
                continue;
            }
            self.fate[place] = match self.find(candidate) {
                Ok(opening) => {
                    opening.victims.iter().for_each(|victim| self.release(*victim));
                    self.fetch(place, opening.volume);
                    Fate::Fetched(opening.volume)
                }
                Err(skipped) => Fate::Left(skipped),
            };
        }
    }

    /// Takes back what went and need not, the best of it first.
    pub(super) fn keep_what_need_not_go(&mut self) {
        for (volume, shelf) in self.survey.volumes.iter().enumerate() {
            for victim in shelf.victims.iter().rev() {
                self.keep_if_possible(*victim, volume);
            }
        }
    }

    /// Has the least worth of what stays go for pulled content, as far as the room that is left over does not suffice.
    pub(super) fn give_way(&mut self) {
        let survey = self.survey;
        for (shelf, available) in survey.volumes.iter().zip(&self.available) {
            let mut lacking = shelf.owed - (*available).max(0);
            for place in &shelf.victims {
                let victim = &survey.victims[*place];
                if lacking > 0 && self.stay[*place] == Stay::Stays && victim.class != FillClass::Pinned {
                    self.stay[*place] = Stay::GivesWay;
                    lacking -= i128::from(victim.bytes);
                }
            }
        }
    }

    fn find(&self, candidate: &Candidate) -> Result<Opening, Skipped> {
        if candidate.missing_bytes > self.bytes_left {
            let ever = candidate.missing_bytes <= self.night_bytes;
            return Err(if ever { Skipped::Budget } else { Skipped::LargerThanNight });
        }
        if let Some(begun) = candidate.begun_as
            && self.stay[begun] == Stay::Stays
        {
            let volume = self.survey.victims[begun].shelf;
            return Ok(Opening { volume, cost: Worth::ZERO, victims: Vec::new() });
        }
        if candidate.begun_as.is_some() {
            // Its file had to make room. What was done is lost, so it is not what was judged.
            return Err(Skipped::NoRoom);
        }
        self.empty_room(candidate).map_or_else(|| self.cheapest_opening(candidate), Ok)
    }

    /// Where most is free; the predecessor's volume where only its room suffices.
    fn empty_room(&self, candidate: &Candidate) -> Option<Opening> {
        let needed = i128::from(candidate.file_bytes);
        let roomiest = (0..self.available.len()).rev().max_by_key(|volume| self.available[*volume])?;
        let volume = if self.available[roomiest] >= needed {
            roomiest
        } else {
            let predecessor = candidate.predecessor.filter(|victim| self.stay[*victim] == Stay::Stays)?;
            let victim = &self.survey.victims[predecessor];
            let room = self.available[victim.shelf] + i128::from(victim.bytes);
            (room >= needed).then_some(victim.shelf)?
        };
        Some(Opening { volume, cost: Worth::ZERO, victims: Vec::new() })
    }

    fn cheapest_opening(&self, candidate: &Candidate) -> Result<Opening, Skipped> {
        let mut cheapest: Option<Opening> = None;
        let mut skipped = Skipped::NoRoom;
        for volume in 0..self.survey.volumes.len() {
            match self.opening_on(volume, candidate) {
                Ok(opening) if cheapest.as_ref().is_none_or(|best| opening.cost < best.cost) => {
                    cheapest = Some(opening);
                }
                Err(Skipped::Churn) => skipped = Skipped::Churn,
                Ok(_) | Err(_) => {}
            }
        }
        cheapest.ok_or(skipped)
    }

    /// The victims that go first, until there is room, as long as the candidate is worth more.
    fn opening_on(&self, volume: usize, candidate: &Candidate) -> Result<Opening, Skipped> {
        let survey = self.survey;
        let gain = candidate.gain();
        let mut lacking = i128::from(candidate.file_bytes) - self.available[volume];
        if let Some(victim) = candidate.predecessor
            && survey.victims[victim].shelf == volume
            && self.stay[victim] == Stay::Stays
        {
            lacking -= i128::from(survey.victims[victim].bytes);
        }
        let (mut cost, mut plain_cost, mut victims) = (Worth::ZERO, Worth::ZERO, Vec::new());
        let shelf = &survey.volumes[volume].victims[self.first_victim[volume]..];
        let choosable =
            |place: &&usize| self.stay[**place] == Stay::Stays && Some(**place) != candidate.predecessor;
        for place in shelf.iter().filter(choosable).take(VICTIMS_MAX) {
            if lacking <= 0 {
                break;
            }
            let victim = &survey.victims[*place];
            (cost, plain_cost) = (cost + victim.cost(), plain_cost + victim.plain_cost());
            if plain_cost >= gain {
                return Err(Skipped::NoRoom);
            }
            lacking -= i128::from(victim.bytes);
            victims.push(*place);
        }
        if lacking > 0 {
            return Err(Skipped::NoRoom);
        }
        drop_needless(&survey.victims, &mut victims, &mut cost, -lacking);
        if cost < gain { Ok(Opening { volume, cost, victims }) } else { Err(Skipped::Churn) }
    }

    /// A victim goes.
    pub(super) fn release(&mut self, victim: usize) {
        let Victim { shelf, bytes, .. } = self.survey.victims[victim];
        self.stay[victim] = Stay::Goes;
        self.available[shelf] += i128::from(bytes);
        self.pass_decided(shelf);
    }

    fn pass_decided(&mut self, volume: usize) {
        let order = &self.survey.volumes[volume].victims;
        while order.get(self.first_victim[volume]).is_some_and(|first| self.stay[*first] != Stay::Stays) {
            self.first_victim[volume] += 1;
        }
    }

    /// A candidate is fetched; the room for it is there.
    pub(super) fn fetch(&mut self, place: usize, volume: usize) {
        let candidate = &self.survey.candidates[place];
        self.fate[place] = Fate::Fetched(volume);
        self.bytes_left = self.bytes_left.saturating_sub(candidate.missing_bytes);
        match candidate.begun_as {
            Some(begun) => self.stay[begun] = Stay::WithCandidate,
            None => {
                self.available[volume] -= i128::from(candidate.file_bytes);
                self.arrivals[volume] += 1;
            }
        }
        if let Some(predecessor) = candidate.predecessor {
            if self.stay[predecessor] == Stay::Stays {
                let Victim { shelf, bytes, .. } = self.survey.victims[predecessor];
                self.available[shelf] += i128::from(bytes);
            }
            self.stay[predecessor] = Stay::WithCandidate;
        }
    }

    /// The reverse of [`Selection::fetch`].
    pub(super) fn unfetch(&mut self, place: usize) {
        let Fate::Fetched(volume) = self.fate[place] else { return };
        let candidate = &self.survey.candidates[place];
        self.fate[place] = Fate::Undecided;
        self.bytes_left += candidate.missing_bytes;
        match candidate.begun_as {
            Some(begun) => self.stay[begun] = Stay::Stays,
            None => {
                self.available[volume] += i128::from(candidate.file_bytes);
                self.arrivals[volume] -= 1;
            }
        }
        if let Some(predecessor) = candidate.predecessor {
            let Victim { shelf, bytes, .. } = self.survey.victims[predecessor];
            self.available[shelf] -= i128::from(bytes);
            self.stay[predecessor] = Stay::Stays;
        }
    }

    /// The reverse of [`Selection::release`].
    pub(super) fn keep(&mut self, victim: usize) {
        let Victim { shelf, bytes, .. } = self.survey.victims[victim];
        self.stay[victim] = Stay::Stays;
        self.available[shelf] -= i128::from(bytes);
    }

    fn keep_if_possible(&mut self, victim: usize, volume: usize) {
        let bytes = i128::from(self.survey.victims[victim].bytes);
        if self.stay[victim] == Stay::Goes && (bytes <= self.available[volume] || self.arrivals[volume] == 0)
        {
            self.keep(victim);
        }
    }
}

/// Of victims that were taken in their order, some small first ones may not be needed with the last one.
fn drop_needless(all: &[Victim<'_>], victims: &mut Vec<usize>, cost: &mut Worth, surplus: i128) {
    let mut surplus = surplus;
    let mut kept = Vec::new();
    for place in victims.iter().rev() {
        let bytes = i128::from(all[*place].bytes);
        if bytes <= surplus {
            surplus -= bytes;
            *cost = *cost - all[*place].cost();
        } else {
            kept.push(*place);
        }
    }
    kept.reverse();
    *victims = kept;
}
