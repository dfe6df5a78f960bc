//! A program of its own, because what allocates is one for a whole program: it counts what each thread asks of it. What aws-lc takes of
//! C's own allocator it does not see.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]
#![expect(unsafe_code, reason = "there is no safe way to be the allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use oca_daemon::tls::{RECORD_BYTES_MAX, Session};
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

/// A session of that version, whose handshake is done.
fn established(version: &'static SupportedProtocolVersion) -> Session {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(default_provider());
    let mut settings = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    settings.enable_secret_extraction = true;
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(client), "localhost".try_into().unwrap()).unwrap();
    let mut session = Session::new(Arc::new(settings), Arc::default()).unwrap();
    while client.is_handshaking() || session.version().is_none() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        session.receive(&bytes, &mut Vec::new()).unwrap();
        let answer = session.pending().to_vec();
        session.sent(answer.len());
        let mut unread = answer.as_slice();
        while !unread.is_empty() {
            client.read_tls(&mut unread).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    session
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
