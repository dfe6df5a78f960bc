//! `fill-agent`: fills the volumes at night, and is the appliance's voice to the control plane. The life of the process, in
//! order, is in [`fill_agent::process`].

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use control_client::config::CONFIG_PATH;
use fill_agent::clock::ClockTrust;
use fill_agent::process::{self, Task};

/// Fetches bundles by a signed manifest, verifies and publishes them, and reports.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file; `oca check-config` reads it without starting anything.
    #[arg(long, global = true, default_value = CONFIG_PATH)]
    config: PathBuf,
    /// Takes the clock for right though the kernel does not say so: for machines whose host keeps it. Licences end by it.
    #[arg(long, global = true)]
    trust_clock: bool,
    #[command(subcommand)]
    task: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Keeps the window, and reports, until it is told to stop.
    Serve,
    /// Does one run, and exits: 0 if everything planned was done.
    Run {
        /// Whatever the window says.
        #[arg(long)]
        now: bool,
    },
    /// Prints what a run would do now.
    Plan {
        /// As a document.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::try_parse().unwrap_or_else(|error| {
        let _ = error.print();
        // EX_USAGE, unless it was asked for (--help, --version).
        std::process::exit(if error.use_stderr() { 64 } else { 0 })
    });
    let clock = if arguments.trust_clock { ClockTrust::Trusted } else { ClockTrust::AskKernel };
    let task = match arguments.task {
        Command::Serve => Task::Serve,
        Command::Run { now } => Task::Run { now },
        Command::Plan { json } => Task::Plan { json },
    };
    process::main(&arguments.config, clock, task)
}
