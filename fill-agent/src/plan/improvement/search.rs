//! The search: every choice about the candidates at the margin is looked at, or excluded by a bound.

use control_client::fill_manifest::FillClass;

use super::super::selection::Selection;
use super::super::worth::Worth;
use super::cover::Cover;

/// Steps after which the best so far is taken: some hundredths of a second.
const STEPS_MAX: u32 = 100_000;

/// What is chosen for a candidate; volumes by their place in the search's.
#[derive(Clone, Copy, Debug)]
pub(super) enum Choice {
    Fetch(usize),
    Leave { begun_goes: bool, predecessor_goes: bool },
}

/// A candidate at the margin.
struct Marginal {
    place: usize,
    class: FillClass,
    value: i128,
    missing_bytes: u64,
    file_bytes: u64,
    begun: Option<Tie>,
    predecessor: Option<Tie>,
}

impl Marginal {
    fn gain(&self) -> Worth {
        Worth::of(self.class, self.value)
    }
}

/// A victim whose fate hangs on a candidate's.
#[derive(Clone, Copy)]
struct Tie {
    victim: usize,
    volume: usize,
    bytes: i128,
    cost: Worth,
}

pub(super) struct Search<'v> {
    volumes: &'v [usize],
    covers: Vec<Cover>,
    marginal: Vec<Marginal>,
    /// As if the ties of all candidates that are not decided were gone: so it only ever falls.
    available: Vec<i128>,
    arrivals: Vec<u32>,
    bytes_left: u64,
    choices: Vec<Choice>,
    best: Worth,
    pub(super) best_choices: Option<Vec<Choice>>,
    steps: u32,
}

impl<'v> Search<'v> {
    pub(super) fn new(
        selection: &Selection<'_>,
        volumes: &'v [usize],
        places: &[usize],
        covers: Vec<Cover>,
        best: Worth,
    ) -> Self {
        let tie = |victim: usize| {
            let found = &selection.survey.victims[victim];
            let volume = volumes.iter().position(|volume| *volume == found.shelf)?;
            Some(Tie { victim, volume, bytes: found.bytes.into(), cost: found.cost() })
        };
        let marginal = places.iter().map(|place| {
            let candidate = &selection.survey.candidates[*place];
            Marginal {
                place: *place,
                class: candidate.class,
                value: candidate.value,
                missing_bytes: candidate.missing_bytes,
                file_bytes: candidate.file_bytes,
                begun: candidate.begun_as.and_then(tie),
                predecessor: candidate.predecessor.and_then(tie),
            }
        });
        let marginal: Vec<Marginal> = marginal.collect();
        let mut available: Vec<i128> = volumes.iter().map(|volume| selection.available[*volume]).collect();
        for tie in marginal.iter().flat_map(|marginal| [marginal.begun, marginal.predecessor]).flatten() {
            available[tie.volume] += tie.bytes;
        }
        Self {
            volumes,
            covers,
            marginal,
            available,
            arrivals: volumes.iter().map(|volume| selection.arrivals[*volume]).collect(),
            bytes_left: selection.bytes_left,
            choices: Vec::new(),
            best,
            best_choices: None,
            steps: 0,
        }
    }

    /// Decides about the candidates from that place on. `worth` is what the ones before it gain, less what
    /// their ties cost.
    pub(super) fn decide(&mut self, place: usize, worth: Worth) {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return;
        }
        let Some(cost) = self.cost() else { return };
        if worth - cost + self.most_from(place) <= self.best {
            return;
        }
        if place == self.marginal.len() {
            self.best = worth - cost;
            self.best_choices = Some(self.choices.clone());
            return;
        }
        self.try_fetching(place, worth);
        self.try_leaving(place, worth);
    }

    fn try_fetching(&mut self, place: usize, worth: Worth) {
        let marginal = &self.marginal[place];
        let (gain, missing, file) =
            (marginal.gain(), marginal.missing_bytes, i128::from(marginal.file_bytes));
        let Some(bytes_left) = self.bytes_left.checked_sub(missing) else { return };
        let begun = marginal.begun;
        let bytes_left = std::mem::replace(&mut self.bytes_left, bytes_left);
        let (volumes, taken, arrives) = match begun {
            Some(tie) => (tie.volume..tie.volume + 1, tie.bytes, 0),
            None => (0..self.volumes.len(), file, 1),
        };
        for volume in volumes {
            self.available[volume] -= taken;
            self.arrivals[volume] += arrives;
            self.choices.push(Choice::Fetch(volume));
            self.decide(place + 1, worth + gain);
            self.choices.pop();
            self.arrivals[volume] -= arrives;
            self.available[volume] += taken;
        }
        self.bytes_left = bytes_left;
    }

    fn try_leaving(&mut self, place: usize, worth: Worth) {
        let (begun, predecessor) = (self.marginal[place].begun, self.marginal[place].predecessor);
        for (begun_goes, predecessor_goes) in [(false, false), (true, false), (false, true), (true, true)] {
            if begun_goes && begun.is_none() || predecessor_goes && predecessor.is_none() {
                continue;
            }
            let mut worth = worth;
            let ties = [(begun, begun_goes), (predecessor, predecessor_goes)];
            let ties = ties.into_iter().filter_map(|(tie, goes)| tie.zip(Some(goes)));
            for (tie, goes) in ties.clone() {
                if goes {
                    worth = worth - tie.cost;
                } else {
                    self.available[tie.volume] -= tie.bytes;
                }
            }
            self.choices.push(Choice::Leave { begun_goes, predecessor_goes });
            self.decide(place + 1, worth);
            self.choices.pop();
            for (tie, _) in ties.filter(|(_, goes)| !goes) {
                self.available[tie.volume] += tie.bytes;
            }
        }
    }

    /// Of freeing what lacks on volumes that something comes to; `None` where it cannot be.
    fn cost(&self) -> Option<Worth> {
        let mut sum = Worth::ZERO;
        for (volume, cover) in self.covers.iter().enumerate() {
            if self.arrivals[volume] > 0 && self.available[volume] < 0 {
                sum += cover.cheapest(-self.available[volume])?.1;
            }
        }
        Some(sum)
    }

    /// No choice about the candidates from that place on gains more: as if they could be divided, and room were free.
    fn most_from(&self, place: usize) -> Worth {
        let mut left = self.bytes_left;
        let mut sum = Worth::ZERO;
        for marginal in &self.marginal[place..] {
            if marginal.missing_bytes <= left {
                left -= marginal.missing_bytes;
                sum += marginal.gain();
            } else if left > 0 {
                sum += Worth::of(marginal.class, part(marginal.value, left, marginal.missing_bytes));
                left = 0;
            }
        }
        sum
    }

    /// Plays the choices through, to know what has to go with them.
    pub(super) fn finish(mut self, choices: &[Choice]) -> Outcome {
        let mut outcome = Outcome::default();
        for (place, choice) in choices.iter().enumerate() {
            let marginal = &self.marginal[place];
            match *choice {
                Choice::Fetch(volume) => {
                    outcome.fetches.push((marginal.place, self.volumes[volume]));
                    self.available[volume] -=
                        marginal.begun.map_or(marginal.file_bytes.into(), |tie| tie.bytes);
                    self.arrivals[volume] += u32::from(marginal.begun.is_none());
                }
                Choice::Leave { begun_goes, predecessor_goes } => {
                    let ties = [(marginal.begun, begun_goes), (marginal.predecessor, predecessor_goes)];
                    for (tie, goes) in ties.into_iter().filter_map(|(tie, goes)| tie.zip(Some(goes))) {
                        if goes {
                            outcome.gone.push(tie.victim);
                        } else {
                            self.available[tie.volume] -= tie.bytes;
                        }
                    }
                }
            }
        }
        for (volume, cover) in self.covers.iter().enumerate() {
            if self.arrivals[volume] > 0 && self.available[volume] < 0 {
                let mask = cover.cheapest(-self.available[volume]).map_or(0, |set| set.2);
                let chosen = cover.victims.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1);
                outcome.gone.extend(chosen.map(|(_, victim)| *victim));
            }
        }
        outcome
    }
}

/// The choices, as the selection takes them.
#[derive(Default)]
pub(super) struct Outcome {
    fetches: Vec<(usize, usize)>,
    gone: Vec<usize>,
}

impl Outcome {
    pub(super) fn apply(self, selection: &mut Selection<'_>) {
        for victim in self.gone {
            selection.release(victim);
        }
        for (place, volume) in self.fetches {
            selection.fetch(place, volume);
        }
    }
}

/// `value × left / missing`, rounded up; `value` where that does not fit.
fn part(value: i128, left: u64, missing: u64) -> i128 {
    let missing = i128::from(missing);
    value.checked_mul(left.into()).map_or(value, |product| (product + missing - 1) / missing)
}
