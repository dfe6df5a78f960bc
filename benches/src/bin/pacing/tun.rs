#![expect(unsafe_code, reason = "a TUN device is made by an ioctl that no crate here wraps")]
//! A link whose other end is this program: what is sent over it can be read here, and what is written here has been received over it
//! (the kernel's Documentation/networking/tuntap.rst).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

/// Makes one in the network namespace that the thread is in; it goes with its file. Reading waits for nothing: `WouldBlock` is no packet.
pub(crate) fn open(name: &str) -> io::Result<File> {
    let mut device = File::options();
    let device = device.read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    let mut wanted = [0; libc::IFNAMSIZ];
    // The last byte stays 0.
    for (to, from) in wanted.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
    let mut request = libc::ifreq {
        ifr_name: wanted,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags as libc::c_short },
    };
    // SAFETY: the request lives until the call returns, and has the length that the kernel reads and writes.
    match unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(device),
    }
}
