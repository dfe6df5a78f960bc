//! What this kernel can do, found out once, at start, on connections of the daemon with itself: each cipher's records are
//! compared with what our own opener expects, before any client's are left to the kernel.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use super::crypto_info::{Cipher, CryptoInfo};
use super::socket;
use crate::stats::TlsVersion;
use crate::tls::opener::Opener;
use crate::tls::record::{ContentType, HEADER_BYTES, RecordHeader};
use crate::tls::traffic_key::TrafficKey;

/// How long a byte may take from the daemon to itself.
const PATIENCE: Duration = Duration::from_secs(1);

/// Any: nothing secret is sealed with it.
const KEY: [u8; 32] = [0x6b; 32];
const IV: [u8; 12] = [0x69; 12];
const SEQUENCE: u64 = 3;
const CONTENT: &[u8] = b"sealed by the kernel";

/// What the kernel seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelTls {
    /// A bit for each version and cipher.
    suites: u8,
    can_rekey: bool,
}

/// Why the kernel seals nothing.
#[derive(Debug)]
pub enum NoKernelTls {
    /// Its module is not loaded, or it was built without.
    NoModule,
    /// It took no key, or sealed what we could not open; the last error says what.
    NoSuite(io::Error),
    /// There was no connection to try it on.
    NoConnection(io::Error),
}

impl fmt::Display for NoKernelTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoKernelTls::NoModule => {
                f.write_str("the kernel's module `tls` is not loaded; `modprobe tls`, and restart the daemon")
            }
            NoKernelTls::NoSuite(error) => write!(f, "the kernel seals with none of our ciphers: {error}"),
            NoKernelTls::NoConnection(error) => write!(f, "nothing to try it on: {error}"),
        }
    }
}

impl std::error::Error for NoKernelTls {}

impl KernelTls {
    /// Tries every version with every cipher. Waits for nothing but the loopback, and for that no longer than a few seconds.
    pub fn probe() -> Result<Self, NoKernelTls> {
        let mut found = Self { suites: 0, can_rekey: false };
        let mut reason = None;
        for version in [TlsVersion::Tls13, TlsVersion::Tls12] {
            for cipher in Cipher::ALL {
                let (ours, theirs) = pair().map_err(NoKernelTls::NoConnection)?;
                socket::attach(ours.as_fd()).map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => NoKernelTls::NoModule,
                    _ => NoKernelTls::NoSuite(error),
                })?;
                match try_suite(&ours, &theirs, version, cipher) {
                    Ok(can_rekey) => {
                        found.suites |= bit(cipher, version);
                        found.can_rekey |= can_rekey;
                    }
                    Err(error) => reason = Some(error),
                }
            }
        }
        match reason {
            Some(error) if found.suites == 0 => Err(NoKernelTls::NoSuite(error)),
            _ => Ok(found),
        }
    }

    /// What says that the kernel seals in every suite, whatever it does.
    #[cfg(test)]
    pub(crate) fn pretended() -> Self {
        Self { suites: u8::MAX, can_rekey: false }
    }

    /// Whether it seals with that cipher in that version.
    pub fn seals(self, cipher: Cipher, version: TlsVersion) -> bool {
        self.suites & bit(cipher, version) != 0
    }

    /// Whether it takes another key later, as TLS 1.3 may ask for (Linux 6.14).
    pub fn can_rekey(self) -> bool {
        self.can_rekey
    }

    /// How many pairs of version and cipher it seals with.
    pub fn suite_count(self) -> u32 {
        self.suites.count_ones()
    }
}

fn bit(cipher: Cipher, version: TlsVersion) -> u8 {
    let place = match cipher {
        Cipher::Aes128Gcm => 0,
        Cipher::Aes256Gcm => 1,
        Cipher::ChaCha20Poly1305 => 2,
    };
    1 << (place + 4 * version as u8)
}

/// Whether a record of the kernel's is one that we open; and, in TLS 1.3, whether it takes another key.
fn try_suite(
    mut ours: &TcpStream,
    mut theirs: &TcpStream,
    version: TlsVersion,
    cipher: Cipher,
) -> io::Result<bool> {
    let key = &KEY[..cipher.key_bytes()];
    let info =
        CryptoInfo::from_parts(cipher, version, key, IV, SEQUENCE).ok_or(io::ErrorKind::InvalidData)?;
    socket::set_sending_key(ours.as_fd(), info.bytes())?;
    ours.write_all(CONTENT)?;
    let mut record = vec![0; CONTENT.len() + info.overhead_bytes() as usize];
    theirs.read_exact(&mut record)?;
    let (header, body) = record.split_first_chunk::<HEADER_BYTES>().ok_or(io::ErrorKind::InvalidData)?;
    let mut content = Vec::new();
    let traffic_key =
        TrafficKey::from_parts(cipher, version, key, IV).map_err(|_| io::ErrorKind::InvalidData)?;
    let opened = RecordHeader::parse(*header, body.len())
        .and_then(|header| Opener::new(traffic_key, SEQUENCE).open(header, body, &mut content));
    if opened != Ok(ContentType::ApplicationData) || content != CONTENT {
        return Err(io::Error::other("its record is not one that we could open"));
    }
    let sequence = socket::next_sequence(ours.as_fd(), cipher)?;
    if sequence != SEQUENCE + 1 {
        return Err(io::Error::other("it does not count records as we do"));
    }
    Ok(version == TlsVersion::Tls13 && socket::set_sending_key(ours.as_fd(), info.bytes()).is_ok())
}

/// A connection of the daemon with itself.
fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .or_else(|_| TcpListener::bind((Ipv6Addr::LOCALHOST, 0)))?;
    let address = listener.local_addr()?;
    let theirs = TcpStream::connect_timeout(&address, PATIENCE)?;
    let (ours, _) = listener.accept()?;
    for end in [&ours, &theirs] {
        end.set_read_timeout(Some(PATIENCE))?;
        end.set_write_timeout(Some(PATIENCE))?;
    }
    Ok((ours, theirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On whatever kernel this is: with the module it seals at least TLS 1.3 with AES-GCM, without it says so.
    #[test]
    fn the_kernel_is_asked_and_says_what_is_missing() {
        let offered = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_ulp").unwrap_or_default();
        match KernelTls::probe() {
            Ok(kernel) => {
                assert!(kernel.seals(Cipher::Aes128Gcm, TlsVersion::Tls13));
                assert!(kernel.seals(Cipher::Aes256Gcm, TlsVersion::Tls12));
            }
            Err(error) => {
                assert!(!offered.contains("tls"), "{error}");
                assert!(error.to_string().contains("modprobe tls"), "{error}");
            }
        }
    }
}
