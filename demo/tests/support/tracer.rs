#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]
//! Runs a real program under ptrace, and watches or kills it at the boundaries of its system calls: the
//! program itself holds no test code.
//!
//! At each call that concerns files, on entry and on exit, a closure sees the call with the paths that it is
//! about, and says whether the program goes on or gets a `SIGKILL` right there.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Command;

use super::stepper::{Boundary, Stepped};

pub use super::stepper::Ended;

/// A system call that concerns files or sockets, at its entry or exit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its name, from [`NAMES`].
    pub name: &'static str,
    /// The path of its descriptor, or its path arguments, one after another, with a space between.
    pub path: String,
    /// Before or after the kernel's work.
    pub phase: Phase,
}

/// Where in a call the program was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing has happened yet.
    Entry,
    /// The call has returned this.
    Exit(i64),
}

/// What becomes of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    GoOn,
    Kill,
}

/// The calls that are shown, and what they are called here.
const NAMES: &[(i64, &str)] = &[
    (libc::SYS_openat, "openat"),
    (libc::SYS_pread64, "pread64"),
    (libc::SYS_write, "write"),
    (libc::SYS_pwrite64, "pwrite64"),
    (libc::SYS_writev, "writev"),
    (libc::SYS_fallocate, "fallocate"),
    (libc::SYS_ftruncate, "ftruncate"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_fdatasync, "fdatasync"),
    (libc::SYS_sendmsg, "sendmsg"),
    (libc::SYS_renameat2, "rename"),
    (libc::SYS_renameat, "rename"),
    (libc::SYS_rename, "rename"),
    (libc::SYS_unlinkat, "unlink"),
    (libc::SYS_unlink, "unlink"),
];

/// A program started under ptrace; to be followed on the thread that started it.
pub struct Traced(Stepped);

impl Traced {
    /// Starts `command`; it is stopped until [`Traced::follow`].
    pub fn start(command: Command) -> io::Result<Self> {
        Stepped::start(command).map(Self)
    }

    /// Names the program for good, so that a signal can reach nobody else.
    pub fn handle(&self) -> io::Result<OwnedFd> {
        self.0.handle()
    }

    /// Lets the program run to its end, and shows `decide` its calls. With `Kill` it ends there.
    pub fn follow(self, mut decide: impl FnMut(&Call) -> Verdict) -> io::Result<Ended> {
        self.0.follow(|at| call_of(at).is_some_and(|call| decide(&call) == Verdict::Kill))
    }
}

fn call_of(at: &Boundary) -> Option<Call> {
    let (_, name) = NAMES.iter().find(|(number, _)| *number == at.call())?;
    // Calls without paths are about the descriptor in their first argument.
    let paths = at.paths();
    let path = if paths.is_empty() { at.descriptor() } else { paths };
    Some(Call { name, path, phase: at.result().map_or(Phase::Entry, Phase::Exit) })
}
