use std::process::ExitCode;
use std::time::Duration;

use control_client::agent_client::AgentCall;
use control_client::fill::{FillHistory, FillRun};
use control_client::units::{ByteCount, rounded_duration};

use super::ask;
use super::progress::{now, of};
use crate::arguments::HistoryArguments;
use crate::failure::Failure;
use crate::output;
use crate::table::{Align, facts, table};

/// `oca fill history`.
pub(super) fn run(arguments: &HistoryArguments) -> Result<ExitCode, Failure> {
    let answer = ask(&arguments.asking, AgentCall::History)?;
    let history: FillHistory = answer.document()?;
    let Some(name) = &arguments.run else {
        if arguments.asking.json {
            output::print_bytes(&answer.content)?;
        } else {
            output::print(&show(&history, now()))?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let Some(run) = history.runs.iter().find(|run| run.run == *name) else {
        return Err(Failure::Other(format!(
            "no run {name:?} in the agent's history; oca fill history lists them"
        )));
    };
    if arguments.asking.json {
        let text = serde_json::to_string(run)
            .map_err(|error| Failure::Other(format!("the run cannot be written down: {error}")))?;
        output::print(&text)?;
    } else {
        output::print(&show_run(run))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(history: &FillHistory, now: u64) -> String {
    if history.runs.is_empty() {
        return "no run yet\n".to_owned();
    }
    table(
        [
            ("run", Align::Left),
            ("ended", Align::Right),
            ("took", Align::Right),
            ("outcome", Align::Left),
            ("bundles", Align::Right),
            ("size", Align::Right),
            ("retired", Align::Right),
            ("failed", Align::Right),
            ("detail", Align::Left),
        ],
        history.runs.iter().map(|run| {
            [
                run.run.clone(),
                format!("{} ago", rounded_duration(seconds(run.ended_at, now))),
                rounded_duration(seconds(run.started_at, run.ended_at)),
                run.outcome.to_string(),
                format!("{} of {}", run.published_bundles, run.planned_bundles),
                ByteCount::new(run.published_bytes).rounded(),
                run.retired_bundles.to_string(),
                failed(run).to_string(),
                run.detail.clone(),
            ]
        }),
    )
}

/// One run with where its bytes came from and what failed.
pub(super) fn show_run(run: &FillRun) -> String {
    let mut text = facts([
        ("run", run.run.clone()),
        ("outcome", run.outcome.to_string()),
        ("detail", run.detail.clone()),
        ("took", rounded_duration(seconds(run.started_at, run.ended_at))),
        ("manifest", run.manifest_sequence.to_string()),
        (
            "published",
            format!(
                "{} of {} bundles, {}",
                run.published_bundles,
                run.planned_bundles,
                of(run.published_bytes, run.planned_bytes)
            ),
        ),
        (
            "retired",
            format!("{} bundles, {}", run.retired_bundles, ByteCount::new(run.retired_bytes).rounded()),
        ),
        ("failed", format!("{} bundles", failed(run))),
    ]);
    if !run.sources.is_empty() {
        text.push('\n');
        text.push_str(&table(
            [
                ("source", Align::Left),
                ("kind", Align::Left),
                ("received", Align::Right),
                ("wasted", Align::Right),
            ],
            run.sources.iter().map(|source| {
                [
                    source.name.clone(),
                    source.kind.to_string(),
                    ByteCount::new(source.bytes).rounded(),
                    ByteCount::new(source.wasted_bytes).rounded(),
                ]
            }),
        ));
    }
    if !run.failures.is_empty() {
        text.push('\n');
        text.push_str(&table(
            [("failed", Align::Left), ("reason", Align::Left), ("detail", Align::Left)],
            run.failures.iter().map(|failure| {
                [failure.bundle.path.to_string(), failure.reason.to_string(), failure.detail.clone()]
            }),
        ));
    }
    if run.more_failures > 0 {
        text.push_str(&format!("and {} more failed\n", run.more_failures));
    }
    text
}

fn failed(run: &FillRun) -> u64 {
    run.more_failures.saturating_add(run.failures.len() as u64)
}

fn seconds(from: u64, to: u64) -> Duration {
    Duration::from_secs(to.saturating_sub(from))
}
