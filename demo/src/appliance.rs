//! One appliance: a folder with a store and a configuration, a daemon process over it, and beside it the fill agent.

mod agent;
mod premises;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use control_client::admin_client::AdminClient;
use control_client::health::Readiness;
use control_client::status::{ListenerRole, StatusReport};
use rustix::process::Signal;

use crate::failure::{Failure, Step};
use crate::process::{PATIENCE, RoleProcess};

pub use agent::AgentProcess;
pub use premises::Premises;
pub(crate) use premises::quoted;

/// A daemon process. Killed when dropped, if it still runs.
pub struct DaemonProcess {
    process: RoleProcess,
    status: StatusReport,
}

impl DaemonProcess {
    /// Starts the daemon and waits until it serves.
    pub async fn start(premises: &Premises, program: &Path, output: Stdio) -> Result<Self, Failure> {
        let mut command = premises.daemon_command(program);
        command.stderr(output);
        let mut process = RoleProcess::start("the daemon", command)?;
        let status = wait_until_serving(&premises.admin(), || Ok(process.ended()?.is_some())).await?;
        Ok(Self { process, status })
    }

    /// The address of the first listener of a kind.
    pub fn address(&self, role: ListenerRole) -> Result<SocketAddr, Failure> {
        address(&self.status, role)
    }

    /// What the daemon says of itself.
    pub fn status(&self) -> &StatusReport {
        &self.status
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), Failure> {
        self.process.signal(signal)
    }

    /// Tells the daemon to stop, and waits for it.
    pub async fn stop(self) -> Result<ExitStatus, Failure> {
        self.process.stop().await
    }

    /// Ends it at once.
    pub fn kill(self) -> Result<ExitStatus, Failure> {
        self.process.kill()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.process.ended()
    }

    /// Waits for the daemon to exit by itself.
    pub async fn wait(&mut self) -> Result<ExitStatus, Failure> {
        self.process.wait().await
    }
}

/// Asks until the daemon serves; `has_ended` says whether it still can.
pub async fn wait_until_serving(
    admin: &AdminClient,
    mut has_ended: impl FnMut() -> Result<bool, Failure>,
) -> Result<StatusReport, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(status) = admin.status().await
            && status.process.readiness == Readiness::Serving
        {
            return Ok(status);
        }
        if has_ended()? {
            return Err(Failure::new("the daemon ended before it served; its last words are above"));
        }
        if Instant::now() > deadline {
            return Err(Failure::new(format!("the daemon did not serve within {PATIENCE:?}")));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The address of the first listener of a kind.
pub fn address(status: &StatusReport, role: ListenerRole) -> Result<SocketAddr, Failure> {
    let listener = status
        .listeners
        .iter()
        .find(|listener| listener.role == role)
        .ok_or_else(|| Failure::new(format!("the daemon has no listener for {role:?}")))?;
    listener.address.parse().step("the listener's address")
}
