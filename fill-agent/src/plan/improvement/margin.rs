//! What lies at the margin: the last choices that were made, and the first ones that were not.

use super::super::Skipped;
use super::super::selection::{Fate, Selection, Stay};

/// Candidates at the margin, half of them selected and half not. Each more makes the search several times as
/// long, and a large plan better by less than one bundle's worth.
const CANDIDATES_MAX: usize = 12;

/// Volumes among which they are moved about.
const VOLUMES_MAX: usize = 6;

/// Victims at the margin of one volume: all of their combinations are listed.
const VICTIMS_MAX: usize = 10;

pub(super) fn ties_of(selection: &Selection<'_>, place: usize) -> impl Iterator<Item = usize> + use<> {
    let candidate = &selection.survey.candidates[place];
    [candidate.begun_as, candidate.predecessor].into_iter().flatten()
}

/// Those that the last candidates went to, and those with the most room.
pub(super) fn marginal_volumes(selection: &Selection<'_>) -> Vec<usize> {
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
pub(super) fn marginal_candidates(selection: &Selection<'_>, volumes: &[usize]) -> Vec<usize> {
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
pub(super) fn marginal_victims(selection: &Selection<'_>, volume: usize, ties: &[usize]) -> Vec<usize> {
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
