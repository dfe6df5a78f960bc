//! How long the servers' core worked: for the servers, and for anybody.
//!
//! For servers it is the time for which their threads ran, what the kernel did on it included, and that of the kernel's thread for what
//! interrupts have left to do (`ksoftirqd`). All of it is read from `schedstat`, whose clock stands still while the host of a virtual
//! machine has the core. What `/proc/stat` counts is no measure of it: there a core that is taken away when it is about to wake is counted as
//! idle and as taken away (`steal`), so that the rest of the time came out as less than what servers ran.

use std::fs;
use std::sync::OnceLock;

use demo::failure::{Failure, Step};

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

/// Ticks that the servers' core was found at work, and all ticks, since the machine's start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CoreTicks {
    busy: u64,
    all: u64,
}

impl CoreTicks {
    /// Those of now.
    pub(crate) fn now() -> Result<Self, Failure> {
        let stat = fs::read_to_string("/proc/stat").step("reading /proc/stat")?;
        let core = server_core();
        ticks(&stat, core).ok_or_else(|| Failure::new(format!("/proc/stat has no core {core}")))
    }

    /// The part of the time since then that somebody had the core.
    pub(crate) fn busy_part_until(self, later: Self) -> f64 {
        (later.busy - self.busy) as f64 / (later.all - self.all).max(1) as f64
    }
}

/// The first eight fields of a core (`proc_stat(5)`), of which the fourth and the fifth, `idle` and `iowait`, are nobody's.
fn ticks(stat: &str, core: usize) -> Option<CoreTicks> {
    let name = format!("cpu{core}");
    let line = stat.lines().find(|line| line.split_whitespace().next() == Some(name.as_str()))?;
    let fields: Vec<u64> =
        line.split_whitespace().skip(1).take(8).map(|field| field.parse().ok()).collect::<Option<_>>()?;
    let all = fields.iter().sum();
    Some(CoreTicks { busy: all - fields.get(3)? - fields.get(4)?, all })
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::time::{Duration, Instant};

    use super::*;

    const STAT: &str =
        "cpu  10 20 30 40 50 60 70 80 0 0\ncpu0 1 2 3 4 5 6 7 8 9 9\ncpu10 1 1 1 100 1 1 1 1 0 0\nintr 5 1\n";

    #[test]
    fn idle_and_waiting_are_nobodys() {
        assert_eq!(ticks(STAT, 0), Some(CoreTicks { busy: 27, all: 36 }));
        assert_eq!(ticks(STAT, 10), Some(CoreTicks { busy: 6, all: 107 }));
        assert_eq!(ticks(STAT, 1), None);
        assert_eq!(ticks("cpu0 1 2 x\n", 0), None);
        let part = CoreTicks { busy: 5, all: 10 }.busy_part_until(CoreTicks { busy: 6, all: 14 });
        assert_eq!(part, 0.25);
    }

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
