//! `cargo run --release -p demo`: the whole system, to look at or (`--check`) to be looked at.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use demo::night::NightOptions;
use demo::role::{StartedAs, play};
use demo::tour::Beside;

/// Starts an origin, a control plane and two appliances, shows nights and evenings, then what to try.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    /// Try everything unattended, print what was compared, and exit with 0 or 1.
    #[arg(long)]
    check: bool,
    /// Run this command once everything serves, with the title's addresses (HTTP, HTTPS) and the
    /// certificate's file as its arguments, and the address of the page in OCA_DEMO_PAGE, and exit as it does.
    #[arg(long, value_name = "COMMAND", conflicts_with = "check")]
    run: Option<PathBuf>,
    #[command(flatten)]
    beside: Beside,
    #[command(flatten)]
    night: NightOptions,
    #[command(subcommand)]
    role: Option<StartedAs>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(role) = arguments.role {
        return play(role);
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
            (true, _) => demo::check::run(&arguments.night).await,
            (false, Some(command)) => demo::tour::run_beside(&command, &arguments.beside).await,
            (false, None) => demo::tour::run(&arguments.night).await,
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
