#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]
#![expect(unsafe_code, reason = "ptrace has no safe wrapper")]
//! Runs a program under ptrace, and stops it at every boundary of every system call of every thread: where a closure says so, it
//! gets a `SIGKILL` right there. What a call is about is only looked up when the closure asks, so that a program with rings and
//! sockets is not held up by those that nobody is interested in.

use std::ffi::c_void;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How long a program may take.
const TIME_LIMIT: Duration = Duration::from_secs(90);

/// A boundary of a system call at which a thread is stopped.
pub struct Boundary {
    thread: libc::pid_t,
    registers: libc::user_regs_struct,
}

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Exited(i32),
    Killed,
    /// It had not ended within [`TIME_LIMIT`], and was killed for that.
    TimedOut,
}

impl Boundary {
    /// The call's number, `libc::SYS_…`.
    pub fn call(&self) -> i64 {
        self.registers.orig_rax as i64
    }

    /// What the call returned; `None` before it.
    pub fn result(&self) -> Option<i64> {
        // On entry the kernel has put -ENOSYS where the result will be.
        let result = self.registers.rax as i64;
        (result != -i64::from(libc::ENOSYS)).then_some(result)
    }

    /// The thread's name.
    pub fn thread_name(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/comm", self.thread))
            .map_or_else(|_| String::new(), |name| name.trim_end().to_owned())
    }

    /// What the descriptor in the first argument is.
    pub fn descriptor(&self) -> String {
        self.descriptor_called(self.registers.rdi)
    }

    /// The paths of the call, one after another with a space between, where it has any.
    pub fn paths(&self) -> String {
        let registers = &self.registers;
        match self.call() {
            libc::SYS_openat | libc::SYS_unlinkat => self.at(registers.rdi, registers.rsi),
            libc::SYS_renameat | libc::SYS_renameat2 => {
                format!("{} {}", self.at(registers.rdi, registers.rsi), self.at(registers.rdx, registers.r10))
            }
            libc::SYS_rename => format!("{} {}", self.text(registers.rdi), self.text(registers.rsi)),
            libc::SYS_unlink => self.text(registers.rdi),
            _ => String::new(),
        }
    }

    fn descriptor_called(&self, number: u64) -> String {
        std::fs::read_link(format!("/proc/{}/fd/{}", self.thread, number as i32))
            .map_or_else(|_| String::new(), |path| path.to_string_lossy().into_owned())
    }

    fn at(&self, directory: u64, path: u64) -> String {
        let path = self.text(path);
        if path.starts_with('/') || directory as i32 == libc::AT_FDCWD {
            return path;
        }
        format!("{}/{path}", self.descriptor_called(directory))
    }

    /// A zero-terminated string of the program.
    fn text(&self, address: u64) -> String {
        use std::os::unix::fs::FileExt;
        let mut bytes = [0; 512];
        let length = std::fs::File::open(format!("/proc/{}/mem", self.thread))
            .and_then(|memory| memory.read_at(&mut bytes, address))
            .unwrap_or(0);
        let text = bytes[..length].split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }
}

/// Runs `command` to its end, which comes where `kills` says so; to be called on a thread that traces nothing else.
pub fn step(command: Command, kills: impl FnMut(&Boundary) -> bool) -> io::Result<Ended> {
    Stepped::start(command)?.follow(kills)
}

/// A program under ptrace; to be followed on the thread that started it.
pub struct Stepped {
    child: Child,
}

impl Stepped {
    /// Starts `command`; it is stopped until [`Stepped::follow`].
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

    /// Lets the program run to its end, and shows `kills` its boundaries; where that says so, it ends there.
    pub fn follow(self, kills: impl FnMut(&Boundary) -> bool) -> io::Result<Ended> {
        let handle = self.handle()?;
        let (ended, has_ended) = mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            let is_late = has_ended.recv_timeout(TIME_LIMIT) == Err(mpsc::RecvTimeoutError::Timeout);
            if is_late {
                let _ = pidfd_send_signal(&handle, Signal::KILL);
            }
            is_late
        });
        let end = self.follow_to_the_end(kills);
        drop(ended);
        let is_late = watchdog.join().is_ok_and(|is_late| is_late);
        if is_late { Ok(Ended::TimedOut) } else { end }
    }

    fn follow_to_the_end(self, mut kills: impl FnMut(&Boundary) -> bool) -> io::Result<Ended> {
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
                if let Some(registers) = registers_of(thread)
                    && kills(&Boundary { thread, registers })
                {
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

fn registers_of(thread: libc::pid_t) -> Option<libc::user_regs_struct> {
    let mut registers = std::mem::MaybeUninit::<libc::user_regs_struct>::uninit();
    // SAFETY: the kernel fills the whole structure of a stopped tracee, or fails.
    unsafe {
        if libc::ptrace(libc::PTRACE_GETREGS, thread, 0, registers.as_mut_ptr().cast::<c_void>()) == -1 {
            return None;
        }
        Some(registers.assume_init())
    }
}
