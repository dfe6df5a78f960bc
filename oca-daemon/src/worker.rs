//! A worker: one thread on one core, with its own ring, its own listeners and its own connections. It waits
//! for completions and applies each to the connection that it is about; only one thing happens at a time, and
//! nothing waits but the ring. What is quickly done comes first: pieces from the disk, which take a hundred times as long as a request
//! for what is in memory, take turns with what has come meanwhile. The files beside this one: `accepting`, `reading`, `messages`.

mod accepting;
mod messages;
mod reading;

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cache_store::CHUNK_BYTES;
use control_client::config::AtCapacity;
use slab::Slab;

use crate::acceptor::Acceptor;
use crate::access_log::LogSender;
use crate::connection::Connection;
use crate::limits::IDLE_WAIT;
use crate::listener::Listener;
use crate::mailbox::Letters;
use crate::reactor::Reactor;
use crate::ring::{Completion, RingError};
use crate::scheduling::settle_worker;
use crate::service::Service;
use crate::stats::monotonic_millis;
use crate::tier::SampleSender;
use crate::token::{ConnectionId, Token};

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
    /// Completions that bring long work, the first to come first: reads that are back, and room for what was read.
    bulk: VecDeque<Completion>,
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
    /// What it tells the RAM tier.
    pub samples: SampleSender,
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
        settle_worker(settings.service.worker);
        let WorkerSettings { read_buffer_bytes, volume_count, log, samples, .. } = settings;
        let reactor = Reactor::new(read_buffer_bytes, volume_count, log, samples)?;
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
            bulk: VecDeque::new(),
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
            if self.reactor.read_clock() {
                self.service.stats.heartbeat(monotonic_millis());
            }
            for completion in batch.drain(..) {
                self.note_room(&completion);
                if self.is_bulk(&completion) {
                    self.bulk.push_back(completion);
                } else {
                    self.apply(completion);
                }
            }
            self.answer();
            self.apply_bulk();
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

    /// Whether it brings hundreds of KiB to be verified or copied.
    fn is_bulk(&self, completion: &Completion) -> bool {
        match completion.token {
            Token::Read(_) => true,
            Token::Writable(id) => self.connection(id).is_some_and(Connection::sends_what_was_read),
            _ => false,
        }
    }

    /// A socket with room is no slow one's, however long its completion waits here.
    fn note_room(&mut self, completion: &Completion) {
        let now = self.reactor.now;
        if let Token::Writable(id) = completion.token
            && let Some(connection) = self.connection_mut(id)
        {
            connection.note_room(now);
        }
    }

    /// Sends the responses that were decided in this turn, then counts them: each step for all, because one that the kernel takes has
    /// driven ours out of the core's caches.
    fn answer(&mut self) {
        let mut decided = std::mem::take(&mut self.reactor.decided);
        for id in decided.drain(..) {
            self.with_connection(id, |connection, reactor, service| {
                connection.send_decided(reactor, service)
            });
        }
        self.reactor.decided = decided;
        let mut sent = std::mem::take(&mut self.reactor.sent);
        for id in sent.drain(..) {
            self.with_connection(id, |connection, reactor, service| connection.advance(reactor, service));
        }
        self.reactor.sent = sent;
    }

    /// Does one piece of long work, and more for as long as the short work of this turn took: so a request for what is in memory waits for
    /// one piece, where there are few of them, and half of the time is for the disk's, where they are many.
    fn apply_bulk(&mut self) {
        if self.bulk.is_empty() {
            return;
        }
        let began = Instant::now();
        let share = began.saturating_duration_since(self.reactor.now);
        while let Some(completion) = self.bulk.pop_front() {
            self.apply(completion);
            if began.elapsed() >= share {
                break;
            }
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
            Token::Peer(id) => {
                self.with_connection(id, |connection, reactor, service| {
                    connection.on_peer_event(&completion, reactor, service)
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

    fn connection(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections.get(id.slot as usize).filter(|connection| connection.id() == id)
    }

    fn connection_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut(id.slot as usize).filter(|connection| connection.id() == id)
    }

    fn next_wait(&self) -> Duration {
        if !self.bulk.is_empty() {
            return Duration::ZERO;
        }
        let mut wait = if self.connections.is_empty() {
            IDLE_WAIT
        } else {
            self.reactor.timers.until_next(self.reactor.now)
        };
        for acceptor in &self.acceptors {
            if let Some(resumes) = acceptor.resumes_at() {
                wait = wait.min(resumes.saturating_duration_since(self.reactor.now));
            }
            // Another worker's client may make the room.
            if acceptor.is_full() {
                wait = wait.min(FULL_WAIT);
            }
        }
        wait
    }
}

/// A listener that waits for room looks again after this long.
const FULL_WAIT: Duration = Duration::from_millis(20);
