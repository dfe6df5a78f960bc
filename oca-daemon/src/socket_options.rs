#![expect(unsafe_code, reason = "socket options that rustix does not know")]
//! Socket options that the system-call crate lacks.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use crate::media::cmsd::TransportFacts;

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

/// `SO_MAX_PACING_RATE`: how many bytes per second a socket sends at the most, lower layers' headers included; `None`: as many as
/// it can. Where the device has no `fq`, TCP paces by timers of its own (Linux 4.13).
pub fn set_max_pacing_rate(socket: impl AsFd, bytes_per_second: Option<u64>) -> io::Result<()> {
    let value: u64 = bytes_per_second.unwrap_or(u64::MAX);
    // SAFETY: the pointer is to an integer of the length that is given, and lives through the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MAX_PACING_RATE,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Places of 32-bit numbers in the kernel's `struct tcp_info`, which only ever grows at its end.
const SEND_SEGMENT_BYTES: usize = 4;
const ROUND_TRIP_MICROS: usize = 17;
const CONGESTION_WINDOW_SEGMENTS: usize = 20;
const PEER_WINDOW_BYTES: usize = 57; // since Linux 5.4
const TCP_INFO_NUMBERS: usize = 58;

/// `TCP_INFO`: what the kernel knows of the connection now; `None` where it does not say.
pub fn transport_facts(socket: impl AsFd) -> Option<TransportFacts> {
    let mut info = [0_u32; TCP_INFO_NUMBERS];
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the pointers are to as many bytes as are given, and to that number; both live through the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return None;
    }
    let congestion_bytes = u64::from(info[CONGESTION_WINDOW_SEGMENTS]) * u64::from(info[SEND_SEGMENT_BYTES]);
    // An older kernel leaves it at zero; so does a client that takes nothing now, which says little of the next seconds.
    let peer_bytes = Some(u64::from(info[PEER_WINDOW_BYTES])).filter(|&bytes| bytes > 0);
    Some(TransportFacts {
        round_trip: Duration::from_micros(info[ROUND_TRIP_MICROS].into()),
        window_bytes: congestion_bytes.min(peer_bytes.unwrap_or(u64::MAX)),
    })
}

/// `SIOCOUTQ`: bytes sent that the peer has not acknowledged yet; 0 where the kernel does not say.
pub fn unacknowledged_bytes(socket: impl AsFd) -> u32 {
    let mut value: libc::c_int = 0;
    // SAFETY: the pointer is to an int, which the call fills, and lives through it.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut value) };
    if result == 0 { value.max(0) as u32 } else { 0 }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0, client)
    }

    #[test]
    fn the_kernel_tells_of_a_connection_that_has_carried_something() {
        let (mut server, mut client) = pair();
        server.write_all(&[1; 4096]).unwrap();
        client.read_exact(&mut [0; 4096]).unwrap();
        let facts = transport_facts(&server).unwrap();
        // Loopback: less than a second away, and with a window of some segments.
        assert!(facts.round_trip > Duration::ZERO && facts.round_trip < Duration::from_secs(1), "{facts:?}");
        assert!((1_000..1 << 32).contains(&facts.window_bytes), "{facts:?}");
    }

    #[test]
    fn what_is_no_connection_has_no_facts_and_no_pace() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(transport_facts(&file), None);
        assert!(set_max_pacing_rate(&file, Some(1)).is_err());
    }
}
