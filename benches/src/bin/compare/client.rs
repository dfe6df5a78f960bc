//! A plain HTTP/1.1 client for what is looked at and not measured: one connection, in cleartext or TLS, whole bodies.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use demo::failure::{Failure, Step};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedCipherSuite};

/// Longer than anything here takes.
const TIMEOUT: Duration = Duration::from_secs(60);

const READ_BYTES: usize = 64 * 1024;

/// A connection.
pub(crate) struct Client {
    stream: Stream,
    host: String,
}

enum Stream {
    Cleartext(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> Result<Self, Failure> {
        Ok(Self { stream: Stream::Cleartext(tcp(address)?), host: address.to_string() })
    }

    /// Connects with TLS.
    pub(crate) fn connect_tls(address: SocketAddr, settings: &Arc<ClientConfig>) -> Result<Self, Failure> {
        let name = ServerName::IpAddress(address.ip().into());
        let session = ClientConnection::new(settings.clone(), name).step("TLS")?;
        let mut stream = StreamOwned::new(session, tcp(address)?);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).step("shaking hands")?;
        }
        Ok(Self { stream: Stream::Tls(Box::new(stream)), host: address.to_string() })
    }

    /// The cipher suite that was agreed on; none in cleartext.
    pub(crate) fn suite(&self) -> Option<SupportedCipherSuite> {
        match &self.stream {
            Stream::Cleartext(_) => None,
            Stream::Tls(stream) => stream.conn.negotiated_cipher_suite(),
        }
    }

    /// Fetches an object whole.
    pub(crate) fn get(&mut self, target: &str) -> Result<Answer, Failure> {
        self.get_with(target, &[])
    }

    /// Fetches an object whole, with these fields besides Host.
    pub(crate) fn get_with(&mut self, target: &str, fields: &[(&str, &str)]) -> Result<Answer, Failure> {
        self.exchange(target, fields).step(&format!("fetching {target}"))
    }

    /// The connection without its session, which is forgotten; to be held.
    pub(crate) fn into_socket(self) -> TcpStream {
        match self.stream {
            Stream::Cleartext(stream) => stream,
            Stream::Tls(stream) => stream.sock,
        }
    }

    fn exchange(&mut self, target: &str, fields: &[(&str, &str)]) -> io::Result<Answer> {
        let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", self.host);
        self.stream.write_all(request.as_bytes())?;
        self.stream.flush()?;
        let mut bytes = Vec::new();
        let (mut answer, head_bytes, length) = loop {
            self.read_more(&mut bytes)?;
            if let Some(head) = head(&bytes)? {
                break head;
            }
        };
        while bytes.len() < head_bytes + length {
            self.read_more(&mut bytes)?;
        }
        answer.body = bytes.split_off(head_bytes);
        if answer.body.len() != length {
            return Err(io::Error::other("more came than was asked for"));
        }
        Ok(answer)
    }

    fn read_more(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let filled = bytes.len();
        bytes.resize(filled + READ_BYTES, 0);
        let read = self.stream.read(&mut bytes[filled..])?;
        bytes.truncate(filled + read);
        if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

impl Answer {
    /// The first field of a name (in lower case).
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Cleartext(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Cleartext(stream) => stream.write(buffer),
            Stream::Tls(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Cleartext(stream) => stream.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

/// The settings of a client that trusts this certificate, and offers suites in the order in which OpenSSL, and so wrk, does.
pub(crate) fn tls_settings(certificate_pem: &str) -> Result<Arc<ClientConfig>, Failure> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).step("the certificate")?;
    roots.add(certificate).step("the certificate")?;
    let cipher_suites = vec![
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        cipher_suite::TLS13_AES_128_GCM_SHA256,
    ];
    let provider = Arc::new(CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() });
    let settings = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .step("TLS settings")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(settings))
}

fn tcp(address: SocketAddr) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(address).step(&format!("connecting to {address}"))?;
    stream.set_nodelay(true).step("a socket's options")?;
    stream.set_read_timeout(Some(TIMEOUT)).step("a socket's options")?;
    Ok(stream)
}

/// The head, its bytes, and the body's.
fn head(bytes: &[u8]) -> io::Result<Option<(Answer, usize, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; 48];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head_bytes) = response.parse(bytes).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let fields = response
        .headers
        .iter()
        .map(|field| (field.name.to_ascii_lowercase(), String::from_utf8_lossy(field.value).into_owned()));
    let answer = Answer { status: response.code.unwrap_or(0), fields: fields.collect(), body: Vec::new() };
    let length = answer.field("content-length").and_then(|length| length.parse().ok());
    let length = length.ok_or_else(|| io::Error::other("the answer has no length"))?;
    Ok(Some((answer, head_bytes, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_parsed_once_it_is_whole() {
        let bytes = b"HTTP/1.1 200 OK\r\nX-Varnish: 5 3\r\nContent-Length: 4\r\n\r\nbo";
        assert!(head(&bytes[..40]).unwrap().is_none());
        let (answer, head_bytes, length) = head(bytes).unwrap().unwrap();
        assert_eq!((answer.status, head_bytes, length), (200, bytes.len() - 2, 4));
        assert_eq!(answer.field("x-varnish"), Some("5 3"));
    }

    #[test]
    fn an_answer_without_a_length_is_an_error() {
        assert!(head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
