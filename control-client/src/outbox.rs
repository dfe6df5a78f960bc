//! What an appliance has to tell and the control plane has not heard yet: demand, runs, results of directives.
//!
//! Everything is told exactly once. What is to be told is frozen with the number of its report, and saved, before the report is
//! sent; a report that was not acknowledged is sent again with the same number and the same content, whatever died in between,
//! and the control plane takes each number once. What comes in meanwhile waits for the next number.
//!
//! Demand comes from the daemon as totals since its start ([`Outbox::add_totals`]); the totals that were counted already are
//! saved in the same file and at the same moment as what they were counted into.
//!
//! The outbox is one file, replaced as a whole and synced. It stays within the bounds of [`crate::limits`], and counts what it
//! has to drop ([`Dropped`]). What could not be saved because the disk failed is kept in memory, and saved by the next call that
//! can; no report is handed out that is not saved.

mod counted;
mod file;
mod waiting;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::demand::Demand;
use crate::fill::FillRun;
use crate::hex;
use crate::report::{DayDemand, DirectiveResult, Dropped};
use crate::wire::DocumentVersion;

use counted::Counted;
use waiting::Waiting;

/// The outbox of one appliance, in its agent's folder. Only one process may have it open.
#[derive(Debug)]
pub struct Outbox {
    folder: PathBuf,
    state: State,
    is_saved: bool,
    damage: Option<String>,
}

/// What one report tells besides the state of the moment: the same for one number until that is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The number of the report.
    pub sequence: u64,
    /// Demand by day, the oldest first.
    pub demand: Vec<DayDemand>,
    /// Runs, the oldest first.
    pub runs: Vec<FillRun>,
    /// Results of directives.
    pub directives: Vec<DirectiveResult>,
    /// What had to be dropped.
    pub dropped: Dropped,
}

/// Why the outbox cannot be used: the operator looks after the disk, or after the folder of `fill.state`.
#[derive(Debug)]
pub struct OutboxError {
    path: PathBuf,
    error: io::Error,
}

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    version: DocumentVersion,
    instance: String,
    /// Of the report in flight, or else of the next one.
    sequence: u64,
    in_flight: Option<Delivery>,
    waiting: Waiting,
    counted: Counted,
}

impl Outbox {
    /// Opens the outbox of a folder that is there, or begins one. A file that cannot be read is put aside, and another
    /// instance begun: see [`Self::damage`].
    pub fn open(folder: &Path) -> Result<Self, OutboxError> {
        let (state, damage) = match file::read(folder)? {
            file::Found::State(state) => (Some(*state), None),
            file::Found::Nothing => (None, None),
            file::Found::Damaged(what) => (None, Some(what)),
        };
        let is_saved = state.is_some();
        let state = match state {
            Some(state) => state,
            None => State::new().map_err(|error| OutboxError { path: folder.to_owned(), error })?,
        };
        let mut outbox = Self { folder: folder.to_owned(), state, is_saved, damage };
        outbox.save()?;
        Ok(outbox)
    }

    /// Why what was there when the outbox was opened is lost, where it is; for the log.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// Another one for each outbox that was begun: the `instance` of the reports.
    pub fn instance(&self) -> &str {
        &self.state.instance
    }

    /// Adds what was asked for since the last call, as the daemon's totals tell it. Totals that are lower than they were have
    /// begun again, and count from zero. `day` is counted from 1970-01-01 in UTC.
    pub fn add_totals(&mut self, day: u32, totals: &Demand) -> Result<(), OutboxError> {
        let before = self.state.counted.clone();
        let (new, dropped) = self.state.counted.advance(totals);
        self.state.waiting.add_demand(day, new);
        self.state.waiting.dropped.add(&dropped);
        if self.state.counted == before { Ok(()) } else { self.changed() }
    }

    /// Adds a run that has ended. One that is here already, by its name, is not added again.
    pub fn add_run(&mut self, run: FillRun) -> Result<(), OutboxError> {
        let in_flight = self.state.in_flight.iter().flat_map(|delivery| &delivery.runs);
        if in_flight.chain(&self.state.waiting.runs).any(|known| known.run == run.run) {
            return Ok(());
        }
        self.state.waiting.add_run(run);
        self.changed()
    }

    /// Adds what became of a directive. A later result of one that waits takes its place.
    pub fn add_result(&mut self, result: DirectiveResult) -> Result<(), OutboxError> {
        self.state.waiting.add_result(result);
        self.changed()
    }

    /// What the next report has to tell: what is in flight, or else all that waits, as far as one report takes it
    /// ([`Self::has_more`]). It is saved.
    #[expect(
        clippy::should_implement_trait,
        reason = "it is no iterator: until it is acknowledged, it is the same one"
    )]
    pub fn next(&mut self) -> Result<&Delivery, OutboxError> {
        if self.state.in_flight.is_none() {
            self.state.in_flight = Some(self.state.waiting.cut(self.state.sequence));
            self.is_saved = false;
        }
        self.save()?;
        Ok(self.state.in_flight.as_ref().expect("it was put there above"))
    }

    /// The report of that number was acknowledged: it is not sent again. False where it is not the one in flight.
    ///
    /// Nothing is written: if this is forgotten, the report is sent once more, and taken for what it is.
    pub fn acknowledged(&mut self, sequence: u64) -> bool {
        if self.state.in_flight.as_ref().is_none_or(|delivery| delivery.sequence != sequence) {
            return false;
        }
        self.state.in_flight = None;
        self.state.sequence = self.state.sequence.saturating_add(1);
        self.is_saved = false;
        true
    }

    /// Whether something waits for the report after the one in flight.
    pub fn has_more(&self) -> bool {
        !self.state.waiting.is_empty()
    }

    fn changed(&mut self) -> Result<(), OutboxError> {
        self.is_saved = false;
        self.save()
    }

    fn save(&mut self) -> Result<(), OutboxError> {
        if !self.is_saved {
            file::write(&self.folder, &self.state)?;
            self.is_saved = true;
        }
        Ok(())
    }
}

impl State {
    fn new() -> io::Result<Self> {
        let mut instance = [0; 16];
        SystemRandom::new()
            .fill(&mut instance)
            .map_err(|_| io::Error::other("the system gives no random bytes"))?;
        Ok(Self {
            version: DocumentVersion,
            instance: hex::encode(&instance),
            sequence: 1,
            in_flight: None,
            waiting: Waiting::default(),
            counted: Counted::default(),
        })
    }
}

impl fmt::Display for OutboxError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, error) = (self.path.display(), &self.error);
        write!(formatter, "{path}: {error}; reports wait until fill.state can be written again")
    }
}

impl std::error::Error for OutboxError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

#[cfg(test)]
mod tests;
