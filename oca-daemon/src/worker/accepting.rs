#![expect(unsafe_code, reason = "takes ownership of accepted descriptors")]
//! New connections: listeners are armed while there is room, and what they bring is taken in or sent away.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

use control_client::config::AtCapacity;
use rustix::net::getpeername;
use rustix::net::sockopt::set_socket_linger;

use super::Worker;
use crate::acceptor::pause_for;
use crate::connection::Connection;
use crate::ring::Completion;
use crate::stats::{AcceptPause, CloseCause, Transport as TransportKind, monotonic_millis};
use crate::token::ConnectionId;
use crate::transport::Transport;

impl Worker {
    pub(super) fn arm_acceptors(&mut self) {
        let now = self.reactor.now;
        for acceptor in &mut self.acceptors {
            if acceptor.is_full() && !self.service.connection_bound.is_reached() {
                acceptor.open();
            }
            acceptor.arm(now, &mut self.reactor.ring);
        }
        if self.is_held_up && !self.acceptors.iter().any(|acceptor| acceptor.is_held_up(now)) {
            self.is_held_up = false;
            self.service.stats.accept_resumed();
        }
    }

    pub(super) fn on_accepted(&mut self, index: u32, completion: &Completion) {
        if !completion.more {
            self.acceptors[index as usize].disarmed();
        }
        if completion.result >= 0 {
            // SAFETY: the kernel has just opened this descriptor for us, and nobody else knows it.
            let socket = unsafe { OwnedFd::from_raw_fd(completion.result) };
            self.admit(socket, self.acceptors[index as usize].kind());
        } else {
            let error = io::Error::from_raw_os_error(-completion.result);
            if let Some(cause) = pause_for(&error) {
                if cause == AcceptPause::SystemError {
                    tracing::warn!(worker = self.service.worker, %error, "accept failed; trying again shortly");
                }
                self.is_held_up = true;
                self.acceptors[index as usize].pause(self.reactor.now);
                self.service.stats.accept_paused(cause, monotonic_millis());
            }
        }
        while self.acceptors[index as usize].is_ready_to_drain() {
            let Some(socket) = self.acceptors[index as usize].drain() else { break };
            self.admit(socket, self.acceptors[index as usize].kind());
        }
    }

    /// Makes a connection of an accepted socket, or sends it away.
    pub(super) fn admit(&mut self, socket: OwnedFd, kind: TransportKind) {
        // A client that has gone already has no name; nothing is lost with it.
        let Some(peer) = getpeername(&socket).ok().flatten().and_then(|name| SocketAddr::try_from(name).ok())
        else {
            return;
        };
        let bound = &self.service.connection_bound;
        // Where clients are to wait, what has been accepted is served: the overshoot is one connection per listener.
        let is_full = self.service.at_capacity == AtCapacity::Refuse && bound.is_reached();
        if is_full && (kind == TransportKind::Tls || bound.is_exceeded()) {
            let _ = set_socket_linger(&socket, Some(Duration::ZERO));
            self.service.stats.accepted(kind);
            self.service.stats.closed(kind, CloseCause::Capacity);
            return;
        }
        let Some(transport) = self.transport(kind) else { return };
        self.generation = self.generation.wrapping_add(1);
        let entry = self.connections.vacant_entry();
        let id = ConnectionId { slot: entry.key() as u32, generation: self.generation };
        entry.insert(Connection::accept(id, socket, peer, transport, &mut self.reactor, &self.service));
        if is_full {
            self.with_connection(id, Connection::refuse_for_capacity);
        } else if self.stop_deadline.is_some() {
            self.with_connection(id, Connection::on_stop);
        }
        self.fill_acceptors();
    }

    fn transport(&self, kind: TransportKind) -> Option<Transport> {
        match kind {
            TransportKind::Cleartext => Some(Transport::Cleartext),
            TransportKind::Tls => {
                let settings = self.service.tls.clone()?;
                Transport::tls(settings, self.service.stats.sealed_bytes()).ok()
            }
        }
    }

    /// Where the operator chose to let clients wait rather than refuse them, stops accepting at the bound.
    fn fill_acceptors(&mut self) {
        if self.service.at_capacity != AtCapacity::Pause || !self.service.connection_bound.is_reached() {
            return;
        }
        for acceptor in &mut self.acceptors {
            if acceptor.fill(&mut self.reactor.ring) {
                self.is_held_up = true;
                self.service.stats.accept_paused(AcceptPause::Capacity, monotonic_millis());
            }
        }
    }
}
