#![expect(unsafe_code, reason = "socket options that rustix does not know")]
//! Socket options that the system-call crate lacks.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `TCP_NOTSENT_LOWAT`: a socket counts as writable only while it holds fewer unsent bytes than this, so that
/// what waits for a slow client waits here, where it can be given up, and not in the kernel.
pub fn set_notsent_lowat(socket: impl AsFd, bytes: u32) -> io::Result<()> {
    let value = bytes.min(i32::MAX as u32) as libc::c_int;
    // SAFETY: the pointer is to an int of the length that is given, and lives through the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `SIOCOUTQ`: bytes sent that the peer has not acknowledged yet; 0 where the kernel does not say.
pub fn unacknowledged_bytes(socket: impl AsFd) -> u32 {
    let mut value: libc::c_int = 0;
    // SAFETY: the pointer is to an int, which the call fills, and lives through it.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut value) };
    if result == 0 { value.max(0) as u32 } else { 0 }
}
