//! Clients of one worker that take what is in memory as fast as they can: in cleartext and over TLS they have their turns alike, however
//! long one of them keeps its socket from being full.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support {
    pub(crate) mod http;
    pub(crate) mod site;
    pub(crate) mod tls;
}

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use demo::certificate;
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, RecvFlags, SocketType, connect, recv, socket};

use support::http::TIMEOUT;
use support::site::{Daemon, Sample, Site, eventually};
use support::tls;

const MIB: usize = 1 << 20;

/// All of it is in memory, also where no more than 8 MiB may be locked.
const OBJECT_BYTES: usize = 4 * MIB;

/// What one request is for: long enough that those which come to the worker at once are for more than any client takes.
const ASKED_BYTES: usize = MIB;

/// Clients at once.
const TAKERS: usize = 24;

/// All are looked at when the first of them has so much: sixteen turns.
const TAKEN_BYTES: usize = 32 * MIB;

/// Nobody may have less than this part of it then. With turns the least are above a half, on a busy machine, too; without, the first one
/// has all of it before another one has anything, where the clients keep up.
const LEAST_PART: usize = 3;

/// What a client's kernel holds for it, or as much of that as it lets anybody ask for. The kernel would choose it for each connection by
/// itself, and for some more than for others.
const HELD_BYTES: usize = MIB;

/// More than a socket holds.
const ROOM_BYTES: usize = 16 * MIB;

/// How long a round may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A connection, and what asks over it for all that its client may take.
type Asking = (TcpStream, Vec<u8>);

/// How a client connects.
type Connect = fn(&Daemon<'_>) -> Asking;

/// And in how many rounds. Whether a client keeps its socket from being full is decided anew in each: nearly always where its bytes have to
/// be sealed, and else in one of a few.
const WAYS: [(&str, Connect, usize); 2] = [("in cleartext", in_cleartext, 8), ("over TLS", over_tls, 3)];

/// A client that throws away what it gets. Nothing is copied: it is faster than who sends to it.
struct Taker {
    socket: TcpStream,
    taken_bytes: usize,
}

impl Taker {
    /// Takes what has come.
    fn take(&mut self, room: &mut [u8]) {
        match recv(&self.socket, room, RecvFlags::TRUNC | RecvFlags::DONTWAIT) {
            Ok((_, 0)) => panic!("the daemon has closed the connection"),
            Ok((_, taken_bytes)) => self.taken_bytes += taken_bytes,
            Err(Errno::AGAIN) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn connected(address: SocketAddr) -> TcpStream {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, None).unwrap();
    set_socket_recv_buffer_size(&socket, HELD_BYTES).unwrap();
    connect(&socket, &address).unwrap();
    TcpStream::from(socket)
}

/// For twice as much as anybody takes.
fn requests() -> Vec<u8> {
    let last = ASKED_BYTES - 1;
    let one = format!("GET /title/0 HTTP/1.1\r\nHost: test\r\nRange: bytes=0-{last}\r\n\r\n");
    one.repeat(2 * TAKEN_BYTES / ASKED_BYTES).into_bytes()
}

fn in_cleartext(daemon: &Daemon<'_>) -> Asking {
    (connected(daemon.http()), requests())
}

fn over_tls(daemon: &Daemon<'_>) -> Asking {
    let (stream, _) = tls::connect(connected(daemon.https()), "localhost", TIMEOUT).unwrap();
    let (mut connection, socket) = stream.into_parts();
    connection.writer().write_all(&requests()).unwrap();
    let mut sealed = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut sealed).unwrap();
    }
    (socket, sealed)
}

/// What the least and the most of all have when the most is enough.
fn take_together(asking: Vec<Asking>) -> (usize, usize) {
    let begin = |(mut socket, requests): Asking| {
        socket.write_all(&requests).unwrap();
        Taker { socket, taken_bytes: 0 }
    };
    let mut takers: Vec<Taker> = asking.into_iter().map(begin).collect();
    let (mut room, deadline) = (vec![0; ROOM_BYTES], Instant::now() + PATIENCE);
    loop {
        takers.iter_mut().for_each(|taker| taker.take(&mut room));
        let taken = || takers.iter().map(|taker| taker.taken_bytes);
        let (least, most) = (taken().min().unwrap(), taken().max().unwrap());
        if most >= TAKEN_BYTES {
            return (least, most);
        }
        assert!(Instant::now() < deadline, "between {least} and {most} bytes were taken in {PATIENCE:?}");
    }
}

#[test]
fn clients_that_take_as_fast_as_they_can_what_is_in_memory_have_their_turns_alike() {
    let mut site = Site::new(1);
    let sample = Sample::new("/title", 1, 1, OBJECT_BYTES);
    sample.publish(site.volume(0));
    let files = certificate::make(site.folder.path(), "a", &["localhost"]).unwrap();
    site.premises.add_certificate(&files);
    site.premises.set("serve", "workers = 1");
    // A socket is full when TCP says so, and not before: nothing else ends a turn than its bound.
    site.premises.set("serve", "notsent_lowat = \"64 MiB\"");
    let daemon = site.start();
    let expected = sample.bytes("0");
    eventually("the object is in memory", || {
        daemon.get("/title/0").is_ok_and(|answer| answer.body == expected)
            && site.metric("oca_ram_tier_bytes", &["\"resident\""]) >= OBJECT_BYTES as f64
    });
    let read = site.metric("oca_volume_read_bytes_total", &[]);

    for (how, connect, rounds) in WAYS {
        for _ in 0..rounds {
            let (least, most) = take_together((0..TAKERS).map(|_| connect(&daemon)).collect());
            println!("{how}: when the first has {most} bytes, nobody has less than {least}");
            assert!(least * LEAST_PART >= most, "{how}: {least} and {most} bytes");
        }
    }
    assert_eq!(site.metric("oca_volume_read_bytes_total", &[]), read, "something was read from the disk");
}
