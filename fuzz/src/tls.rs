//! TLS sessions: what a client does, said in a few bytes, so that a fuzzer gets far. A client that shakes hands as it should, or not; records
//! that are sealed with the right key and hold anything; records that nobody has sealed; any bytes; and all of that over and over.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use oca_daemon::limits::{HANDSHAKE_BYTES_MAX, INBOX_BYTES_MAX};
use oca_daemon::stats::TlsVersion;
use oca_daemon::tls::record::{ContentType, HEADER_BYTES, PLAINTEXT_BYTES_MAX, RECORD_BYTES_MAX};
use oca_daemon::tls::sealer::Sealer;
use oca_daemon::tls::traffic_key::TrafficKey;
use oca_daemon::tls::{SealedBytes, Session, TicketKeys};
use oca_daemon::transport::Received;
use rustix::time::{ClockId, clock_gettime};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, version};

/// Bytes that one input may come to, repetitions included.
const TOTAL_BYTES_MAX: usize = 256 * 1024;

/// What a session may hold of what has not come whole: a handshake's, or one record; and a receive more.
const HELD_BYTES_MAX: usize = HANDSHAKE_BYTES_MAX + 2 * RECORD_BYTES_MAX;

/// What a session may have for a client that sends all it can and reads nothing: its flight, and refusals.
const PENDING_BYTES_MAX: u64 = 64 * 1024;

/// The time of the processor that all of an input may take, far more than a handshake and opening so many bytes do with all checks on.
const PROCESSOR_TIME_MAX: Duration = Duration::from_secs(1);

static SETTINGS: LazyLock<(Arc<ServerConfig>, [Arc<ClientConfig>; 2])> = LazyLock::new(|| {
    let made =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate can be made");
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("it is a key");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .expect("both are known")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("they belong together");
    server.enable_secret_extraction = true;
    server.ticketer = TicketKeys::load(None, 1_800_000_000).0;
    let client = |version| {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).expect("it is a certificate");
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[version])
            .expect("it is known")
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.enable_secret_extraction = true;
        client.resumption = rustls::client::Resumption::disabled();
        Arc::new(client)
    };
    (Arc::new(server), [client(&version::TLS13), client(&version::TLS12)])
});

/// A client's side, and the session that it speaks to.
struct Conversation {
    session: Session,
    sealed_bytes: Arc<SealedBytes>,
    client: ClientConnection,
    /// After the handshake: what seals records with the client's key.
    sealer: Option<Sealer>,
    inbox: Vec<u8>,
    /// What must be in the inbox, as long as nothing but data was said.
    data: Option<Vec<u8>>,
    is_over: bool,
    /// How many bytes are given at a time.
    step_bytes: usize,
    total_bytes: usize,
}

/// Takes `data` for what a client does.
pub(crate) fn check(data: &[u8]) {
    let Some((&first, mut rest)) = data.split_first() else { return };
    let began = processor_time();
    let mut conversation = Conversation::new(usize::from(first & 1));
    if first & 2 != 0 {
        conversation.shake_hands();
    }
    let mut last: &[u8] = &[];
    while let Some((&kind, after)) = rest.split_first() {
        let (operation, next) = match kind % 8 {
            // Of bytes, and of a record's content.
            0..4 => {
                let length =
                    after.get(1).map_or(0, |length| usize::from(*length)).min(after.len().saturating_sub(2));
                rest.split_at((3 + length).min(rest.len()))
            }
            _ => rest.split_at(2.min(rest.len())),
        };
        rest = next;
        let argument = operation.get(1).copied().unwrap_or(0);
        if kind % 8 == 7 {
            for _ in 0..usize::from(argument) * 32 {
                conversation.perform(last);
            }
        } else {
            conversation.perform(operation);
            last = operation;
        }
        if conversation.total_bytes >= TOTAL_BYTES_MAX {
            break;
        }
    }
    conversation.end();
    let took = processor_time().saturating_sub(began);
    assert!(took < PROCESSOR_TIME_MAX, "{} bytes took {took:?}", conversation.total_bytes);
}

impl Conversation {
    fn new(version: usize) -> Self {
        let (server, clients) = &*SETTINGS;
        let sealed_bytes = Arc::<SealedBytes>::default();
        let name = "localhost".try_into().expect("it is a name");
        Self {
            session: Session::new(server.clone(), sealed_bytes.clone()).expect("the settings are sound"),
            sealed_bytes,
            client: ClientConnection::new(clients[version].clone(), name).expect("the settings are sound"),
            sealer: None,
            inbox: Vec::new(),
            data: Some(Vec::new()),
            is_over: false,
            step_bytes: usize::MAX,
            total_bytes: 0,
        }
    }

    /// As a client should.
    fn shake_hands(&mut self) {
        while self.client.is_handshaking() || self.client.wants_write() {
            let mut bytes = Vec::new();
            self.client.write_tls(&mut bytes).expect("a vector takes all");
            self.receive(&bytes);
            let told = self.session.pending().to_vec();
            self.session.sent(told.len());
            let mut told = told.as_slice();
            while !told.is_empty() {
                self.client.read_tls(&mut told).expect("a slice can be read");
                self.client.process_new_packets().expect("the session keeps to the protocol");
            }
        }
        assert!(!self.is_over && self.session.version().is_some());
    }

    /// One operation: what it is, an argument, and for some a length and so many bytes.
    fn perform(&mut self, operation: &[u8]) {
        let Some((&kind, rest)) = operation.split_first() else { return };
        let argument = rest.first().copied().unwrap_or(0);
        let content = rest.get(2..).unwrap_or_default();
        if self.total_bytes >= TOTAL_BYTES_MAX {
            return;
        }
        match kind % 8 {
            0 => {
                self.data = None;
                self.receive(content);
            }
            1 => {
                self.data = None;
                let [high, low] = (content.len() as u16).to_be_bytes();
                self.receive(&[&[argument, 3, 3, high, low], content].concat());
            }
            2 => self.say(ContentType::from_byte(argument).unwrap_or(ContentType::ApplicationData), content),
            // The same, as long as a record may be.
            3 => {
                let content: Vec<u8> = content.iter().copied().cycle().take(PLAINTEXT_BYTES_MAX).collect();
                self.say(ContentType::from_byte(argument).unwrap_or(ContentType::ApplicationData), &content);
            }
            4 => self.say_hello(argument),
            5 => self.step_bytes = usize::from(argument).max(1),
            _ => self.answer(argument),
        }
    }

    /// A record that is sealed as it should be.
    fn say(&mut self, kind: ContentType, content: &[u8]) {
        if self.sealer.is_none() && !self.client.is_handshaking() && self.session.version().is_some() {
            self.sealer = Some(self.take_key());
        }
        let Some(sealer) = &mut self.sealer else { return };
        let mut record = vec![0; RECORD_BYTES_MAX];
        let Ok(length) = sealer.seal(kind, content, &mut record) else { return };
        match &mut self.data {
            Some(data) if kind == ContentType::ApplicationData => data.extend_from_slice(content),
            _ => self.data = None,
        }
        self.receive(&record[..length]);
    }

    fn take_key(&mut self) -> Sealer {
        let (_, clients) = &*SETTINGS;
        let name = "localhost".try_into().expect("it is a name");
        let other = ClientConnection::new(clients[0].clone(), name).expect("the settings are sound");
        let client = std::mem::replace(&mut self.client, other);
        let version = self.session.version().unwrap_or(TlsVersion::Tls13);
        let (sequence, secrets) = client.dangerous_extract_secrets().expect("the handshake is done").tx;
        Sealer::new(TrafficKey::new(&secrets, version).expect("the suite is known"), sequence, u64::MAX)
    }

    /// The client's own hello, in records of `fragment_bytes`; all of it in one, where that is 0. With an odd number early data is
    /// announced.
    fn say_hello(&mut self, fragment_bytes: u8) {
        let mut hello = Vec::new();
        if !self.client.is_handshaking() || self.client.write_tls(&mut hello).is_err() || hello.len() < 80 {
            return;
        }
        self.data = None;
        let mut message = hello.split_off(HEADER_BYTES);
        if fragment_bytes % 2 == 1 {
            announce_early_data(&mut message);
        }
        let fragment_bytes = if fragment_bytes < 2 { message.len() } else { usize::from(fragment_bytes) };
        for fragment in message.chunks(fragment_bytes) {
            let [high, low] = (fragment.len() as u16).to_be_bytes();
            self.receive(&[&[22, 3, 1, high, low], fragment].concat());
        }
    }

    /// The daemon's side: it seals an answer, which leaves at once or not, or says farewell.
    fn answer(&mut self, argument: u8) {
        let mut room = vec![0; usize::from(argument) * 512];
        if argument % 16 == 15 {
            self.session.say_goodbye();
        }
        if let Ok((taken, written)) = self.session.seal([&[7; 3000][..], &[8; 20_000]], &mut room) {
            assert!(taken <= 23_000 && written <= room.len() && (taken == 0) == (written == 0));
            check_records(&room[..written]);
        }
        if argument.is_multiple_of(2) {
            self.session.sent(self.session.pending().len());
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.total_bytes += bytes.len() + 1;
        for part in bytes.chunks(self.step_bytes.min(1 << 16)) {
            let (before, told) = (self.inbox.len(), self.session.pending().len());
            let result = self.session.receive(part, &mut self.inbox);
            if self.is_over {
                assert!(matches!(result, Ok(Received::Ended)), "it goes on after its end");
                assert_eq!((self.inbox.len(), self.session.pending().len()), (before, told));
            }
            if self.data.is_some() && result.is_err() {
                // Nothing but data: empty records without end, or more than is taken.
                assert!(self.session.version().is_none() || self.total_bytes > 64, "{result:?}");
                self.data = None;
            }
            self.is_over |= !matches!(result, Ok(Received::Open));
            assert!(self.inbox.len() <= INBOX_BYTES_MAX);
            assert!(self.session.held_bytes() <= HELD_BYTES_MAX, "{} bytes", self.session.held_bytes());
            assert!(self.sealed_bytes.bytes() <= PENDING_BYTES_MAX, "{} bytes", self.sealed_bytes.bytes());
        }
        if let Some(data) = &self.data
            && self.session.version().is_some()
        {
            assert_eq!(&self.inbox, data);
        }
        if self.inbox.len() > INBOX_BYTES_MAX / 2 {
            // A request was read.
            self.inbox.clear();
            self.data.iter_mut().for_each(Vec::clear);
        }
    }

    fn end(&mut self) {
        check_records(self.session.pending());
        self.session.say_goodbye();
        let length = self.session.pending().len();
        self.session.say_goodbye();
        assert_eq!(self.session.pending().len(), length);
        assert!(self.session.seal([&b"more"[..]], &mut [0; 100]).is_err());
        check_records(self.session.pending());
    }
}

/// What goes out are whole records.
fn check_records(mut records: &[u8]) {
    while !records.is_empty() {
        let header = records.first_chunk::<HEADER_BYTES>().expect("a header is whole");
        let record_bytes = HEADER_BYTES + usize::from(u16::from_be_bytes([header[3], header[4]]));
        assert!(ContentType::from_byte(header[0]).is_some() && record_bytes <= RECORD_BYTES_MAX);
        records = records.get(record_bytes..).expect("a record is whole");
    }
}

/// Adds the extension (RFC 8446, section 4.2.10) to a hello.
fn announce_early_data(message: &mut Vec<u8>) {
    let length_at =
        |message: &[u8], place: usize| usize::from(u16::from_be_bytes([message[place], message[place + 1]]));
    let mut place = 4 + 2 + 32;
    place += 1 + usize::from(message[place]);
    place += 2 + length_at(message, place);
    place += 1 + usize::from(message[place]);
    let extensions = length_at(message, place) + 4;
    message.extend([0, 42, 0, 0]);
    message[place..place + 2].copy_from_slice(&(extensions as u16).to_be_bytes());
    let whole = message.len() - 4;
    message[2..4].copy_from_slice(&(whole as u16).to_be_bytes());
}

/// What this thread has used.
fn processor_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}
