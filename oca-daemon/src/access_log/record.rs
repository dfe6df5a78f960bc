//! What is logged of a request.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use control_client::units::ByteRange;

use crate::media::Cmcd;
use crate::outcome::Outcome;
use crate::stats::TlsVersion;

/// Bytes of a request target that a record keeps. Our own paths are shorter; what is longer is marked as cut.
pub const TARGET_BYTES_MAX: usize = 192;

/// One request, as it is logged.
#[derive(Clone, Debug)]
pub struct Record {
    /// When the request began, in nanoseconds since the Unix epoch.
    pub began_unix_nanos: u64,
    /// The client's address and port, as the socket has them.
    pub client: SocketAddr,
    /// The worker that served it.
    pub worker: u16,
    /// The TLS version; `None` is cleartext.
    pub tls: Option<TlsVersion>,
    /// The method's name, or "" when the head could not be read.
    pub method: &'static str,
    /// "HTTP/1.1", "HTTP/1.0", or "" when the head could not be read.
    pub version: &'static str,
    /// The request target, as the client wrote it.
    pub target: LoggedTarget,
    /// The first range of the object that was asked for, half-open.
    pub range: Option<ByteRange>,
    /// What the player says of itself.
    pub cmcd: Option<Box<Cmcd>>,
    /// The status code sent, or 0 when none was.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Bytes of the body that the kernel took.
    pub body_bytes: u64,
    /// From the request's beginning until the first byte of the response was sent; `None`: none was.
    pub first_byte: Option<Duration>,
    /// From the request's beginning until its end: until the last bytes of the response were sent, or nothing more could be.
    pub duration: Duration,
}

impl Record {
    /// What is known of a request when its first byte arrives: that it is there.
    pub fn begin(began_unix_nanos: u64, client: SocketAddr, worker: u16, tls: Option<TlsVersion>) -> Self {
        Record {
            began_unix_nanos,
            client,
            worker,
            tls,
            method: "",
            version: "",
            target: LoggedTarget::default(),
            range: None,
            cmcd: None,
            status: 0,
            outcome: Outcome::AbortedClientGone,
            body_bytes: 0,
            first_byte: None,
            duration: Duration::ZERO,
        }
    }
}

/// The beginning of a request target. The bytes are the client's, and may be anything.
#[derive(Clone, Default)]
pub struct LoggedTarget {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl LoggedTarget {
    /// Keeps the first [`TARGET_BYTES_MAX`] bytes of `target`, and nothing of what was kept before.
    pub fn set(&mut self, target: &[u8]) {
        let kept = &target[..target.len().min(TARGET_BYTES_MAX)];
        self.bytes.clear();
        self.bytes.extend_from_slice(kept);
        self.is_cut = kept.len() < target.len();
    }

    /// The bytes that were kept.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the target was longer.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }
}

impl From<&[u8]> for LoggedTarget {
    fn from(target: &[u8]) -> Self {
        let mut logged = LoggedTarget::default();
        logged.set(target);
        logged
    }
}

impl fmt::Debug for LoggedTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{}\"", self.as_bytes().escape_ascii())
    }
}
