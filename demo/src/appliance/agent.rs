//! The fill agent as a process of its own.

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use control_client::agent_client::AgentClient;
use control_client::fill::{FillPlanReport, FillProgress, FillRun};

use super::Premises;
use crate::failure::{Failure, Step};
use crate::process::RoleProcess;

/// An agent process that keeps its window. Killed when dropped, if it still runs.
pub struct AgentProcess {
    process: RoleProcess,
    client: AgentClient,
}

impl AgentProcess {
    /// Starts the agent and waits until it answers.
    pub async fn start(premises: &Premises, program: &Path, output: Stdio) -> Result<Self, Failure> {
        let mut command = Command::new(program);
        command.args(["role", "agent", "serve", "--config"]).arg(premises.config_path());
        command.stdin(Stdio::null()).stderr(output);
        let client = AgentClient::new(premises.agent_socket());
        let mut process = RoleProcess::start("the agent", command)?;
        process.wait_until_ready(async || client.progress().await.ok()).await?;
        Ok(Self { process, client })
    }

    /// The client of its socket.
    pub fn client(&self) -> &AgentClient {
        &self.client
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// How the fill goes.
    pub async fn progress(&self) -> Result<FillProgress, Failure> {
        self.client.progress().await.step("asking the agent how the fill goes")
    }

    /// What a run would do now.
    pub async fn plan(&self) -> Result<FillPlanReport, Failure> {
        self.client.plan().await.step("asking the agent for its plan")
    }

    /// The last run that ended.
    pub async fn last_run(&self) -> Result<Option<FillRun>, Failure> {
        let history = self.client.history().await.step("asking the agent about its runs")?;
        Ok(history.runs.into_iter().next())
    }

    /// Has it begin a run, whatever its window says.
    pub async fn begin_run(&self) -> Result<(), Failure> {
        self.client.run().await.step("having the agent begin a run").map(|_| ())
    }

    /// The run that ended after the one called `before`, if it has.
    pub async fn ended_run(&self, before: Option<&str>) -> Result<Option<FillRun>, Failure> {
        Ok(self.last_run().await?.filter(|run| Some(run.run.as_str()) != before))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.process.ended()
    }

    /// Tells the agent to stop, and waits for it.
    pub async fn stop(self) -> Result<ExitStatus, Failure> {
        self.process.stop().await
    }

    /// Ends it at once.
    pub fn kill(self) -> Result<ExitStatus, Failure> {
        self.process.kill()
    }
}
