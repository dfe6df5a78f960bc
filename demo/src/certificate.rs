//! A self-signed certificate for the machine itself, made at start: the one thing in the demo that is not real.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Step};

/// A certificate and its key, as files and as the text that a client trusts.
pub struct CertificateFiles {
    /// PEM file with the certificate.
    pub chain: PathBuf,
    /// PEM file with its private key.
    pub key: PathBuf,
    /// The certificate as PEM.
    pub pem: String,
}

/// Makes a certificate for `names` (host names or IP addresses) in `folder`, as `<stem>.pem` and `<stem>.key`.
pub fn make(folder: &Path, stem: &str, names: &[&str]) -> Result<CertificateFiles, Failure> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).step("making a certificate")?;
    let (chain, key) = (folder.join(format!("{stem}.pem")), folder.join(format!("{stem}.key")));
    let pem = made.cert.pem();
    fs::write(&chain, &pem).step("writing the certificate")?;
    fs::write(&key, made.signing_key.serialize_pem()).step("writing the certificate's key")?;
    Ok(CertificateFiles { chain, key, pem })
}
