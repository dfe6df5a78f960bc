//! An interrupted run leaves nothing behind: no folder of many gigabytes, no setting of the machine's. The servers end with this process.

use std::path::PathBuf;
use std::thread;

use demo::failure::{Failure, Step};

/// What a shell says of a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// From now on an interrupt removes the folder, restores what was changed, and ends the process.
pub fn clean_up_when_interrupted(
    folder: PathBuf,
    restore: impl FnOnce() + Send + 'static,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().step("the runtime")?;
    let wait = move || {
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            restore();
            let _ = std::fs::remove_dir_all(folder);
            std::process::exit(INTERRUPTED);
        }
    };
    thread::Builder::new().name("interrupt".to_owned()).spawn(wait).step("starting a thread").map(drop)
}
