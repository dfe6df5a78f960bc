//! `oca-store`, the store's own program: what needs the format of bundles, and no daemon. `oca init` and the
//! like execute it.
//!
//! Reading order: `arguments` (what can be said), this file (what is done), then a file for each command;
//! `adopt` tells a daemon of what was imported; `partial` lists what is begun and not published; `output` prints.
//!
//! Exit codes: 0; 1 where it failed, or something is wrong; 64 for a mistake in usage; 69 where the daemon
//! does not answer.

mod adopt;
mod arguments;
mod generate;
mod import;
mod init;
mod inspect;
mod output;
mod partial;
mod verify;

use std::fmt;
use std::io;
use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

/// `EX_USAGE` of sysexits.
const USAGE: u8 = 64;
/// `EX_UNAVAILABLE` of sysexits.
const UNREACHABLE: u8 = 69;

/// Why a command ends without having done what it was told.
enum Failure {
    /// In a sentence.
    Failed(String),
    /// The daemon does not answer.
    Unreachable(String),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Where not even this can be printed, the exit code must do.
            let _ = error.print();
            return if error.use_stderr() { USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    let result = match arguments.command {
        Command::Init(arguments) => init::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Generate(arguments) => generate::run(&arguments),
    };
    result.unwrap_or_else(|failure| {
        eprintln!("oca-store: {failure}");
        match failure {
            Failure::Failed(_) => ExitCode::FAILURE,
            Failure::Unreachable(_) => UNREACHABLE.into(),
        }
    })
}

impl Failure {
    fn new(error: impl fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Failed(sentence) | Self::Unreachable(sentence)) = self;
        formatter.write_str(sentence)
    }
}
