#![expect(unsafe_code, reason = "socket options that rustix does not know")]
//! Socket options that the system-call crate lacks.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `TCP_NOTSENT_LOWAT`: a socket counts as writable only while it holds fewer unsent bytes than this, so that what waits for a
/// slow client waits here, where it can be given up, and not in the kernel.
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
