//! `oca fill`: what the agent would do, does and did. One file a question: `plan`, `follow` (with `progress`, its words) and
//! `history`.

mod follow;
mod history;
mod plan;
mod progress;

use std::process::ExitCode;

use control_client::admin_client::Answer;
use control_client::agent_client::{AgentCall, AgentClient};
use control_client::fill::FillProgress;

use crate::arguments::{AskingAgent, FillCommand, RunArguments};
use crate::failure::Failure;
use crate::output;
use crate::target::{agent_socket, runtime};

pub(crate) use progress::facts_of as progress_facts;

/// `oca fill …`.
pub(crate) fn run(command: FillCommand) -> Result<ExitCode, Failure> {
    match command {
        FillCommand::Plan(asking) => plan::run(&asking),
        FillCommand::Run(arguments) => begin(&arguments),
        FillCommand::Follow(asking) => follow::next_run(&asking),
        FillCommand::History(arguments) => history::run(&arguments),
    }
}

/// `oca fill run`.
fn begin(arguments: &RunArguments) -> Result<ExitCode, Failure> {
    let asking = &arguments.asking;
    let answer = ask(asking, AgentCall::Run)?;
    let begun: FillProgress = answer.document()?;
    if !arguments.no_wait {
        return follow::to_the_end(asking, begun);
    }
    if asking.json {
        output::print_bytes(&answer.content)?;
    } else {
        output::print(&progress::sentence(&begun))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks once, and gives the answer as it was received.
fn ask(asking: &AskingAgent, call: AgentCall) -> Result<Answer, Failure> {
    let client = client(asking)?;
    Ok(runtime()?.block_on(client.send(call))?)
}

fn client(asking: &AskingAgent) -> Result<AgentClient, Failure> {
    let mut client = AgentClient::new(agent_socket(asking)?);
    if let Some(timeout) = asking.timeout {
        client.timeout = timeout;
    }
    Ok(client)
}
