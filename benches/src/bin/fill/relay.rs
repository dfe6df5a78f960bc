//! A relay of TCP connections before the origin. It notes when how many bytes went into the agent's sockets: so the rate cap is
//! measured outside of the agent, by what the network would see.
//!
//! Its send buffers are small, so that what it has handed over is in the agent's receive buffer but for a few KiB.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use demo::failure::{Failure, Step};
use rustix::net::sockopt::set_socket_send_buffer_size;

/// Asked of the kernel, which doubles it.
const SEND_BUFFER_BYTES: usize = 8 * 1024;

/// Bytes that are handed over at once.
const PIECE_BYTES: usize = 16 * 1024;

/// So many bytes had gone to the agent by then.
#[derive(Clone, Copy, Debug)]
struct Noted {
    at: Instant,
    bytes: u64,
}

/// It relays until the process ends.
pub(crate) struct Relay {
    address: SocketAddr,
    noted: Arc<Mutex<Vec<Noted>>>,
}

/// What went through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Through {
    /// All bytes.
    pub(crate) bytes: u64,
    /// From the first byte to the last.
    pub(crate) span: Duration,
    /// The most in any second.
    pub(crate) most_in_a_second: u64,
}

impl Relay {
    /// Listens on a port that the kernel chooses, and relays to `origin`.
    pub(crate) fn start(origin: SocketAddr) -> Result<Self, Failure> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).step("the relay")?;
        let address = listener.local_addr().step("the relay")?;
        let noted = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&noted);
        thread::spawn(move || {
            for agent in listener.incoming().flatten() {
                let notes = Arc::clone(&notes);
                // A connection that ends early is the agent's affair: it reports what it did not get.
                thread::spawn(move || relay(&agent, origin, &notes));
            }
        });
        Ok(Self { address, noted })
    }

    /// Its base URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What went through since the start, or since the last call.
    pub(crate) fn through(&self) -> Through {
        let mut noted = std::mem::take(&mut *lock(&self.noted));
        noted.sort_by_key(|note| note.at);
        sum(&noted)
    }
}

fn relay(agent: &TcpStream, origin: SocketAddr, noted: &Mutex<Vec<Noted>>) -> io::Result<()> {
    set_socket_send_buffer_size(agent, SEND_BUFFER_BYTES)?;
    agent.set_nodelay(true)?;
    let origin = TcpStream::connect(origin)?;
    origin.set_nodelay(true)?;
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = io::copy(&mut &*agent, &mut &origin);
            let _ = origin.shutdown(Shutdown::Write);
        });
        let handed = hand_over(&origin, agent, noted);
        let _ = agent.shutdown(Shutdown::Both);
        handed
    })
}

/// A write that has returned is noted with the moment of its return.
fn hand_over(mut origin: &TcpStream, mut agent: &TcpStream, noted: &Mutex<Vec<Noted>>) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let length = origin.read(&mut piece)?;
        if length == 0 {
            return Ok(());
        }
        let mut rest = &piece[..length];
        while !rest.is_empty() {
            let written = agent.write(rest)?;
            lock(noted).push(Noted { at: Instant::now(), bytes: written as u64 });
            rest = &rest[written..];
        }
    }
}

fn sum(noted: &[Noted]) -> Through {
    let bytes = noted.iter().map(|note| note.bytes).sum();
    let span = match (noted.first(), noted.last()) {
        (Some(first), Some(last)) => last.at - first.at,
        _ => Duration::ZERO,
    };
    let (mut oldest, mut inside, mut most) = (0, 0, 0);
    for note in noted {
        inside += note.bytes;
        while note.at - noted[oldest].at >= Duration::from_secs(1) {
            inside -= noted[oldest].bytes;
            oldest += 1;
        }
        most = most.max(inside);
    }
    Through { bytes, span, most_in_a_second: most }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
