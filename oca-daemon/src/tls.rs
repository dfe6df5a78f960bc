//! TLS 1.3 and 1.2: rustls shakes hands, with aws-lc; records are our own. HTTP/1.1 by ALPN.
//!
//! # Reading order
//!
//! 1. `session`: one connection's TLS, without its socket; `handshake`, until rustls gives the keys away; `traffic`, with them.
//! 2. `sealer` and `opener`: one record each way, and `pending`, what a socket did not take; `traffic_key` and `record`: what both versions' records look like.
//! 3. `control`: what a client may say beside data.
//! 4. `kernel`: the kernel seals what is sent, where it can; `session/kernel`: a session of which it does.
//! 5. `tickets`: how a session is resumed, on any worker and after a restart.
//! 6. `certificates`: which there are, and whom each is for.
//!
//! This file has the settings, which are made once and shared by all workers.

pub mod certificates;
pub mod control;
pub mod handshake;
pub mod kernel;
pub mod opener;
pub mod pending;
pub mod record;
pub mod sealer;
pub mod session;
pub mod tickets;
pub mod traffic;
pub mod traffic_key;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use control_client::config::CertificateConfig;
use rustls::ServerConfig;
use rustls::pki_types::pem;
use rustls::server::NoServerSessionStorage;

use crate::limits::REFUSED_EARLY_DATA_BYTES;

pub use certificates::{CertificateExpiry, Certificates};
pub use pending::SealedBytes;
pub use record::RECORD_BYTES_MAX;
pub use session::{Session, SessionError};
pub use tickets::{KeyFileError, TicketKeys};

/// Why the TLS settings could not be made or reloaded.
#[derive(Debug)]
pub enum TlsError {
    /// No certificate is configured.
    None,
    /// A file could not be read or holds no PEM of the right kind.
    Pem(PathBuf, pem::Error),
    /// The chain file holds no certificate.
    EmptyChain(PathBuf),
    /// The key cannot be used, or is not the certificate's.
    Key(PathBuf, rustls::Error),
    /// rustls refused the settings.
    Settings(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::None => {
                write!(f, "tls.certificates is empty, but serve.listen_tls is not; name a chain and a key")
            }
            TlsError::Pem(path, error) => {
                write!(f, "{}: {error}; a PEM file that the daemon may read is needed", path.display())
            }
            TlsError::EmptyChain(path) => write!(f, "{}: holds no certificate", path.display()),
            TlsError::Key(path, error) => {
                write!(f, "{}: {error}; chain and key must belong together", path.display())
            }
            TlsError::Settings(error) => write!(f, "TLS settings were refused: {error}"),
        }
    }
}

impl std::error::Error for TlsError {}

/// What TLS listeners need: certificates that can be replaced, and the settings that all workers share.
pub struct Tls {
    /// For [`Certificates::reload`].
    pub certificates: Arc<Certificates>,
    /// For handshakes.
    pub settings: Arc<ServerConfig>,
    /// For [`TicketKeys::rotate`].
    pub tickets: Arc<TicketKeys>,
}

impl Tls {
    /// Loads all configured certificates; the first is the default.
    pub fn load(configured: &[CertificateConfig], tickets: Arc<TicketKeys>) -> Result<Self, TlsError> {
        let certificates = Certificates::load(configured)?;
        let settings = certificates.settings(tickets.clone())?;
        Ok(Self { certificates, settings, tickets })
    }
}

/// What holds for all handshakes, whatever the certificates.
pub(crate) fn settle(settings: &mut ServerConfig, tickets: Arc<TicketKeys>) {
    settings.alpn_protocols = vec![b"http/1.1".to_vec()];
    settings.ticketer = tickets;
    // A session is in its ticket, or it is not resumed.
    settings.session_storage = Arc::new(NoServerSessionStorage {});
    // The record layer is ours.
    settings.enable_secret_extraction = true;
    // Early data can be replayed, and a segment's first byte gains nothing from it that a warm connection does not have. rustls
    // takes none, and offers none, where sessions are in tickets; this is how much of it is passed by when it is refused.
    settings.max_early_data_size = REFUSED_EARLY_DATA_BYTES;
}
