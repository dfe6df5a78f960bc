//! The file of results: one JSON document a line, each a record with the run that found it. A later run of other scenarios adds to it, and one
//! of the same scenario takes the place of what was there, so that a full run can be made in parts.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use benches::run::Run;
use clap::ValueEnum;
use demo::failure::{Failure, Step};
use serde::{Deserialize, Serialize};

use super::record::Record;
use super::scenario::Scenario;

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    #[serde(flatten)]
    pub(crate) record: Record,
    #[serde(flatten)]
    pub(crate) run: Run,
}

/// What a file has; nothing, where there is none yet.
pub(crate) fn read(path: &Path) -> Result<Vec<Entry>, Failure> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.step("reading the results")?,
    };
    let entries = text.lines().filter(|line| !line.trim().is_empty()).map(serde_json::from_str);
    entries.collect::<Result<_, _>>().step("reading the results: not a file that this program wrote")
}

/// Whether a scenario has been measured.
pub(crate) fn has(entries: &[Entry], scenario: Scenario) -> bool {
    entries.iter().any(|entry| scenario.owns(&entry.record.scenario))
}

/// What was found of a scenario instead of what was there of it; all in the order of the scenarios.
pub(crate) fn merge(entries: &mut Vec<Entry>, scenario: Scenario, found: Vec<Entry>) {
    entries.retain(|entry| !scenario.owns(&entry.record.scenario));
    entries.extend(found);
    let place = |entry: &Entry| {
        Scenario::value_variants().iter().position(|scenario| scenario.owns(&entry.record.scenario))
    };
    entries.sort_by_key(|entry| place(entry).unwrap_or(usize::MAX));
}

/// Writes all of it; whoever reads meanwhile has the file as it was.
pub(crate) fn write(entries: &[Entry], path: &Path) -> Result<(), Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).step("writing the results")?;
    for entry in entries {
        let line = serde_json::to_string(entry).step("writing the results")?;
        writeln!(file, "{line}").step("writing the results")?;
    }
    file.persist(path).step("writing the results").map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Series, compare};

    fn entries(scenario: &str, ours: f64) -> Vec<Entry> {
        let run = Run { date: "2026-11-21".into(), commit: "abc".into(), machine: "2 cores".into() };
        let peers = [Series { name: "nginx", values: vec![2.0; 9] }];
        let records = compare(scenario, "seconds", &[ours; 9], &peers, Some(&[1.0; 9]));
        records.into_iter().map(|record| Entry { record, run: run.clone() }).collect()
    }

    fn scenarios(entries: &[Entry]) -> Vec<(&str, f64)> {
        entries.iter().map(|entry| (entry.record.scenario.as_str(), entry.record.ours)).collect()
    }

    #[test]
    fn a_later_run_adds_its_scenarios_and_replaces_what_was_there_of_them() {
        let mut all = Vec::new();
        merge(&mut all, Scenario::Idle, [entries("idle", 1.0), entries("idle-tls", 2.0)].concat());
        merge(&mut all, Scenario::Hot16k, entries("hot-16k", 3.0));
        assert_eq!(scenarios(&all), [("hot-16k", 3.0), ("idle", 1.0), ("idle-tls", 2.0)]);
        merge(&mut all, Scenario::Idle, entries("idle", 4.0));
        assert_eq!(scenarios(&all), [("hot-16k", 3.0), ("idle", 4.0)]);
        assert!(has(&all, Scenario::Idle) && !has(&all, Scenario::Hot64k));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        assert_eq!(read(&path).unwrap(), []);
        let all = entries("hot-16k", 0.1 + 0.2);
        write(&all, &path).unwrap();
        assert_eq!(read(&path).unwrap(), all);
        std::fs::write(&path, "{}\n").unwrap();
        assert!(read(&path).is_err());
    }
}
