//! The certificates, which are made once, shared by all workers, and looked up at every handshake in a table that a reload replaces
//! whole: by the name that the client asks for (SNI), else the first one configured; with keys of several kinds, the first that the
//! client understands. A reload that fails leaves the table as it was.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use control_client::config::CertificateConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SignatureScheme, version};

use super::{TicketKeys, TlsError, settle};

/// The certificates in use; [`Certificates::reload`] replaces them for later handshakes.
pub struct Certificates {
    provider: Arc<CryptoProvider>,
    configured: Vec<CertificateConfig>,
    table: ArcSwap<Table>,
}

/// When a certificate expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateExpiry {
    /// The file of its chain.
    pub chain: PathBuf,
    /// When the first of the chain does, in seconds since 1970; `None` where none of them says so.
    pub expires: Option<u64>,
}

#[derive(Debug)]
struct Table {
    /// In the order of the configuration.
    expiries: Vec<CertificateExpiry>,
    /// All of them, likewise.
    all: Vec<Arc<CertifiedKey>>,
    /// Those for a name, likewise: one with a key of RSA beside one with a key of ECDSA.
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl Certificates {
    pub(super) fn load(configured: &[CertificateConfig]) -> Result<Arc<Self>, TlsError> {
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

    /// When each certificate in use expires, in the order of the configuration.
    pub fn expiries(&self) -> Vec<CertificateExpiry> {
        self.table.load().expiries.clone()
    }

    /// The settings for all workers' handshakes.
    pub(super) fn settings(
        self: &Arc<Self>,
        tickets: Arc<TicketKeys>,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let mut settings = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(TlsError::Settings)?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        settle(&mut settings, tickets);
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
        Some(self.table.load().find(hello.server_name(), hello.signature_schemes()))
    }
}

impl Table {
    fn load(configured: &[CertificateConfig], provider: &CryptoProvider) -> Result<Self, TlsError> {
        let mut all = Vec::new();
        let mut by_name = HashMap::<String, Vec<Arc<CertifiedKey>>>::new();
        let mut expiries = Vec::new();
        for certificate in configured {
            let key = Arc::new(load_one(certificate, provider)?);
            for name in names(&key) {
                by_name.entry(name.to_ascii_lowercase()).or_default().push(key.clone());
            }
            let expires = key.cert.iter().filter_map(expiry).min();
            expiries.push(CertificateExpiry { chain: certificate.chain.clone(), expires });
            all.push(key);
        }
        if all.is_empty() {
            return Err(TlsError::None);
        }
        Ok(Self { all, by_name, expiries })
    }

    /// The certificate for a name: exact, else by a wildcard for its first label (RFC 6125 6.4.3), else any. Of several, the first
    /// whose signatures the client understands.
    fn find(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Arc<CertifiedKey> {
        let found = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let wildcard = name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
            self.by_name.get(&name).or_else(|| self.by_name.get(&wildcard?))
        });
        let certificates = found.unwrap_or(&self.all);
        let understood =
            certificates.iter().find(|certificate| certificate.key.choose_scheme(schemes).is_some());
        understood.unwrap_or(&certificates[0]).clone()
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

/// When a certificate expires, in seconds since 1970. webpki tells it only to whoever uses a certificate too
/// late, so it is asked about the end of time, when its first complaint is that.
fn expiry(certificate: &CertificateDer<'_>) -> Option<u64> {
    let end_of_time = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    let usage = webpki::KeyUsage::server_auth();
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    match certificate.verify_for_usage(&[], &[], &[], end_of_time, usage, None, None) {
        Err(webpki::Error::CertExpired { not_after, .. }) => Some(not_after.as_secs()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(folder: &std::path::Path, name: &str, not_after: (i32, u8, u8)) -> CertificateConfig {
        certificate_of(folder, name, &rcgen::PKCS_ECDSA_P256_SHA256, not_after)
    }

    /// A certificate for its own name, and for one that all have but `other`.
    fn certificate_of(
        folder: &std::path::Path,
        name: &str,
        kind: &'static rcgen::SignatureAlgorithm,
        not_after: (i32, u8, u8),
    ) -> CertificateConfig {
        let names = [format!("{name}.test"), "both.test".to_owned()];
        let names = names[..if name == "other" { 1 } else { 2 }].to_vec();
        let mut parameters = rcgen::CertificateParams::new(names).unwrap();
        let (year, month, day) = not_after;
        parameters.not_after = rcgen::date_time_ymd(year, month, day);
        let key = rcgen::KeyPair::generate_for(kind).unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let (chain_file, key_file) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        std::fs::write(&chain_file, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        CertificateConfig { chain: chain_file, key: key_file }
    }

    #[test]
    fn of_several_certificates_for_a_name_the_first_that_the_client_understands_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let made = |name: &str, kind| certificate_of(folder.path(), name, kind, (2051, 1, 1));
        let ecdsa = made("ecdsa", &rcgen::PKCS_ECDSA_P256_SHA256);
        let ed25519 = made("ed25519", &rcgen::PKCS_ED25519);
        let other = certificate(folder.path(), "other", (2051, 1, 1));
        let certificates = Certificates::load(&[ecdsa, ed25519, other]).unwrap();
        let table = certificates.table.load();
        let chosen = |name, schemes: &[SignatureScheme]| {
            let found = table.find(name, schemes);
            table.all.iter().position(|key| Arc::ptr_eq(key, &found)).unwrap()
        };
        let (p256, edwards) = (SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519);
        for name in [Some("both.test"), Some("unknown.test"), None] {
            assert_eq!(chosen(name, &[p256, edwards]), 0);
            assert_eq!(chosen(name, &[edwards]), 1);
            assert_eq!(chosen(name, &[SignatureScheme::RSA_PKCS1_SHA1]), 0, "then the handshake says why");
        }
        assert_eq!(chosen(Some("other.test"), &[edwards]), 2);
    }

    #[test]
    fn each_certificate_says_when_the_first_of_its_chain_expires() {
        let folder = tempfile::tempdir().unwrap();
        let late = certificate(folder.path(), "late", (2051, 1, 1)); // in GeneralizedTime
        let early = certificate(folder.path(), "early", (2027, 3, 1)); // in UTCTime
        let certificates = Certificates::load(&[late.clone(), early.clone()]).unwrap();
        let expires = |certificates: &Certificates| {
            certificates.expiries().into_iter().map(|of| of.expires.unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(expires(&certificates), [2_556_144_000, 1_803_859_200]);

        let chain =
            std::fs::read_to_string(&late.chain).unwrap() + &std::fs::read_to_string(&early.chain).unwrap();
        std::fs::write(&late.chain, chain).unwrap();
        certificates.reload().unwrap();
        assert_eq!(expires(&certificates), [1_803_859_200, 1_803_859_200]);
    }
}
