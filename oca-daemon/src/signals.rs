#![expect(unsafe_code, reason = "signal masks and sigtimedwait have no safe wrapper among our crates")]
//! Signals, taken by the main thread alone: they are blocked before any other thread exists, so no system
//! call of another thread is ever interrupted by one.

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

/// What somebody wants of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `SIGTERM` or `SIGINT`: finish what is in flight, then exit.
    Stop,
    /// `SIGHUP`: read the certificates again, and open the access log again, after rotation.
    Reload,
}

/// The blocked signals.
pub struct Signals(libc::sigset_t);

impl Signals {
    /// Blocks the daemon's signals in this thread and all that it will start.
    pub fn block() -> io::Result<Self> {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the set that it is given; the others change an initialised one, and take only
        // signal numbers that exist.
        let (set, result) = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            (set.assume_init(), libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()))
        };
        if result == 0 { Ok(Self(set)) } else { Err(io::Error::from_raw_os_error(result)) }
    }

    /// The next signal, or `None` when none has come within `timeout`.
    pub fn wait(&self, timeout: Duration) -> Option<Signal> {
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // SAFETY: the set is initialised, and no details of the signal are asked for.
        match unsafe { libc::sigtimedwait(&raw const self.0, std::ptr::null_mut(), &raw const timeout) } {
            libc::SIGTERM | libc::SIGINT => Some(Signal::Stop),
            libc::SIGHUP => Some(Signal::Reload),
            _ => None,
        }
    }
}
