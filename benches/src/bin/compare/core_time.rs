//! How long the servers' core worked for the servers.
//!
//! It is the time for which their threads ran, what the kernel did on it included, and that of the kernel's thread for what
//! interrupts have left to do (`ksoftirqd`). All of it is read from `schedstat`, whose clock stands still while the host of a virtual
//! machine has the core. What `/proc/stat` counts is no measure of it: there a core that is taken away when it is about to wake is counted as
//! idle and as taken away (`steal`), so that the rest of the time came out as less than what servers ran.

use std::fs;
use std::sync::OnceLock;

use demo::failure::Failure;

use super::placement::server_core;
use super::process_facts::{ProcessFacts, run_seconds};

/// The kernel's thread for what interrupts have left to do on the servers' core; `None` where processes cannot see it.
static SOFTIRQ_THREAD: OnceLock<Option<u32>> = OnceLock::new();

/// How long servers have run, and the core for them.
pub(crate) fn server_seconds(processes: &[u32]) -> Result<f64, Failure> {
    let thread = SOFTIRQ_THREAD.get_or_init(|| thread_named(&format!("ksoftirqd/{}", server_core())));
    let deferred = thread.map_or(Ok(0.0), run_seconds)?;
    Ok(ProcessFacts::of(processes)?.run_seconds + deferred)
}

fn thread_named(name: &str) -> Option<u32> {
    let mut processes = fs::read_dir("/proc").ok()?.filter_map(|entry| {
        let process = entry.ok()?.file_name().to_str()?.parse::<u32>().ok()?;
        Some((process, fs::read_to_string(format!("/proc/{process}/comm")).ok()?))
    });
    processes.find(|(_, comm)| comm.trim() == name).map(|(process, _)| process)
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_a_process_has_run_grows_while_it_works() {
        let process = [std::process::id()];
        let (began, before) = (Instant::now(), ProcessFacts::of(&process).unwrap().run_seconds);
        let worked = || ProcessFacts::of(&process).unwrap().run_seconds - before;
        while worked() < 0.02 {
            assert!(began.elapsed() < Duration::from_secs(20));
            for number in 0..100_000 {
                black_box(number);
            }
        }
        assert!(server_seconds(&process).unwrap() >= before + 0.02);
    }
}
