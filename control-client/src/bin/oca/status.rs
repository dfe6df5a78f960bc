use std::process::ExitCode;
use std::time::Duration;

use control_client::admin_client::Call;
use control_client::status::StatusReport;
use control_client::units::rounded_duration;

use crate::arguments::Asking;
use crate::failure::Failure;
use crate::output;
use crate::table::{Align, facts, table};
use crate::target::ask;

/// `oca status`.
pub(crate) fn run(asking: &Asking) -> Result<ExitCode, Failure> {
    let answer = ask(asking, &Call::Status)?;
    let report: StatusReport = answer.document()?;
    if asking.json {
        output::print_bytes(&answer.content)?;
    } else {
        output::print(&show(&report))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(report: &StatusReport) -> String {
    let StatusReport { build, process, .. } = report;
    let commit = build.commit.as_ref().map(|commit| format!(", commit {commit}")).unwrap_or_default();
    let uptime = Duration::from_secs(process.uptime_seconds);
    let mut text = facts([
        ("release", format!("{}{commit} ({}, {})", build.release, build.profile, build.target)),
        ("kernel", process.kernel.clone()),
        ("process", process.pid.to_string()),
        ("readiness", process.readiness.to_string()),
        ("uptime", rounded_duration(uptime)),
        ("workers", process.workers.to_string()),
        (
            "configuration",
            report.configuration_file.clone().unwrap_or_else(|| "built-in defaults".to_owned()),
        ),
    ]);
    text.push('\n');
    text.push_str(&table(
        [("listener", Align::Left), ("address", Align::Left)],
        report.listeners.iter().map(|listener| [listener.role.to_string(), listener.address.clone()]),
    ));
    text.push('\n');
    text.push_str(&table(
        [("key", Align::Left), ("value", Align::Left)],
        report.configuration.iter().map(|(key, value)| [key.clone(), value.clone()]),
    ));
    text
}
