//! A load generator of our own, for a rate, a fixed trace, or latencies that count from the moment when a request should have been sent,
//! so that an answer that holds up later requests is not forgotten (Tene, "How NOT to measure latency", 2013).
//!
//! One thread, which never waits but for its sockets and its clock. Bodies are counted and thrown away by the kernel (`MSG_TRUNC`), so that
//! reading costs little; what is in them is looked at apart.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use demo::failure::{Failure, Step};
use rustix::event::Timespec;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::answer_reader::{AnswerReader, Progress};

/// How much of one body is thrown away before others have their turn.
const TURN_BYTES: usize = 512 * 1024;

/// What is asked for, by whom, and when.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) targets: Vec<String>,
    /// What each is long.
    pub(crate) object_bytes: u64,
    /// Places in `targets`.
    pub(crate) order: Vec<u32>,
    pub(crate) pace: Pace,
}

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// As soon as a connection is free, until the order's end.
    Closed,
    /// So many a second, whether or not those before were answered, for so long; the order begins anew at its end. One that finds no
    /// connection free waits for it, and its latency counts that.
    Open { per_second: f64, lasting: Duration },
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// From when each request should have been sent until its answer was whole.
    pub(crate) latencies_micros: Vec<f64>,
    pub(crate) body_bytes: u64,
    pub(crate) took: Duration,
}

struct Connection {
    socket: TcpStream,
    /// The answer that is awaited, and since when.
    awaited: Option<(AnswerReader, Instant)>,
}

struct Running<'a> {
    load: &'a Load,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    free: Vec<usize>,
    began: Instant,
    /// Requests that were due, or sent where nothing is due.
    next: usize,
    waiting: VecDeque<Instant>,
    outcome: Outcome,
    buffer: Vec<u8>,
}

impl Load {
    /// Connects, asks, and waits for all answers. Anything but whole answers is a failure.
    pub(crate) fn run(&self) -> Result<Outcome, Failure> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).step("making an epoll")?;
        let mut connections = Vec::with_capacity(self.connections);
        for number in 0..self.connections {
            let socket = TcpStream::connect(self.address).step("connecting")?;
            socket.set_nodelay(true).step("a socket's options")?;
            socket.set_nonblocking(true).step("a socket's options")?;
            let data = epoll::EventData::new_u64(number as u64);
            epoll::add(&epoll, &socket, data, epoll::EventFlags::IN).step("watching a socket")?;
            connections.push(Connection { socket, awaited: None });
        }
        let free = (0..self.connections).rev().collect();
        let mut running = Running {
            load: self,
            epoll,
            connections,
            free,
            began: Instant::now(),
            next: 0,
            waiting: VecDeque::new(),
            outcome: Outcome::default(),
            buffer: vec![0; TURN_BYTES],
        };
        running.run()?;
        running.outcome.took = running.began.elapsed();
        Ok(running.outcome)
    }
}

impl Running<'_> {
    fn run(&mut self) -> Result<(), Failure> {
        let mut events = Vec::with_capacity(256);
        loop {
            let due = self.send_what_is_due()?;
            if due.is_none() && self.free.len() == self.connections.len() {
                return Ok(());
            }
            let wait = due.map(|due| timespec(due.saturating_duration_since(Instant::now())));
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), wait.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).step("waiting for answers"),
            }
            for event in &events {
                self.receive(event.data.u64() as usize)?;
            }
        }
    }

    /// Sends what is due where a connection is free. When the next one is due, if there is one and it does not wait for a
    /// connection: then an answer comes first.
    fn send_what_is_due(&mut self) -> Result<Option<Instant>, Failure> {
        match self.load.pace {
            Pace::Closed => {
                while self.next < self.load.order.len() && !self.free.is_empty() {
                    self.send(Instant::now())?;
                }
                Ok(None)
            }
            Pace::Open { per_second, lasting } => {
                let due = |number: usize| Duration::from_secs_f64(number as f64 / per_second);
                let now = self.began.elapsed();
                let mut number = self.next + self.waiting.len();
                while due(number) <= now && due(number) < lasting {
                    self.waiting.push_back(self.began + due(number));
                    number += 1;
                }
                while !self.free.is_empty() && !self.waiting.is_empty() {
                    let intended = self.waiting.pop_front().unwrap_or(self.began);
                    self.send(intended)?;
                }
                Ok((due(number) < lasting).then(|| self.began + due(number)))
            }
        }
    }

    fn send(&mut self, intended: Instant) -> Result<(), Failure> {
        let Some(number) = self.free.pop() else { return Ok(()) };
        let place = self.load.order[self.next % self.load.order.len()];
        self.next += 1;
        let target = &self.load.targets[place as usize];
        let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", self.load.address);
        let connection = &mut self.connections[number];
        let sent =
            rustix::net::send(&connection.socket, request.as_bytes(), rustix::net::SendFlags::NOSIGNAL)
                .step("sending a request")?;
        if sent != request.len() {
            return Err(Failure::new("a request did not fit into an empty socket"));
        }
        connection.awaited = Some((AnswerReader::new(self.load.object_bytes), intended));
        Ok(())
    }

    /// Takes what has come, up to a turn's worth.
    fn receive(&mut self, number: usize) -> Result<(), Failure> {
        let connection = &mut self.connections[number];
        let mut left = TURN_BYTES;
        while left > 0 {
            let Some((reader, intended)) = &mut connection.awaited else {
                return Err(Failure::new("the server closed a connection, or answered what nobody asked"));
            };
            let (flags, most) = match reader.wants() {
                Some(body_bytes) => (RecvFlags::TRUNC, left.min(usize::try_from(body_bytes).unwrap_or(left))),
                None => (RecvFlags::empty(), left.min(4096)),
            };
            let received = match recv(&connection.socket, &mut self.buffer[..most], flags) {
                Ok((_, 0)) => return Err(Failure::new("the server ended the connection in an answer")),
                Ok((_, received)) => received,
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error).step("receiving an answer"),
            };
            left -= received;
            if reader.take(&self.buffer[..received])? == Progress::Whole {
                self.outcome.latencies_micros.push(intended.elapsed().as_secs_f64() * 1e6);
                self.outcome.body_bytes += self.load.object_bytes;
                connection.awaited = None;
                self.free.push(number);
                return Ok(());
            }
        }
        Ok(())
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    /// Answers every request on every connection with four bytes, the first one late.
    fn server(lateness: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    let mut is_first = true;
                    let mut buffer = [0; 1024];
                    while stream.read(&mut buffer).unwrap() > 0 {
                        thread::sleep(if std::mem::take(&mut is_first) { lateness } else { Duration::ZERO });
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody").unwrap();
                    }
                });
            }
        });
        address
    }

    fn load(address: SocketAddr, connections: usize, pace: Pace) -> Load {
        let (targets, order) = (vec!["/a".to_owned(), "/b".to_owned()], vec![0, 1, 1, 0, 1]);
        Load { address, connections, targets, object_bytes: 4, order, pace }
    }

    #[test]
    fn a_trace_is_asked_for_once() {
        let outcome = load(server(Duration::ZERO), 2, Pace::Closed).run().unwrap();
        assert_eq!((outcome.latencies_micros.len(), outcome.body_bytes), (5, 20));
    }

    #[test]
    fn what_waits_behind_a_late_answer_counts_as_late() {
        let pace = Pace::Open { per_second: 100.0, lasting: Duration::from_millis(200) };
        let outcome = load(server(Duration::from_millis(150)), 1, pace).run().unwrap();
        assert_eq!(outcome.latencies_micros.len(), 20);
        let late = outcome.latencies_micros.iter().filter(|micros| **micros > 50_000.0).count();
        assert!(late >= 10, "{:?}", outcome.latencies_micros);
    }

    #[test]
    fn an_answer_of_another_length_is_a_failure() {
        let mut load = load(server(Duration::ZERO), 1, Pace::Closed);
        load.object_bytes = 5;
        assert!(load.run().is_err());
    }
}
