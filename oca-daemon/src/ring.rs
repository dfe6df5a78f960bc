#![expect(
    unsafe_code,
    reason = "submission hands the kernel addresses whose validity only the caller's ownership rules can promise"
)]
//! The ring: one io_uring per worker, with just the operations that the worker needs.
//!
//! Ownership: whatever the kernel may still read or write is owned by something that outlives the operation.
//! Receives use the ring's own provided buffers; disk reads use buffers that lie in [`crate::disk_reads`]
//! until their completion; a socket is closed only after every operation on it has completed
//! (`connection.rs`).
//!
//! `SINGLE_ISSUER | DEFER_TASKRUN`: completions are worked on only when this thread waits for them, so
//! nothing interrupts a request half-way. Required operations are probed when the ring is made, and a kernel
//! that refuses names what to change.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, cqueue, opcode, squeue};

use crate::limits::{RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS, RING_COMPLETIONS, RING_ENTRIES};
use crate::mapping::Mapping;
use crate::receive_buffers::{ReceiveBuffers, ReceivedBuffer};
use crate::token::Token;

/// A completion: what it is about, the operation's result (negative: errno), and its flags.
#[derive(Debug)]
pub struct Completion {
    /// The operation.
    pub token: Token,
    /// What the system call would have returned; negative is `-errno`.
    pub result: i32,
    /// More completions of the same operation follow (multishot).
    pub more: bool,
    /// The provided buffer that a receive was given; to be handed back with [`Ring::give_back`].
    pub buffer: Option<ReceivedBuffer>,
}

impl Completion {
    /// Of [`Ring::watch_peer`]: nothing more can be sent. A peer that has only ended its own side still takes an answer (RFC 9112 §9.6).
    pub fn is_broken(&self) -> bool {
        const BROKEN: i32 = (libc::POLLERR | libc::POLLHUP) as i32;
        self.result > 0 && self.result & BROKEN != 0
    }
}

/// Why the ring could not be made; each says what the operator can change.
#[derive(Debug)]
pub enum RingError {
    /// `io_uring_setup` was refused.
    Refused(io::Error),
    /// The kernel lacks an operation that the data plane needs.
    Missing(&'static str),
    /// Memory for the ring's buffers could not be had or registered.
    Buffers(io::Error),
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RingError::Refused(error) if error.raw_os_error() == Some(libc::EPERM) => write!(
                f,
                "io_uring is refused ({error}); allow it with `sysctl kernel.io_uring_disabled=0`, or, in a container, \
                 with a seccomp profile that permits io_uring_setup, io_uring_enter and io_uring_register"
            ),
            RingError::Refused(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
                write!(f, "this kernel has no io_uring ({error}); Linux 6.1 or later is needed")
            }
            RingError::Refused(error) => write!(f, "io_uring could not be set up: {error}"),
            RingError::Missing(operation) => {
                write!(f, "this kernel's io_uring lacks {operation}; Linux 6.1 or later is needed")
            }
            RingError::Buffers(error) => {
                write!(f, "the ring's receive buffers could not be registered: {error}")
            }
        }
    }
}

impl std::error::Error for RingError {}

/// One io_uring and its provided buffers. Lives and dies on one thread.
pub struct Ring {
    uring: IoUring,
    receive_buffers: ReceiveBuffers,
    _region: Arc<Mapping>,
    reads_fixed: bool,
}

const REQUIRED: [(u8, &str); 6] = [
    (opcode::AcceptMulti::CODE, "IORING_OP_ACCEPT"),
    (opcode::Recv::CODE, "IORING_OP_RECV"),
    (opcode::PollAdd::CODE, "IORING_OP_POLL_ADD"),
    (opcode::Read::CODE, "IORING_OP_READ"),
    (opcode::Readv::CODE, "IORING_OP_READV"),
    (opcode::AsyncCancel2::CODE, "IORING_OP_ASYNC_CANCEL"),
];

impl Ring {
    /// Makes the ring of the calling thread. `region` is the memory that disk reads go to; it is registered where
    /// the kernel and the memory-lock limit allow, which saves pinning its pages at every read.
    pub fn new(region: Arc<Mapping>) -> Result<Self, RingError> {
        let uring: IoUring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(RING_COMPLETIONS)
            .build(RING_ENTRIES)
            .map_err(RingError::Refused)?;
        let mut probe = Probe::new();
        uring.submitter().register_probe(&mut probe).map_err(RingError::Refused)?;
        if let Some((_, name)) = REQUIRED.iter().find(|(code, _)| !probe.is_supported(*code)) {
            return Err(RingError::Missing(name));
        }
        let receive_buffers =
            ReceiveBuffers::new(RECEIVE_BUFFERS, RECEIVE_BUFFER_BYTES).map_err(RingError::Buffers)?;
        // SAFETY: the provided ring's memory belongs to `receive_buffers`, which is dropped after `uring` (field order).
        unsafe {
            uring
                .submitter()
                .register_buf_ring_with_flags(
                    receive_buffers.ring_address(),
                    RECEIVE_BUFFERS,
                    RECEIVE_GROUP,
                    0,
                )
                .map_err(RingError::Buffers)?;
        }
        let iovec = libc::iovec { iov_base: region.address().cast(), iov_len: region.length_bytes() };
        // Without registration (memory-lock limit, a region above 1 GiB) each read pins its pages: slower,
        // and all else the same.
        // SAFETY: the ring keeps the region, which is dropped after `uring` (field order).
        let registered = unsafe { uring.submitter().register_buffers(&[iovec]) };
        let reads_fixed = registered.is_ok() && probe.is_supported(opcode::ReadvFixed::CODE);
        match registered {
            Err(error) => tracing::info!(%error, "read buffers are not registered: each read pins its pages"),
            Ok(()) if !reads_fixed => {
                tracing::info!(
                    "this kernel (before 6.15) reads into no registered buffers: each read pins its pages"
                );
            }
            Ok(()) => {}
        }
        Ok(Self { uring, receive_buffers, _region: region, reads_fixed })
    }

    /// Accepts connections until cancelled or until an error (`more` is false then).
    pub fn accept(&mut self, listener: BorrowedFd<'_>, token: Token) {
        let entry = opcode::AcceptMulti::new(Fd(listener.as_raw_fd()))
            .flags(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)
            .build();
        self.push(entry, token);
    }

    /// Accepts one connection.
    pub fn accept_one(&mut self, listener: BorrowedFd<'_>, token: Token) {
        let entry = opcode::Accept::new(Fd(listener.as_raw_fd()), std::ptr::null_mut(), std::ptr::null_mut())
            .flags(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)
            .build();
        self.push(entry, token);
    }

    /// Receives once, into a provided buffer that the kernel picks when bytes arrive: an idle connection holds none.
    pub fn receive(&mut self, socket: BorrowedFd<'_>, token: Token) {
        let entry =
            opcode::Recv::new(Fd(socket.as_raw_fd()), std::ptr::null_mut(), RECEIVE_BUFFER_BYTES as u32)
                .ioprio(RECV_POLL_FIRST)
                .buf_group(RECEIVE_GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT);
        self.push(entry, token);
    }

    /// Completes once when the socket's send buffer has room, or the socket has failed.
    pub fn poll_writable(&mut self, socket: BorrowedFd<'_>, token: Token) {
        self.push(opcode::PollAdd::new(Fd(socket.as_raw_fd()), libc::POLLOUT as u32).build(), token);
    }

    /// Tells each time that the peer has ended its side, that both sides are ended, or that the connection was reset, until cancelled or
    /// until `more` is false; [`Completion::is_broken`] says which.
    pub fn watch_peer(&mut self, socket: BorrowedFd<'_>, token: Token) {
        // POLLERR, POLLHUP and POLLRDHUP are told of unasked. Multishot, because each is told of when it comes: what is so already, such
        // as a side that was ended, would complete a poll for once at once, again and again.
        self.push(opcode::PollAdd::new(Fd(socket.as_raw_fd()), 0).multi(true).build(), token);
    }

    /// Reads eight bytes of an eventfd.
    ///
    /// # Safety
    /// `counter` must stay valid until the completion.
    pub unsafe fn read_event(&mut self, event: BorrowedFd<'_>, counter: *mut u64, token: Token) {
        self.push(opcode::Read::new(Fd(event.as_raw_fd()), counter.cast(), 8).build(), token);
    }

    /// Reads from `offset` of a file into the memory that `iovecs` names. A read whose start may block is
    /// started by a thread of the kernel's, not here.
    ///
    /// # Safety
    /// The iovecs must stay valid until the completion, and the memory that they name (all within the region that the
    /// ring was made with) untouched.
    pub unsafe fn read(
        &mut self,
        file: BorrowedFd<'_>,
        iovecs: &[libc::iovec],
        offset: u64,
        may_block: bool,
        token: Token,
    ) {
        let (descriptor, count) = (Fd(file.as_raw_fd()), iovecs.len() as u32);
        let entry = if self.reads_fixed {
            opcode::ReadvFixed::new(descriptor, iovecs.as_ptr(), count, 0).offset(offset).build()
        } else {
            opcode::Readv::new(descriptor, iovecs.as_ptr(), count).offset(offset).build()
        };
        let flags = if may_block { squeue::Flags::ASYNC } else { squeue::Flags::empty() };
        self.push(entry.flags(flags), token);
    }

    /// Cancels every operation on a descriptor; each of them still completes.
    pub fn cancel_all(&mut self, descriptor: RawFd) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::fd(Fd(descriptor)).all()).build();
        self.push(entry, Token::Cancel);
    }

    /// Submits what is queued and waits until a completion is there or `timeout` has passed (zero: does not wait), then moves the
    /// completions into `batch` (cleared first).
    pub fn wait(&mut self, timeout: Duration, batch: &mut Vec<Completion>) -> io::Result<()> {
        let submitter = self.uring.submitter();
        let submitted = if timeout.is_zero() {
            // Completes what can be, as the flag of the ring tells it to.
            submitter.submit()
        } else {
            let timespec = Timespec::new().sec(timeout.as_secs()).nsec(timeout.subsec_nanos());
            submitter.submit_with_args(1, &SubmitArgs::new().timespec(&timespec))
        };
        match submitted {
            Ok(_) => {}
            // ETIME: nothing happened in time. EINTR: a signal. EBUSY, EAGAIN: completions must be taken first.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)
                ) => {}
            Err(error) => return Err(error),
        }
        batch.clear();
        batch.extend(self.uring.completion().filter_map(|entry| {
            Some(Completion {
                token: Token::unpack(entry.user_data())?,
                result: entry.result(),
                more: cqueue::more(entry.flags()),
                buffer: cqueue::buffer_select(entry.flags()).map(ReceivedBuffer::named_by),
            })
        }));
        Ok(())
    }

    /// The bytes of a provided buffer that a receive was given.
    pub fn received(&self, buffer: &ReceivedBuffer, length: usize) -> &[u8] {
        self.receive_buffers.bytes(buffer, length)
    }

    /// Lets the kernel use a provided buffer again.
    pub fn give_back(&mut self, buffer: ReceivedBuffer) {
        self.receive_buffers.give_back(buffer);
    }

    fn push(&mut self, entry: squeue::Entry, token: Token) {
        let entry = entry.user_data(token.pack());
        loop {
            // SAFETY: each caller above states what must stay valid until the completion, and who keeps it so.
            if unsafe { self.uring.submission().push(&entry) }.is_ok() {
                return;
            }
            // The queue is full: hand it to the kernel. EBUSY cannot last, since completions beyond the queue
            // are kept in the kernel's overflow list (IORING_FEAT_NODROP) and entries are consumed all the
            // same.
            let _ = self.uring.submitter().submit();
        }
    }
}

const RECEIVE_GROUP: u16 = 0;
/// `IORING_RECVSEND_POLL_FIRST` (Linux 5.19): what is received for has, as a rule, not come yet, so that trying first is for nothing.
const RECV_POLL_FIRST: u16 = 1;
