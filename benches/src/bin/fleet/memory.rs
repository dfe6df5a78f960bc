//! What this process takes.

use std::error::Error;
use std::io::ErrorKind;
use std::path::Path;

/// Resident memory, in bytes.
pub(crate) fn resident_bytes() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("the kernel tells no VmRSS")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes * 1024)
}

/// Seconds of processor time that the threads of this process have used which still live.
pub(crate) fn processor_seconds() -> Result<f64, Box<dyn Error>> {
    std::fs::read_dir("/proc/self/task")?.map(|task| schedstat_seconds(&task?.path())).sum()
}

/// The same of this thread alone.
pub(crate) fn this_thread_processor_seconds() -> Result<f64, Box<dyn Error>> {
    schedstat_seconds(Path::new("/proc/thread-self"))
}

fn schedstat_seconds(task: &Path) -> Result<f64, Box<dyn Error>> {
    let schedstat = match std::fs::read_to_string(task.join("schedstat")) {
        // It ended since it was listed.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0.0),
        other => other?,
    };
    // The first number is the time on a processor, in nanoseconds.
    let nanoseconds: u64 = schedstat.split(' ').next().unwrap_or_default().parse()?;
    Ok(nanoseconds as f64 / 1e9)
}
