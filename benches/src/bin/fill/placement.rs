#![expect(unsafe_code, reason = "a thread's scheduling policy is set by a call that no crate here wraps")]
//! Where processes and threads run. Everything is on one machine here, and in the field it is not: the appliance is given the first half
//! of the cores, and the outside (origin, control plane, load generator) the second half, so that neither takes the other's time.

use std::fs;
use std::sync::OnceLock;

use demo::failure::{Failure, Step};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Above all that is not real time; the least of these is enough.
const REAL_TIME_PRIORITY: i32 = 1;

/// The cores that this process had when it started.
static CORES: OnceLock<Vec<usize>> = OnceLock::new();

/// A part of the cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// All of them.
    Everywhere,
    /// The first half.
    Appliance,
    /// The second half; all of one core.
    Outside,
}

/// From now on this thread, and what it starts, runs there.
pub(crate) fn stand(side: Side) -> Result<(), Failure> {
    sched_setaffinity(None, &cores(side)).step("choosing the cores")
}

/// A thread of the load generator: it runs outside, and at once when it is its turn, as the thread of another machine would. Without the
/// right to that it waits for its turn like others, in both phases of a comparison.
pub(crate) fn be_the_outside(is_real_time: bool) {
    let _ = stand(Side::Outside);
    if is_real_time {
        let parameters = libc::sched_param { sched_priority: REAL_TIME_PRIORITY };
        // SAFETY: the call reads the parameters, which live until it returns; 0 is the calling thread.
        let _ = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameters) };
    }
}

/// Gives the agent the scheduling policy that its unit gives it. Threads that it starts later inherit it.
pub(crate) fn lower_agent(pid: u32) -> Result<(), Failure> {
    let parameters = libc::sched_param { sched_priority: 0 };
    for thread in threads(pid)? {
        // SAFETY: the call reads the parameters, which live until it returns; the number is a thread's.
        let answer =
            unsafe { libc::sched_setscheduler(thread.as_raw_nonzero().get(), libc::SCHED_IDLE, &parameters) };
        if answer != 0 {
            return Err(std::io::Error::last_os_error()).step("the agent's scheduling policy");
        }
    }
    Ok(())
}

/// Moves a process that runs.
pub(crate) fn stand_process(pid: u32, side: Side) -> Result<(), Failure> {
    for thread in threads(pid)? {
        sched_setaffinity(Some(thread), &cores(side)).step("choosing a process's cores")?;
    }
    Ok(())
}

/// Seconds of processor time that a process has used.
pub(crate) fn processor_seconds(pid: u32) -> f64 {
    // `proc_pid_stat(5)`: the second field ends with the last parenthesis; `utime` and `stime` are the 14th and 15th.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    // USER_HZ, which is the same on every architecture that this runs on.
    ticks as f64 / 100.0
}

fn threads(pid: u32) -> Result<Vec<Pid>, Failure> {
    let names = fs::read_dir(format!("/proc/{pid}/task")).step("a process's threads")?;
    let names = names.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(names.filter_map(Pid::from_raw).collect())
}

fn cores(side: Side) -> CpuSet {
    let all = CORES.get_or_init(|| {
        let allowed = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
        (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect()
    });
    let half = all.len() / 2;
    let chosen = match side {
        Side::Appliance if half > 0 => &all[..half],
        Side::Outside => &all[half..],
        Side::Appliance | Side::Everywhere => &all[..],
    };
    let mut set = CpuSet::new();
    chosen.iter().for_each(|core| set.set(*core));
    set
}
