//! What a run has done so far: what its report is made of, written down while it goes, so that a run whose agent dies is
//! reported all the same.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use control_client::content::BundleKey;
use control_client::fill::{FailureReason, FillFailure, FillRun, RunOutcome};
use control_client::limits::RUN_FAILURES_MAX;
use serde::{Deserialize, Serialize};

use crate::random;
use crate::tally::Tallies;

/// One run.
#[derive(Debug)]
pub struct RunRecord {
    run: String,
    started_at: u64,
    /// What came from whom.
    pub tallies: Tallies,
    counts: Mutex<Counts>,
}

/// What is written down of a run under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Its report, if it were to end now.
    pub run: FillRun,
    /// What is there of bundles that were begun, in bytes: for the next plan, and never believed where bytes are.
    pub begun: Vec<(BundleKey, u64)>,
}

#[derive(Debug, Default)]
struct Counts {
    manifest_sequence: u64,
    planned: (u64, u64),
    published: (u64, u64),
    retired: (u64, u64),
    failures: Vec<FillFailure>,
    more_failures: u64,
    begun: BTreeMap<BundleKey, u64>,
}

impl RunRecord {
    /// A run that begins at `now`, in seconds since 1970.
    pub fn begin(now: u64) -> Self {
        Self {
            run: format!("{now}-{:08x}", random::number() >> 32),
            started_at: now,
            tallies: Tallies::default(),
            counts: Mutex::default(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.run
    }

    /// What it works on.
    pub fn plan(&self, manifest_sequence: u64, bundles: u64, bytes: u64) {
        let mut counts = self.locked();
        counts.manifest_sequence = manifest_sequence;
        counts.planned = (bundles, bytes);
    }

    /// What is there of bundles that were begun, and not published: this and nothing else.
    pub fn know_begun(&self, begun: impl IntoIterator<Item = (BundleKey, u64)>) {
        self.locked().begun = begun.into_iter().collect();
    }

    /// So much of a bundle is there.
    pub fn note_begun(&self, key: &BundleKey, done_bytes: u64) {
        let begun = &mut self.locked().begun;
        if let Some(known) = begun.get_mut(key) {
            *known = done_bytes;
        } else {
            begun.insert(key.clone(), done_bytes);
        }
    }

    /// A bundle is published: bytes of its objects.
    pub fn publish(&self, key: &BundleKey, bytes: u64) {
        let counts = &mut *self.locked();
        counts.published = (counts.published.0 + 1, counts.published.1 + bytes);
        counts.begun.remove(key);
    }

    /// A bundle was retired: bytes of its file.
    pub fn retire(&self, bytes: u64) {
        let retired = &mut self.locked().retired;
        *retired = (retired.0 + 1, retired.1 + bytes);
    }

    /// A bundle was given up.
    pub fn fail(&self, bundle: BundleKey, reason: FailureReason, detail: String) {
        let mut counts = self.locked();
        if counts.failures.len() < RUN_FAILURES_MAX {
            counts.failures.push(FillFailure { bundle, reason, detail });
        } else {
            counts.more_failures += 1;
        }
    }

    /// How many were given up.
    pub fn failed(&self) -> u64 {
        let counts = self.locked();
        counts.failures.len() as u64 + counts.more_failures
    }

    /// How many were published, and how many retired.
    pub fn done(&self) -> (u64, u64) {
        let counts = self.locked();
        (counts.published.0, counts.retired.0)
    }

    /// The report of the run, if it ends at `now`.
    pub fn end(&self, now: u64, outcome: RunOutcome, detail: impl Into<String>) -> FillRun {
        let counts = self.locked();
        FillRun {
            run: self.run.clone(),
            started_at: self.started_at,
            // A clock that was set back does not make a run end before it began.
            ended_at: now.max(self.started_at),
            outcome,
            detail: detail.into(),
            manifest_sequence: counts.manifest_sequence,
            planned_bundles: counts.planned.0,
            planned_bytes: counts.planned.1,
            published_bundles: counts.published.0,
            published_bytes: counts.published.1,
            retired_bundles: counts.retired.0,
            retired_bytes: counts.retired.1,
            failures: counts.failures.clone(),
            more_failures: counts.more_failures,
            sources: self.tallies.sums(),
        }
    }

    /// What to write down of the run at `now`, if it were to end.
    pub fn checkpoint(&self, now: u64, outcome: RunOutcome, detail: impl Into<String>) -> Checkpoint {
        let run = self.end(now, outcome, detail);
        let begun = self.locked().begun.iter().map(|(key, bytes)| (key.clone(), *bytes)).collect();
        Checkpoint { run, begun }
    }

    fn locked(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
