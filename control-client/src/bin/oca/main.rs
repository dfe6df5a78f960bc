//! `oca`, the operator's command.
//!
//! Reading order: `arguments` (what can be said), this file (what is done), `target` (which daemon is asked),
//! then one file a kind of answer: `health`, `status`, `inventory`, `metrics`, `changes`, `fill`, `check_config`;
//! `external` hands the store's own commands to `oca-store`; `table`, `output` and `failure` serve them all.

mod arguments;
mod changes;
mod check_config;
mod external;
mod failure;
mod fill;
mod health;
mod inventory;
mod metrics;
mod output;
mod status;
mod table;
mod target;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};
use failure::Failure;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    match run(arguments.command) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("oca: {failure}");
            failure.exit_code()
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Status(asking) => status::run(&asking),
        Command::Health(asking) => health::run(&asking),
        Command::Inventory(asking) => inventory::run(&asking),
        Command::Metrics(asking) => metrics::run(&asking),
        Command::Adopt(adopt) => changes::adopt(adopt),
        Command::Retire(retire) => changes::retire(retire),
        Command::Purge(purge) => changes::purge(purge),
        Command::Drain(drain) => changes::drain(&drain),
        Command::Undrain(asking) => changes::undrain(&asking),
        Command::Fill { command } => fill::run(command),
        Command::CheckConfig(check) => check_config::run(&check),
        Command::Init(forwarded) => Err(external::execute("init", &forwarded)),
        Command::Import(forwarded) => Err(external::execute("import", &forwarded)),
        Command::Verify(forwarded) => Err(external::execute("verify", &forwarded)),
        Command::Inspect(forwarded) => Err(external::execute("inspect", &forwarded)),
        Command::Generate(forwarded) => Err(external::execute("generate", &forwarded)),
    }
}

/// What clap wants to say: help and the version are a success, all else is a mistake in usage.
fn refuse(error: &clap::Error) -> ExitCode {
    // Where not even this can be printed, the exit code must do.
    let _ = error.print();
    if error.use_stderr() { failure::USAGE.into() } else { ExitCode::SUCCESS }
}
