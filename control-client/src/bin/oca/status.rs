use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use control_client::admin_client::{AdminError, Call};
use control_client::agent_client::AgentClient;
use control_client::fill::FillProgress;
use control_client::status::{RamTierFacts, StatusReport};
use control_client::units::{ByteCount, rounded_duration};

use crate::arguments::Asking;
use crate::failure::Failure;
use crate::fill::progress_facts;
use crate::output;
use crate::table::{Align, facts, table};
use crate::target::{ask, runtime};

/// `oca status`.
pub(crate) fn run(asking: &Asking) -> Result<ExitCode, Failure> {
    let answer = ask(asking, &Call::Status)?;
    let report: StatusReport = answer.document()?;
    let agent = agent(asking, &report)?;
    if asking.json {
        output::print_bytes(&with_agent(answer.content, agent))?;
    } else {
        output::print(&show(&report, agent.as_ref()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What the agent of the same machine says, at the socket that the daemon's configuration names; `None` where the daemon is
/// asked over TCP, so that it may be another machine.
fn agent(asking: &Asking, report: &StatusReport) -> Result<Option<Heard>, Failure> {
    let Some(socket) = report.configuration.get("fill.socket").filter(|_| asking.address.is_none()) else {
        return Ok(None);
    };
    let mut client = AgentClient::new(socket.into());
    client.timeout = asking.timeout.unwrap_or(AGENT_PATIENCE);
    Ok(Some(runtime()?.block_on(client.progress())))
}

type Heard = Result<FillProgress, AdminError>;

/// The agent is an addition here: it must not hold up what the daemon says.
const AGENT_PATIENCE: Duration = Duration::from_secs(3);

/// The daemon's document, with the agent's progress as its field `agent` where the agent answered.
fn with_agent(content: Vec<u8>, agent: Option<Heard>) -> Vec<u8> {
    let Some(Ok(progress)) = agent else { return content };
    let document = serde_json::from_slice::<serde_json::Map<String, Value>>(&content).ok();
    document
        .zip(serde_json::to_value(progress).ok())
        .and_then(|(mut document, progress)| {
            document.insert("agent".to_owned(), progress);
            serde_json::to_vec(&document).ok()
        })
        .unwrap_or(content)
}

fn ram_tier(report: &StatusReport) -> String {
    match &report.ram_tier {
        None => "none".to_owned(),
        Some(RamTierFacts { budget_bytes, cut: None }) => ByteCount::new(*budget_bytes).to_string(),
        Some(RamTierFacts { budget_bytes, cut: Some(cut) }) => {
            format!("{}: {cut}", ByteCount::new(*budget_bytes))
        }
    }
}

fn show(report: &StatusReport, agent: Option<&Heard>) -> String {
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
        ("RAM tier", ram_tier(report)),
        (
            "configuration",
            report.configuration_file.clone().unwrap_or_else(|| "built-in defaults".to_owned()),
        ),
    ]);
    if let Some(heard) = agent {
        text.push('\n');
        text.push_str(&match heard {
            Ok(progress) => facts(progress_facts(progress)),
            Err(error) => facts([("agent", format!("gives no answer: {error}"))]),
        });
    }
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
