//! The record layer against rustls as the client, in memory; and against a client of our own that says what no client should.

use std::io::{Read, Write};
use std::sync::{Arc, LazyLock};

use aws_lc_rs::aead::{Aad, Nonce};
use proptest::prelude::*;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::crypto::{CryptoProvider, aws_lc_rs as suites};
use rustls::kernel::KernelConnection;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig,
    SupportedCipherSuite, SupportedProtocolVersion, version,
};

use super::*;
use crate::limits::{HANDSHAKE_BYTES_MAX, QUIET_RECORDS_MAX};
use crate::tls::opener::Opener;
use crate::tls::record::{ContentType, PLAINTEXT_BYTES_MAX, RECORD_BYTES_MAX};
use crate::tls::sealer::Sealer;
use crate::tls::tickets::TicketKeys;
use crate::tls::traffic_key::TrafficKey;

static CERTIFICATE: LazyLock<(CertificateDer<'static>, Vec<u8>)> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.der().clone(), made.signing_key.serialize_der())
});

fn server_settings() -> Arc<ServerConfig> {
    let (certificate, key) = CERTIFICATE.clone();
    let mut settings = ServerConfig::builder_with_provider(Arc::new(suites::default_provider()))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivateKeyDer::try_from(key).unwrap())
        .unwrap();
    settings.enable_secret_extraction = true;
    settings.ticketer = TicketKeys::load(None, 1_800_000_000).0;
    Arc::new(settings)
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
        let mut pair = Self { client, server: Session::new(server).unwrap(), inbox: Vec::new() };
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
        let mut pair = Pair { client, server: Session::new(server_settings()).unwrap(), inbox: Vec::new() };
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
        assert!(pair.server.pending().is_empty(), "the answer waits for the next data");
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
        assert_eq!((pair.server.pending.capacity(), pair.server.arrived.capacity()), (0, 0));
    }
    assert!(size_of::<Session>() + size_of::<Traffic>() < 4096);
}

// ---- during the handshake ----

/// What a session says to bytes that a client starts with.
fn told_at_start(bytes: &[u8]) -> Vec<u8> {
    let mut session = Session::new(server_settings()).unwrap();
    let result = session.receive(bytes, &mut Vec::new());
    assert!(matches!(result, Err(SessionError::Handshake(_))), "{result:?}");
    assert_eq!(session.receive(b"more", &mut Vec::new()).unwrap(), Received::Ended);
    session.say_goodbye();
    session.pending().to_vec()
}

#[test]
fn what_is_no_handshake_is_answered_with_an_alert() {
    let decode_error = [21, 3, 3, 0, 2, 2, 50];
    assert_eq!(told_at_start(b"GET / HTTP/1.1\r\n\r\n"), decode_error);
    assert_eq!(told_at_start(&[22, 3, 1, 255, 255]), decode_error);
    assert_eq!(told_at_start(&[22, 4, 1, 0, 1, 0]), decode_error);
    assert_eq!(told_at_start(&[23, 3, 3, 0, 1, 0]), [21, 3, 3, 0, 2, 2, 10]);
}

#[test]
fn a_hello_that_never_ends_is_not_kept_for_ever() {
    let mut session = Session::new(server_settings()).unwrap();
    // One message of 16 MiB, in records of 16 KiB.
    let mut record = vec![22, 3, 1, 0x40, 0];
    record.extend([1, 0xff, 0xff, 0xff]);
    record.resize(5 + (1 << 14), 0);
    let mut sent_bytes = 0;
    while let Ok(received) = session.receive(&record, &mut Vec::new()) {
        assert_eq!(received, Received::Open);
        sent_bytes += record.len();
        assert!(sent_bytes <= HANDSHAKE_BYTES_MAX + record.len());
    }
}

/// A client's hello in a record of its own.
fn hello(suite: SupportedCipherSuite) -> Vec<u8> {
    let mut client = ClientConnection::new(client_settings(suite), "localhost".try_into().unwrap()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
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
        let mut session = Session::new(server_settings()).unwrap();
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

// ---- what no client should say ----

/// A client whose records are made by hand.
struct RawClient {
    server: Session,
    sealer: Sealer,
    opener: Opener,
    /// A second copy of its key, for records that [`Sealer`] would not make.
    key: TrafficKey,
    sequence: u64,
    keys: KernelConnection<ClientConnectionData>,
}

impl RawClient {
    fn connect(suite: SupportedCipherSuite) -> Self {
        let mut client =
            UnbufferedClientConnection::new(client_settings(suite), "localhost".try_into().unwrap()).unwrap();
        let mut server = Session::new(server_settings()).unwrap();
        let mut arrived = Vec::new();
        let mut is_ready = false;
        while !is_ready || server.is_handshaking() {
            let mut outgoing = Vec::new();
            let UnbufferedStatus { discard, state } = client.process_tls_records(&mut arrived);
            match state.unwrap() {
                ConnectionState::EncodeTlsData(mut data) => {
                    let mut room = vec![0; 1 << 14];
                    let length = data.encode(&mut room).unwrap();
                    outgoing.extend_from_slice(&room[..length]);
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::WriteTraffic(_) => is_ready = true,
                _ => {}
            }
            arrived.drain(..discard);
            server.receive(&outgoing, &mut Vec::new()).unwrap();
            arrived.extend_from_slice(server.pending());
            server.sent(server.pending().len());
        }
        // Tickets of TLS 1.3, which come after the client is done.
        let tickets = arrived.split_off(0);
        let version = server.version().unwrap();
        let (secrets, keys) = client.dangerous_into_kernel_connection().unwrap();
        let key = |secrets| TrafficKey::new(secrets, version).unwrap();
        let mut this = Self {
            server,
            sealer: Sealer::new(key(&secrets.tx.1), secrets.tx.0, u64::MAX),
            opener: Opener::new(key(&secrets.rx.1), secrets.rx.0),
            key: key(&secrets.tx.1),
            sequence: secrets.tx.0,
            keys,
        };
        this.open_all(&tickets);
        this
    }

    fn record(&mut self, kind: ContentType, content: &[u8]) -> Vec<u8> {
        let mut record = vec![0; RECORD_BYTES_MAX];
        let length = self.sealer.seal(kind, content, &mut record).unwrap();
        self.sequence += 1;
        record.truncate(length);
        record
    }

    /// A record of TLS 1.3 around any bytes, which should end in a content type and padding.
    fn record_of_inner(&mut self, inner: &[u8]) -> Vec<u8> {
        let header = RecordHeader::bytes(ContentType::ApplicationData, inner.len() + 16);
        let mut sealed = inner.to_vec();
        let nonce = Nonce::assume_unique_for_key(self.key.nonce(self.sequence));
        self.key.aead.seal_in_place_append_tag(nonce, Aad::from(header), &mut sealed).unwrap();
        self.sequence += 1;
        [&header[..], &sealed].concat()
    }

    /// Has the session receive; returns what it has read.
    fn tell(&mut self, records: &[u8]) -> (Result<Received, SessionError>, Vec<u8>) {
        let mut inbox = Vec::new();
        let result = self.server.receive(records, &mut inbox);
        (result, inbox)
    }

    fn open_all(&mut self, mut records: &[u8]) -> Vec<(ContentType, Vec<u8>)> {
        let mut opened = Vec::new();
        while let Some(header) = records.first_chunk() {
            let header = RecordHeader::parse(*header, RECORD_BYTES_MAX).unwrap();
            let (record, rest) = records.split_at(HEADER_BYTES + header.body_bytes);
            let mut content = Vec::new();
            let kind = self.opener.open(header, &record[HEADER_BYTES..], &mut content).unwrap();
            opened.push((kind, content));
            records = rest;
        }
        opened
    }

    /// What the session has for the client.
    fn told(&mut self) -> Vec<(ContentType, Vec<u8>)> {
        let records = self.server.pending().to_vec();
        self.server.sent(records.len());
        self.open_all(&records)
    }

    /// That the records end the session with that alert, and with nothing else.
    #[track_caller]
    fn is_refused(&mut self, records: &[u8], alert: Alert) {
        let (result, inbox) = self.tell(records);
        assert!(matches!(result, Err(SessionError::Peer(sent)) if sent == alert), "{result:?}");
        assert!(inbox.is_empty());
        self.server.say_goodbye();
        assert_eq!(self.told(), [(ContentType::Alert, alert.bytes().to_vec())]);
        assert_eq!(self.tell(b"more").0.unwrap(), Received::Ended);
        assert_eq!(self.server.seal([&b"data"[..]], &mut [0; 100]), Err(SealError::Refused));
    }
}

/// A client, and what it says first.
fn refused(suite: SupportedCipherSuite, alert: Alert, records: impl Fn(&mut RawClient) -> Vec<u8>) {
    let mut client = RawClient::connect(suite);
    let records = records(&mut client);
    client.is_refused(&records, alert);
    // Nor does it matter how it comes.
    let mut client = RawClient::connect(suite);
    let result = deliver(&mut client.server, &records[..records.len().min(3)], 1, &mut Vec::new());
    assert!(result.is_ok_and(|received| received == Received::Open));
}

#[test]
fn a_record_that_was_changed_in_any_part_does_not_open() {
    for suite in all_suites() {
        let overhead_bytes =
            if suite.tls13().is_some() { 17 } else { 16 + if is_gcm(suite) { 8 } else { 0 } };
        for place in HEADER_BYTES..HEADER_BYTES + overhead_bytes + 4 {
            let mut client = RawClient::connect(suite);
            let mut record = client.record(ContentType::ApplicationData, b"data");
            record[place] ^= 1;
            client.is_refused(&record, Alert::BadRecordMac);
        }
        // As another type, or with another length.
        if suite.tls13().is_none() {
            refused(suite, Alert::BadRecordMac, |client| {
                let mut record = client.record(ContentType::ApplicationData, b"data");
                record[0] = ContentType::Handshake as u8;
                record
            });
        }
        // A second time, and out of turn.
        let mut client = RawClient::connect(suite);
        let record = client.record(ContentType::ApplicationData, b"data");
        assert_eq!(client.tell(&record).1, b"data");
        client.is_refused(&record, Alert::BadRecordMac);
        let mut client = RawClient::connect(suite);
        client.record(ContentType::ApplicationData, b"data");
        let second = client.record(ContentType::ApplicationData, b"data");
        client.is_refused(&second, Alert::BadRecordMac);
    }
}

#[test]
fn a_record_too_short_to_be_sealed_does_not_open() {
    for suite in all_suites() {
        for length in [0, 1, 15] {
            refused(suite, Alert::BadRecordMac, |_| {
                [&RecordHeader::bytes(ContentType::ApplicationData, length)[..], &vec![0; length]].concat()
            });
        }
    }
}

#[test]
fn a_record_that_is_too_long_is_refused_by_its_header() {
    for (suite, room) in [(TLS13, 256), (TLS12, 2048)] {
        refused(suite, Alert::RecordOverflow, |_| {
            RecordHeader::bytes(ContentType::ApplicationData, PLAINTEXT_BYTES_MAX + room + 1).to_vec()
        });
    }
    let longest = vec![b'x'; PLAINTEXT_BYTES_MAX];
    let mut client = RawClient::connect(TLS13);
    let record = client.record(ContentType::ApplicationData, &longest);
    assert!(client.tell(&record).1 == longest);
    // With padding it may be no longer (RFC 8446 §5.4).
    refused(TLS13, Alert::RecordOverflow, |client| {
        let mut inner = longest.clone();
        inner.extend([ContentType::ApplicationData as u8, 0]);
        client.record_of_inner(&inner)
    });
}

#[test]
fn padding_is_no_content() {
    let mut client = RawClient::connect(TLS13);
    let mut inner = b"data".to_vec();
    inner.push(ContentType::ApplicationData as u8);
    inner.resize(5000, 0);
    let record = client.record_of_inner(&inner);
    let (result, inbox) = client.tell(&record);
    assert_eq!((result.unwrap(), inbox), (Received::Open, b"data".to_vec()));
    // All of it padding.
    refused(TLS13, Alert::UnexpectedMessage, |client| client.record_of_inner(&[0; 100]));
    // Of no known type.
    refused(TLS13, Alert::UnexpectedMessage, |client| client.record_of_inner(b"data\x18"));
}

#[test]
fn what_comes_unsealed_after_the_handshake_is_refused() {
    for kind in [ContentType::ChangeCipherSpec, ContentType::Alert, ContentType::Handshake] {
        refused(TLS13, Alert::UnexpectedMessage, |_| [&RecordHeader::bytes(kind, 1)[..], &[1]].concat());
        refused(TLS12, Alert::BadRecordMac, |_| [&RecordHeader::bytes(kind, 1)[..], &[1]].concat());
    }
    for suite in [TLS13, TLS12] {
        refused(suite, Alert::UnexpectedMessage, |_| b"GET /".to_vec());
    }
    refused(TLS12, Alert::ProtocolVersion, |client| {
        let mut record = client.record(ContentType::ApplicationData, b"data");
        record[2] = 1;
        record
    });
}

#[test]
fn the_version_in_a_record_of_tls_1_3_means_nothing() {
    let mut client = RawClient::connect(TLS13);
    let mut record = client.record(ContentType::ApplicationData, b"data");
    record[1..3].copy_from_slice(&[3, 1]);
    assert_eq!(client.tell(&record).1, b"data");
}

#[test]
fn sealed_messages_that_a_client_may_not_send_are_refused() {
    for (kind, content, alert) in [
        (ContentType::ChangeCipherSpec, &[1][..], Alert::UnexpectedMessage),
        (ContentType::Handshake, &[], Alert::UnexpectedMessage),
        // A hello, a ticket, a certificate, a finished.
        (ContentType::Handshake, &[1, 0, 0, 0], Alert::UnexpectedMessage),
        (ContentType::Handshake, &[4, 0, 0, 0], Alert::UnexpectedMessage),
        (ContentType::Handshake, &[11, 0, 0, 0], Alert::UnexpectedMessage),
        (ContentType::Handshake, &[20, 0, 0, 0], Alert::UnexpectedMessage),
        // Key updates that are none.
        (ContentType::Handshake, &[24, 0, 0, 1, 2], Alert::IllegalParameter),
        (ContentType::Handshake, &[24, 0, 0, 2, 0, 0], Alert::DecodeError),
        (ContentType::Handshake, &[24, 0, 0, 1, 0, 24, 0, 0, 1, 0], Alert::UnexpectedMessage),
        (ContentType::Alert, &[], Alert::UnexpectedMessage),
        (ContentType::Alert, &[2], Alert::DecodeError),
        (ContentType::Alert, &[1, 0, 0], Alert::DecodeError),
    ] {
        refused(TLS13, alert, |client| client.record(kind, content));
    }
    for (kind, content, alert) in [
        (ContentType::ChangeCipherSpec, &[1][..], Alert::UnexpectedMessage),
        (ContentType::Handshake, &[20, 0, 0, 0], Alert::UnexpectedMessage),
        (ContentType::Handshake, &[24, 0, 0, 1, 0], Alert::UnexpectedMessage),
        (ContentType::Alert, &[3, 0x28], Alert::IllegalParameter),
    ] {
        refused(TLS12, alert, |client| client.record(kind, content));
    }
}

#[test]
fn nothing_comes_between_the_parts_of_a_key_update() {
    let mut client = RawClient::connect(TLS13);
    let part = client.record(ContentType::Handshake, &[24, 0, 0]);
    assert_eq!(client.tell(&part).0.unwrap(), Received::Open);
    let data = client.record(ContentType::ApplicationData, b"data");
    let (result, _) = client.tell(&data);
    assert!(matches!(result, Err(SessionError::Peer(Alert::UnexpectedMessage))));
}

#[test]
fn after_its_key_update_a_client_is_read_by_its_next_key_alone() {
    let mut client = RawClient::connect(TLS13);
    let update = client.record(ContentType::Handshake, &[24, 0, 0, 1, 0]);
    let (sequence, secrets) = client.keys.update_tx_secret().unwrap();
    let old = client.record(ContentType::ApplicationData, b"old");
    client.sealer = Sealer::new(TrafficKey::new(&secrets, TlsVersion::Tls13).unwrap(), sequence, u64::MAX);
    let new = client.record(ContentType::ApplicationData, b"new");
    assert_eq!(client.tell(&[update, new].concat()).1, b"new");
    assert!(client.server.pending().is_empty());
    client.is_refused(&old, Alert::BadRecordMac);
}

#[test]
fn key_updates_that_ask_for_ours_are_answered_by_one() {
    let mut client = RawClient::connect(TLS13);
    for _ in 0..3 {
        let update = client.record(ContentType::Handshake, &[24, 0, 0, 1, 1]);
        let (sequence, secrets) = client.keys.update_tx_secret().unwrap();
        client.sealer =
            Sealer::new(TrafficKey::new(&secrets, TlsVersion::Tls13).unwrap(), sequence, u64::MAX);
        assert_eq!(client.tell(&update).0.unwrap(), Received::Open);
    }
    let mut buffer = vec![0; 1000];
    let (_, written) = client.server.seal([&b"data"[..]], &mut buffer).unwrap();
    let update_bytes = HEADER_BYTES + 5 + 1 + 16;
    let opened = client.open_all(&buffer[..update_bytes]);
    assert_eq!(opened, [(ContentType::Handshake, vec![24, 0, 0, 1, 0])]);
    let (sequence, secrets) = client.keys.update_rx_secret().unwrap();
    client.opener = Opener::new(TrafficKey::new(&secrets, TlsVersion::Tls13).unwrap(), sequence);
    let opened = client.open_all(&buffer[update_bytes..written]);
    assert_eq!(opened, [(ContentType::ApplicationData, b"data".to_vec())]);
}

#[test]
fn a_client_that_sends_nothing_for_ever_is_stopped() {
    for suite in [TLS13, TLS12] {
        let mut client = RawClient::connect(suite);
        for _ in 0..QUIET_RECORDS_MAX {
            let empty = client.record(ContentType::ApplicationData, b"");
            assert_eq!(client.tell(&empty).0.unwrap(), Received::Open);
        }
        let empty = client.record(ContentType::ApplicationData, b"");
        client.is_refused(&empty, Alert::UnexpectedMessage);
    }
}

#[test]
fn an_alert_ends_a_session_without_an_answer() {
    for suite in [TLS13, TLS12] {
        let mut client = RawClient::connect(suite);
        let alert = client.record(ContentType::Alert, &[2, 40]);
        let (result, _) = client.tell(&alert);
        assert!(matches!(result, Err(SessionError::Told(40))), "{result:?}");
        client.server.say_goodbye();
        assert_eq!(client.told(), []);
    }
}

#[test]
fn a_second_handshake_is_declined_and_the_session_goes_on() {
    let mut client = RawClient::connect(TLS12);
    let hello = client.record(ContentType::Handshake, &[1, 0, 0, 2, 3, 3]);
    assert_eq!(client.tell(&hello).0.unwrap(), Received::Open);
    assert_eq!(client.told(), [(ContentType::Alert, vec![1, 100])]);
    let data = client.record(ContentType::ApplicationData, b"data");
    assert_eq!(client.tell(&data).1, b"data");
    let again = client.record(ContentType::Handshake, &[1, 0, 0, 2, 3, 3]);
    client.is_refused(&again, Alert::UnexpectedMessage);
}

#[test]
fn more_than_a_request_may_have_is_not_taken_in() {
    let mut pair = Pair::connect(TLS13, 1 << 16);
    pair.client.set_buffer_limit(None);
    pair.client.writer().write_all(&noise(2 * INBOX_BYTES_MAX)).unwrap();
    let result = pair.client_speaks(4096);
    assert!(matches!(result, Err(SessionError::TooMany)), "{result:?}");
    assert!(pair.inbox.len() <= INBOX_BYTES_MAX);
}

#[test]
fn a_client_of_rustls_understands_why_it_was_refused() {
    let mut pair = Pair::connect(TLS13, 1 << 16);
    let mut bytes = Vec::new();
    pair.client.writer().write_all(b"GET").unwrap();
    pair.client.write_tls(&mut bytes).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    assert!(pair.server.receive(&bytes, &mut pair.inbox).is_err());
    let told = pair.server.pending().to_vec();
    pair.client.read_tls(&mut told.as_slice()).unwrap();
    assert_eq!(
        pair.client.process_new_packets().unwrap_err(),
        rustls::Error::AlertReceived(AlertDescription::BadRecordMac)
    );
}
