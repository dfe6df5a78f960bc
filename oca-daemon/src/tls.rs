//! Certificates and the TLS settings of the daemon: rustls with aws-lc, TLS 1.3 and 1.2, HTTP/1.1 by ALPN.
//!
//! The settings are made once and shared by all workers, so that a session ticket is good on each of them.
//! Certificates are looked up at every handshake in a table that a reload replaces whole: by the name that
//! the client asks for (SNI), else the first one configured. A reload that fails leaves the table as it was.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use control_client::config::CertificateConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};

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
}

impl Tls {
    /// Loads all configured certificates; the first is the default.
    pub fn load(configured: &[CertificateConfig]) -> Result<Self, TlsError> {
        let certificates = Certificates::load(configured)?;
        let settings = certificates.settings()?;
        Ok(Self { certificates, settings })
    }
}

/// The certificates in use; [`Certificates::reload`] replaces them for later handshakes.
pub struct Certificates {
    provider: Arc<CryptoProvider>,
    configured: Vec<CertificateConfig>,
    table: ArcSwap<Table>,
}

#[derive(Debug)]
struct Table {
    default: Arc<CertifiedKey>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
}

impl Certificates {
    fn load(configured: &[CertificateConfig]) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let table = Table::load(configured, &provider)?;
        Ok(Arc::new(Self { provider, configured: configured.to_vec(), table: ArcSwap::from_pointee(table) }))
    }

    /// Reads the files again; returns how many names the new table answers for. On an error the old one stays.
    pub fn reload(&self) -> Result<usize, TlsError> {
        let table = Table::load(&self.configured, &self.provider)?;
        let names = table.by_name.len();
        self.table.store(Arc::new(table));
        Ok(names)
    }

    /// The settings for all workers' handshakes.
    fn settings(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let mut settings = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(TlsError::Settings)?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        settings.alpn_protocols = vec![b"http/1.1".to_vec()];
        settings.ticketer = Ticketer::new().map_err(TlsError::Settings)?;
        // Early data can be replayed, and a segment's first byte gains nothing from it that a warm connection
        // does not have.
        settings.max_early_data_size = 0;
        Ok(Arc::new(settings))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates")
            .field("names", &self.table.load().by_name.len())
            .finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.table.load().find(hello.server_name()))
    }
}

impl Table {
    fn load(configured: &[CertificateConfig], provider: &CryptoProvider) -> Result<Self, TlsError> {
        let mut default = None;
        let mut by_name = HashMap::new();
        for certificate in configured {
            let key = Arc::new(load_one(certificate, provider)?);
            for name in names(&key) {
                by_name.entry(name.to_ascii_lowercase()).or_insert_with(|| key.clone());
            }
            default.get_or_insert(key);
        }
        Ok(Self { default: default.ok_or(TlsError::None)?, by_name })
    }

    /// The certificate for a name: exact, else by a wildcard for its first label (RFC 6125 6.4.3), else the default.
    fn find(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let found = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let wildcard = name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
            self.by_name.get(&name).or_else(|| self.by_name.get(&wildcard?))
        });
        found.unwrap_or(&self.default).clone()
    }
}

fn load_one(certificate: &CertificateConfig, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&certificate.chain)
        .and_then(Iterator::collect)
        .map_err(|error| TlsError::Pem(certificate.chain.clone(), error))?;
    if chain.is_empty() {
        return Err(TlsError::EmptyChain(certificate.chain.clone()));
    }
    let key = PrivateKeyDer::from_pem_file(&certificate.key)
        .map_err(|error| TlsError::Pem(certificate.key.clone(), error))?;
    CertifiedKey::from_der(chain, key, provider)
        .map_err(|error| TlsError::Key(certificate.key.clone(), error))
}

fn names(key: &CertifiedKey) -> Vec<String> {
    let Some(first) = key.cert.first() else { return Vec::new() };
    webpki::EndEntityCert::try_from(first)
        .map(|certificate| certificate.valid_dns_names().map(str::to_owned).collect())
        .unwrap_or_default()
}
