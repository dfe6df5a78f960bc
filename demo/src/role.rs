//! What the program starts itself as: one role per process. Whoever has this subcommand can be started as every role.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use fill_agent::clock::ClockTrust;
use fill_agent::process::Task;
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::control_plane;
use crate::origin::{self, OriginOptions};
use crate::title;

/// The subcommand behind which the roles are.
#[derive(Subcommand)]
pub enum StartedAs {
    /// What the program starts itself as.
    #[command(subcommand, hide = true)]
    Role(Role),
}

/// A role.
#[derive(Subcommand)]
pub enum Role {
    /// The appliance's daemon.
    Daemon {
        /// The appliance's configuration file.
        #[arg(long)]
        config: PathBuf,
    },
    /// The appliance's fill agent.
    Agent {
        /// What it is to do.
        task: AgentTask,
        /// The appliance's configuration file.
        #[arg(long)]
        config: PathBuf,
        /// Licences end by this machine's clock, whatever the kernel says of it.
        #[arg(long)]
        trust_clock: bool,
    },
    /// The control plane.
    ControlPlane {
        /// Its configuration file.
        #[arg(long)]
        config: PathBuf,
        /// Where to write the address that it listens on, once it does.
        #[arg(long)]
        address_file: PathBuf,
    },
    /// The origin.
    Origin {
        /// Where to listen; port 0 has the kernel choose.
        #[arg(long)]
        listen: SocketAddr,
        /// The tree to serve.
        #[arg(long)]
        directory: PathBuf,
        /// Where to write the address that it listens on, once it does.
        #[arg(long)]
        address_file: PathBuf,
    },
    /// Imports a directory, and exits: publishing, to be watched and killed by tests.
    Import {
        /// What to import.
        directory: PathBuf,
        /// The path under which it is served.
        #[arg(long = "as")]
        as_path: String,
        /// The directory of the volume.
        #[arg(long)]
        volume: PathBuf,
    },
}

/// What an agent is to do.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum AgentTask {
    /// Keep the window, and report.
    Serve,
    /// One run, whatever the window says.
    Run,
}

/// The life of one role. It ends with whoever started it, even where that was killed and could not see to it.
pub fn play(StartedAs::Role(role): StartedAs) -> ExitCode {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        eprintln!("{error}");
    }
    match role {
        Role::Daemon { config } => oca_daemon::daemon::run(&config),
        Role::Agent { task, config, trust_clock } => {
            let clock = if trust_clock { ClockTrust::Trusted } else { ClockTrust::AskKernel };
            let task = match task {
                AgentTask::Serve => Task::Serve,
                AgentTask::Run => Task::Run { now: true },
            };
            fill_agent::process::main(&config, clock, task)
        }
        Role::ControlPlane { config, address_file } => control_plane::run(&config, &address_file),
        Role::Origin { listen, directory, address_file } => {
            origin::run(&OriginOptions { listen, directory, address_file })
        }
        Role::Import { directory, as_path, volume } => match title::import(&directory, &as_path, &volume) {
            Ok(_) => ExitCode::SUCCESS,
            Err(failure) => {
                eprintln!("{failure}");
                ExitCode::FAILURE
            }
        },
    }
}
