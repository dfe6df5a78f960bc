//! An interrupted run leaves nothing behind: no folder of many gigabytes. The servers end with this process.

use std::path::PathBuf;
use std::thread;

use demo::failure::{Failure, Step};

/// What a shell says of a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// From now on an interrupt removes the folder, and ends the process.
pub(crate) fn remove_when_interrupted(folder: PathBuf) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().step("the runtime")?;
    let wait = move || {
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            let _ = std::fs::remove_dir_all(folder);
            std::process::exit(INTERRUPTED);
        }
    };
    thread::Builder::new().name("interrupt".to_owned()).spawn(wait).step("starting a thread").map(drop)
}
