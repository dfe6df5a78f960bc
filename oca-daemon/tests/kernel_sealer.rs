//! What the kernel has taken to seal, and TCP has not taken from it yet: a socket that had no room for all of a record. Where the kernel
//! has no module `tls` these tests show nothing, and say so; `.ci/ktls` runs them under one that has, with `OCA_KERNEL_TLS=required`.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use oca_daemon::stats::TlsVersion;
use oca_daemon::tls::kernel::{KernelSealer, KernelTls};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};
use rustix::net::{AddressFamily, SendFlags, Shutdown, SocketType, connect, send, shutdown, socket};
use rustls::ConnectionTrafficSecrets;
use rustls::crypto::cipher::{AeadKey, Iv};

/// Of a record.
const HEADER_BYTES: usize = 5;

/// Of a record's body beside its content: the content's type, and the tag.
const OVERHEAD_BYTES: usize = 17;

/// A connection that has taken all that there is to send, of which TCP has not taken the end.
struct Held {
    ours: TcpStream,
    client: TcpStream,
    sealer: KernelSealer,
    content_bytes: usize,
}

impl Held {
    /// `None`: there is no kernel that seals.
    fn new() -> Option<Self> {
        let kernel = match KernelTls::probe() {
            Ok(kernel) => kernel,
            Err(why) => {
                assert!(std::env::var_os("OCA_KERNEL_TLS").is_none(), "{why}");
                println!("shows nothing: {why}");
                return None;
            }
        };
        // For most of the lengths the last record is one that does not fit.
        let mut held = (0..64).map(|number| Self::fill(kernel, (1 << 10) | (number * 512)));
        Some(held.find_map(|held| held).expect("TCP takes every record whole"))
    }

    /// Sends pieces of so many bytes until the socket takes no more.
    fn fill(kernel: KernelTls, piece_bytes: usize) -> Option<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        set_socket_recv_buffer_size(&client, 4 << 10).unwrap();
        connect(&client, &listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        let secrets =
            ConnectionTrafficSecrets::Aes256Gcm { key: AeadKey::from([7; 32]), iv: Iv::from([9; 12]) };
        let (version, records_max) = (TlsVersion::Tls13, 1 << 20);
        let mut sealer =
            KernelSealer::take_over(kernel, ours.as_fd(), &secrets, version, 0, records_max).unwrap();
        assert!(sealer.is_all_with_tcp(ours.as_fd()).unwrap(), "nothing was sent");
        let (piece, mut content_bytes) = (vec![1; piece_bytes], 0);
        loop {
            match send(&ours, &piece, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(taken_bytes) => {
                    sealer.on_sent(taken_bytes);
                    content_bytes += taken_bytes;
                }
                Err(Errno::AGAIN) => break,
                Err(error) => panic!("{error}"),
            }
        }
        let is_held = !sealer.is_all_with_tcp(ours.as_fd()).unwrap();
        is_held.then(|| Self { ours, client: TcpStream::from(client), sealer, content_bytes })
    }
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_tcp_has_not_taken_yet_is_known_and_nothing_is_cut_off_once_it_has() {
    let Some(mut held) = Held::new() else { return };
    held.client.set_nonblocking(true).unwrap();
    let (mut received, mut chunk) = (Vec::new(), [0; 4 << 10]);
    eventually("TCP has everything", || {
        if let Ok(read_bytes) = held.client.read(&mut chunk) {
            received.extend_from_slice(&chunk[..read_bytes]);
        }
        held.sealer.is_all_with_tcp(held.ours.as_fd()).unwrap()
    });
    shutdown(&held.ours, Shutdown::Write).unwrap();
    held.client.set_nonblocking(false).unwrap();
    held.client.read_to_end(&mut received).unwrap();
    let (mut rest, mut content_bytes) = (received.as_slice(), 0);
    while !rest.is_empty() {
        let body_bytes = usize::from(u16::from_be_bytes([rest[3], rest[4]]));
        rest = rest.get(HEADER_BYTES + body_bytes..).expect("the last record is cut off");
        content_bytes += body_bytes - OVERHEAD_BYTES;
    }
    assert_eq!(content_bytes, held.content_bytes);
}

/// A socket that has failed always has room, as far as polling tells.
#[test]
fn a_connection_that_the_client_has_reset_is_not_waited_for() {
    let Some(held) = Held::new() else { return };
    set_socket_linger(&held.client, Some(Duration::ZERO)).unwrap();
    drop(held.client);
    let mut result = Ok(false);
    eventually("it is found out", || {
        result = held.sealer.is_all_with_tcp(held.ours.as_fd());
        result.is_err()
    });
    let kind = result.unwrap_err().kind();
    assert!(matches!(kind, io::ErrorKind::NotConnected | io::ErrorKind::ConnectionReset), "{kind:?}");
}
