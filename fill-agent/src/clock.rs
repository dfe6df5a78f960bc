#![expect(unsafe_code, reason = "adjtimex has no safe wrapper among our crates")]
//! The clock of the machine, and whether it may be believed.

use std::mem::MaybeUninit;
use std::time::{SystemTime, UNIX_EPOCH};

/// Whole seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What the agent believes of the machine's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockTrust {
    /// As much as the kernel does: whether something keeps it synchronised (`adjtimex(2)`).
    AskKernel,
    /// It is kept right by other means, such as the host of a virtual machine.
    Trusted,
}

impl ClockTrust {
    /// Whether what has expired by the clock has expired.
    pub fn is_synchronised(self) -> bool {
        match self {
            Self::AskKernel => kernel_says_synchronised(),
            Self::Trusted => true,
        }
    }
}

fn kernel_says_synchronised() -> bool {
    let mut state = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: an all-zero timex is a valid one, and asks to change nothing; the kernel writes within it.
    let answer = unsafe { libc::adjtimex(state.as_mut_ptr()) };
    // SAFETY: initialised above, with zeroes at least.
    let status = unsafe { state.assume_init() }.status;
    answer >= 0 && answer != libc::TIME_ERROR && status & libc::STA_UNSYNC == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_kept_by_other_means_is_believed() {
        assert!(ClockTrust::Trusted.is_synchronised());
    }

    #[test]
    fn the_kernel_is_asked_and_changes_nothing() {
        let before = now();
        let answers = [ClockTrust::AskKernel.is_synchronised(), ClockTrust::AskKernel.is_synchronised()];
        assert_eq!(answers[0], answers[1]);
        assert!(now() - before < 5);
    }
}
