//! The record layer against rustls as the client, in memory; and against a client of our own that says what no client should.

mod handshakes;
mod raw_client;
mod refusals;
mod refused_by_kernel;

use std::io::{Read, Write};
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use rustls::crypto::{CryptoProvider, aws_lc_rs as suites};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, SupportedCipherSuite,
    SupportedProtocolVersion, version,
};

use handshakes::hello;
use raw_client::RawClient;

use super::*;
use crate::tls::record::{ContentType, PLAINTEXT_BYTES_MAX, RECORD_BYTES_MAX};
use crate::tls::tickets::TicketKeys;

static CERTIFICATE: LazyLock<(CertificateDer<'static>, Vec<u8>)> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.der().clone(), made.signing_key.serialize_der())
});

fn server_settings() -> Arc<ServerConfig> {
    let mut settings = settings_without_tickets();
    crate::tls::settle(&mut settings, TicketKeys::load(None, 1_800_000_000).0);
    Arc::new(settings)
}

fn settings_without_tickets() -> ServerConfig {
    let (certificate, key) = CERTIFICATE.clone();
    let mut settings = ServerConfig::builder_with_provider(Arc::new(suites::default_provider()))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivateKeyDer::try_from(key).unwrap())
        .unwrap();
    settings.enable_secret_extraction = true;
    settings
}

fn client_settings(suite: SupportedCipherSuite) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CERTIFICATE.0.clone()).unwrap();
    let provider = CryptoProvider { cipher_suites: vec![suite], ..suites::default_provider() };
    let versions: &[&'static SupportedProtocolVersion] =
        if suite.tls13().is_some() { &[&version::TLS13] } else { &[&version::TLS12] };
    let mut settings = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    settings.enable_secret_extraction = true;
    Arc::new(settings)
}

/// All suites that are offered and fit the certificate, which has an ECDSA key.
fn all_suites() -> Vec<SupportedCipherSuite> {
    let fits = |suite: &SupportedCipherSuite| !format!("{:?}", suite.suite()).contains("RSA");
    let suites: Vec<_> = suites::ALL_CIPHER_SUITES.iter().copied().filter(fits).collect();
    assert_eq!(suites.len(), 6);
    suites
}

fn is_gcm(suite: SupportedCipherSuite) -> bool {
    format!("{:?}", suite.suite()).contains("GCM")
}

const TLS13: SupportedCipherSuite = suites::cipher_suite::TLS13_AES_256_GCM_SHA384;
const TLS12: SupportedCipherSuite = suites::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;

/// A client of rustls and a session, and what the session has read.
struct Pair {
    client: ClientConnection,
    server: Session,
    inbox: Vec<u8>,
}

impl Pair {
    /// After the handshake, with `step` bytes from the client at a time.
    fn connect(suite: SupportedCipherSuite, step: usize) -> Self {
        Self::connect_with(client_settings(suite), server_settings(), step)
    }

    fn connect_with(client: Arc<ClientConfig>, server: Arc<ServerConfig>, step: usize) -> Self {
        let client = ClientConnection::new(client, "localhost".try_into().unwrap()).unwrap();
        let mut pair =
            Self { client, server: Session::new(server, Arc::default()).unwrap(), inbox: Vec::new() };
        while pair.client.is_handshaking() || pair.server.is_handshaking() {
            assert_eq!(pair.client_speaks(step).unwrap(), Received::Open);
            pair.server_speaks();
        }
        pair
    }

    /// Delivers what the client has to send.
    fn client_speaks(&mut self, step: usize) -> Result<Received, SessionError> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        deliver(&mut self.server, &bytes, step, &mut self.inbox)
    }

    /// Delivers what the session has pending.
    fn server_speaks(&mut self) -> Vec<u8> {
        let bytes = self.server.pending().to_vec();
        self.server.sent(bytes.len());
        self.client_reads(&bytes)
    }

    fn client_reads(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut plaintext = Vec::new();
        while !bytes.is_empty() {
            self.client.read_tls(&mut bytes).unwrap();
            let state = self.client.process_new_packets().unwrap();
            let start = plaintext.len();
            plaintext.resize(start + state.plaintext_bytes_to_read(), 0);
            self.client.reader().read_exact(&mut plaintext[start..]).unwrap();
        }
        plaintext
    }

    /// Seals all of `slices` through a buffer of that size, of which the socket takes a part each time; returns what the client has
    /// read.
    fn send(&mut self, slices: &[&[u8]], buffer_bytes: usize) -> Vec<u8> {
        let mut left: Vec<&[u8]> = slices.to_vec();
        let (mut buffer, mut received) = (vec![0; buffer_bytes], Vec::new());
        while !left.is_empty() {
            let (mut taken, written) = self.server.seal(left.iter().copied(), &mut buffer).unwrap();
            assert!(written > 0, "no record fits");
            while let Some(first) = left.first_mut() {
                let step = taken.min(first.len());
                *first = &first[step..];
                taken -= step;
                if !first.is_empty() {
                    break;
                }
                left.remove(0);
            }
            received.extend(self.server_speaks());
            let at_once = written / 3;
            received.extend(self.client_reads(&buffer[..at_once]));
            self.server.keep(&buffer[at_once..written]);
        }
        received.extend(self.server_speaks());
        received
    }
}

fn deliver(
    server: &mut Session,
    bytes: &[u8],
    step: usize,
    inbox: &mut Vec<u8>,
) -> Result<Received, SessionError> {
    let mut received = Received::Open;
    for part in bytes.chunks(step) {
        received = server.receive(part, inbox)?;
    }
    Ok(received)
}

/// A session after its handshake, which counts what it keeps in `sealed_bytes`.
pub(crate) fn established(sealed_bytes: Arc<SealedBytes>) -> Session {
    let mut session = RawClient::connect(TLS13).server;
    session.pending = Pending::new(sealed_bytes);
    session
}

fn noise(length: usize) -> Vec<u8> {
    (0..length as u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn every_suite_of_both_versions_carries_both_directions() {
    let body = noise(300_000);
    for suite in all_suites() {
        let mut pair = Pair::connect(suite, 1 << 16);
        let version = if suite.tls13().is_some() { TlsVersion::Tls13 } else { TlsVersion::Tls12 };
        assert_eq!(pair.server.version(), Some(version));
        for step in [1, 4096, 1 << 16] {
            let request = noise(20_000);
            pair.client.writer().write_all(&request).unwrap();
            assert_eq!(pair.client_speaks(step).unwrap(), Received::Open);
            assert!(pair.inbox == request, "{suite:?}");
            pair.inbox.clear();
            let slices = [&body[..300], &body[300..65_536], &[], &body[65_536..65_537], &body[65_537..]];
            for buffer_bytes in [RECORD_BYTES_MAX, 256 << 10] {
                assert!(pair.send(&slices, buffer_bytes) == body, "{suite:?}");
            }
        }
    }
}

#[test]
fn a_head_and_a_small_body_leave_in_one_record_and_a_large_one_in_its_own() {
    let mut client = RawClient::connect(TLS13);
    let (head, text, chunk) = (noise(400), noise(1500), noise(20_000));
    let mut buffer = vec![0; 1 << 17];
    let slices = [&head[..], &[], &text[..500], &text[500..], &chunk, &head, &chunk[..1], &chunk[..2000]];
    let (taken, written) = client.server.seal(slices, &mut buffer).unwrap();
    assert_eq!(taken, slices.concat().len());
    let records = client.open_all(&buffer[..written]);
    let lengths: Vec<usize> = records.iter().map(|(_, content)| content.len()).collect();
    assert_eq!(lengths, [1900, PLAINTEXT_BYTES_MAX, 20_000 - PLAINTEXT_BYTES_MAX, 401, 2000]);
    let contents: Vec<Vec<u8>> = records.into_iter().map(|(_, content)| content).collect();
    assert!(contents.concat() == slices.concat());
}

#[test]
fn a_handshake_and_the_request_after_it_may_come_in_any_parts() {
    for suite in [TLS13, TLS12] {
        for step in [1, 2, 7, 100, 1 << 16] {
            let mut pair = Pair::connect(suite, step);
            pair.client.writer().write_all(b"GET").unwrap();
            pair.client_speaks(step).unwrap();
            assert_eq!(pair.inbox, b"GET");
        }
    }
}

#[test]
fn a_request_that_comes_with_the_last_message_of_the_handshake_is_read() {
    for suite in [TLS13, TLS12] {
        let client = ClientConnection::new(client_settings(suite), "localhost".try_into().unwrap()).unwrap();
        let mut pair = Pair {
            client,
            server: Session::new(server_settings(), Arc::default()).unwrap(),
            inbox: Vec::new(),
        };
        pair.client.writer().write_all(b"GET").unwrap();
        while pair.client.is_handshaking() || pair.server.is_handshaking() {
            pair.client_speaks(1 << 16).unwrap();
            pair.server_speaks();
        }
        pair.client_speaks(1 << 16).unwrap();
        assert_eq!(pair.inbox, b"GET");
    }
}

#[test]
fn sessions_are_resumed_by_ticket_in_both_versions() {
    for suite in [TLS13, TLS12] {
        let (client, server) = (client_settings(suite), server_settings());
        for is_resumed in [false, true] {
            let mut pair = Pair::connect_with(Arc::clone(&client), Arc::clone(&server), 1 << 16);
            assert_eq!(pair.server.is_resumed(), is_resumed);
            let kind = pair.client.handshake_kind();
            assert_eq!(kind == Some(HandshakeKind::Resumed), is_resumed, "{kind:?}");
            assert_eq!(pair.send(&[b"answer"], 1 << 16), b"answer");
        }
    }
}

#[test]
fn a_client_changes_its_key_and_has_us_change_ours() {
    let mut pair = Pair::connect(TLS13, 1 << 16);
    for round in 0..5_u8 {
        pair.client.refresh_traffic_keys().unwrap();
        pair.client.writer().write_all(&[round; 100]).unwrap();
        pair.client_speaks(13).unwrap();
        assert_eq!(pair.inbox, [round; 100]);
        pair.inbox.clear();
        assert!(!pair.server.pending().is_empty(), "the answer waits for no data");
        assert!(pair.server_speaks().is_empty());
        assert_eq!(pair.send(&[&[round; 50_000]], 1 << 16), [round; 50_000]);
    }
}

#[test]
fn our_key_is_changed_before_it_has_sealed_all_that_it_may() {
    let mut pair = Pair::connect(TLS13, 1 << 16);
    let Stage::Established(traffic) = &mut pair.server.stage else { panic!("no handshake") };
    traffic.limit_records(20);
    let body = noise(200 * PLAINTEXT_BYTES_MAX);
    assert!(pair.send(&[&body], 256 << 10) == body);
}

#[test]
fn a_key_of_tls_1_2_says_when_it_is_worn_and_keeps_a_farewell_for_the_end() {
    let mut pair = Pair::connect(TLS12, 1 << 16);
    let Stage::Established(traffic) = &mut pair.server.stage else { panic!("no handshake") };
    traffic.limit_records(80);
    let mut buffer = vec![0; 1 << 16];
    for sent in 0..76 {
        assert_eq!(pair.server.is_wearing_out(), sent > 70, "after {sent}");
        let (taken, written) = pair.server.seal([&b"data"[..]], &mut buffer).unwrap();
        assert_eq!(taken, 4);
        assert_eq!(pair.client_reads(&buffer[..written]), b"data");
    }
    assert_eq!(pair.server.seal([&b"data"[..]], &mut buffer), Err(SealError::WornOut));
    pair.server.say_goodbye();
    pair.server_speaks();
    assert!(pair.client.process_new_packets().unwrap().peer_has_closed());
}

#[test]
fn a_farewell_is_said_once_and_nothing_is_sealed_after_it() {
    for suite in [TLS13, TLS12] {
        let mut pair = Pair::connect(suite, 1 << 16);
        pair.server.say_goodbye();
        let length = pair.server.pending().len();
        pair.server.say_goodbye();
        assert_eq!(pair.server.pending().len(), length);
        assert_eq!(pair.server.seal([&b"data"[..]], &mut [0; 100]), Err(SealError::Refused));
        pair.server_speaks();
        assert!(pair.client.process_new_packets().unwrap().peer_has_closed());
    }
}

#[test]
fn a_client_that_has_said_farewell_is_answered_and_not_read_any_more() {
    for suite in [TLS13, TLS12] {
        let mut pair = Pair::connect(suite, 1 << 16);
        pair.client.writer().write_all(b"GET").unwrap();
        pair.client.send_close_notify();
        assert_eq!(pair.client_speaks(1 << 16).unwrap(), Received::Ended);
        assert_eq!(pair.server.receive(b"whatever", &mut pair.inbox).unwrap(), Received::Ended);
        assert_eq!(pair.inbox, b"GET");
        assert_eq!(pair.send(&[b"answer"], 1 << 16), b"answer");
    }
}

#[test]
fn idle_a_session_keeps_no_buffer() {
    for suite in [TLS13, TLS12] {
        let mut pair = Pair::connect(suite, 1 << 16);
        pair.client.writer().write_all(&noise(30_000)).unwrap();
        pair.client_speaks(4096).unwrap();
        pair.send(&[&noise(100_000)], 1 << 16);
        assert_eq!((pair.server.pending.total().bytes(), pair.server.arrived.capacity()), (0, 0));
    }
    assert!(size_of::<Session>() + size_of::<Traffic>() < 4096);
}

proptest! {
    #[test]
    fn no_handshake_however_broken_does_more_than_fail(
        changes in proptest::collection::vec((any::<u16>(), any::<u8>(), 0_u8..4), 0..4),
        splits in proptest::collection::vec(1_usize..400, 1..6),
        step in 1_usize..600,
        is_tls13 in any::<bool>(),
    ) {
        let mut message = hello(if is_tls13 { TLS13 } else { TLS12 }).split_off(HEADER_BYTES);
        for (place, value, change) in changes {
            // More often than not at the front, where lengths are.
            let place = usize::from(place) % if value % 2 == 0 { message.len() } else { 64.min(message.len()) };
            match change {
                0 => message[place] = value,
                1 => message.truncate(place.max(1)),
                2 => message.insert(place, value),
                _ => message.extend_from_within(place..),
            }
        }
        // The message in records of any length.
        let (mut records, mut rest) = (Vec::new(), message.as_slice());
        for split in splits.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (fragment, after) = rest.split_at((*split).min(rest.len()));
            records.extend(RecordHeader::bytes(ContentType::Handshake, fragment.len()));
            records.extend(fragment);
            rest = after;
        }
        let mut session = Session::new(server_settings(), Arc::default()).unwrap();
        let _ = deliver(&mut session, &records, step, &mut Vec::new());
        session.say_goodbye();
    }

    #[test]
    fn no_bytes_after_a_handshake_do_more_than_fail(
        records in proptest::collection::vec((19_u8..25, proptest::collection::vec(any::<u8>(), 0..40), any::<bool>()), 1..6),
        step in 1_usize..100,
        is_tls13 in any::<bool>(),
    ) {
        let mut client = RawClient::connect(if is_tls13 { TLS13 } else { TLS12 });
        let mut bytes = Vec::new();
        for (kind, content, is_sealed) in records {
            match ContentType::from_byte(kind) {
                Some(kind) if is_sealed => bytes.extend(client.record(kind, &content)),
                _ => bytes.extend([&[kind, 3, 3, 0, content.len() as u8][..], &content].concat()),
            }
        }
        let _ = deliver(&mut client.server, &bytes, step, &mut Vec::new());
    }
}
