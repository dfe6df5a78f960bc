#![expect(
    unsafe_code,
    reason = "the ring is given addresses, and what lies there must outlive the operation"
)]
//! io_uring, as thin as it can be: what a bare loop asks of the kernel, and what is done.

use std::io;
use std::os::fd::RawFd;

use io_uring::cqueue;
use io_uring::squeue::Entry;
use io_uring::{IoUring, opcode, types};

const ENTRIES: u32 = 1024;
const COMPLETIONS: u32 = 8192;

/// The ring.
pub(super) struct Ring(IoUring);

/// Something that is done: what it was, and what the kernel returned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub(super) token: u64,
    pub(super) result: i32,
    /// Whether there is more to come.
    pub(super) goes_on: bool,
}

impl Ring {
    pub(super) fn new() -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(COMPLETIONS)
            .build(ENTRIES)?;
        Ok(Self(ring))
    }

    /// Accepts connections, again and again.
    pub(super) fn accept(&mut self, listener: RawFd, token: u64) -> io::Result<()> {
        let entry =
            opcode::AcceptMulti::new(types::Fd(listener)).flags(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC);
        self.push(&entry.build().user_data(token))
    }

    /// Receives into memory.
    ///
    /// # Safety
    ///
    /// There are so many bytes, and nobody uses or frees them until this is done.
    pub(super) unsafe fn receive(
        &mut self,
        socket: RawFd,
        into: *mut u8,
        bytes: usize,
        token: u64,
    ) -> io::Result<()> {
        let entry = opcode::Recv::new(types::Fd(socket), into, u32::try_from(bytes).unwrap_or(u32::MAX));
        self.push(&entry.build().user_data(token))
    }

    /// Says when there is room in the socket.
    pub(super) fn writable(&mut self, socket: RawFd, token: u64) -> io::Result<()> {
        let entry = opcode::PollAdd::new(types::Fd(socket), u32::from(libc::POLLOUT.unsigned_abs()));
        self.push(&entry.build().user_data(token))
    }

    /// Reads into memory.
    ///
    /// # Safety
    ///
    /// There are so many bytes, and nobody uses or frees them until this is done.
    pub(super) unsafe fn read(
        &mut self,
        file: RawFd,
        into: *mut u8,
        bytes: usize,
        offset: u64,
        token: u64,
    ) -> io::Result<()> {
        let entry = opcode::Read::new(types::Fd(file), into, u32::try_from(bytes).unwrap_or(u32::MAX));
        self.push(&entry.offset(offset).build().user_data(token))
    }

    /// Gives the kernel what is queued, waits for something to be done where `waits`, and collects what is.
    pub(super) fn turn(&mut self, waits: bool, done: &mut Vec<Completion>) -> io::Result<()> {
        match self.0.submit_and_wait(usize::from(waits)) {
            Ok(_) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY)) => {}
            Err(error) => return Err(error),
        }
        done.extend(self.0.completion().map(|entry| Completion {
            token: entry.user_data(),
            result: entry.result(),
            goes_on: cqueue::more(entry.flags()),
        }));
        Ok(())
    }

    fn push(&mut self, entry: &Entry) -> io::Result<()> {
        loop {
            // SAFETY: an entry points to nothing, or to what the caller keeps until it is done.
            if unsafe { self.0.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.0.submit()?;
        }
    }
}
