//! TLS while many clients are served: certificates are replaced, and keys are changed in both directions. Every byte is compared.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use oca_daemon::tls::control::OUR_KEY_UPDATE;
use oca_daemon::tls::record::{ContentType, HEADER_BYTES, TAG_BYTES};
use rustix::process::{Signal, kill_process};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use support::tls::{OBJECT, Stream, client, connect, get, noise, start};
use support::{ask, eventually};

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Clients at once.
const CLIENTS: usize = 24;

/// How often each of them has keys changed before it asks, and while it is answered.
const ROUNDS: usize = 12;

/// The body of a record of TLS 1.3 that holds a key update, with its type and its tag. No part of an answer that is asked for here is sealed
/// in a record as short.
const KEY_UPDATE_BODY_BYTES: usize = OUR_KEY_UPDATE.len() + 1 + TAG_BYTES;

/// A client that trusts what it is told to, and always shakes hands in full.
fn forgetful(number: usize, trusted: &[CertificateDer<'static>]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    trusted.iter().for_each(|certificate| roots.add(certificate.clone()).unwrap());
    let version = if number.is_multiple_of(3) { &TLS12 } else { &TLS13 };
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(&[version]).unwrap().with_root_certificates(roots);
    let mut client = builder.with_no_client_auth();
    client.resumption = Resumption::disabled();
    Arc::new(client)
}

fn presented(stream: &Stream) -> CertificateDer<'static> {
    stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

/// What all clients trust, and which certificates they have met.
struct Seen {
    trusted: Vec<CertificateDer<'static>>,
    met: Mutex<BTreeSet<Vec<u8>>>,
    is_over: AtomicBool,
}

/// New connections one after the other, each with a few requests.
fn keep_connecting(number: usize, address: SocketAddr, object: &[u8], seen: &Seen) -> u64 {
    let mut answers = 0;
    while !seen.is_over.load(Ordering::Relaxed) {
        let mut stream = connect(&forgetful(number, &seen.trusted), address);
        for _ in 0..3 {
            assert!(get(&mut stream).body == object, "client {number} got wrong bytes");
            answers += 1;
        }
        seen.met.lock().unwrap().insert(presented(&stream).to_vec());
    }
    answers
}

#[test]
fn certificates_are_replaced_while_clients_come_and_are_served_and_none_of_them_notices() {
    let folder = tempfile::tempdir().unwrap();
    let object = Arc::new(noise(200_000));
    let (daemon, first) = start(folder.path(), &object, YEAR);
    let address = daemon.https();
    let mut early = connect(&forgetful(1, std::slice::from_ref(&first)), address);
    get(&mut early);
    let made = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let later: Vec<_> = (0..6).map(|_| made()).collect();
    let trusted = later.iter().map(|made| made.cert.der().clone()).chain([first.clone()]).collect();
    let seen = Arc::new(Seen { trusted, met: Mutex::default(), is_over: AtomicBool::new(false) });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (object, seen) = (Arc::clone(&object), Arc::clone(&seen));
            thread::spawn(move || keep_connecting(number, address, &object, &seen))
        })
        .collect();

    let is_met = |certificate: &CertificateDer<'_>| seen.met.lock().unwrap().contains(certificate.as_ref());
    eventually("a client meets the first certificate", || is_met(&first));
    for new in &later {
        // A reload in between finds a key that is not the chain's, and changes nothing.
        fs::write(folder.path().join("chain.pem"), new.cert.pem()).unwrap();
        kill_process(daemon.pid(), Signal::HUP).unwrap();
        thread::sleep(Duration::from_millis(20));
        fs::write(folder.path().join("key.pem"), new.signing_key.serialize_pem()).unwrap();
        kill_process(daemon.pid(), Signal::HUP).unwrap();
        eventually("a client meets the new certificate", || is_met(new.cert.der()));
    }
    seen.is_over.store(true, Ordering::Relaxed);
    let answers: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert!(answers >= 3 * CLIENTS as u64);

    // What was open all the time still is.
    assert!(get(&mut early).body == *object);
    assert_eq!(presented(&early), first);
    assert_eq!(daemon.metric("oca_connections_closed_total", "peer_reset"), 0);
}

/// A client's socket, which counts the key updates that come: the client follows them without a word.
struct Watched {
    socket: TcpStream,
    /// What has come of a record's header.
    header: Vec<u8>,
    /// What is still to come of its body.
    body_bytes_left: usize,
    key_updates: usize,
}

impl Watched {
    fn over(socket: TcpStream) -> Self {
        Self { socket, header: Vec::new(), body_bytes_left: 0, key_updates: 0 }
    }

    fn note(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.body_bytes_left > 0 {
                let passed_bytes = self.body_bytes_left.min(bytes.len());
                self.body_bytes_left -= passed_bytes;
                bytes = &bytes[passed_bytes..];
                continue;
            }
            self.header.push(*first);
            bytes = rest;
            if self.header.len() == HEADER_BYTES {
                self.body_bytes_left = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
                let is_sealed = self.header[0] == ContentType::ApplicationData as u8;
                if is_sealed && self.body_bytes_left == KEY_UPDATE_BODY_BYTES {
                    self.key_updates += 1;
                }
                self.header.clear();
            }
        }
    }
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.socket.read(buffer)?;
        self.note(&buffer[..length]);
        Ok(length)
    }
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

type WatchedStream = StreamOwned<ClientConnection, Watched>;

/// If the daemon ignored that its key is to be changed, every byte would be right, too: its changes are counted.
#[test]
fn keys_are_changed_in_both_directions_while_many_clients_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let object = Arc::new(noise(3_000_000));
    let (daemon, certificate) = start(folder.path(), &object, YEAR);
    let address = daemon.https();
    get(&mut connect(&client(&TLS13, &certificate), address));
    let settings = client(&TLS13, &certificate);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (object, settings) = (Arc::clone(&object), Arc::clone(&settings));
            thread::spawn(move || {
                let connection = ClientConnection::new(settings, "localhost".try_into().unwrap()).unwrap();
                let socket = Watched::over(TcpStream::connect(address).unwrap());
                let mut stream = StreamOwned::new(connection, socket);
                stream.conn.complete_io(&mut stream.sock).unwrap();
                let little = ask(&mut stream, "GET", OBJECT, "Range: bytes=0-999\r\n").unwrap();
                assert_eq!((little.status, stream.sock.key_updates), (206, 0), "nobody has asked for one");
                (0..ROUNDS).for_each(|round| change_keys_and_ask(number, round, &mut stream, &object));
                stream.sock.key_updates
            })
        })
        .collect();
    let updates: Vec<usize> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    println!("changes of the daemon's key that each client saw: {updates:?}");
    // One before the first answer of a round; before the second at least one for those that were asked for in between.
    assert!(updates.iter().all(|updates| *updates >= 2 * ROUNDS), "{updates:?}");
    assert_eq!(daemon.metric("oca_connections_closed_total", "peer_reset"), 0);
    assert_eq!(daemon.metric("oca_requests_total", "aborted_tls"), 0);
}

/// A change of keys before a request, several while its answer is on the way, and one between two requests that come together: each asks
/// for the daemon's key to be changed too.
fn change_keys_and_ask(number: usize, round: usize, stream: &mut WatchedStream, object: &[u8]) {
    let start = number * 41_003 + round * 11_111;
    let end = (start + 700_000).min(object.len());
    let ask = |start: usize, end: usize| {
        format!("GET {OBJECT} HTTP/1.1\r\nHost: test\r\nRange: bytes={start}-{}\r\n\r\n", end - 1)
    };
    stream.conn.refresh_traffic_keys().unwrap();
    stream.write_all(ask(start, end).as_bytes()).unwrap();
    let mut answer = Vec::new();
    let half = (end - start) / 2;
    read_until(stream, &mut answer, half);
    for _ in 0..=round % 3 {
        stream.conn.refresh_traffic_keys().unwrap();
        stream.flush().unwrap();
    }
    // The next request follows the changes, before this answer has ended.
    stream.write_all(ask(0, 1000).as_bytes()).unwrap();
    let head_bytes = head_bytes(&answer);
    let whole_bytes = head_bytes + (end - start);
    read_until(stream, &mut answer, whole_bytes);
    assert!(answer[head_bytes..whole_bytes] == object[start..end], "client {number} got wrong bytes");
    let mut next = answer.split_off(whole_bytes);
    read_until(stream, &mut next, 1000);
    let head_bytes = self::head_bytes(&next);
    read_until(stream, &mut next, head_bytes + 1000);
    assert!(next[head_bytes..] == object[..1000], "client {number} got wrong bytes of the second answer");
}

fn read_until(stream: &mut WatchedStream, answer: &mut Vec<u8>, wanted_bytes: usize) {
    let mut chunk = vec![0; 65_536];
    while answer.len() < wanted_bytes {
        let length = stream.read(&mut chunk).unwrap();
        assert!(length > 0, "the connection ended within an answer");
        answer.extend_from_slice(&chunk[..length]);
    }
}

fn head_bytes(answer: &[u8]) -> usize {
    answer.windows(4).position(|window| window == b"\r\n\r\n").expect("the head is here") + 4
}

/// Clients that take a little of a large answer and then nothing.
#[test]
fn what_is_sealed_for_clients_that_stop_reading_is_counted_and_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let object = noise(8_000_000);
    let (daemon, certificate) = start(folder.path(), &object, YEAR);
    let settings = client(&TLS13, &certificate);
    get(&mut connect(&settings, daemon.https()));
    eventually("nothing waits", || daemon.metric("oca_tls_sealed_bytes", "") == 0);
    let stopped: Vec<Stream> = (0..60)
        .map(|_| {
            let mut stream = connect(&settings, daemon.https());
            stream.write_all(format!("GET {OBJECT} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).unwrap();
            stream.read_exact(&mut [0; 100]).unwrap();
            stream
        })
        .collect();
    eventually("all are being answered", || daemon.metric("oca_requests_in_flight", "") == 60);
    // Where the kernel seals there is nothing to leave.
    if daemon.metric("oca_tls_connections_total", "user") > 0 {
        eventually("sockets leave something", || daemon.metric("oca_tls_sealed_bytes", "") > 0);
    }
    // What a worker seals at a time is the most that a socket can leave.
    let most = 60 * oca_daemon::limits::SEAL_BUFFER_BYTES as u64;
    for _ in 0..20 {
        assert!(daemon.metric("oca_tls_sealed_bytes", "") <= most);
        thread::sleep(Duration::from_millis(20));
    }
    drop(stopped);
    eventually("nothing waits", || daemon.metric("oca_tls_sealed_bytes", "") == 0);
}
