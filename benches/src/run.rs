//! When and where something was measured, and of which commit: it stands beside every figure.

use std::fs;
use std::process::{Command, Stdio};

use control_client::units::ByteCount;
use serde::{Deserialize, Serialize};

/// What is said where something cannot be found out.
const UNKNOWN: &str = "unknown";

/// One run of this program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// In UTC.
    pub date: String,
    /// With a plus where files were changed since.
    pub commit: String,
    /// Cores, processor, memory, kernel.
    pub machine: String,
}

impl Run {
    /// This one, on so many cores.
    pub fn of_now(cores: usize) -> Self {
        let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
        Self { date, commit: commit().unwrap_or_else(|| UNKNOWN.to_owned()), machine: machine(cores) }
    }

    /// In words.
    pub fn described(&self) -> String {
        format!("{}, commit {}, {}", self.date, self.commit, self.machine)
    }
}

fn commit() -> Option<String> {
    let mut command = Command::new("git");
    command.args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty=+"]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !commit.is_empty()).then_some(commit)
}

fn machine(cores: usize) -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (cpuinfo, meminfo) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let processor = value(&cpuinfo, "model name").unwrap_or(UNKNOWN);
    let kib = value(&meminfo, "MemTotal").and_then(|total| total.split(' ').next()?.parse().ok());
    let memory = kib.map_or_else(|| UNKNOWN.to_owned(), |kib: u64| ByteCount::mib(kib >> 10).to_string());
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cores} cores, {processor}, {memory}, Linux {}", kernel.trim())
}

/// What stands after a name and its colon.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) =
        text.lines().filter_map(|line| line.split_once(':')).find(|(of, _)| of.trim() == name)?;
    Some(value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_whole_names() {
        let text = "model\t\t: 167\nmodel name\t: Some Processor\n";
        assert_eq!(value(text, "model name"), Some("Some Processor"));
        assert_eq!(value(text, "name"), None);
    }

    #[test]
    fn a_run_is_described_with_its_date_commit_and_machine() {
        let run = Run { date: "2026-11-21".into(), commit: "abc".into(), machine: "2 cores".into() };
        assert_eq!(run.described(), "2026-11-21, commit abc, 2 cores");
        assert_eq!(Run::of_now(2).date.len(), 10);
    }
}
