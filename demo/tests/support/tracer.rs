#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]
#![expect(unsafe_code, reason = "ptrace has no safe wrapper")]
//! Runs a real program under ptrace, and watches or kills it at the boundaries of its system calls: the
//! program itself holds no test code.
//!
//! At each call that concerns files, on entry and on exit, a closure sees the call with the paths that it is
//! about, and says whether the program goes on or gets a `SIGKILL` right there.

use std::ffi::c_void;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

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

/// How the traced program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Exited(i32),
    Killed,
    /// It had not ended within [`TIME_LIMIT`], and was killed for that.
    TimedOut,
}

/// How long a traced program may take.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// How a call names its files.
#[derive(Clone, Copy)]
enum Paths {
    /// Argument 0 is a descriptor.
    Descriptor,
    /// Arguments 0 and 1 are a directory's descriptor and a path.
    At,
    /// Arguments 0 to 3 are two of these.
    TwoAt,
    /// Arguments 0 and 1 are paths.
    Two,
    /// Argument 0 is a path.
    One,
}

/// The calls that are shown.
const NAMES: &[(i64, &str, Paths)] = &[
    (libc::SYS_openat, "openat", Paths::At),
    (libc::SYS_pread64, "pread64", Paths::Descriptor),
    (libc::SYS_write, "write", Paths::Descriptor),
    (libc::SYS_pwrite64, "pwrite64", Paths::Descriptor),
    (libc::SYS_writev, "writev", Paths::Descriptor),
    (libc::SYS_fallocate, "fallocate", Paths::Descriptor),
    (libc::SYS_ftruncate, "ftruncate", Paths::Descriptor),
    (libc::SYS_fsync, "fsync", Paths::Descriptor),
    (libc::SYS_fdatasync, "fdatasync", Paths::Descriptor),
    (libc::SYS_sendmsg, "sendmsg", Paths::Descriptor),
    (libc::SYS_renameat2, "rename", Paths::TwoAt),
    (libc::SYS_renameat, "rename", Paths::TwoAt),
    (libc::SYS_rename, "rename", Paths::Two),
    (libc::SYS_unlinkat, "unlink", Paths::At),
    (libc::SYS_unlink, "unlink", Paths::One),
];

/// A program started under ptrace; to be followed on the thread that started it.
pub struct Traced {
    child: Child,
}

impl Traced {
    /// Starts `command`; it is stopped until [`Traced::follow`].
    pub fn start(mut command: Command) -> io::Result<Self> {
        // SAFETY: ptrace(2) is async-signal-safe, and takes no pointers here.
        unsafe {
            command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
                -1 => Err(io::Error::last_os_error()),
                _ => Ok(()),
            });
        }
        Ok(Self { child: command.spawn()? })
    }

    /// Names the program for good, so that a signal can reach nobody else.
    pub fn handle(&self) -> io::Result<OwnedFd> {
        let id = Pid::from_raw(self.child.id() as i32).ok_or(io::ErrorKind::NotFound)?;
        Ok(pidfd_open(id, PidfdFlags::empty())?)
    }

    /// Lets the program run to its end, and shows `decide` its calls. With `Kill` it ends there.
    pub fn follow(self, decide: impl FnMut(&Call) -> Verdict) -> io::Result<Ended> {
        let handle = self.handle()?;
        let (ended, has_ended) = mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            let is_late = has_ended.recv_timeout(TIME_LIMIT) == Err(mpsc::RecvTimeoutError::Timeout);
            if is_late {
                let _ = pidfd_send_signal(&handle, Signal::KILL);
            }
            is_late
        });
        let end = self.follow_to_the_end(decide);
        drop(ended);
        let is_late = watchdog.join().is_ok_and(|is_late| is_late);
        if is_late { Ok(Ended::TimedOut) } else { end }
    }

    fn follow_to_the_end(self, mut decide: impl FnMut(&Call) -> Verdict) -> io::Result<Ended> {
        let leader = self.child.id() as libc::pid_t;
        let mut is_set_up = false;
        loop {
            let mut status = 0;
            // __WNOTHREAD: only what this thread traces, so that tests on other threads keep their own children.
            // SAFETY: the pointer is to an int that lives through the call.
            let thread = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
            if thread == -1 {
                return Err(io::Error::last_os_error());
            }
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                if thread == leader {
                    let killed = libc::WIFSIGNALED(status);
                    return Ok(if killed { Ended::Killed } else { Ended::Exited(libc::WEXITSTATUS(status)) });
                }
                continue;
            }
            if !is_set_up {
                is_set_up = true;
                set_options(leader)?;
            }
            let signal = libc::WSTOPSIG(status);
            if signal == libc::SIGTRAP | 0x80 {
                let call = read_call(thread);
                if call.is_some_and(|call| decide(&call) == Verdict::Kill) {
                    // SAFETY: a signal to the process that this value started and has not waited for yet.
                    unsafe { libc::kill(leader, libc::SIGKILL) };
                }
                go_on(thread, 0);
            } else if signal == libc::SIGTRAP || signal == libc::SIGSTOP {
                // exec, a new thread, or a new thread's first stop: nothing that the program should see.
                go_on(thread, 0);
            } else {
                go_on(thread, signal);
            }
        }
    }
}

fn set_options(pid: libc::pid_t) -> io::Result<()> {
    let options = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_EXITKILL;
    // SAFETY: options of a stopped tracee of ours; no pointers.
    let result = unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, libc::c_long::from(options)) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn go_on(thread: libc::pid_t, signal: i32) {
    // A thread that was killed meanwhile is gone; waitpid tells.
    // SAFETY: continues a tracee of ours; no pointers.
    unsafe { libc::ptrace(libc::PTRACE_SYSCALL, thread, 0, libc::c_long::from(signal)) };
}

fn read_call(thread: libc::pid_t) -> Option<Call> {
    let mut registers = std::mem::MaybeUninit::<libc::user_regs_struct>::uninit();
    // SAFETY: the kernel fills the whole structure of a stopped tracee, or fails.
    let registers = unsafe {
        if libc::ptrace(libc::PTRACE_GETREGS, thread, 0, registers.as_mut_ptr().cast::<c_void>()) == -1 {
            return None;
        }
        registers.assume_init()
    };
    let (_, name, paths) = NAMES.iter().find(|(number, ..)| *number == registers.orig_rax as i64)?;
    // On entry the kernel has put -ENOSYS where the result will be.
    let result = registers.rax as i64;
    let phase = if result == -i64::from(libc::ENOSYS) { Phase::Entry } else { Phase::Exit(result) };
    let path = match paths {
        Paths::Descriptor => descriptor(thread, registers.rdi),
        Paths::At => at(thread, registers.rdi, registers.rsi),
        Paths::TwoAt => {
            format!(
                "{} {}",
                at(thread, registers.rdi, registers.rsi),
                at(thread, registers.rdx, registers.r10)
            )
        }
        Paths::Two => format!("{} {}", text(thread, registers.rdi), text(thread, registers.rsi)),
        Paths::One => text(thread, registers.rdi),
    };
    Some(Call { name, path, phase })
}

fn descriptor(thread: libc::pid_t, number: u64) -> String {
    std::fs::read_link(format!("/proc/{thread}/fd/{}", number as i32))
        .map(|path| path.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn at(thread: libc::pid_t, directory: u64, path: u64) -> String {
    let path = text(thread, path);
    if path.starts_with('/') || directory as i32 == libc::AT_FDCWD {
        return path;
    }
    format!("{}/{path}", descriptor(thread, directory))
}

/// A zero-terminated string of the tracee.
fn text(thread: libc::pid_t, address: u64) -> String {
    use std::os::unix::fs::FileExt;
    let mut bytes = [0; 512];
    let length = std::fs::File::open(format!("/proc/{thread}/mem"))
        .and_then(|memory| memory.read_at(&mut bytes, address))
        .unwrap_or(0);
    let text = bytes[..length].split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}
