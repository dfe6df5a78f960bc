use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::optional;
use super::problem::Problems;
use crate::limits;

/// `[tls]`: certificates for the addresses of `serve.listen_tls`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// The first is the default; the others are chosen by the name that the client asks for, read from the
    /// certificate.
    pub certificates: Vec<CertificateConfig>,
    /// The file of the keys that seal session tickets, so that clients resume their sessions after a restart; `None`, written
    /// `""`, keeps them nowhere.
    #[serde(with = "optional")]
    pub ticket_keys: Option<PathBuf>,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self { certificates: Vec::new(), ticket_keys: Some(PathBuf::from("/var/lib/oca-daemon/ticket-keys")) }
    }
}

/// A certificate chain and its key, both PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    /// The server's certificate, then its issuers.
    pub chain: PathBuf,
    /// The private key of the first certificate.
    pub key: PathBuf,
}

impl TlsConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        problems.check_count("tls.certificates", self.certificates.len(), 0..=limits::CERTIFICATES_MAX);
        if let Some(ticket_keys) = &self.ticket_keys {
            problems.check_path("tls.ticket_keys", ticket_keys);
        }
        for (index, certificate) in self.certificates.iter().enumerate() {
            problems.check_path(&format!("tls.certificates[{index}].chain"), &certificate.chain);
            problems.check_path(&format!("tls.certificates[{index}].key"), &certificate.key);
        }
    }
}
