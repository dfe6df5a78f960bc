//! What waits for a report, within its bounds.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::Delivery;
use crate::content::BundlePath;
use crate::demand::PathDemand;
use crate::fill::{FillRun, SourceBytes};
use crate::limits;
use crate::report::{DayDemand, DirectiveResult, Dropped};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Waiting {
    days: BTreeMap<u32, BTreeMap<BundlePath, Counts>>,
    pub(super) runs: VecDeque<FillRun>,
    results: VecDeque<DirectiveResult>,
    pub(super) dropped: Dropped,
}

/// What was asked of one directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[u64; 3]", into = "[u64; 3]")]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) bytes: u64,
    pub(super) absent: u64,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.days.is_empty() && self.runs.is_empty() && self.results.is_empty() && self.dropped.is_empty()
    }

    pub(super) fn add_demand(&mut self, day: u32, demand: impl IntoIterator<Item = (BundlePath, Counts)>) {
        for (path, counts) in demand {
            self.days.entry(day).or_default().entry(path).or_default().add(&counts);
        }
        self.bound_demand();
    }

    pub(super) fn add_run(&mut self, run: FillRun) {
        self.runs.push_back(shortened(run));
        if self.runs.len() > limits::OUTBOX_RUNS_MAX {
            self.runs.pop_front();
            self.dropped.runs = self.dropped.runs.saturating_add(1);
        }
        let mut listed: usize = self.runs.iter().map(|run| run.failures.len()).sum();
        for run in &mut self.runs {
            if listed <= limits::OUTBOX_FAILURES_MAX {
                break;
            }
            listed -= run.failures.len();
            run.more_failures = run.more_failures.saturating_add(run.failures.len() as u64);
            run.failures.clear();
        }
    }

    pub(super) fn add_result(&mut self, mut result: DirectiveResult) {
        if let Some(failure) = &mut result.failure {
            shorten(failure);
        }
        if let Some(earlier) = self.results.iter_mut().find(|earlier| earlier.id == result.id) {
            *earlier = result;
            return;
        }
        self.results.push_back(result);
        if self.results.len() > limits::OUTBOX_RESULTS_MAX {
            self.results.pop_front();
            self.dropped.results = self.dropped.results.saturating_add(1);
        }
    }

    /// Takes out what one report tells.
    pub(super) fn cut(&mut self, sequence: u64) -> Delivery {
        Delivery {
            sequence,
            demand: self.cut_demand(),
            runs: std::mem::take(&mut self.runs).into(),
            directives: std::mem::take(&mut self.results).into(),
            dropped: std::mem::take(&mut self.dropped),
        }
    }

    fn cut_demand(&mut self) -> Vec<DayDemand> {
        let mut room = limits::REPORT_PATHS_MAX;
        let mut demand = Vec::new();
        while room > 0
            && let Some((day, mut paths)) = self.days.pop_first()
        {
            if let Some((first_too_many, _)) = paths.iter().nth(room) {
                let rest = paths.split_off(&first_too_many.clone());
                self.days.insert(day, rest);
            }
            room -= paths.len();
            let paths = paths.into_iter().map(|(path, counts)| counts.of_path(path)).collect();
            demand.push(DayDemand { day, paths });
        }
        demand
    }

    /// Adds up the two oldest days for as long as there are too many days or directories; then drops the directories that were
    /// asked for least.
    fn bound_demand(&mut self) {
        let mut paths: usize = self.days.values().map(BTreeMap::len).sum();
        while self.days.len() > limits::OUTBOX_DAYS_MAX
            || (self.days.len() > 1 && paths > limits::OUTBOX_PATHS_MAX)
        {
            let Some((_, oldest)) = self.days.pop_first() else { break };
            let Some(mut next) = self.days.first_entry() else { break };
            paths -= oldest.len() + next.get().len();
            for (path, counts) in oldest {
                next.get_mut().entry(path).or_default().add(&counts);
            }
            paths += next.get().len();
        }
        if paths > limits::OUTBOX_PATHS_MAX {
            self.drop_the_least();
        }
    }

    /// Drops more than it must, so that it need not sort again for every directory that comes.
    fn drop_the_least(&mut self) {
        let Some(mut day) = self.days.first_entry() else { return };
        let paths = day.get_mut();
        let keep = limits::OUTBOX_PATHS_MAX - limits::OUTBOX_PATHS_MAX / 8;
        let mut ranked: Vec<(u64, BundlePath)> =
            paths.iter().map(|(path, counts)| (counts.requests, path.clone())).collect();
        ranked.sort_unstable_by(|a, b| b.cmp(a));
        for (_, path) in ranked.drain(keep.min(ranked.len())..) {
            if let Some(counts) = paths.remove(&path) {
                self.dropped.add(&counts.dropped());
            }
        }
    }
}

impl Counts {
    pub(super) fn of(demand: &PathDemand) -> Self {
        Self { requests: demand.requests, bytes: demand.bytes, absent: demand.absent }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.absent = self.absent.saturating_add(other.absent);
    }

    fn of_path(self, path: BundlePath) -> PathDemand {
        PathDemand { path, requests: self.requests, bytes: self.bytes, absent: self.absent }
    }

    fn dropped(&self) -> Dropped {
        Dropped { requests: self.requests, bytes: self.bytes, absent: self.absent, ..Dropped::default() }
    }
}

impl From<[u64; 3]> for Counts {
    fn from([requests, bytes, absent]: [u64; 3]) -> Self {
        Self { requests, bytes, absent }
    }
}

impl From<Counts> for [u64; 3] {
    fn from(Counts { requests, bytes, absent }: Counts) -> Self {
        [requests, bytes, absent]
    }
}

/// The run within the bounds that a report has.
fn shortened(mut run: FillRun) -> FillRun {
    let too_many = run.failures.len().saturating_sub(limits::RUN_FAILURES_MAX);
    run.failures.truncate(limits::RUN_FAILURES_MAX);
    run.more_failures = run.more_failures.saturating_add(too_many as u64);
    run.failures.iter_mut().for_each(|failure| shorten(&mut failure.detail));
    shorten(&mut run.detail);
    if run.sources.len() > limits::RUN_SOURCES_MAX {
        let rest = run.sources.split_off(limits::RUN_SOURCES_MAX);
        for source in rest {
            add_to_others(&mut run.sources, &source);
        }
    }
    run
}

fn add_to_others(sources: &mut Vec<SourceBytes>, source: &SourceBytes) {
    const OTHERS: &str = "others";
    match sources.iter_mut().find(|known| known.name == OTHERS && known.kind == source.kind) {
        Some(others) => {
            others.bytes = others.bytes.saturating_add(source.bytes);
            others.wasted_bytes = others.wasted_bytes.saturating_add(source.wasted_bytes);
        }
        None => sources.push(SourceBytes { name: OTHERS.to_owned(), ..source.clone() }),
    }
}

fn shorten(text: &mut String) {
    if let Some((offset, _)) = text.char_indices().nth(limits::FAILURE_DETAIL_CHARACTERS_MAX) {
        text.truncate(offset);
    }
}
