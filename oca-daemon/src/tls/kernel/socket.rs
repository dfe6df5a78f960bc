#![expect(unsafe_code, reason = "socket options and a control message that rustix does not know")]
//! The system calls of kernel TLS (`linux/tls.h`).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::crypto_info::Cipher;

const TCP_ULP: libc::c_int = 31;
const TLS_TX: libc::c_int = 1;
const TLS_SET_RECORD_TYPE: libc::c_int = 1;

/// `struct tcp_info` up to `tcpi_bytes_acked`, in words of eight bytes.
const TCP_INFO_WORDS: usize = 16;

/// `TCP_CLOSE`, of a connection that is over in both directions; the structure's first byte says where it stands.
const TCP_IS_OVER: u8 = 7;

/// Puts TLS between TCP and whoever sends; nothing changes until there is a key.
pub(super) fn attach(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, TCP_ULP, b"tls")
}

/// Has what is sent from now on sealed with this key.
pub(super) fn set_sending_key(socket: BorrowedFd<'_>, info: &[u8]) -> io::Result<()> {
    set_option(socket, libc::SOL_TLS, TLS_TX, info)
}

/// The number of the record that the kernel seals next.
pub(super) fn next_sequence(socket: BorrowedFd<'_>, cipher: Cipher) -> io::Result<u64> {
    let mut info = [0; 64];
    let info = &mut info[..cipher.info_bytes()];
    get_option(socket, libc::SOL_TLS, TLS_TX, info)?;
    info.last_chunk().map(|sequence| u64::from_be_bytes(*sequence)).ok_or(io::ErrorKind::InvalidData.into())
}

/// How many bytes the client has acknowledged since the connection began. An error where that is over, by a reset, or where the
/// kernel does not say.
pub(super) fn acknowledged_bytes(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut info = [0; 8 * TCP_INFO_WORDS];
    let length = get_option(socket, libc::IPPROTO_TCP, libc::TCP_INFO, &mut info)?;
    if info[0] == TCP_IS_OVER {
        return Err(io::ErrorKind::NotConnected.into());
    }
    let last = info.last_chunk().filter(|_| length == info.len()).ok_or(io::ErrorKind::Unsupported)?;
    Ok(u64::from_ne_bytes(*last))
}

/// Sends a record of that kind; false when the socket's buffer is full.
pub(super) fn send_record(socket: BorrowedFd<'_>, kind: u8, content: &[u8]) -> io::Result<bool> {
    #[repr(C)]
    struct RecordType {
        header: libc::cmsghdr,
        kind: u8,
    }
    let mut part = libc::iovec { iov_base: content.as_ptr().cast_mut().cast(), iov_len: content.len() };
    // SAFETY: all bytes zero are a value of either.
    let (mut control, mut message): (RecordType, libc::msghdr) = unsafe { std::mem::zeroed() };
    // SAFETY: it computes a length from a length.
    control.header.cmsg_len = unsafe { libc::CMSG_LEN(1) } as _;
    control.header.cmsg_level = libc::SOL_TLS;
    control.header.cmsg_type = TLS_SET_RECORD_TYPE;
    control.kind = kind;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<RecordType>() as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the message names the content, which is only read, and the control message, both with their lengths; all live
    // through the call.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) };
    if sent >= 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(false),
        error => Err(error),
    }
}

fn set_option(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: &[u8]) -> io::Result<()> {
    // SAFETY: the pointer is to as many bytes as are given, which are only read, and live through the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Returns how much of `value` was filled.
fn get_option(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: &mut [u8],
) -> io::Result<usize> {
    let mut length = value.len() as libc::socklen_t;
    // SAFETY: the pointer is to as many bytes as are given, which the call fills, and lives through it.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut length)
    };
    if result == 0 { Ok(length as usize) } else { Err(io::Error::last_os_error()) }
}
