//! Listening sockets: one per worker and address, sharing the address (`SO_REUSEPORT`), so that the kernel spreads
//! connections and workers share nothing. What is set here, connections inherit.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, ipproto, listen, socket_with, sockopt,
};

use crate::limits::ACCEPT_QUEUE;
use crate::socket_options::set_notsent_lowat;
use crate::stats::Transport;

/// A listening socket of one worker.
pub struct Listener {
    /// The socket; non-blocking.
    pub socket: OwnedFd,
    /// How its clients talk.
    pub kind: Transport,
}

/// What connections inherit from their listener.
#[derive(Clone, Copy, Debug)]
pub struct SocketSettings {
    /// `TCP_NOTSENT_LOWAT`, bytes: how much unsent data a socket holds before it counts as full.
    pub notsent_lowat_bytes: u32,
    /// `TCP_USER_TIMEOUT`: how long sent data may stay unacknowledged.
    pub user_timeout: Duration,
}

/// An address that could not be bound, with what to do about it.
#[derive(Debug)]
pub struct BindError {
    address: SocketAddr,
    error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let advice = match self.error.kind() {
            io::ErrorKind::AddrInUse => "another program listens there: `ss -ltnp` names it",
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need CAP_NET_BIND_SERVICE, which the shipped unit gives"
            }
            io::ErrorKind::AddrNotAvailable => "no interface of this machine has it: `ip addr` lists them",
            _ => "see serve.listen and serve.listen_tls",
        };
        write!(f, "cannot listen on {}: {}; {advice}", self.address, self.error)
    }
}

impl std::error::Error for BindError {}

/// Binds `address` once for each of `workers`. Port 0 becomes one free port for all; the answer names it.
pub fn bind_for_workers(
    address: SocketAddr,
    workers: usize,
    kind: Transport,
    settings: SocketSettings,
) -> Result<(SocketAddr, Vec<Listener>), BindError> {
    let bind_one = |address: SocketAddr| {
        open(address, settings)
            .map(|socket| Listener { socket, kind })
            .map_err(|error| BindError { address, error })
    };
    probe(address).map_err(|error| BindError { address, error })?;
    let first = bind_one(address)?;
    let bound = getsockname(&first.socket)
        .map_err(io::Error::from)
        .and_then(|name| SocketAddr::try_from(name).map_err(io::Error::from))
        .map_err(|error| BindError { address, error })?;
    let mut listeners = vec![first];
    for _ in 1..workers {
        listeners.push(bind_one(bound)?);
    }
    Ok((bound, listeners))
}

/// Tells whether another program listens there: with `SO_REUSEPORT` alone, a second daemon would silently get
/// half of the first one's clients.
fn probe(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    let socket = stream_socket(address)?;
    bind(&socket, &address)?;
    Ok(())
}

fn stream_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // Connections of the previous process linger in TIME_WAIT; they must not keep a restart from binding.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // Each family has its own listener, so that an address in the log is what the client used.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    Ok(socket)
}

fn open(address: SocketAddr, settings: SocketSettings) -> io::Result<OwnedFd> {
    let socket = stream_socket(address)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    // A response's last piece must not wait for the acknowledgement of the one before.
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_tcp_user_timeout(&socket, settings.user_timeout.as_millis().try_into().unwrap_or(u32::MAX))?;
    set_notsent_lowat(&socket, settings.notsent_lowat_bytes)?;
    bind(&socket, &address)?;
    listen(&socket, ACCEPT_QUEUE)?;
    Ok(socket)
}
