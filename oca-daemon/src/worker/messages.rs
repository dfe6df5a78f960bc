#![expect(unsafe_code, reason = "lends the ring the wake-up counter")]
//! What other threads tell the worker, and its end.

use std::time::Instant;

use super::Worker;
use crate::connection::Connection;
use crate::demand::WorkerDemand;
use crate::mailbox::Message;
use crate::reactor::Reactor;
use crate::service::Service;
use crate::token::{ConnectionId, Token};

impl Worker {
    pub(super) fn arm_wake(&mut self) {
        // SAFETY: the counter is boxed, and lives until the worker's loop has ended and the ring with it.
        unsafe {
            self.reactor.ring.read_event(self.letters.event(), &raw mut *self.wake_counter, Token::Wake)
        };
    }

    pub(super) fn on_wake(&mut self) {
        self.arm_wake();
        while let Some(message) = self.letters.next() {
            match message {
                Message::Opened { connection, ticket, result } => {
                    self.with_connection(connection, |connection, reactor, service| {
                        connection.on_opened(ticket, result, reactor, service);
                    });
                }
                Message::BlockSettled(key) => {
                    for id in self.reactor.block_waiters.take(key) {
                        self.with_connection(id, |connection, reactor, service| {
                            connection.on_block_settled(key, reactor, service);
                        });
                    }
                }
                Message::Pulled { connection, ticket } => {
                    self.with_connection(connection, |connection, reactor, service| {
                        connection.on_pulled(ticket, reactor, service);
                    });
                }
                Message::HandOverDemand { worker, next, answer } => {
                    let table = std::mem::replace(&mut self.reactor.demand, next);
                    // Nobody receives it only when the daemon ends.
                    let _ = answer.send(WorkerDemand { worker, table });
                }
                Message::Stop { deadline } => self.begin_stop(deadline),
            }
        }
    }

    /// Empties the accept queues, closes the listeners, and lets what is in flight finish.
    fn begin_stop(&mut self, deadline: Instant) {
        self.stop_deadline = Some(deadline);
        self.for_all(Connection::on_stop);
        for index in 0..self.acceptors.len() {
            self.acceptors[index].end(&mut self.reactor.ring);
            while self.acceptors[index].is_ready_to_drain() {
                let Some(socket) = self.acceptors[index].drain() else { break };
                self.admit(socket, self.acceptors[index].kind());
            }
        }
    }

    pub(super) fn check_stop(&mut self) {
        if self.stop_deadline.is_some_and(|deadline| self.reactor.now >= deadline) {
            self.for_all(Connection::on_stop_deadline);
        }
    }

    fn for_all(&mut self, event: impl Fn(&mut Connection, &mut Reactor, &Service)) {
        let ids: Vec<ConnectionId> = self.connections.iter().map(|(_, connection)| connection.id()).collect();
        for id in ids {
            self.with_connection(id, &event);
        }
    }

    pub(super) fn has_finished(&self) -> bool {
        self.stop_deadline.is_some()
            && self.connections.is_empty()
            && self.acceptors.iter().all(|acceptor| acceptor.has_ended())
    }
}
