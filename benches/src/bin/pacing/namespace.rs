#![expect(
    unsafe_code,
    reason = "a thread gets a network of its own by a call that must be told not to share more"
)]
//! Network namespaces that have no name: the kernel removes them, with every link in them, when nobody uses them any more. So
//! an interrupted run, or one that was killed, leaves nothing behind.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};

use demo::failure::{Failure, Step};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// The calling thread's.
const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: &'static str,
    file: File,
}

impl Namespace {
    /// A new one with nothing but a loopback, which is up. It has a name for errors only.
    pub(crate) fn new(name: &'static str) -> Result<Self, Failure> {
        let outside = File::open(OWN).step("looking for this thread's network")?;
        // SAFETY: the thread leaves the network of the others and shares its files with them as before, which is all that is asked for.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.step("making a network namespace (run as root)")?;
        let file = File::open(OWN).step("looking for the new network");
        enter(&outside)?;
        let namespace = Self { name, file: file? };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Does something while this thread is in there: sockets that it opens, files of `/proc/sys/net` that it writes, and programs that it
    /// starts belong there, and stay there.
    pub(crate) fn within<T>(&self, act: impl FnOnce() -> T) -> Result<T, Failure> {
        let outside = File::open(OWN).step("looking for this thread's network")?;
        enter(&self.file)?;
        let done = act();
        enter(&outside)?;
        Ok(done)
    }

    /// What `ip` takes for the namespace.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Runs `ip` in there, with these words.
    pub(crate) fn ip(&self, words: &str) -> Result<String, Failure> {
        self.run("ip", words)
    }

    /// Runs a program in there, and gives what it says; fails with its complaint where it does.
    pub(crate) fn run(&self, program: &str, words: &str) -> Result<String, Failure> {
        let what = format!("{program} {words} (in {})", self.name);
        let mut command = administrative(program);
        command.args(words.split_whitespace()).stdin(Stdio::null());
        let output = self.within(|| command.output())?.step(&what)?;
        if !output.status.success() {
            return Err(Failure::new(format!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim())));
        }
        String::from_utf8(output.stdout).step(&what)
    }

    /// Sets `net.…` in there.
    pub(crate) fn set(&self, key: &str, value: &str) -> Result<(), Failure> {
        let path = format!("/proc/sys/net/{}", key.replace('.', "/"));
        self.within(|| std::fs::write(path, value))?.step(&format!("setting net.{key} (in {})", self.name))
    }
}

/// A program that may be where only root looks for programs.
pub(crate) fn administrative(program: &str) -> Command {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    let mut command = Command::new(program);
    command.env("PATH", path);
    command
}

fn enter(namespace: &File) -> Result<(), Failure> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .step("changing this thread's network (run as root)")
}
