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
    /// Whether the kernel seals what is sent.
    pub kernel: TlsKernel,
}

/// Whether the kernel seals what is sent over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsKernel {
    /// Where it can; else the daemon does.
    Auto,
    /// The daemon always does.
    Off,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            ticket_keys: Some(PathBuf::from("/var/lib/oca-daemon/ticket-keys")),
            kernel: TlsKernel::Auto,
        }
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
            if self
                .ticket_keys
                .as_ref()
                .is_some_and(|file| [&certificate.chain, &certificate.key].contains(&file))
            {
                problems.add(
                    "tls.ticket_keys",
                    format!("is also a file of tls.certificates[{index}]"),
                    "name a file of its own: the daemon writes it",
                );
            }
            problems.check_path(&format!("tls.certificates[{index}].chain"), &certificate.chain);
            problems.check_path(&format!("tls.certificates[{index}].key"), &certificate.key);
        }
    }
}
