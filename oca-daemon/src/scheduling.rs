#![expect(unsafe_code, reason = "system calls that the system-call crate lacks")]
//! Which core a thread has, and who goes first on it.
//!
//! Workers share their cores with threads whose work can wait: the RAM tier's, the access log's. The scheduler lets whoever runs go on
//! for some milliseconds, which is longer than all else that a request for what is in memory waits for. So workers ask for short
//! slices, by which they go before threads with long ones when they wake (Linux 6.12), and the others never interrupt anybody.
//! All of it is refused silently: then the scheduler decides as it does for everybody.

use std::io;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A slice of a worker: a few requests, or one piece from a disk.
const WORKER_SLICE: Duration = Duration::from_micros(200);

/// Binds the calling worker to the `worker`-th core that the process may use, so that its connections' memory stays in that core's
/// caches, and has it go first there. Where there are more workers than cores, the scheduler decides on which.
pub fn settle_worker(worker: u16) {
    let _ = take_short_slices();
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
    if let Some(&core) = cores.get(usize::from(worker)) {
        let mut only = CpuSet::new();
        only.set(core);
        let _ = sched_setaffinity(None, &only);
    }
}

/// Has the calling thread wait for its turn when it wakes, instead of interrupting a worker (`SCHED_BATCH`).
pub fn give_way() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to the parameters, which live through the call; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) };
}

/// Asks for slices of [`WORKER_SLICE`], and leaves all else as it is: an operator may have chosen a niceness or another policy.
fn take_short_slices() -> io::Result<()> {
    let mut attributes = attributes()?;
    if attributes.sched_policy != libc::SCHED_OTHER as u32 {
        return Ok(());
    }
    attributes.sched_runtime = WORKER_SLICE.as_nanos() as u64;
    // SAFETY: the pointer is to the attributes, which say how long they are and live through the call; 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How the calling thread is scheduled.
fn attributes() -> io::Result<libc::sched_attr> {
    let mut attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the pointer is to as many bytes as are given, which live through the call; 0 is the calling thread.
    let result =
        unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, attributes.size, 0) };
    if result == 0 { Ok(attributes) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a thread of its own, which ends with it.
    fn attributes_after(settle: fn()) -> libc::sched_attr {
        std::thread::spawn(move || {
            settle();
            attributes().unwrap()
        })
        .join()
        .unwrap()
    }

    #[test]
    fn a_worker_keeps_its_niceness_and_has_short_slices_where_the_kernel_has_them() {
        let before = attributes_after(|| ());
        let worker = attributes_after(|| settle_worker(0));
        assert_eq!((worker.sched_policy, worker.sched_nice), (before.sched_policy, before.sched_nice));
        // Kernels that have no slices of one's own say 0.
        if before.sched_policy == libc::SCHED_OTHER as u32 && before.sched_runtime > 0 {
            assert_eq!(worker.sched_runtime, WORKER_SLICE.as_nanos() as u64);
        }
    }

    #[test]
    fn whoever_gives_way_interrupts_nobody() {
        if attributes_after(|| ()).sched_policy == libc::SCHED_OTHER as u32 {
            assert_eq!(attributes_after(give_way).sched_policy, libc::SCHED_BATCH as u32);
        }
    }
}
