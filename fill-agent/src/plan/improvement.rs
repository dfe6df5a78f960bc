//! The exact part: over the bundles at the margin, the last ones that were selected and the first ones that
//! were not, every choice is looked at, or excluded by a bound. What the greedy pass gets wrong lies there:
//! one large bundle that keeps out two, a night's bytes that are not quite used, a volume that is full by a
//! little.

use control_client::fill_manifest::FillClass;

use super::Skipped;
use super::selection::{Fate, Selection, Stay};
use super::worth::Worth;

/// Candidates at the margin, half of them selected and half not. Each more makes the search several times as
/// long, and a large plan better by less than one bundle's worth.
const CANDIDATES_MAX: usize = 12;

/// Volumes among which they are moved about.
const VOLUMES_MAX: usize = 6;

/// Victims at the margin of one volume: all of their combinations are listed.
const VICTIMS_MAX: usize = 10;

/// Steps after which the best so far is taken: some hundredths of a second.
const STEPS_MAX: u32 = 100_000;

/// Replaces the choices at the margin by the best ones.
pub(super) fn improve(selection: &mut Selection<'_>) {
    let before = selection.clone();
    let volumes = marginal_volumes(selection);
    let places = marginal_candidates(selection, &volumes);
    let ties: Vec<usize> = places.iter().flat_map(|place| ties_of(selection, *place)).collect();
    let victims: Vec<Vec<usize>> =
        volumes.iter().map(|volume| marginal_victims(selection, *volume, &ties)).collect();

    let worth = take_back(selection, &places, victims.iter().flatten().chain(&ties));
    let covers = victims.into_iter().map(|victims| Cover::new(selection, victims)).collect();
    let mut search = Search::new(selection, &volumes, &places, covers, worth);
    search.decide(0, Worth::ZERO);
    match search.best_choices.take() {
        Some(choices) => search.finish(&choices).apply(selection),
        None => *selection = before,
    }
}

fn ties_of(selection: &Selection<'_>, place: usize) -> impl Iterator<Item = usize> + use<> {
    let candidate = &selection.survey.candidates[place];
    [candidate.begun_as, candidate.predecessor].into_iter().flatten()
}

/// Those that the last candidates went to, and those with the most room.
fn marginal_volumes(selection: &Selection<'_>) -> Vec<usize> {
    let fetched = selection.fate.iter().rev().filter_map(|fate| match fate {
        Fate::Fetched(volume) => Some(*volume),
        _ => None,
    });
    let mut roomiest: Vec<usize> = (0..selection.available.len()).collect();
    roomiest.sort_by_key(|volume| std::cmp::Reverse(selection.available[*volume]));
    let mut volumes = Vec::new();
    for volume in fetched.take(CANDIDATES_MAX / 2).chain(roomiest) {
        if volumes.len() < VOLUMES_MAX && !volumes.contains(&volume) {
            volumes.push(volume);
        }
    }
    volumes.sort_unstable();
    volumes
}

/// In the order of all candidates.
fn marginal_candidates(selection: &Selection<'_>, volumes: &[usize]) -> Vec<usize> {
    let on_them = |place: &usize| {
        let bound_to = ties_of(selection, *place).map(|victim| selection.survey.victims[victim].shelf);
        let went_to = match selection.fate[*place] {
            Fate::Fetched(volume) => Some(volume),
            _ => None,
        };
        bound_to.chain(went_to).all(|volume| volumes.contains(&volume))
    };
    let all = 0..selection.fate.len();
    let is_fetched = |place: &usize| matches!(selection.fate[*place], Fate::Fetched(_));
    let is_left = |place: &usize| {
        let reason = selection.fate[*place];
        [Skipped::NoRoom, Skipped::Churn, Skipped::Budget].map(Fate::Left).contains(&reason)
    };
    let left = all.clone().filter(is_left).filter(on_them).take(CANDIDATES_MAX);
    let fetched = all.rev().filter(is_fetched).filter(on_them).take(CANDIDATES_MAX);
    let (mut left, mut fetched): (Vec<usize>, Vec<usize>) = (left.collect(), fetched.collect());
    let half = CANDIDATES_MAX / 2;
    left.truncate(CANDIDATES_MAX - fetched.len().min(half));
    fetched.truncate(CANDIDATES_MAX - left.len());
    left.truncate(CANDIDATES_MAX - fetched.len());
    left.extend(fetched);
    left.sort_unstable();
    left
}

/// The last ones that go, and the first ones that stay.
fn marginal_victims(selection: &Selection<'_>, volume: usize, ties: &[usize]) -> Vec<usize> {
    let order = selection.survey.volumes[volume].victims.iter().copied();
    let order = order.filter(|victim| !ties.contains(victim));
    let with = |stay: Stay| move |victim: &usize| selection.stay[*victim] == stay;
    let mut goes: Vec<usize> = order.clone().rev().filter(with(Stay::Goes)).take(VICTIMS_MAX).collect();
    let mut stays: Vec<usize> = order.filter(with(Stay::Stays)).take(VICTIMS_MAX).collect();
    goes.truncate(VICTIMS_MAX - stays.len().min(VICTIMS_MAX / 2));
    stays.truncate(VICTIMS_MAX - goes.len());
    goes.extend(stays);
    goes
}

/// Undoes the choices about these, and says what they were worth.
fn take_back<'v>(
    selection: &mut Selection<'_>,
    places: &[usize],
    victims: impl Iterator<Item = &'v usize>,
) -> Worth {
    let mut worth = Worth::ZERO;
    for place in places {
        if matches!(selection.fate[*place], Fate::Fetched(_)) {
            worth += selection.survey.candidates[*place].gain();
            selection.unfetch(*place);
        }
    }
    for victim in victims {
        if selection.stay[*victim] == Stay::Goes {
            worth = worth - selection.survey.victims[*victim].cost();
            selection.keep(*victim);
        }
    }
    worth
}

/// What it costs to free some room on one volume.
struct Cover {
    victims: Vec<usize>,
    /// Bytes freed, cost, and which victims as bits: from the fewest bytes to the most, each the cheapest
    /// that frees so many.
    sets: Vec<(i128, Worth, u32)>,
}

impl Cover {
    fn new(selection: &Selection<'_>, victims: Vec<usize>) -> Self {
        let mut sets = vec![(0, Worth::ZERO, 0)];
        for (bit, victim) in victims.iter().enumerate() {
            let victim = &selection.survey.victims[*victim];
            for place in 0..sets.len() {
                let (bytes, cost, mask) = sets[place];
                sets.push((bytes + i128::from(victim.bytes), cost + victim.cost(), mask | 1 << bit));
            }
        }
        sets.sort_unstable_by_key(|(bytes, cost, mask)| (std::cmp::Reverse(*bytes), *cost, *mask));
        let mut cheapest: Option<Worth> = None;
        sets.retain(|(_, cost, _)| {
            let cheaper = cheapest.is_none_or(|cheapest| *cost < cheapest);
            cheapest = if cheaper { Some(*cost) } else { cheapest };
            cheaper
        });
        sets.reverse();
        Self { victims, sets }
    }

    /// The cheapest set that frees `bytes`, by its place.
    fn cheapest(&self, bytes: i128) -> Option<&(i128, Worth, u32)> {
        self.sets.get(self.sets.partition_point(|(freed, _, _)| *freed < bytes))
    }
}

/// What is chosen for a candidate; volumes by their place in the search's.
#[derive(Clone, Copy, Debug)]
enum Choice {
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

struct Search<'v> {
    volumes: &'v [usize],
    covers: Vec<Cover>,
    marginal: Vec<Marginal>,
    /// As if the ties of all candidates that are not decided were gone: so it only ever falls.
    available: Vec<i128>,
    arrivals: Vec<u32>,
    bytes_left: u64,
    choices: Vec<Choice>,
    best: Worth,
    best_choices: Option<Vec<Choice>>,
    steps: u32,
}

impl<'v> Search<'v> {
    fn new(
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
    fn decide(&mut self, place: usize, worth: Worth) {
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
    fn finish(mut self, choices: &[Choice]) -> Outcome {
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
struct Outcome {
    fetches: Vec<(usize, usize)>,
    gone: Vec<usize>,
}

impl Outcome {
    fn apply(self, selection: &mut Selection<'_>) {
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
