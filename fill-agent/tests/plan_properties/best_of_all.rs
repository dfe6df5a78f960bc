//! The best of all choices, by trying every one; written from the rules in the documentation of `plan`, not
//! from its code.

use cache_store::Layout;
use control_client::fill_manifest::{FillClass, FillEntry};
use fill_agent::plan::{Held, Partial, Plan, RetireReason};

use super::appliance::{Appliance, DAY, NOW};

/// Gains, less what gives way: pinned, pre-warmed, ranked. The first difference decides.
pub(crate) type Worth = [i128; 3];

fn add(worth: &mut Worth, class: FillClass, bytes: i128) {
    worth[match class {
        FillClass::Pinned => 0,
        FillClass::Prewarm => 1,
        FillClass::Ranked => 2,
    }] += bytes;
}

fn has_expired(appliance: &Appliance, expires_at: Option<u64>) -> bool {
    appliance.clock_is_synchronised && expires_at.is_some_and(|moment| moment <= NOW)
}

/// What it costs to let a bundle go.
fn cost_of(appliance: &Appliance, held: &Held) -> (FillClass, i128) {
    let entry = appliance.entry(&held.key.path);
    let expires_at = entry.map_or(held.expires_at, |entry| entry.expires_at);
    let again = share(held.file_bytes, appliance, expires_at);
    entry.map_or((FillClass::Ranked, again), |entry| (entry.class, appliance.value(entry) + again))
}

fn share(bytes: u64, appliance: &Appliance, expires_at: Option<u64>) -> i128 {
    let horizon = i128::from(appliance.churn_days) * i128::from(DAY);
    i128::from(bytes) * i128::from(appliance.life(expires_at)) / horizon
}

/// What a plan is worth.
pub(crate) fn worth_of(appliance: &Appliance, plan: &Plan) -> Worth {
    let mut worth = [0; 3];
    for fetch in &plan.fetches {
        let entry = &appliance.entries[fetch.entry];
        add(&mut worth, entry.class, appliance.value(entry));
        for retire in fetch.retire_first.iter().filter(|retire| retire.why == RetireReason::Displaced) {
            let held = appliance.held.iter().find(|held| held.key == retire.key).unwrap();
            let (class, cost) = cost_of(appliance, held);
            add(&mut worth, class, -cost);
        }
        for discard in &fetch.discard_first {
            let is_it = |file: &&Partial| file.key == discard.key && file.volume == discard.volume;
            let file = appliance.partial.iter().find(is_it).unwrap();
            let entry = appliance.entry(&discard.key.path).unwrap();
            add(&mut worth, entry.class, -share(file.done_bytes, appliance, entry.expires_at));
        }
    }
    worth
}

/// Everything that there is to decide.
struct Trial<'a> {
    appliance: &'a Appliance,
    /// By the volume's index; a volume that does not serve has none.
    free: Vec<Option<i128>>,
    wanted: Vec<Wanted<'a>>,
    /// Bundles that could give way and are no wanted one's earlier generation.
    held: Vec<&'a Held>,
    best: Worth,
}

struct Wanted<'a> {
    entry: &'a FillEntry,
    begun: Option<&'a Partial>,
    earlier: Option<&'a Held>,
}

/// The best worth.
pub(crate) fn best_of_all(appliance: &Appliance) -> Worth {
    let free = |room: &fill_agent::plan::VolumeRoom| {
        let free = i128::from(room.free_bytes) - i128::from(appliance.keep_free_bytes);
        room.is_serving.then_some(free)
    };
    let mut trial = Trial {
        appliance,
        free: appliance.volumes.iter().map(free).collect(),
        wanted: Vec::new(),
        held: Vec::new(),
        best: [0; 3],
    };
    trial.let_go_what_goes_anyway();
    let arrivals = vec![false; trial.free.len()];
    let (free, left) = (trial.free.clone(), appliance.night_bytes_left);
    trial.wanted(0, free, arrivals, left, [0; 3]);
    trial.best
}

impl<'a> Trial<'a> {
    fn let_go_what_goes_anyway(&mut self) {
        let appliance = self.appliance;
        let lives = |held: &&'a Held| appliance.serves(held.volume);
        let newest = |held: &&'a Held| {
            let newer =
                |other: &Held| other.key.path == held.key.path && other.key.generation > held.key.generation;
            !appliance.held.iter().filter(lives).any(newer)
        };
        let mut staying = Vec::new();
        for held in appliance.held.iter().filter(lives) {
            let entry = appliance.entry(&held.key.path);
            let expires_at = entry.map_or(held.expires_at, |entry| entry.expires_at);
            if newest(&held) && !has_expired(appliance, expires_at) {
                staying.push(held);
            } else if let Some(Some(free)) = self.free.get_mut(usize::from(held.volume)) {
                *free += i128::from(held.file_bytes);
            }
        }
        for entry in &appliance.entries {
            self.want(entry, &mut staying);
        }
        self.held = staying;
        for file in &appliance.partial {
            let kept = self.wanted.iter().any(|wanted| wanted.begun.is_some_and(|begun| begun == file));
            if let (false, Some(Some(free))) = (kept, self.free.get_mut(usize::from(file.volume))) {
                *free += i128::from(file.file_bytes);
            }
        }
    }

    fn want(&mut self, entry: &'a FillEntry, staying: &mut Vec<&'a Held>) {
        let appliance = self.appliance;
        let soon =
            entry.expires_at.is_some_and(|moment| moment <= NOW + DAY) && appliance.clock_is_synchronised;
        let pays = appliance.value(entry) >= i128::from(entry.bytes);
        let is_late = soon && !pays && entry.class != FillClass::Pinned;
        let place = staying.iter().position(|held| held.key.path == entry.path);
        let is_there = place.is_some_and(|place| staying[place].key.generation >= entry.generation);
        if has_expired(appliance, entry.expires_at) || is_late || is_there {
            return;
        }
        let begun = appliance.partial.iter().filter(|file| {
            let its = file.key.path == entry.path && file.key.generation == entry.generation;
            its && appliance.serves(file.volume)
        });
        let begun = begun.rev().max_by_key(|file| file.done_bytes);
        self.wanted.push(Wanted { entry, begun, earlier: place.map(|place| staying.remove(place)) });
    }

    fn wanted(
        &mut self,
        place: usize,
        free: Vec<Option<i128>>,
        arrivals: Vec<bool>,
        left: u64,
        worth: Worth,
    ) {
        if place == self.wanted.len() {
            self.giving_way(0, free, &arrivals, worth);
            return;
        }
        let Wanted { entry, begun, earlier } = self.wanted[place];
        let missing = entry.bytes - begun.map_or(0, |file| file.done_bytes);
        if missing <= left {
            let mut worth = worth;
            add(&mut worth, entry.class, self.appliance.value(entry));
            let mut free = free.clone();
            if let Some(held) = earlier {
                *free[usize::from(held.volume)].as_mut().unwrap() += i128::from(held.file_bytes);
            }
            if begun.is_some() {
                self.wanted(place + 1, free.clone(), arrivals.clone(), left - missing, worth);
            }
            let file_bytes = i128::from(Layout::file_bytes_bound(entry.objects, entry.bytes));
            for volume in (0..free.len()).filter(|volume| begun.is_none() && free[*volume].is_some()) {
                let (mut free, mut arrivals) = (free.clone(), arrivals.clone());
                *free[volume].as_mut().unwrap() -= file_bytes;
                arrivals[volume] = true;
                self.wanted(place + 1, free, arrivals, left - missing, worth);
            }
        }
        for goes in 0..4 {
            let (begun_goes, earlier_goes) = (goes & 1 == 1, goes & 2 == 2);
            if begun_goes && begun.is_none() || earlier_goes && earlier.is_none() {
                continue;
            }
            let (mut free, mut worth) = (free.clone(), worth);
            if let Some(file) = begun.filter(|_| begun_goes) {
                *free[usize::from(file.volume)].as_mut().unwrap() += i128::from(file.file_bytes);
                add(&mut worth, entry.class, -share(file.done_bytes, self.appliance, entry.expires_at));
            }
            if let Some(held) = earlier.filter(|_| earlier_goes) {
                *free[usize::from(held.volume)].as_mut().unwrap() += i128::from(held.file_bytes);
                let (class, cost) = cost_of(self.appliance, held);
                add(&mut worth, class, -cost);
            }
            self.wanted(place + 1, free, arrivals.clone(), left, worth);
        }
    }

    fn giving_way(&mut self, place: usize, free: Vec<Option<i128>>, arrivals: &[bool], worth: Worth) {
        if worth <= self.best {
            return;
        }
        let fits = |(free, arrives): (&Option<i128>, &bool)| !arrives || free.is_none_or(|free| free >= 0);
        if free.iter().zip(arrivals).all(fits) {
            self.best = worth;
            return;
        }
        let Some(held) = self.held.get(place).copied() else { return };
        self.giving_way(place + 1, free.clone(), arrivals, worth);
        let (mut free, mut worth) = (free, worth);
        *free[usize::from(held.volume)].as_mut().unwrap() += i128::from(held.file_bytes);
        let (class, cost) = cost_of(self.appliance, held);
        add(&mut worth, class, -cost);
        self.giving_way(place + 1, free, arrivals, worth);
    }
}
