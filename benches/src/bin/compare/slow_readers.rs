//! Clients that take what they are sent at a rate of their own: the bit rate of a film, over a socket with a small receive buffer, so that the
//! server's socket is full most of the time.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use demo::failure::{Failure, Step};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, connect, recv, send, socket, sockopt};

use super::answer_reader::{AnswerReader, Progress};
use super::corpus::ObjectSet;

/// What a socket holds that is not read yet; the kernel doubles it.
const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;

/// Turns in a second; in each of them one connection of so many has its own.
const TURNS_PER_SECOND: u32 = 1000;
const TURNS_BETWEEN: usize = 50;

/// All of them.
pub(crate) struct SlowReaders<'a> {
    address: SocketAddr,
    objects: &'a ObjectSet,
    bytes_per_turn: u64,
    readers: Vec<SlowReader>,
    buffer: Vec<u8>,
}

struct SlowReader {
    socket: TcpStream,
    /// What it has asked for so far; which is also the next object.
    asked: usize,
    awaited: AnswerReader,
    /// What it may take now: what it could not take, because it was not there, is not made up for beyond a turn.
    allowed_bytes: u64,
}

impl<'a> SlowReaders<'a> {
    /// Connects them, and has each ask.
    pub(crate) fn connect(
        address: SocketAddr,
        objects: &'a ObjectSet,
        count: usize,
        bits_per_second: u64,
    ) -> Result<Self, Failure> {
        let bytes_per_turn = bits_per_second / 8 * TURNS_BETWEEN as u64 / u64::from(TURNS_PER_SECOND);
        let mut readers = Vec::with_capacity(count);
        for number in 0..count {
            let socket = narrow_socket(address).step("connecting")?;
            let mut reader =
                SlowReader { socket, asked: number, awaited: AnswerReader::new(0), allowed_bytes: 0 };
            reader.ask(address, objects)?;
            readers.push(reader);
        }
        let buffer = vec![0; usize::try_from(bytes_per_turn * 2).unwrap_or(usize::MAX).max(4096)];
        Ok(Self { address, objects, bytes_per_turn, readers, buffer })
    }

    /// Reads for so long; how many bytes that were.
    pub(crate) fn read(&mut self, lasting: Duration) -> Result<u64, Failure> {
        let began = Instant::now();
        let mut taken = 0;
        for turn in 0.. {
            let due = Duration::from_secs(1) * turn / TURNS_PER_SECOND;
            if due >= lasting {
                break;
            }
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            for number in (turn as usize % TURNS_BETWEEN..self.readers.len()).step_by(TURNS_BETWEEN) {
                taken += self.turn_of(number)?;
            }
        }
        Ok(taken)
    }

    fn turn_of(&mut self, number: usize) -> Result<u64, Failure> {
        let reader = &mut self.readers[number];
        reader.allowed_bytes = (reader.allowed_bytes + self.bytes_per_turn).min(self.bytes_per_turn * 2);
        let mut taken = 0;
        while reader.allowed_bytes > 0 {
            let most = reader.allowed_bytes.min(self.buffer.len() as u64) as usize;
            let (flags, most) = match reader.awaited.wants() {
                Some(body_bytes) => (RecvFlags::TRUNC, most.min(usize::try_from(body_bytes).unwrap_or(most))),
                None => (RecvFlags::empty(), most.min(4096)),
            };
            let received = match recv(&reader.socket, &mut self.buffer[..most], flags) {
                Ok((_, 0)) => return Err(Failure::new("the server ended a slow client's connection")),
                Ok((_, received)) => received,
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error).step("receiving slowly"),
            };
            reader.allowed_bytes -= received as u64;
            taken += received as u64;
            if reader.awaited.take(&self.buffer[..received])? == Progress::Whole {
                reader.ask(self.address, self.objects)?;
            }
        }
        Ok(taken)
    }
}

impl SlowReader {
    fn ask(&mut self, address: SocketAddr, objects: &ObjectSet) -> Result<(), Failure> {
        let target = &objects.targets[self.asked % objects.targets.len()];
        self.asked += 1;
        self.awaited = AnswerReader::new(objects.object_bytes);
        let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        let sent = send(&self.socket, request.as_bytes(), SendFlags::NOSIGNAL).step("asking slowly")?;
        if sent == request.len() { Ok(()) } else { Err(Failure::new("a request did not fit into a socket")) }
    }
}

/// The buffer must be small before the connection is made, or the window is not.
fn narrow_socket(address: SocketAddr) -> std::io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, None)?;
    sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER_BYTES)?;
    connect(&socket, &address)?;
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(true)?;
    Ok(stream)
}
