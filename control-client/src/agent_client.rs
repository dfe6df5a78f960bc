//! The client of the fill agent's API on its Unix socket, `fill.socket`.
//!
//! | request | answer |
//! |---|---|
//! | `GET /fill` | [`FillProgress`] |
//! | `GET /plan` | [`FillPlanReport`]: what a run would do now |
//! | `GET /history` | [`FillHistory`] |
//! | `POST /run` | [`FillProgress`], once a run has begun, whatever the window says; where one is under way already, of that one |
//!
//! All answers are JSON with status 200; failures come as for [`crate::admin_client`], with a [`crate::admin::Failure`].

use std::path::PathBuf;
use std::time::Duration;

use crate::admin_client::{AdminAddress, AdminError, Answer, exchange};
use crate::fill::{FillHistory, FillPlanReport, FillProgress};
use crate::limits;

/// What to ask of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentCall {
    /// `GET /fill`.
    Progress,
    /// `GET /plan`.
    Plan,
    /// `GET /history`.
    History,
    /// `POST /run`.
    Run,
}

/// Asks one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentClient {
    /// Where the agent listens.
    pub socket: PathBuf,
    /// For connecting.
    pub connect_timeout: Duration,
    /// For a whole exchange. A plan asks the control plane first.
    pub timeout: Duration,
}

impl AgentClient {
    /// With the timeouts of [`crate::limits`].
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, connect_timeout: limits::CONNECT_TIMEOUT, timeout: limits::AGENT_TIMEOUT }
    }

    /// Asks, and gives the answer as it was received, whatever its status.
    pub async fn send(&self, call: AgentCall) -> Result<Answer, AdminError> {
        let (method, path) = call.method_and_path();
        let address = AdminAddress::Agent(self.socket.clone());
        let exchange = exchange(&address, self.connect_timeout, method, path, Vec::new());
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(AdminError::TimedOut { address, after: self.timeout }),
        }
    }

    /// How the fill goes.
    pub async fn progress(&self) -> Result<FillProgress, AdminError> {
        self.send(AgentCall::Progress).await?.document()
    }

    /// What a run would do now.
    pub async fn plan(&self) -> Result<FillPlanReport, AdminError> {
        self.send(AgentCall::Plan).await?.document()
    }

    /// The last runs.
    pub async fn history(&self) -> Result<FillHistory, AdminError> {
        self.send(AgentCall::History).await?.document()
    }

    /// Begins a run now, and does not wait for its end.
    pub async fn run(&self) -> Result<FillProgress, AdminError> {
        self.send(AgentCall::Run).await?.document()
    }
}

impl AgentCall {
    /// The method and the path of the request.
    pub const fn method_and_path(self) -> (&'static str, &'static str) {
        match self {
            Self::Progress => ("GET", "/fill"),
            Self::Plan => ("GET", "/plan"),
            Self::History => ("GET", "/history"),
            Self::Run => ("POST", "/run"),
        }
    }
}
