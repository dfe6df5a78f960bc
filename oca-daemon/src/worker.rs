#![expect(
    unsafe_code,
    reason = "takes ownership of accepted descriptors, and lends the ring the wake-up counter"
)]
//! A worker: one thread on one core, with its own ring, its own listeners and its own connections. It waits
//! for completions and applies each to the connection that it is about; only one thing happens at a time, and
//! nothing waits but the ring.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cache_store::CHUNK_BYTES;
use control_client::config::AtCapacity;
use rustix::net::getpeername;
use rustix::net::sockopt::set_socket_linger;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustls::ServerConnection;
use slab::Slab;

use crate::acceptor::{Acceptor, pause_for};
use crate::access_log::LogSender;
use crate::connection::Connection;
use crate::demand::WorkerDemand;
use crate::disk_reads::{FinishedRead, ReadError};
use crate::limits::{IDLE_WAIT, REFUSALS_PART, SURRENDER_AFTER, TIMER_TICK};
use crate::listener::Listener;
use crate::mailbox::{Letters, Message};
use crate::reactor::Reactor;
use crate::read_queue::Place;
use crate::ring::{Completion, RingError};
use crate::service::Service;
use crate::stats::{AcceptPause, CloseCause, ReadEnd, Transport as TransportKind, monotonic_millis};
use crate::token::{ConnectionId, Token};
use crate::transport::Transport;

/// One worker, on its own thread.
struct Worker {
    reactor: Reactor,
    service: Service,
    letters: Letters,
    /// Where the ring puts the eventfd's counter.
    wake_counter: Box<u64>,
    acceptors: Vec<Acceptor>,
    connections: Slab<Connection>,
    generation: u32,
    /// Accepting is paused, and the counters say so.
    is_held_up: bool,
    stop_deadline: Option<Instant>,
    surrendered_at: Instant,
}

/// What a worker needs to start.
pub struct WorkerSettings {
    /// What it answers with.
    pub service: Service,
    /// Where its messages arrive.
    pub letters: Letters,
    /// Where it accepts.
    pub listeners: Vec<Listener>,
    /// Bytes for disk reads.
    pub read_buffer_bytes: u64,
    /// How many volumes the store has.
    pub volume_count: usize,
    /// Its end of the access log.
    pub log: LogSender,
}

/// Starts a worker's thread, pinned to the `service.worker`-th core that the process may use, and returns
/// when its ring is ready.
pub fn spawn(settings: WorkerSettings) -> Result<JoinHandle<()>, RingError> {
    let (ready, is_ready) = mpsc::sync_channel(1);
    let name = format!("worker-{}", settings.service.worker);
    let handle = thread::Builder::new()
        .name(name)
        .spawn(move || match Worker::new(settings) {
            Ok(worker) => {
                let _ = ready.send(Ok(()));
                worker.run();
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        })
        .map_err(RingError::Refused)?;
    match is_ready.recv() {
        Ok(result) => result.map(|()| handle),
        Err(_) => Err(RingError::Refused(io::Error::other("the worker ended before its ring was ready"))),
    }
}

impl Worker {
    fn new(settings: WorkerSettings) -> Result<Self, RingError> {
        pin(settings.service.worker);
        let reactor = Reactor::new(settings.read_buffer_bytes, settings.volume_count, settings.log)?;
        settings.service.stats.buffers_total(reactor.reads.buffers.count() as u64 * CHUNK_BYTES);
        let one_by_one = settings.service.at_capacity == AtCapacity::Pause;
        let acceptors = settings
            .listeners
            .into_iter()
            .zip(0..)
            .map(|(listener, index)| Acceptor::new(listener, index, one_by_one))
            .collect();
        Ok(Self {
            surrendered_at: reactor.now,
            reactor,
            service: settings.service,
            letters: settings.letters,
            wake_counter: Box::new(0),
            acceptors,
            connections: Slab::new(),
            generation: 0,
            is_held_up: false,
            stop_deadline: None,
        })
    }

    fn run(mut self) {
        let mut batch = Vec::new();
        let mut due = Vec::new();
        self.arm_wake();
        while !self.has_finished() {
            self.arm_acceptors();
            if let Err(error) = self.reactor.ring.wait(self.next_wait(), &mut batch) {
                // The ring itself is broken: nothing can be served with it. Health sees the heartbeat stop,
                // and systemd restarts us.
                tracing::error!(worker = self.service.worker, %error, "io_uring_enter failed; the worker ends");
                std::process::abort();
            }
            self.reactor.read_clock();
            self.service.stats.heartbeat(monotonic_millis());
            for completion in batch.drain(..) {
                self.apply(completion);
            }
            self.reactor.timers.turn(self.reactor.now, &mut due);
            for (id, tick) in due.drain(..) {
                self.with_connection(id, |connection, reactor, service| {
                    connection.on_timer(tick, reactor, service)
                });
            }
            self.serve_lines();
            self.check_stop();
            let buffers = &self.reactor.reads.buffers;
            let in_use = buffers.count() - buffers.free_count();
            self.service.stats.buffers_in_use(in_use as u64 * CHUNK_BYTES);
        }
        // A disk that hangs may still write to the read buffers: they must stay where they are until the
        // process ends.
        if self.reactor.reads.has_reads_in_flight() {
            std::mem::forget((self.reactor, self.wake_counter));
        }
    }

    fn apply(&mut self, completion: Completion) {
        match completion.token {
            Token::Accept(index) => self.on_accepted(index, &completion),
            Token::Wake => self.on_wake(),
            Token::Receive(id) => {
                self.with_connection(id, |connection, reactor, service| {
                    connection.on_received(&completion, reactor, service);
                });
                if let Some(buffer) = completion.buffer {
                    self.reactor.ring.give_back(buffer);
                }
            }
            Token::Writable(id) => {
                self.with_connection(id, |connection, reactor, service| {
                    connection.on_writable(reactor, service)
                });
            }
            Token::Read(slot) => self.on_read(slot, completion.result),
            Token::Cancel => {}
        }
    }

    /// Lets something happen to a connection, then sees whether it is over. False when there is no such
    /// connection any more.
    fn with_connection(
        &mut self,
        id: ConnectionId,
        event: impl FnOnce(&mut Connection, &mut Reactor, &Service),
    ) -> bool {
        let Some(connection) =
            self.connections.get_mut(id.slot as usize).filter(|connection| connection.id() == id)
        else {
            return false;
        };
        event(connection, &mut self.reactor, &self.service);
        if let Some(cause) = connection.is_gone(&mut self.reactor) {
            self.service.stats.closed(connection.kind(), cause);
            self.connections.remove(id.slot as usize);
        }
        true
    }

    // ---- accepting ----

    fn arm_acceptors(&mut self) {
        let (now, has_room) = (self.reactor.now, self.connections.len() < self.service.connections_max);
        for acceptor in &mut self.acceptors {
            if has_room {
                acceptor.open();
            }
            acceptor.arm(now, &mut self.reactor.ring);
        }
        if self.is_held_up && !self.acceptors.iter().any(|acceptor| acceptor.is_held_up(now)) {
            self.is_held_up = false;
            self.service.stats.accept_resumed();
        }
    }

    fn on_accepted(&mut self, index: u32, completion: &Completion) {
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
    fn admit(&mut self, socket: OwnedFd, kind: TransportKind) {
        // A client that has gone already has no name; nothing is lost with it.
        let Some(peer) = getpeername(&socket).ok().flatten().and_then(|name| SocketAddr::try_from(name).ok())
        else {
            return;
        };
        let count = self.connections.len();
        // Where clients are to wait, what has been accepted is served: the overshoot is one connection per listener.
        let is_full = count >= self.service.connections_max && self.service.at_capacity == AtCapacity::Refuse;
        let refusals_max = self.service.connections_max / REFUSALS_PART + 1;
        if is_full && (kind == TransportKind::Tls || count >= self.service.connections_max + refusals_max) {
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
                ServerConnection::new(settings).ok().map(Transport::tls)
            }
        }
    }

    /// Where the operator chose to let clients wait rather than refuse them, stops accepting at the bound.
    fn fill_acceptors(&mut self) {
        let is_full = self.connections.len() >= self.service.connections_max;
        if !is_full || self.service.at_capacity != AtCapacity::Pause {
            return;
        }
        for acceptor in &mut self.acceptors {
            if acceptor.fill(&mut self.reactor.ring) {
                self.is_held_up = true;
                self.service.stats.accept_paused(AcceptPause::Capacity, monotonic_millis());
            }
        }
    }

    // ---- reads ----

    fn on_read(&mut self, slot: u32, result: i32) {
        let Some(read) = self.reactor.reads.finish(slot, result, &mut self.reactor.ring) else { return };
        self.count_read(&read);
        if let Err(error) = &read.outcome {
            let bundle = read.bundle.bundle();
            tracing::warn!(path = bundle.key().path.as_str(), %error, "a read brought no bytes that may be served");
            match error {
                ReadError::Failed(error) => self.service.store.report_read_error(bundle, error),
                ReadError::Truncated => {
                    self.service.store.report_corrupt(bundle, cache_store::QuarantineReason::Truncated)
                }
                ReadError::Corrupt(_) => {
                    self.service.store.report_corrupt(bundle, cache_store::QuarantineReason::Data)
                }
            }
        }
        let reader = read.reader;
        let mut read = Some(read);
        self.with_connection(reader, |connection, reactor, service| {
            if let Some(read) = read.take() {
                connection.on_read(read, reactor, service);
            }
        });
        if let Some(FinishedRead { outcome: Ok(buffers), .. }) = read {
            self.reactor.reads.take_back(buffers);
        }
    }

    fn count_read(&self, read: &FinishedRead) {
        let (end, bytes) = match &read.outcome {
            Ok(_) => (ReadEnd::Complete, read.length_bytes),
            Err(ReadError::Failed(_)) => (ReadEnd::Failed, 0),
            Err(ReadError::Truncated) => (ReadEnd::Truncated, 0),
            Err(ReadError::Corrupt(_)) => (ReadEnd::Corrupt, 0),
        };
        let duration = self.reactor.now.saturating_duration_since(read.began);
        self.service.stats.read_ended(read.bundle.bundle().volume().0, end, bytes, duration);
    }

    /// Gives free buffers to those who wait for them, one in each volume's line at a time.
    fn serve_lines(&mut self) {
        self.reclaim_buffers();
        loop {
            let mut has_called = false;
            for volume in self.reactor.reads.volumes() {
                if let Some(id) = self.reactor.reads.call(volume) {
                    has_called = true;
                    self.with_connection(id, |connection, reactor, service| {
                        connection.on_turn(volume, reactor, service)
                    });
                }
            }
            if !has_called {
                break;
            }
        }
        let connections = &self.connections;
        self.reactor.reads.tidy(connections.len(), |id| {
            let connection = connections.get(id.slot as usize).filter(|connection| connection.id() == id);
            connection.map_or(Place::None, Connection::place)
        });
    }

    /// Where others wait, takes buffers from clients that have taken nothing for a while; at most once a
    /// tick, since it looks at every connection.
    fn reclaim_buffers(&mut self) {
        let is_due = self.reactor.now >= self.surrendered_at + TIMER_TICK;
        if is_due && self.reactor.reads.is_short_of_buffers() {
            self.surrendered_at = self.reactor.now;
            for (_, connection) in &mut self.connections {
                connection.surrender_buffers(SURRENDER_AFTER, &mut self.reactor);
            }
        }
    }

    // ---- messages, and the end ----

    fn arm_wake(&mut self) {
        // SAFETY: the counter is boxed, and lives until the worker's loop has ended and the ring with it.
        unsafe {
            self.reactor.ring.read_event(self.letters.event(), &raw mut *self.wake_counter, Token::Wake)
        };
    }

    fn on_wake(&mut self) {
        self.arm_wake();
        while let Some(message) = self.letters.next() {
            match message {
                Message::Opened { connection, ticket, result } => {
                    self.with_connection(connection, |connection, reactor, service| {
                        connection.on_opened(ticket, result, reactor, service);
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

    fn check_stop(&mut self) {
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

    fn has_finished(&self) -> bool {
        self.stop_deadline.is_some()
            && self.connections.is_empty()
            && self.acceptors.iter().all(|acceptor| acceptor.has_ended())
    }

    fn next_wait(&self) -> Duration {
        let mut wait = if self.connections.is_empty() {
            IDLE_WAIT
        } else {
            self.reactor.timers.until_next(self.reactor.now)
        };
        for acceptor in &self.acceptors {
            if let Some(resumes) = acceptor.resumes_at() {
                wait = wait.min(resumes.saturating_duration_since(self.reactor.now));
            }
        }
        wait
    }
}

/// Binds the thread to one core, so that its connections' memory stays in that core's caches. Where there are
/// more workers than cores, or the kernel refuses, the scheduler decides.
fn pin(worker: u16) {
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
    if let Some(&core) = cores.get(usize::from(worker)) {
        let mut only = CpuSet::new();
        only.set(core);
        let _ = sched_setaffinity(None, &only);
    }
}
