#![expect(unsafe_code, reason = "objects are sealed from where they are mapped")]
//! TLS 1.3 records, sealed from a mapping into one large buffer, which is then sent. rustls shakes hands and gives its keys away; after that
//! there is no TLS library any more.

use std::io::{self, Read};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use demo::failure::{Failure, Step};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap};
use rustix::net::{SendFlags, send};
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ConnectionTrafficSecrets, ServerConfig, ServerConnection};

use super::objects::Objects;
use super::serving::{Disk, Sends, Waits};

/// What one send brings at most: small enough to stay in the processor's second cache.
const SEND_BYTES: usize = 128 * 1024;

/// Room for that in records, and a head in one of its own.
const BUFFER_BYTES: usize = SEND_BYTES + 16 * 1024;

/// Plaintext of a record (RFC 8446, 5.1), and what a record has beside it: header, type and tag.
const RECORD_BYTES: usize = 16 * 1024;
const HEADER_BYTES: usize = 5;
const TAG_BYTES: usize = 16;
const APPLICATION_DATA: u8 = 23;

/// The loop.
pub(super) struct Sealing {
    settings: Arc<ServerConfig>,
    mapped: Vec<&'static [u8]>,
    /// Where records are sealed to. What a socket does not take of it stays there, and the next buffer takes its place.
    sealed: Vec<u8>,
    spare: Vec<Vec<u8>>,
}

/// A connection whose handshake is over.
pub(super) struct Session {
    seals: Direction,
    opens: Direction,
    inbox: Vec<u8>,
    /// A request that came with the handshake's end.
    early: Vec<u8>,
    object: usize,
    offset: usize,
    is_head_sent: bool,
    /// What was sealed and did not fit into the socket.
    unsent: Option<Unsent>,
}

/// A part of a buffer of records.
struct Unsent {
    sealed: Vec<u8>,
    start: usize,
    end: usize,
}

struct Direction {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl Sealing {
    /// Maps all objects, and reads the certificate.
    pub(super) fn new(objects: &Objects, chain: &Path, key: &Path) -> Result<Self, Failure> {
        let mapped = objects.all.iter().map(|object| map(&object.file, object.bytes));
        let mapped = mapped.collect::<io::Result<_>>().step("mapping the objects")?;
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(chain)
            .and_then(Iterator::collect)
            .step("reading the certificate")?;
        let key = PrivateKeyDer::from_pem_file(key).step("reading the key")?;
        let cipher_suites = vec![provider::cipher_suite::TLS13_AES_256_GCM_SHA384];
        let provider = rustls::crypto::CryptoProvider { cipher_suites, ..provider::default_provider() };
        let mut settings = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .step("TLS settings")?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .step("TLS settings")?;
        settings.enable_secret_extraction = true;
        settings.send_tls13_tickets = 0;
        Ok(Self { settings: Arc::new(settings), mapped, sealed: vec![0; BUFFER_BYTES], spare: Vec::new() })
    }
}

impl Sends for Sealing {
    type State = Session;

    fn accept(&mut self, socket: &OwnedFd) -> io::Result<Session> {
        let mut stream = TcpStream::from(socket.as_fd().try_clone_to_owned()?);
        stream.set_nonblocking(false)?;
        let mut connection = ServerConnection::new(self.settings.clone()).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        while connection.wants_write() {
            connection.write_tls(&mut stream)?;
        }
        let mut early = Vec::new();
        match connection.reader().read_to_end(&mut early) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        stream.set_nonblocking(true)?;
        let secrets = connection.dangerous_extract_secrets().map_err(io::Error::other)?;
        Ok(Session {
            seals: Direction::new(secrets.tx)?,
            opens: Direction::new(secrets.rx)?,
            inbox: Vec::new(),
            early,
            object: 0,
            offset: 0,
            is_head_sent: false,
            unsent: None,
        })
    }

    fn has_request(&self, state: &Session) -> bool {
        !state.early.is_empty()
    }

    fn receive(&mut self, state: &mut Session, bytes: &[u8], objects: &Objects) -> io::Result<bool> {
        state.inbox.extend_from_slice(bytes);
        let Some(request) = state.open()? else { return Ok(false) };
        state.begin(objects.find(&request)?);
        Ok(true)
    }

    fn send(
        &mut self,
        state: &mut Session,
        socket: &OwnedFd,
        objects: &Objects,
        _disk: &mut Disk<'_>,
    ) -> io::Result<Waits> {
        if !state.early.is_empty() {
            let early = std::mem::take(&mut state.early);
            state.begin(objects.find(&early)?);
        }
        if let Some(unsent) = &mut state.unsent {
            unsent.start +=
                room(send(socket, &unsent.sealed[unsent.start..unsent.end], SendFlags::NOSIGNAL))?;
            if unsent.start < unsent.end {
                return Ok(Waits::Room);
            }
            self.spare.extend(state.unsent.take().map(|unsent| unsent.sealed));
        }
        let body = self.mapped[state.object];
        if state.is_head_sent && state.offset == body.len() {
            return Ok(Waits::Request);
        }
        let mut sealed_bytes = 0;
        if !state.is_head_sent {
            sealed_bytes = state.seals.seal(&objects.all[state.object].head, &mut self.sealed)?;
            state.is_head_sent = true;
        }
        let part = &body[state.offset..(state.offset + SEND_BYTES).min(body.len())];
        for record in part.chunks(RECORD_BYTES) {
            sealed_bytes += state.seals.seal(record, &mut self.sealed[sealed_bytes..])?;
        }
        state.offset += part.len();
        let sent = room(send(socket, &self.sealed[..sealed_bytes], SendFlags::NOSIGNAL))?;
        if sent < sealed_bytes {
            let next = self.spare.pop().unwrap_or_else(|| vec![0; BUFFER_BYTES]);
            let sealed = std::mem::replace(&mut self.sealed, next);
            state.unsent = Some(Unsent { sealed, start: sent, end: sealed_bytes });
            return Ok(Waits::Room);
        }
        Ok(if state.offset == body.len() { Waits::Request } else { Waits::Turn })
    }
}

impl Session {
    fn begin(&mut self, object: usize) {
        (self.object, self.offset, self.is_head_sent) = (object, 0, false);
    }

    /// The first record of the inbox, opened; none while it is not whole. Anything but application data is taken for the end.
    fn open(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(header) = self.inbox.first_chunk::<HEADER_BYTES>().copied() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if self.inbox.len() < HEADER_BYTES + length {
            return Ok(None);
        }
        let rest = self.inbox.split_off(HEADER_BYTES + length);
        let mut record = std::mem::replace(&mut self.inbox, rest).split_off(HEADER_BYTES);
        let nonce = self.opens.next_nonce();
        let plain =
            self.opens.key.open_in_place(nonce, Aad::from(header), &mut record).map_err(io::Error::other)?;
        match plain.split_last() {
            Some((&APPLICATION_DATA, request)) => Ok(Some(request.to_vec())),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Direction {
    fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> io::Result<Self> {
        let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else {
            return Err(io::Error::other("another suite than AES-256-GCM"));
        };
        let key = UnboundKey::new(&AES_256_GCM, key.as_ref()).map_err(io::Error::other)?;
        let iv = iv.as_ref().try_into().map_err(io::Error::other)?;
        Ok(Self { key: LessSafeKey::new(key), iv, sequence })
    }

    /// RFC 8446, 5.3.
    fn next_nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, of_sequence) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= of_sequence;
        }
        self.sequence += 1;
        Nonce::assume_unique_for_key(nonce)
    }

    /// Writes a record (RFC 8446, 5.2) to the front of `sealed`, and gives its length. It is sealed from where it is to where it goes,
    /// without a copy between.
    fn seal(&mut self, plain: &[u8], sealed: &mut [u8]) -> io::Result<usize> {
        let length = plain.len() + 1 + TAG_BYTES;
        let [high, low] = (length as u16).to_be_bytes();
        let header = [APPLICATION_DATA, 3, 3, high, low];
        let (to_header, rest) = sealed.split_at_mut(HEADER_BYTES);
        to_header.copy_from_slice(&header);
        let (body, type_and_tag) = rest[..length].split_at_mut(plain.len());
        let nonce = self.next_nonce();
        self.key
            .seal_out_of_place_scatter(
                nonce,
                Aad::from(header),
                plain,
                body,
                &[APPLICATION_DATA],
                type_and_tag,
            )
            .map_err(io::Error::other)?;
        Ok(HEADER_BYTES + length)
    }
}

/// How much a socket took; nothing, where it is full.
fn room(sent: Result<usize, Errno>) -> io::Result<usize> {
    match sent {
        Err(Errno::AGAIN) => Ok(0),
        sent => Ok(sent?),
    }
}

/// A whole file, in memory from now on, for as long as the process lives.
fn map(file: &std::fs::File, bytes: u64) -> io::Result<&'static [u8]> {
    let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: the kernel chooses the address; nothing of ours is there.
    let address = unsafe {
        mmap(std::ptr::null_mut(), bytes, ProtFlags::READ, MapFlags::SHARED | MapFlags::POPULATE, file, 0)
    }?;
    // SAFETY: the mapping has so many bytes and is never unmapped; the benchmark's files are not changed.
    Ok(unsafe { std::slice::from_raw_parts(address.cast::<u8>(), bytes) })
}
