//! `cargo run --release -p demo`: an appliance that serves the sample title, to look at or (`--check`) to be
//! looked at.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Imports the sample title into a new store, starts the daemon over it, and shows what to try.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    /// Try everything unattended, print what was compared, and exit with 0 or 1.
    #[arg(long)]
    check: bool,
    /// Run this command once everything serves, with the title's addresses (HTTP, HTTPS) and the
    /// certificate's file as its arguments, and exit as it does.
    #[arg(long, value_name = "COMMAND", conflicts_with = "check")]
    run: Option<PathBuf>,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// What the demo starts itself as.
    #[command(subcommand, hide = true)]
    Role(Process),
}

#[derive(Subcommand)]
enum Process {
    /// The appliance's daemon.
    Daemon {
        #[arg(long)]
        config: PathBuf,
    },
    /// Imports a directory, and exits: publishing, to be watched and killed by tests.
    Import {
        directory: PathBuf,
        #[arg(long = "as")]
        as_path: String,
        #[arg(long)]
        volume: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.role {
        Some(Role::Role(Process::Daemon { config })) => return oca_daemon::daemon::run(&config),
        Some(Role::Role(Process::Import { directory, as_path, volume })) => {
            return exit_code(demo::title::import(&directory, &as_path, &volume).map(|_| true));
        }
        None => {}
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("demo: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        match (arguments.check, arguments.run) {
            (true, _) => demo::check::run().await,
            (false, Some(command)) => demo::tour::run_beside(&command).await,
            (false, None) => demo::tour::run().await,
        }
    });
    exit_code(outcome)
}

fn exit_code(outcome: Result<bool, demo::failure::Failure>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("demo: {failure}");
            ExitCode::FAILURE
        }
    }
}
