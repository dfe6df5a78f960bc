//! The store's own commands live in `oca-store`: only the crate of the store knows its format.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::arguments::Forwarded;
use crate::failure::Failure;

const PROGRAM: &str = "oca-store";

/// Becomes `oca-store NAME …`. Comes back only where that cannot be executed.
pub(crate) fn execute(name: &str, forwarded: &Forwarded) -> Failure {
    let program = beside_this_program().unwrap_or_else(|| PathBuf::from(PROGRAM));
    let error = Command::new(&program).arg(name).args(&forwarded.arguments).exec();
    Failure::Other(match error.kind() {
        io::ErrorKind::NotFound => {
            format!("{PROGRAM} is neither beside oca nor on PATH; install the appliance's package whole")
        }
        _ => format!("{}: {error}", program.display()),
    })
}

fn beside_this_program() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?.with_file_name(PROGRAM);
    program.is_file().then_some(program)
}
