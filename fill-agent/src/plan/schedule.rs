//! In which order things go and come, so that at every step there is room.

use control_client::content::BundleKey;

use super::selection::{Fate, Selection, Stay};
use super::survey::{Candidate, Occupant, Survey};
use super::{Plan, PlannedDiscard, PlannedFetch, PlannedRetire, RetireReason, Skipped};

/// What a volume has while the plan is carried out.
struct Ledger {
    available: i128,
    /// Victims that go when room is needed, the first to go last.
    leaving: Vec<usize>,
}

/// Writes the choices down, the best fetch first.
pub(super) fn schedule(survey: &Survey<'_>, selection: &Selection<'_>) -> Plan {
    let mut plan = Plan {
        retires: survey.retires.clone(),
        discards: survey.discards.clone(),
        fetches: Vec::new(),
        held: survey.held,
        skipped: survey.skipped.clone(),
    };
    let mut ledgers = ledgers(survey, selection);
    let mut gone = vec![false; survey.victims.len()];
    let mut predecessors = Vec::new();
    for (candidate, fate) in survey.candidates.iter().zip(&selection.fate) {
        match *fate {
            Fate::Fetched(volume) => {
                let leaving = make_room(&mut ledgers[volume], candidate, survey);
                leaving.iter().for_each(|victim| gone[*victim] = true);
                plan.fetches.push(planned(survey, selection, candidate, volume, &leaving));
                predecessors.push(candidate.predecessor);
            }
            Fate::Left(skipped) => plan.skipped.push((candidate.entry, skipped)),
            Fate::Undecided => plan.skipped.push((candidate.entry, Skipped::NoRoom)),
        }
    }
    for (fetch, predecessor) in plan.fetches.iter_mut().zip(predecessors) {
        let staying = predecessor.filter(|victim| !gone[*victim]).map(|victim| survey.victims[victim].what);
        if let Some(Occupant::Held(bundle)) = staying {
            fetch.supersedes = Some(PlannedRetire::new(bundle, RetireReason::Superseded));
        }
    }
    give_way(&mut plan, survey, selection, &mut gone);
    let displaced = survey.victims.iter().zip(&gone).filter(|(victim, gone)| **gone && victim.is_an_entry);
    plan.held -= displaced.count() as u64;
    plan.skipped.sort_unstable_by_key(|(entry, _)| *entry);
    plan
}

/// What pulled content is to have goes at once.
fn give_way(plan: &mut Plan, survey: &Survey<'_>, selection: &Selection<'_>, gone: &mut [bool]) {
    for (place, victim) in survey.victims.iter().enumerate() {
        if selection.stay[place] == Stay::GivesWay {
            gone[place] = true;
            match victim.what {
                Occupant::Held(bundle) => {
                    plan.retires.push(PlannedRetire::new(bundle, RetireReason::GaveWay));
                }
                Occupant::Partial(file) => plan.discards.push(PlannedDiscard::new(file)),
            }
        }
    }
}

fn ledgers(survey: &Survey<'_>, selection: &Selection<'_>) -> Vec<Ledger> {
    let ledger = |(available, leaving)| Ledger { available, leaving };
    let shelves = survey.volumes.iter().map(|shelf| (shelf.available, Vec::new()));
    let mut ledgers: Vec<Ledger> = shelves.map(ledger).collect();
    // Earlier generations serve until their successors do, if that can be: they go last, and first among them
    // those whose successors come first.
    for candidate in survey.candidates.iter().rev() {
        let predecessor =
            candidate.predecessor.filter(|victim| selection.stay[*victim] == Stay::WithCandidate);
        if let Some(victim) = predecessor {
            ledgers[survey.victims[victim].shelf].leaving.push(victim);
        }
    }
    for (shelf, ledger) in survey.volumes.iter().zip(&mut ledgers) {
        let displaced = shelf.victims.iter().rev().filter(|victim| selection.stay[**victim] == Stay::Goes);
        ledger.leaving.extend(displaced);
    }
    ledgers
}

fn make_room(ledger: &mut Ledger, candidate: &Candidate, survey: &Survey<'_>) -> Vec<usize> {
    let mut leaving = Vec::new();
    if candidate.begun_as.is_some() {
        return leaving;
    }
    let needed = i128::from(candidate.file_bytes);
    while ledger.available < needed {
        // The selection has counted the room of all of them, so there is one.
        let Some(victim) = ledger.leaving.pop() else { break };
        ledger.available += i128::from(survey.victims[victim].bytes);
        leaving.push(victim);
    }
    ledger.available -= needed;
    leaving
}

fn planned(
    survey: &Survey<'_>,
    selection: &Selection<'_>,
    candidate: &Candidate,
    volume: usize,
    leaving: &[usize],
) -> PlannedFetch {
    let entry = &survey.entries[candidate.entry];
    let mut fetch = PlannedFetch {
        entry: candidate.entry,
        key: BundleKey { path: entry.path.clone(), generation: entry.generation },
        volume: survey.volumes[volume].index,
        file_bytes: candidate.file_bytes,
        missing_bytes: candidate.missing_bytes,
        retire_first: Vec::new(),
        discard_first: Vec::new(),
        supersedes: None,
    };
    for victim in leaving {
        let superseded = selection.stay[*victim] == Stay::WithCandidate;
        let why = if superseded { RetireReason::Superseded } else { RetireReason::Displaced };
        match survey.victims[*victim].what {
            Occupant::Held(bundle) => fetch.retire_first.push(PlannedRetire::new(bundle, why)),
            Occupant::Partial(file) => fetch.discard_first.push(PlannedDiscard::new(file)),
        }
    }
    fetch
}
