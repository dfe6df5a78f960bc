//! Whom sources over TLS are believed by: the roots of the system, or of the file that `SSL_CERT_FILE` names.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

/// Reads the roots. Where there are none, sources over TLS cannot be reached, and the others can.
pub fn connector() -> Result<TlsConnector, rustls::Error> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a root certificate of the system could not be read");
    }
    let mut roots = RootCertStore::empty();
    let (taken, refused) = roots.add_parsable_certificates(found.certs);
    if taken == 0 {
        tracing::warn!(
            refused,
            "the system has no root certificates, so no source over https can be reached; install ca-certificates"
        );
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
