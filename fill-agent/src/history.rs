//! The last runs, across restarts; and the run that was under way when the agent died.

use control_client::content::BundleKey;
use control_client::fill::{FillHistory, FillRun, RunOutcome};
use control_client::wire::DocumentVersion;

use crate::limits::HISTORY_RUNS_MAX;
use crate::run_record::Checkpoint;
use crate::state::{StateFolder, or_warn};

const HISTORY: &str = "history.json";
const RUN: &str = "run.json";

/// The runs, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    runs: Vec<FillRun>,
}

impl History {
    /// Reads what was kept.
    pub fn load(state: &StateFolder) -> Self {
        Self { runs: state.read(HISTORY).unwrap_or_default() }
    }

    /// Adds a run that has ended, and keeps it. One that is there already is not added again.
    pub fn add(&mut self, run: FillRun, state: &StateFolder) {
        if self.has(&run.run) {
            return;
        }
        self.runs.insert(0, run);
        self.runs.truncate(HISTORY_RUNS_MAX);
        or_warn(state.write(HISTORY, &self.runs));
    }

    /// Whether a run is there.
    pub fn has(&self, run: &str) -> bool {
        self.runs.iter().any(|known| known.run == run)
    }

    /// The document.
    pub fn document(&self) -> FillHistory {
        FillHistory { version: DocumentVersion, runs: self.runs.clone() }
    }
}

/// Writes down how far a run has come.
pub fn keep_checkpoint(checkpoint: &Checkpoint, state: &StateFolder) {
    or_warn(state.write(RUN, checkpoint));
}

/// What is there of bundles that were begun, as far as it was written down.
pub fn begun(state: &StateFolder) -> Vec<(BundleKey, u64)> {
    state.read::<Checkpoint>(RUN).map_or_else(Vec::new, |checkpoint| checkpoint.begun)
}

/// The run that an agent which died had under way, where there is one: as far as it was written down. Its file is replaced by the
/// next run's.
pub fn interrupted(state: &StateFolder) -> Option<Checkpoint> {
    let mut checkpoint = state.read::<Checkpoint>(RUN)?;
    if checkpoint.run.outcome == RunOutcome::Interrupted {
        checkpoint.run.detail = "the agent ended without a word; the next run goes on".to_owned();
    }
    Some(checkpoint)
}

#[cfg(test)]
mod tests {
    use control_client::content::{BundlePath, Generation};

    use super::*;
    use crate::run_record::RunRecord;

    #[test]
    fn the_newest_runs_are_remembered_each_once() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        let mut history = History::load(&state);
        let runs: Vec<FillRun> = (0..HISTORY_RUNS_MAX as u64 + 5)
            .map(|at| RunRecord::begin(at).end(at, RunOutcome::Completed, ""))
            .collect();
        for run in &runs {
            history.add(run.clone(), &state);
        }
        history.add(runs[runs.len() - 1].clone(), &state);
        let again = History::load(&state).document();
        assert_eq!(again.runs.len(), HISTORY_RUNS_MAX);
        assert_eq!((again.runs[0].started_at, again.runs[1].started_at), (104, 103));
    }

    #[test]
    fn a_run_whose_agent_died_is_found_as_far_as_it_was_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        assert_eq!(interrupted(&state), None);
        let record = RunRecord::begin(5);
        let key = BundleKey { path: BundlePath::parse("/a").unwrap(), generation: Generation::new(1) };
        record.publish(&key, 100);
        let run = record.end(9, RunOutcome::Interrupted, "");
        keep_checkpoint(&Checkpoint { run: run.clone(), begun: Vec::new() }, &state);
        let found = interrupted(&state).unwrap().run;
        assert_eq!((found.run, found.published_bytes), (run.run, 100));
    }
}
