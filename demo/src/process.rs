//! A role: this program, started once more, as a process of its own that ends with whoever holds it.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::failure::{Failure, Step};

/// How long a role may take to be ready, or to exit after it was told to.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often somebody who waits looks again.
const GLANCE: Duration = Duration::from_millis(10);

/// A process of its own. Killed when dropped, if it still runs.
pub struct RoleProcess {
    name: String,
    child: Child,
}

impl RoleProcess {
    /// Starts it, in a process group of its own: a Ctrl-C at the terminal is for the demo, which then stops each in turn.
    pub fn start(name: impl Into<String>, mut command: Command) -> Result<Self, Failure> {
        let name = name.into();
        let child = command.process_group(0).spawn().step(&format!("starting {name}"))?;
        Ok(Self { name, child })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.child.try_wait().step(&format!("waiting for {}", self.name))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let pid = Pid::from_raw(self.child.id().try_into().step("the process id")?)
            .ok_or_else(|| Failure::new("the process id is zero"))?;
        kill_process(pid, signal).step(&format!("signalling {}", self.name))
    }

    /// Tells it to stop, and waits for it.
    pub async fn stop(mut self) -> Result<ExitStatus, Failure> {
        self.signal(Signal::TERM)?;
        self.wait().await
    }

    /// Ends it at once, as a failing power supply would.
    pub fn kill(mut self) -> Result<ExitStatus, Failure> {
        self.signal(Signal::KILL)?;
        self.child.wait().step(&format!("waiting for {}", self.name))
    }

    /// Waits for it to exit by itself.
    pub async fn wait(&mut self) -> Result<ExitStatus, Failure> {
        self.wait_at_most(PATIENCE).await
    }

    /// The same, with a bound of the caller's own.
    pub async fn wait_at_most(&mut self, patience: Duration) -> Result<ExitStatus, Failure> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(Failure::new(format!("{} did not exit within {patience:?}", self.name)));
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Asks until there is an answer; fails when the process ends first, or when it takes too long.
    pub async fn wait_until_ready<T>(
        &mut self,
        mut ask: impl AsyncFnMut() -> Option<T>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = ask().await {
                return Ok(answer);
            }
            if let Some(status) = self.ended()? {
                return Err(Failure::new(format!(
                    "{} ended before it was ready ({status}); its last words are above",
                    self.name
                )));
            }
            if Instant::now() > deadline {
                return Err(Failure::new(format!("{} was not ready within {PATIENCE:?}", self.name)));
            }
            tokio::time::sleep(GLANCE).await;
        }
    }
}

impl Drop for RoleProcess {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Asks until it is so; fails, naming `what`, when it takes longer than `patience`.
pub async fn eventually<T>(
    what: &str,
    patience: Duration,
    mut ask: impl AsyncFnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            return Err(Failure::new(format!("not within {patience:?}: {what}")));
        }
        tokio::time::sleep(GLANCE * 5).await;
    }
}
