//! The door for everybody who can connect: read-only.

use std::io;
use std::net::{SocketAddr, TcpListener};

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind as bind_socket, listen, socket_with, sockopt,
};
use tokio::net::TcpStream;

use super::limits;

/// The kernel keeps this many that wait to be accepted.
const BACKLOG: i32 = 128;

/// Binds `address`. An IPv6 address takes IPv6 alone, so that `0.0.0.0` and `[::]` can stand side by side.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    // A restarted daemon must not wait for the last one's connections to be forgotten.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    bind_socket(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// Bounds what a peer who does not read can hold.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    let millis = u32::try_from(limits::SEND_STALL_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(stream, millis)?;
    stream.set_nodelay(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_can_listen_on_one_port() {
        let six = bind("[::1]:0".parse().unwrap()).unwrap();
        let port = six.local_addr().unwrap().port();
        let any = SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(bind(any).unwrap().local_addr().unwrap(), any);
    }

    #[test]
    fn an_address_in_use_is_refused() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
