//! What a worker asks the allocator for where it opens requests and seals answers: nothing, but for what a socket leaves.
//!
//! A program of its own, because what allocates is one for a whole program: it counts what each thread asks of it. What aws-lc takes of
//! C's own allocator it does not see.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]
#![expect(unsafe_code, reason = "there is no safe way to be the allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;

use oca_daemon::limits::{INBOX_BYTES_MAX, SEAL_BUFFER_BYTES};
use oca_daemon::tls::{RECORD_BYTES_MAX, Session};
use oca_daemon::transport::{Sent, Transport};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion};

struct CountingAllocator;

thread_local! {
    // Without destructor and lazy beginning, so that the allocator may touch it.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: all of it is the system's, beside a number of the thread's own.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises; it came from there.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_bytes: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promises; it came from there.
        unsafe { System.realloc(pointer, layout, new_bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// How often this thread allocates while it does something.
fn allocations(mut of: impl FnMut()) -> u64 {
    let before = ALLOCATIONS.get();
    of();
    ALLOCATIONS.get() - before
}

/// What both ends need to shake hands in that version.
fn settings(version: &'static SupportedProtocolVersion) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(default_provider());
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    server.enable_secret_extraction = true;
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

/// What the client has to send.
fn said(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// What the client reads of these bytes.
fn understood(client: &mut ClientConnection, mut bytes: &[u8]) -> Vec<u8> {
    let mut plaintext = Vec::new();
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).unwrap();
        let state = client.process_new_packets().unwrap();
        let start = plaintext.len();
        plaintext.resize(start + state.plaintext_bytes_to_read(), 0);
        client.reader().read_exact(&mut plaintext[start..]).unwrap();
    }
    plaintext
}

/// A session of that version, whose handshake is done.
fn established(version: &'static SupportedProtocolVersion) -> Session {
    let (server, client) = settings(version);
    let mut client = ClientConnection::new(client, "localhost".try_into().unwrap()).unwrap();
    let mut session = Session::new(server, Arc::default()).unwrap();
    while client.is_handshaking() || session.version().is_none() {
        session.receive(&said(&mut client), &mut Vec::new()).unwrap();
        let answer = session.pending().to_vec();
        session.sent(answer.len());
        understood(&mut client, &answer);
    }
    session
}

/// A worker's end of a connection, and its client.
struct Pair {
    ours: TcpStream,
    transport: Transport,
    theirs: TcpStream,
    client: ClientConnection,
}

impl Pair {
    /// Whose handshake is done.
    fn established(version: &'static SupportedProtocolVersion) -> Self {
        let (server, client) = settings(version);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        let client = ClientConnection::new(client, "localhost".try_into().unwrap()).unwrap();
        let transport = Transport::tls(server, Arc::default()).unwrap();
        let mut pair = Self { ours, transport, theirs, client };
        while pair.client.is_handshaking() || pair.transport.handshake().is_none() {
            pair.transport.receive(&said(&mut pair.client), &mut Vec::new()).unwrap();
            let sent = pair.transport.flush(pair.ours.as_fd()).unwrap();
            pair.read(sent);
        }
        pair
    }

    /// Sends of `slices` what the socket takes; says with how many allocations.
    fn send(&mut self, slices: &[IoSlice<'_>], seal_buffer: &mut [u8]) -> (Sent, u64) {
        let mut sent = Sent::NOTHING;
        let allocations =
            allocations(|| sent = self.transport.send(self.ours.as_fd(), slices, seal_buffer).unwrap());
        (sent, allocations)
    }

    /// What the client reads of what was sent.
    fn read(&mut self, sent: Sent) -> Vec<u8> {
        let mut bytes = vec![0; sent.wire_bytes as usize];
        self.theirs.read_exact(&mut bytes).unwrap();
        understood(&mut self.client, &bytes)
    }
}

#[test]
fn nothing_is_allocated_for_a_record() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1, "the allocator counts");
    let (head, body) = (vec![1; 300], vec![2; 100_000]);
    let mut out = vec![0; 8 * RECORD_BYTES_MAX];
    for version in [&TLS13, &TLS12] {
        let mut session = established(version);
        let allocations = allocations(|| {
            for _ in 0..100 {
                // A head and a text share a record; a body has seven of its own.
                for slices in [[&head[..], &body[..]], [&head, &body[..1000]]] {
                    let sealed = session.seal(slices, &mut out);
                    assert!(sealed.is_ok_and(|(taken, _)| taken == slices[0].len() + slices[1].len()));
                }
            }
        });
        assert_eq!(allocations, 0, "{version:?}");
    }
}

#[test]
fn nothing_is_allocated_for_a_request_and_its_answer() {
    const REQUEST: &[u8] = b"GET /title/1.m4s HTTP/1.1\r\nHost: test\r\n\r\n";
    let (head, body) = (vec![1; 300], vec![2; 300_000]);
    let mut seal_buffer = vec![0; SEAL_BUFFER_BYTES];
    let mut inbox = Vec::with_capacity(INBOX_BYTES_MAX);
    for version in [&TLS13, &TLS12] {
        let mut pair = Pair::established(version);
        for _ in 0..20 {
            pair.client.writer().write_all(REQUEST).unwrap();
            let record = said(&mut pair.client);
            inbox.clear();
            let opening = allocations(|| {
                pair.transport.receive(&record, &mut inbox).unwrap();
            });
            assert_eq!((opening, inbox.as_slice()), (0, REQUEST), "{version:?}");

            let (mut unsent_head, mut unsent_body, mut received) = (&head[..], &body[..], Vec::new());
            while !unsent_body.is_empty() {
                let slices = [IoSlice::new(unsent_head), IoSlice::new(unsent_body)];
                let (sent, sending) = pair.send(&slices, &mut seal_buffer);
                assert!(!pair.transport.has_pending(), "the client reads all, and the socket has room");
                assert_eq!(sending, 0, "{version:?}");
                let of_head = sent.taken_bytes.min(unsent_head.len());
                unsent_head = &unsent_head[of_head..];
                unsent_body = &unsent_body[sent.taken_bytes - of_head..];
                received.extend(pair.read(sent));
            }
            assert!(received == [&head[..], &body].concat(), "{version:?}: wrong bytes");
        }
    }
}

/// Where a client is slow, something has to be kept.
#[test]
fn what_a_socket_leaves_is_kept_by_one_allocation_however_many_records_it_is() {
    let body = vec![2; 300_000];
    let mut seal_buffer = vec![0; SEAL_BUFFER_BYTES];
    for version in [&TLS13, &TLS12] {
        let mut pair = Pair::established(version);
        let (mut taken_bytes, mut all_sent) = (0, Vec::new());
        while !pair.transport.has_pending() {
            let (sent, sending) = pair.send(&[IoSlice::new(&body)], &mut seal_buffer);
            assert_eq!(sending, u64::from(pair.transport.has_pending()), "{version:?}");
            taken_bytes += sent.taken_bytes;
            all_sent.push(sent);
        }
        let mut read_bytes = 0;
        for sent in all_sent {
            read_bytes += pair.read(sent).len();
        }
        while pair.transport.has_pending() {
            let mut flushed = Sent::NOTHING;
            let flushing = allocations(|| flushed = pair.transport.flush(pair.ours.as_fd()).unwrap());
            assert_eq!(flushing, 0, "{version:?}");
            read_bytes += pair.read(flushed).len();
        }
        assert_eq!(read_bytes, taken_bytes, "{version:?}");
    }
}
