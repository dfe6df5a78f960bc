use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::problem::Problems;
use crate::limits;

/// `[tls]`: certificates for the addresses of `serve.listen_tls`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// The first is the default; the others are chosen by the name that the client asks for, read from the
    /// certificate.
    pub certificates: Vec<CertificateConfig>,
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
        for (index, certificate) in self.certificates.iter().enumerate() {
            problems.check_path(&format!("tls.certificates[{index}].chain"), &certificate.chain);
            problems.check_path(&format!("tls.certificates[{index}].key"), &certificate.key);
        }
    }
}
