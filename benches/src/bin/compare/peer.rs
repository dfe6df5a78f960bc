#![expect(unsafe_code, reason = "a child says in the child itself that it ends with its parent")]
//! A server of somebody else's, as a process group of its own, with a free port of the loopback.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use demo::failure::{Failure, Step};
use rustix::process::{Pid, Signal, kill_process_group, set_parent_process_death_signal};

use super::process_facts::family;

/// How long it may take to answer, or to go.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often is looked again.
const GLANCE: Duration = Duration::from_millis(10);

/// The process, and what descends from it. Ended when dropped, and when this program ends.
pub(crate) struct Peer {
    child: Child,
}

impl Peer {
    /// Starts it, and waits until it takes connections at `address`.
    pub(crate) fn start(name: &str, mut command: Command, address: SocketAddr) -> Result<Self, Failure> {
        // SAFETY: between fork and exec this makes one system call, and touches no memory that another thread may hold.
        unsafe {
            command.pre_exec(|| set_parent_process_death_signal(Some(Signal::TERM)).map_err(Into::into));
        }
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .step(&format!("starting {name}"))?;
        let mut peer = Self { child };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = peer.child.try_wait().step("waiting for a server")? {
                return Err(Failure::new(format!("{name} ended at once ({status}); its words are above")));
            }
            if Instant::now() > deadline {
                return Err(Failure::new(format!("{name} takes no connections at {address}")));
            }
            std::thread::sleep(GLANCE);
        }
        Ok(peer)
    }

    /// Its process, and all that descend from it.
    pub(crate) fn processes(&self) -> Vec<u32> {
        family(self.child.id())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else { return };
        let _ = kill_process_group(group, Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() > deadline {
                let _ = kill_process_group(group, Signal::KILL);
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(GLANCE);
        }
    }
}

/// An address that nobody listens at now.
pub(crate) fn free_address() -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").step("looking for a free port")?;
    listener.local_addr().step("looking for a free port")
}

/// Whether a program is there, in one of the places where Debian puts programs.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/bin".into()]);
    folders.into_iter().any(|folder| folder.join(program).is_file())
}
