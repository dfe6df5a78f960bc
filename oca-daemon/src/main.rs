//! `oca-daemon`: serves segments from a store of bundles. The life of the process, in order, is in
//! [`oca_daemon::daemon`].

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use control_client::config::CONFIG_PATH;

/// Serves segments over HTTP from a store of bundles.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file; `oca check-config` reads it without starting anything.
    #[arg(long, default_value = CONFIG_PATH)]
    config: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::try_parse().unwrap_or_else(|error| {
        let _ = error.print();
        // EX_USAGE, unless it was asked for (--help, --version).
        std::process::exit(if error.use_stderr() { 64 } else { 0 })
    });
    oca_daemon::daemon::run(&arguments.config)
}
