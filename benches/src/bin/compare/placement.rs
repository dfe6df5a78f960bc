#![expect(unsafe_code, reason = "a thread's scheduling policy is set by a call that no crate here wraps")]
//! Where processes and threads run: servers, with all their threads, on the first core, and load on the last, so that what the first core
//! does is what serving costs. On a machine with one core they share it, and no figure means anything.

use std::sync::OnceLock;

use demo::failure::{Failure, Step};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Above all that is not real time; the least of these is enough.
const REAL_TIME_PRIORITY: i32 = 1;

/// The cores that this process had when it started.
static CORES: OnceLock<Vec<usize>> = OnceLock::new();

/// A part of the cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The first core.
    Server,
    /// The last core.
    Load,
    /// All cores.
    Everywhere,
}

/// The number of the servers' core.
pub(crate) fn server_core() -> usize {
    cores().first().copied().unwrap_or(0)
}

/// How many cores there are.
pub(crate) fn core_count() -> usize {
    cores().len()
}

/// From now on this thread, and what it starts, runs there.
pub(crate) fn stand(side: Side) -> Result<(), Failure> {
    let all = cores();
    let chosen = match side {
        Side::Server => &all[..1],
        Side::Load => &all[all.len() - 1..],
        Side::Everywhere => all,
    };
    let mut set = CpuSet::new();
    chosen.iter().for_each(|core| set.set(*core));
    sched_setaffinity(None, &set).step("choosing the cores")
}

/// Does something while this thread stands there, so that what it starts does too; then it goes back to the load's side.
pub(crate) fn standing<T>(side: Side, begin: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    stand(side)?;
    let begun = begin();
    stand(Side::Load)?;
    begun
}

/// This thread runs at once when it is its turn, as the thread of another machine would. Without the right to that it waits for its turn
/// like others, whoever is measured.
pub(crate) fn be_real_time() {
    let parameters = libc::sched_param { sched_priority: REAL_TIME_PRIORITY };
    // SAFETY: the call reads the parameters, which live until it returns; 0 is the calling thread.
    let _ = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameters) };
}

fn cores() -> &'static [usize] {
    CORES.get_or_init(|| {
        let allowed = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
        if cores.is_empty() { vec![0] } else { cores }
    })
}
