#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]
//! Many clients at once in one thread, and what the kernel knows of the process that serves them.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::http::TIMEOUT;

/// What is read at once.
const READ_BYTES: usize = 128 * 1024;

/// One client, who asks for ranges, and is never waited for.
pub struct Reader {
    socket: TcpStream,
    head: Vec<u8>,
    /// What has come of the body, and was not taken yet.
    body: Vec<u8>,
    /// What is still to come of the body; `None`: nothing is awaited.
    left_bytes: Option<usize>,
    buffer: Vec<u8>,
    received_bytes: u64,
}

impl Reader {
    /// Over a connection of its own.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        TcpStream::connect_timeout(&address, TIMEOUT).map(Self::over)
    }

    /// Over this connection.
    pub fn over(socket: TcpStream) -> Self {
        socket.set_nonblocking(true).expect("a socket's options");
        let buffer = vec![0; READ_BYTES];
        Self { socket, head: Vec::new(), body: Vec::new(), left_bytes: None, buffer, received_bytes: 0 }
    }

    /// Whether it awaits nothing.
    pub fn is_idle(&self) -> bool {
        self.left_bytes.is_none()
    }

    /// Bytes of bodies that it has got so far.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Asks for a range, which is answered with 206.
    pub fn ask(&mut self, path: &str, range: Range<usize>) -> io::Result<()> {
        (self.head, self.body, self.left_bytes) = (Vec::new(), Vec::new(), Some(range.len()));
        let (first, last) = (range.start, range.end - 1);
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nRange: bytes={first}-{last}\r\n\r\n");
        self.socket.write_all(request.as_bytes())
    }

    /// Reads what has come, up to a little.
    pub fn read_some(&mut self) -> io::Result<()> {
        let Some(left_bytes) = self.left_bytes else { return Ok(()) };
        let count = match self.socket.read(&mut self.buffer) {
            Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "closed within an answer")),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let head_bytes = self.take_head(count)?;
        let come = &self.buffer[head_bytes..count];
        let left_bytes = left_bytes
            .checked_sub(come.len())
            .ok_or_else(|| io::Error::other("more came than was asked for"))?;
        self.left_bytes = (left_bytes > 0).then_some(left_bytes);
        self.received_bytes += come.len() as u64;
        self.body.extend_from_slice(come);
        Ok(())
    }

    /// Reads until the answer is whole: its body.
    pub fn finish(&mut self) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + TIMEOUT;
        while !self.is_idle() {
            self.read_some()?;
            if Instant::now() > deadline {
                return Err(ErrorKind::TimedOut.into());
            }
        }
        Ok(self.take_body())
    }

    /// What has come of the body since it was last taken.
    pub fn take_body(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.body)
    }

    /// Takes what belongs to the head, of so many bytes that have come; says how many that were.
    fn take_head(&mut self, count: usize) -> io::Result<usize> {
        const END: &[u8] = b"\r\n\r\n";
        let mut taken = 0;
        while taken < count && !self.head.ends_with(END) {
            self.head.push(self.buffer[taken]);
            taken += 1;
        }
        let is_wrong = self.head.ends_with(END) && !self.head.starts_with(b"HTTP/1.1 206 ");
        if is_wrong { Err(io::Error::other(String::from_utf8_lossy(&self.head))) } else { Ok(taken) }
    }
}

/// Whether this process, and so the daemon, may have so many descriptors; says so where it may not, but where the environment
/// variable `CI` is set, that fails the test.
pub fn can_have_descriptors(count: usize) -> bool {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if maximum.is_some_and(|maximum| maximum < count as u64) {
        assert!(
            std::env::var_os("CI").is_none(),
            "{count} descriptors are needed in CI; raise the hard limit of {maximum:?} (ulimit -Hn)"
        );
        println!("SKIPPED: it needs {count} descriptors, and a process may have {maximum:?} (ulimit -Hn)");
        return false;
    }
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .expect("the soft limit may be raised to the hard one");
    true
}

/// Memory of a process that belongs to no file.
pub fn anonymous_bytes(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a process that runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a kernel that says it");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// How long the threads of a process have run, what the kernel did on their time included.
pub fn run_time(process: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("a process that runs");
    let nanoseconds = threads.filter_map(|thread| {
        let schedstat = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        schedstat.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}
